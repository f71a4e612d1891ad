"""``pretrain score``: what a validator would measure of a model folder, before anything is published."""

from pathlib import Path
from typing import Annotated

import typer

from pretrain.commands.output import AsJson, emit, say, verdict
from pretrain.errors import ConfigError, ModelRejected

PATIENCE = 60.0
"""Seconds to wait for an answer of a real chain, as the daemons do."""


def score(  # noqa: PLR0913 - one argument a flag
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A folder with config.json and safetensors.")],
    *,
    competition: Annotated[int | None, typer.Option(help="Its id; may be left out when only one is in force.")] = None,
    competitions: Annotated[Path, typer.Option(envvar="PRETRAIN_COMPETITIONS", help="The competition file.")] = Path(
        "localnet-run/competition.yaml"
    ),
    against: Annotated[list[Path] | None, typer.Option(metavar="MODEL", help="Another folder; repeatable.")] = None,
    seed: Annotated[
        str | None, typer.Option(metavar="HEX", help="Draw the windows of this seed, as a report names it.")
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(
            "--subtensor.network",
            "--network",
            metavar="NETWORK",
            help="Draw the windows of this chain's newest sync block: finney, test, local, ws://... or file:PATH.",
        ),
    ] = None,
    fallback: Annotated[
        list[str] | None,
        typer.Option("--subtensor.fallback", metavar="URL", help="Another address of that chain; repeatable."),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option("--subtensor.timeout", help="Seconds to wait for an answer of a real chain; default: 60."),
    ] = None,
    netuid: Annotated[
        int | None, typer.Option(min=0, max=65535, help="The subnet there; default: the competition file's.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the process that measures.")] = 1,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    as_json: AsJson = False,
) -> None:
    """Measure a model folder as a validator would, alone or --against others on the same windows.

    Exit code 0: scored, and better than each of the others even if they were committed earlier and have all the head
    start that they can have; 1: not better, or a model that is refused; 2: the question was wrong. Without --seed and
    --subtensor.network the windows are drawn anew each time; the seed is shown, so that it can be asked again.
    """
    from pretrain.commands import score_view  # noqa: PLC0415 - `pretrain --help` answers at once
    from pretrain.commands.score_run import Place, Question, ask  # noqa: PLC0415

    if seed and network:
        raise ConfigError("--seed and --subtensor.network both choose the windows: give one of them")
    of_a_chain = {"--subtensor.fallback": fallback, "--subtensor.timeout": timeout, "--netuid": netuid}
    given = ", ".join(flag for flag, value in of_a_chain.items() if value is not None and value != [])
    if given and network is None:
        raise ConfigError(f"{given}: of a chain, and no chain is asked; give --subtensor.network too, or leave it out")
    place = (
        None
        if network is None
        else Place(network, tuple(fallback or ()), PATIENCE if timeout is None else timeout, netuid)
    )
    question = Question((model, *(against or [])), competition, competitions, seed, place, threads, device)
    for folder in question.folders:
        if not folder.is_dir():
            raise ConfigError(f"{folder}: no such folder; expected one with config.json and model.safetensors")
    try:
        scores = ask(question)
    except ModelRejected as error:
        if as_json:
            emit({"refused": {"reason": str(error.reason), "detail": error.detail}, "wins": False})
        else:
            say(f"refused by every validator: {error}")
        raise typer.Exit(1) from error
    if as_json:
        emit(score_view.facts(scores))
    else:
        score_view.tell(scores)
    verdict(so=all(comparison.wins for comparison in scores.comparisons))

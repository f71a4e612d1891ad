"""``pretrain check``: everything that a model has to pass on a validator, asked before it is published."""

from pathlib import Path
from typing import Annotated

import typer

from pretrain.commands.output import AsJson, emit, say, verdict

WINDOWS = 2
"""Of each task: enough to see that a model works."""


def check(  # noqa: PLR0913 - one argument a flag
    model: Annotated[
        str, typer.Argument(metavar="MODEL_DIR|REPO@REVISION", help="A folder, or a public repository's revision.")
    ],
    *,
    competition: Annotated[int | None, typer.Option(help="Its id; may be left out when only one is in force.")] = None,
    competitions: Annotated[Path, typer.Option(envvar="PRETRAIN_COMPETITIONS", help="The competition file.")] = Path(
        "localnet-run/competition.yaml"
    ),
    hub: Annotated[
        str, typer.Option(envvar="PRETRAIN_HUB", help="Where REPO is: huggingface, or folder:PATH, an embedded hub.")
    ] = "huggingface",
    windows: Annotated[int, typer.Option(min=1, help="Windows of each task to try it on.")] = WINDOWS,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the process that measures.")] = 1,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    as_json: AsJson = False,
) -> None:
    """See whether a validator would accept a model: its files, config, headers and weights, and the probes.

    Each gate is the validator's own code, in the order in which it comes there, and needs no GPU. Only the chain knows
    whose commitment it is, and whether the same weights were committed before. A private repository cannot be checked:
    check its folder instead.

    Exit code 0: it passes; 1: it is refused, with the first reason and what to do; 2: the question was wrong, or not
    answered by the hub, a dataset or this machine.
    """
    from pretrain.commands.check_run import Question, ask  # noqa: PLC0415 - `pretrain --help` answers at once

    found = ask(Question(model, competition, competitions, hub, windows, threads, device))
    if as_json:
        emit(found.facts())
    else:
        for passed in found.passed:
            say(f"pass  {passed.gate}: {passed.detail}")
        say(
            f"refused  {found.refusal}; to do: {found.to_do}" if found.refusal else "a validator would judge this model"
        )
    verdict(so=found.refusal is None)

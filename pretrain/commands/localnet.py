"""``pretrain localnet``: the whole subnet on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from pretrain.commands.output import AsJson, verdict
from pretrain.errors import ConfigError

LOG_WIDTH = 100  # columns, where no terminal says otherwise


def localnet(  # noqa: PLR0913 - one argument a flag
    context: typer.Context,
    *,
    out: Annotated[Path, typer.Option(help="Folder of the run: chain, hub, wallets, logs, report.")] = Path(
        "localnet-run"
    ),
    minutes: Annotated[float, typer.Option(min=0.1, help="End after so many minutes at the latest.")] = 20.0,
    miners: Annotated[int, typer.Option(min=2, help="Miners; what each does is shown while it runs.")] = 4,
    validators: Annotated[int, typer.Option(min=1, help="Validators.")] = 2,
    seed: Annotated[int, typer.Option(help="Of the models' initial weights and the order of their text.")] = 0,
    tokens: Annotated[int, typer.Option(min=2048, help="Tokens that each of the compared miners trains on.")] = 900_000,
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=PATH",
            help="Text of your own: .txt, .jsonl or .parquet, a file or a folder. NAME prose or code replaces the"
            " built-in text; another NAME joins the mixed competition. May be repeated.",
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    chaos: Annotated[
        bool,
        typer.Option(
            "--chaos",
            help="Stall the chain, slow its blocks and lose its answers at random: everybody talks to it over a"
            " websocket, as to the real one. What comes out must be the same.",
        ),
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="Exit with 1 unless the validators agree.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run a whole subnet: a chain with Yuma consensus, a model hub, miners that train, validators that judge.

    Every miner and validator is the real program in a process of its own. The run ends by itself when everything is
    judged by everybody and paid, at Ctrl-C, or after --minutes; then it prints leaderboards and writes OUT/report.
    """
    from rich.console import Console  # noqa: PLC0415 - `pretrain --help` answers at once

    from pretrain import summary  # noqa: PLC0415
    from pretrain.folder_lock import alone  # noqa: PLC0415
    from pretrain.localnet import finish, prepare  # noqa: PLC0415
    from pretrain.localnet.run import run_to_the_end  # noqa: PLC0415
    from pretrain.localnet.view import final  # noqa: PLC0415

    console = Console(stderr=as_json)
    if not console.is_terminal:
        console.width = LOG_WIDTH
    out = out.absolute()
    options = prepare.Options(out, miners, validators, seed, tokens, _paths(data or []))
    with alone(out, "--out"):
        if resume:
            _refuse_changes(context)
            run = prepare.resume(out)
        else:
            run = prepare.prepare(options, console.print)
        end = run_to_the_end(run, minutes, console, trouble=chaos)
        result = finish.summarise(run, final(run))
        finish.show(run, result, console)
    console.print(f"ended: {end.why}", style="red" if end.failed else None)
    if as_json:
        typer.echo(summary.to_json(result))
    verdict(so=not end.failed and (not check or (result.agreement.holds and not result.unscored)))


def _refuse_changes(context: typer.Context) -> None:
    """Raise ConfigError for a flag that a run which was made already cannot follow."""
    for name in ("miners", "validators", "seed", "tokens", "data"):
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise ConfigError(f"--resume goes on with the run as it was made; leave out --{name}, or start a new run")


def _paths(pairs: list[str]) -> dict[str, Path]:
    """Read NAME=PATH pairs; raises ConfigError."""
    found: dict[str, Path] = {}
    for pair in pairs:
        name, equals, path = pair.partition("=")
        if not (equals and name and path):
            raise ConfigError(f"--data {pair!r}: expected NAME=PATH, such as prose=books/")
        if name in found:
            raise ConfigError(f"--data {pair!r}: {name} was given before; give a folder to join several files")
        if not Path(path).exists():
            raise ConfigError(f"--data {pair!r}: {path} does not exist")
        found[name] = Path(path)
    return found

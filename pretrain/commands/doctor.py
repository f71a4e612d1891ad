"""``pretrain doctor``: says whether everything is in place before a daemon is started."""

import asyncio

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pretrain.command_line import Program, read
from pretrain.commands.output import emit, say, verdict
from pretrain.doctor import Check, Level, examine
from pretrain.facts import Role
from pretrain.settings import MinerDoctorSettings, RunSettings, ValidatorSettings

app = typer.Typer(
    no_args_is_help=True,
    help="Say whether everything is in place for a miner or a validator, and what to do where it is not.",
)
AS_THE_DAEMON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
"""Flags are read as the daemons read theirs, and `--help` too."""
ABOUT = """Say whether everything is in place for {}: each check green, yellow or red, and what to do where it is not.
It takes the flags, the environment and the .env of {}, changes nothing and shows no secret; --json
gives the same as data. Exit code 0: nothing is red; 1: something is."""


@app.command(context_settings=AS_THE_DAEMON)
def miner(context: typer.Context) -> None:
    """Check what a miner needs; takes the flags of `neurons/miner.py run`, and --json."""
    example = "  pretrain doctor miner --subtensor.network test --netuid 9 --wallet.name alice --competition 1"
    about = ABOUT.format("a miner", "neurons/miner.py run")
    words, as_json = _split(context.args)
    _answer(read(MinerDoctorSettings, words, Program("pretrain doctor miner", about, example)), as_json=as_json)


@app.command(context_settings=AS_THE_DAEMON)
def validator(context: typer.Context) -> None:
    """Check what a validator needs; takes the flags of `neurons/validator.py`, and --json."""
    example = "  pretrain doctor validator --subtensor.network finney --netuid 9 --wallet.name alice --device cuda"
    about = ABOUT.format("a validator", "neurons/validator.py")
    words, as_json = _split(context.args)
    _answer(read(ValidatorSettings, words, Program("pretrain doctor validator", about, example)), as_json=as_json)


def _split(arguments: list[str]) -> tuple[list[str], bool]:
    """Take the one flag that is not a daemon's from the others."""
    return [word for word in arguments if word != "--json"], "--json" in arguments


def _answer(settings: RunSettings | ValidatorSettings, *, as_json: bool) -> None:
    from pretrain.commands.gathering import gather  # noqa: PLC0415 - `pretrain --help` answers at once

    facts = asyncio.run(gather(settings))
    checks = examine(facts)
    red = [check.name for check in checks if check.level is Level.RED]
    if as_json:
        emit({"role": facts.asked.role, "in_place": not red, "checks": [vars(check) for check in checks]})
    else:
        _show(facts.asked.role, checks)
    verdict(so=not red)


def _show(role: Role, checks: tuple[Check, ...]) -> None:
    """Print a table on a terminal, and a line a check where there is none."""
    console = Console(highlight=False)
    if console.is_terminal:
        console.print(_table(checks))
    else:
        width = max(len(check.name) for check in checks)
        for check in checks:
            todo = f"; to do: {check.todo}" if check.todo else ""
            say(f"{check.level:<6}  {check.name:<{width}}  {check.found}{todo}")
    counts = {level: sum(check.level is level for check in checks) for level in (Level.RED, Level.YELLOW)}
    wrong = ", ".join(f"{count} {level}" for level, count in counts.items() if count)
    say(f"{role}: {wrong or 'everything is in place'}")


def _table(checks: tuple[Check, ...]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in checks:
        told = Text(check.found)
        if check.todo:
            told.append(f"\nto do: {check.todo}", style="bold")
        table.add_row(Text(check.level, style=check.level), Text(check.name), told)
    return table

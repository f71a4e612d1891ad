"""What every command has in common: facts as JSON for programs, lines and tables for people."""

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

AsJson = Annotated[bool, typer.Option("--json", help="Print facts for a program instead of lines for people.")]


def emit(facts: Any) -> None:  # noqa: ANN401 - any JSON value
    """Print JSON values on standard output, readable and in a fixed order of keys."""
    typer.echo(json.dumps(facts, indent=2, sort_keys=True))


def say(line: str) -> None:
    """Print one line on standard output, as it is: no markup, no wrapping."""
    typer.echo(line)


def show(rows: list[tuple[str, str]]) -> None:
    """Print pairs in two columns: folded to the width of a terminal, one a line where there is none."""
    console = Console(highlight=False)
    if not console.is_terminal:
        width = max((len(name) for name, _ in rows), default=0)
        for name, value in rows:
            say(f"  {name:<{width}}  {value}")
        return
    table = Table(box=None, show_header=False, padding=(0, 0, 0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(Text(name), Text(value))
    console.print(table)


def verdict(*, so: bool) -> None:
    """End the command: exit code 0 when it is so, 1 when it is not."""
    if not so:
        raise typer.Exit(1)

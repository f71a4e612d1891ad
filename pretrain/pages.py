"""One HTML file that shows a whole run: it needs no network, runs no script, and trusts no miner's text."""

import os
from collections.abc import Iterator
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from pretrain import pictures, plain
from pretrain.errors import ConfigError
from pretrain.leaderboard import Leaderboard
from pretrain.pictures import Picture
from pretrain.summary import Summary, to_json
from pretrain.tables import compared, why


def write(summary: Summary, folder: Path) -> None:
    """Write ``index.html`` and ``summary.json`` into a folder, each whole or not at all; raises ConfigError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _replace(folder / "summary.json", to_json(summary) + "\n")
        _replace(folder / "index.html", page(summary))
    except OSError as error:
        reason = f"the report cannot be written: {error.strerror}"
        raise ConfigError(f"{folder}: {reason}; name a folder that can be written") from error


def _replace(path: Path, text: str) -> None:
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def page(summary: Summary) -> str:
    """Return the page; the same text for the same summary."""
    environment = Environment(
        loader=PackageLoader("pretrain"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "line": plain.line,
        "middle": plain.middle,
        "percent": _percent,
        "compared": compared,
        "why": why,
        "counted": lambda number, noun: f"{number} {noun}{'' if number == 1 else 's'}",
    }
    return environment.get_template("report.html").render(
        summary=summary,
        run=summary.run,
        boards=[(board, list(_pictures(summary, board))) for board in summary.leaderboards],
        pay=[picture for picture in (pictures.weights(summary), pictures.incentive(summary)) if picture],
        colour=lambda hotkey: pictures.colour(summary, hotkey),
        label=summary.label,
        last_weights=summary.last_weights(),
        paid={row.hotkey: row for row in summary.last_epoch()},
        headline=_headline(summary),
    )


def _pictures(summary: Summary, board: Leaderboard) -> Iterator[Picture]:
    for draw in (pictures.margins, pictures.win_matrix, pictures.losses):
        picture = draw(summary, board)
        if picture:
            yield picture


def _headline(summary: Summary) -> str:
    leads = [f"{summary.label(b.champion)} leads {plain.line(b.name, 24)}" for b in summary.leaderboards if b.champion]
    return ", ".join(leads) or "Nobody leads yet"


def _percent(share: float, digits: int = 1) -> str:
    return f"{share:.{digits}%}"

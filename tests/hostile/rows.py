"""What is known of an attack, as one row of the table in docs/security.md."""

from collections.abc import Iterable
from dataclasses import dataclass

START, END = "<!-- gallery: start -->", "<!-- gallery: end -->"
"""Around a table in docs/security.md."""

_HEAD = ("attack", "refused at", "reason", "bytes read until then, at most", "guard, without which it succeeds")


@dataclass(frozen=True)
class Row:
    """One attack and what meets it."""

    attack: str
    """In words."""
    gate: str
    """Where it ends."""
    outcome: str
    """A ``Reason``, or what becomes of it."""
    most_bytes: int | None
    """Read from the hub until then; None where nothing is to be read."""
    guard: str
    """What stops it; taken out in a test, in which the attack succeeds."""


def table(rows: Iterable[Row]) -> str:
    """Return the rows as a table in markdown, in their order."""
    lines = [" | ".join(_HEAD), " | ".join("---" for _ in _HEAD)]
    for row in rows:
        bytes_read = "" if row.most_bytes is None else f"{row.most_bytes:,}"
        lines.append(f"{row.attack} | {row.gate} | {row.outcome} | {bytes_read} | {row.guard}")
    return "\n".join(f"| {line} |" for line in lines)


def section(text: str, start: str = START, end: str = END) -> str:
    """Return what stands between two markers of a text; raises ValueError when one of them is missing."""
    return text[text.index(start) + len(start) : text.index(end)].strip("\n")

"""Attacks on hub, chain and steps: how one is written down, run, and run again with its guards taken out."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rows import Row


@dataclass(frozen=True)
class Guard:
    """What stops an attack, and what stands in its place when it is taken out."""

    name: str
    instead: Mapping[str, object]
    """By dotted name of what is replaced."""


@dataclass(frozen=True)
class Found:
    """What came of an attack."""

    outcome: str
    bytes: int = 0
    """Downloaded from the hub."""


@dataclass(frozen=True)
class Attack:
    """One row of the gallery."""

    name: str
    gate: str
    outcome: str
    """A reason or cause, or what becomes of those who are attacked."""
    most: int
    """Bytes that are downloaded until then, at most."""
    guards: tuple[Guard, ...]
    """Each of them stops it alone."""
    gains: str
    """The outcome without any of them."""
    run: Callable[[Path], Found]


def rows(attacks: Iterable[Attack]) -> list[Row]:
    """Return attacks as rows of a table."""
    return [
        Row(a.name, a.gate, a.outcome, a.most, " and ".join(f"`{guard.name}`" for guard in a.guards)) for a in attacks
    ]

"""What an attack is: how it is built, where it must end, and what it wins when its guard is taken out."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from counting_hub import CountingHub, Files
from crafted import built, victims_weights
from gates import CONSTRAINTS, SCORED, Attempt, attempt
from rows import Row
from tiny import tiny_architecture

TakeOut = Callable[[pytest.MonkeyPatch], None]
Succeeds = Callable[[Attempt], bool]


def was_scored(tried: Attempt) -> bool:
    """Say that it passed every gate."""
    return tried.outcome == SCORED


def has_no_loss(tried: Attempt) -> bool:
    """Say that it was scored with a loss that no other is smaller than."""
    return tried.loss is not None and not math.isfinite(tried.loss)


def happened(notes: list[Any]) -> bool:
    """Say whether something was noted, and forget it."""
    noted = bool(notes)
    notes.clear()
    return noted


@dataclass(frozen=True)
class Attack:
    """One hostile repository."""

    name: str
    """In words."""
    build: Callable[[], Files]
    gate: str
    """A value of ``gates.GATES``, or ``SCORED``."""
    outcome: str
    """A ``Reason``, or ``SCORED`` for what cannot be decided or does no harm."""
    most_bytes: int
    """Read from the hub until then."""
    guard: str
    """What stops it, in words; several that hold independently are joined by "and"."""
    unguarded: TakeOut | None = None
    """Takes the guard out; None when there is none, or nothing to win."""
    succeeds: Succeeds = was_scored
    """Whether the attack won, without its guard."""
    rules: Mapping[str, object] = field(default_factory=dict)
    """Where the competition differs from ``gates.CONSTRAINTS``."""
    lenient: Mapping[str, object] = field(default_factory=dict)
    """Where it differs without the guard, when that is a rule of the competition."""
    committed: Callable[[], Files] | None = None
    """What was committed, when it is something else."""
    twice: str = ""
    """See ``CountingHub``."""
    links: frozenset[str] = frozenset()
    """See ``CountingHub``."""
    enough: int = 200_000_000
    """Bytes after which it has won: the hub serves no more."""
    world: TakeOut | None = None
    """A fault of a library without which it would be no attack."""

    @property
    def row(self) -> Row:
        """Its row in the table."""
        gate = "not refused" if self.outcome == SCORED else self.gate
        return Row(self.name, gate, self.outcome, self.most_bytes, self.guard)


def run(attack: Attack, root: Path, patch: pytest.MonkeyPatch, *, guarded: bool = True) -> Attempt:
    """Lead an attack through the gates, with or without its guard."""
    files = attack.build()
    committed = attack.committed() if attack.committed else files
    if attack.world:
        attack.world(patch)
    if attack.unguarded and not guarded:
        attack.unguarded(patch)
    rules = {**attack.rules, **({} if guarded else attack.lenient)}
    hub = CountingHub(files, twice=attack.twice, links=attack.links, most_bytes=attack.enough, most_requests=5000)
    owner = victims_weights()
    return attempt(hub, committed, root / "store", owner, CONSTRAINTS.model_copy(update=rules))


def honest_loss(tmp_path: Path) -> float:
    """Return the loss of ``crafted.honest``."""
    files = built(tiny_architecture())
    loss = attempt(CountingHub(files), files, tmp_path / "honest", victims_weights(), CONSTRAINTS).loss
    assert loss is not None
    return loss

"""What judging one entry ends in: its miner's merit, its miner's fault, or nobody's fault."""

from collections.abc import Iterable
from dataclasses import dataclass

from pretrain.commitment import Entry
from pretrain.errors import Cause, Reason
from pretrain.evaluate import Measurement


@dataclass(frozen=True)
class Scored:
    """Every loss was measured."""

    entry: Entry
    measurement: Measurement


@dataclass(frozen=True)
class Rejected:
    """The model breaks a rule: recorded, for good."""

    entry: Entry
    reason: Reason
    detail: str


@dataclass(frozen=True)
class Undecided:
    """No outcome: it is tried again, and has step weight 0 until then."""

    entry: Entry
    cause: Cause
    detail: str


Outcome = Scored | Rejected | Undecided


def witnessed(outcomes: Iterable[Outcome]) -> bool:
    """Whether another model was scored in the same step: only then is a child that died its model's doing.

    The canary is too small to tell: a device that others filled serves it well, and kills every real model.
    """
    return any(isinstance(outcome, Scored) for outcome in outcomes)

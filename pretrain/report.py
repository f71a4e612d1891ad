"""What happened in a step: the one thing that tables, JSON lines, wandb and pages are made of."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter

from pretrain.fingerprint import closeness
from pretrain.types import Block, CompetitionId, Digest, Hotkey, TaskName


@dataclass(frozen=True)
class Difference:
    """How an entry compares with the champion, batch by batch; negative: better than the champion."""

    mean: float
    """Mean of the paired differences / the champion's score."""
    standard_error: float
    """Of that mean, in the same unit."""
    paired_sd: float
    """Standard deviation of the paired difference of one batch / the champion's score."""
    batches: tuple[float, ...] = ()
    """(B,) the paired difference of each batch / the champion's score."""


@dataclass(frozen=True)
class EntryReport:
    """One entry in one step."""

    hotkey: Hotkey
    uid: int
    repo: str
    revision: str
    block: Block
    """Of the commitment."""
    role: str
    """Why it was judged, or ``queued``, ``waiting``, ``refused``."""
    outcome: str
    """``scored``, ``rejected``, ``undecided`` or ``queued``."""
    reason: str = ""
    detail: str = ""
    score: float | None = None
    tasks: dict[TaskName, float] | None = None
    """Loss of each task, in the unit of its method."""
    competitive: bool = False
    win_rate: float = 0.0
    gain: float = 0.0
    epsilon: float = 0.0
    difference: Difference | None = None
    """None for the champion and for who was not scored."""
    step_weight: float = 0.0
    average: float = 0.0
    """Moving average of step weights after this step."""
    weights: Digest | None = None
    """Weights digest of what was scored."""
    seconds: float = 0.0


@dataclass(frozen=True)
class NearCopy:
    """Two models of a step that are too close to be independent (protocol.md, near copies)."""

    later: Hotkey
    earlier: Hotkey
    """It may be of a past champion, so without an entry in this step."""
    losses: float
    """Root mean square of the windows' differences / the mean loss."""
    weights: float | None
    """Root mean square of sampled weights' differences / that of the weights; None: their shapes differ."""
    refused: bool
    """Whether the later one was refused for it."""

    def __str__(self) -> str:
        """Say how close they are and what came of it."""
        return closeness(self.losses, self.weights) + ("; refused" if self.refused else "")


@dataclass(frozen=True)
class Report:
    """One step of one validator."""

    validator: Hotkey
    block: Block
    """The sync block S."""
    seed: str
    """64 hex digits."""
    competition: CompetitionId
    name: str
    competition_digest: Digest
    engine: str
    samples: Digest | None
    """None when the step was abandoned before they were drawn."""
    champion: Hotkey | None
    entries: tuple[EntryReport, ...]
    players: tuple[Hotkey, ...] = ()
    """The judged hotkeys, in the order of ``wins``."""
    wins: tuple[tuple[float, ...], ...] = ()
    """Share of the match that row won against column."""
    references: tuple[Hotkey, ...] = ()
    """Past champions measured beside the entries."""
    near_copies: tuple[NearCopy, ...] = ()
    """Named whether or not the competition refuses them; by the later one's precedence."""
    notes: tuple[str, ...] = ()
    """Warnings for the operator, each one line."""
    abandoned: str = ""
    """Why nothing was decided; empty when the step was decided."""
    ready: bool = False
    """Whether weights of this competition may be set."""
    canary: float = 0.0
    """Largest difference of the canary's losses from the known ones, in nats."""
    seconds: float = 0.0


def difference(batches: npt.NDArray[np.float64], champion: npt.NDArray[np.float64], score: float) -> Difference | None:
    """Compare two models' batch losses (B,) in pairs, relative to the champion's score.

    None for a single batch, which has no deviation, and for a score of 0, to which nothing is relative.
    """
    if len(batches) == 1 or score == 0:
        return None
    paired = (batches - champion) / score
    mean = math.fsum(paired) / len(paired)
    sd = math.sqrt(math.fsum((paired - mean) ** 2) / (len(paired) - 1))
    return Difference(mean, sd / math.sqrt(len(paired)), sd, tuple(paired.tolist()))


_ADAPTER = TypeAdapter(Report)


def to_json(report: Report) -> str:
    """Return one line of JSON."""
    return _ADAPTER.dump_json(report).decode()


def from_json(text: str | bytes) -> Report:
    """Read what ``to_json`` wrote; raises pydantic's ValidationError for anything else."""
    return _ADAPTER.validate_json(text)

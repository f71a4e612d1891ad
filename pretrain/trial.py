"""Measuring model folders as a validator measures them, with neither chain nor hub: what ``pretrain score`` does."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pretrain import judge, scoring
from pretrain.challenge import Challenge, challenge, largest_head_start
from pretrain.competition import Competition, FixedEpsilon
from pretrain.data import Samples
from pretrain.errors import ModelRejected
from pretrain.evaluate import Evaluator
from pretrain.judge import Job
from pretrain.models.files import local_files
from pretrain.models.header import weights_digest
from pretrain.report import Difference, difference
from pretrain.scoring import Judged
from pretrain.types import Block, Digest, Hotkey, TaskName

_EARLIER, _LATER = Block(0), Block(1)
_MODEL, _RIVAL = Hotkey("model"), Hotkey("rival")


@dataclass(frozen=True)
class Tried:
    """One model's losses on the windows of a trial."""

    folder: Path
    judged: Judged
    tasks: dict[TaskName, float]
    """Loss of each task, in the unit of its method."""
    weights: Digest
    """Weights digest of what was scored."""
    engine: str
    seconds: float


@dataclass(frozen=True)
class Comparison:
    """A model and a rival, on the same windows."""

    rival: Tried
    difference: Difference | None
    """Of the model to the rival, relative to the rival's score; negative: the model is better. None: one batch."""
    after: tuple[Challenge, ...]
    """The model committed after the rival: against the largest head start, then against the least."""
    before: tuple[Challenge, ...]
    """The model committed before the rival: what the rival would reach, in the same order."""
    same_weights: bool
    """Tensor by tensor; whoever commits them later is refused as a duplicate."""

    @property
    def wins(self) -> bool:
        """Whether the model wins even when the rival is earlier and has all the head start it can have."""
        return self.after[0].wins and not self.same_weights


async def measure(
    folders: Sequence[Path], competition: Competition, samples: Samples, evaluator: Evaluator
) -> AsyncIterator[Tried]:
    """Yield each model folder measured, in order.

    Raises ModelRejected when a validator would refuse one, its message beginning with the folder; Unavailable when the
    engine cannot judge.
    """
    for folder in folders:
        try:
            yield await _measure_one(folder, competition, samples, evaluator)
        except ModelRejected as error:
            raise ModelRejected(error.reason, f"{folder}: {error.detail}") from error


def compare(model: Tried, rival: Tried, competition: Competition) -> Comparison:
    """Play both matches of two models, each committed before the other, with the largest and the least head start."""
    rule = competition.epsilon
    ages = (0,) if isinstance(rule, FixedEpsilon) else (0, rule.blocks)
    starts = list(dict.fromkeys(largest_head_start(rule, age) for age in ages))
    mine, theirs = model.judged, rival.judged
    late, early = _at(_MODEL, _LATER, mine), _at(_MODEL, _EARLIER, mine)
    rival_late, rival_early = _at(_RIVAL, _LATER, theirs), _at(_RIVAL, _EARLIER, theirs)
    return Comparison(
        rival=rival,
        difference=difference(mine.batches, theirs.batches, theirs.score),
        after=tuple(challenge(late, rival_early, epsilon, competition) for epsilon in starts),
        before=tuple(challenge(rival_late, early, epsilon, competition) for epsilon in starts),
        same_weights=model.weights == rival.weights,
    )


async def _measure_one(folder: Path, competition: Competition, samples: Samples, evaluator: Evaluator) -> Tried:
    await asyncio.to_thread(local_files, folder, competition.model.max_bytes)
    weights = await asyncio.to_thread(weights_digest, folder)
    measured = await judge.measure(evaluator, folder, weights, Job(competition, samples))
    return Tried(
        folder=folder,
        judged=scoring.judged(_MODEL, _LATER, measured.losses, samples, competition),
        tasks=scoring.task_losses(measured.losses, samples, competition),
        weights=measured.weights,
        engine=measured.engine,
        seconds=measured.seconds,
    )


def _at(hotkey: Hotkey, block: Block, judged: Judged) -> Judged:
    return Judged(hotkey, block, judged.batches, judged.score)

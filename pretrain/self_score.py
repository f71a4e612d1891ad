"""Would a model beat the champion? Asked with the validator's own code, before a commitment costs anything."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from pretrain import scoring
from pretrain.chain import Chain, Snapshot
from pretrain.commitment import Entry, content_digest
from pretrain.competition import Competition, FixedEpsilon
from pretrain.data import Samples
from pretrain.describe import listing
from pretrain.errors import ConfigError, ModelRejected
from pretrain.evaluate import Evaluator, Measurement
from pretrain.hub import Hub
from pretrain.node import Sampler, Store
from pretrain.schedule import Schedule
from pretrain.scoring import Judged
from pretrain.selection import eligible
from pretrain.types import Block, CompetitionId, Digest, Hotkey, TaskName

OWN = Hotkey("own-model")
"""Stands for the model asked about, which no hotkey has committed yet."""


@dataclass(frozen=True)
class Champion:
    """The model to beat, and by how much."""

    entry: Entry
    score: float
    epsilon: float
    """The largest head start that it can have now, as a share of its losses."""
    margin: float
    """How much lower the own score is than the champion's with its head start, relative; negative: it is higher."""
    margin_se: float
    """Standard error of the margin over the batches."""
    same_weights: bool
    """The own model is the champion's, tensor by tensor."""


@dataclass(frozen=True)
class Verdict:
    """What a validator would see at this sync block."""

    beats: bool
    block: Block
    """S, whose samples were used."""
    competition: CompetitionId
    score: float
    tasks: dict[TaskName, float]
    champion: Champion | None
    """None when there is nobody to beat."""
    samples: Digest
    engine: str

    def __str__(self) -> str:
        own = f"score {self.score:.4f} on {', '.join(f'{task} {loss:.4f}' for task, loss in self.tasks.items())}"
        if self.champion is None:
            return f"would beat the champion: yes, there is none; {own}"
        if self.champion.same_weights:
            return f"would beat the champion: no, it has the champion's very weights ({self.champion.entry.commitment.repo})"
        return (
            f"would beat the champion: {'yes' if self.beats else 'no'}, by {self.champion.margin:+.2%}"
            f" ± {self.champion.margin_se:.2%}; {own}; champion {self.champion.entry.commitment.repo}"
            f" {self.champion.score:.4f} with head start {self.champion.epsilon:.2%}"
        )


class Collaborators(Protocol):
    """What is asked of the outside; a validator's ``Node`` has all of it."""

    @property
    def chain(self) -> Chain:
        """For the sync block and who leads."""

    @property
    def hub(self) -> Hub:
        """For the champion's files."""

    @property
    def store(self) -> Store:
        """Where they are kept."""

    @property
    def sampler(self) -> Sampler:
        """For the windows of the sync block."""

    @property
    def evaluator(self) -> Evaluator:
        """Measures both."""

    @property
    def schedule(self) -> Schedule:
        """The rules."""


async def would_beat(model: Path, competition: CompetitionId, node: Collaborators) -> Verdict:
    """Measure a model folder and the present champion on the windows of the newest sync block.

    Raises ModelRejected when a validator would refuse the model; ConfigError when the competition is not in force;
    Unavailable when the chain, the hub, a dataset or the engine is.
    """
    snapshot = await node.chain.snapshot(node.schedule.timing.sync_cadence)
    rules = competition_at(node.schedule, competition, snapshot.block)
    samples = await node.sampler.draw(rules, snapshot.seed)
    measured = await node.evaluator.losses(model, samples, rules.model)
    own = scoring.judged(OWN, Block(snapshot.block + 1), measured.losses, samples, rules)
    champion = await _champion(node, snapshot, rules, samples)
    rival = None if champion is None else _compare(own, measured, *champion, rules, samples, snapshot.block)
    return Verdict(
        beats=rival is None or (_wins(own, champion, rules, samples, rival.epsilon) and not rival.same_weights),
        block=snapshot.block,
        competition=competition,
        score=own.score,
        tasks=scoring.task_losses(measured.losses, samples, rules),
        champion=rival,
        samples=samples.digest,
        engine=measured.engine,
    )

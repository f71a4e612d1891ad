"""Would a model beat the champion? Asked with the validator's own code, before a commitment costs anything."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from pretrain import scoring
from pretrain.chain import Chain, Snapshot
from pretrain.challenge import challenge, largest_head_start
from pretrain.commitment import Entry, content_digest
from pretrain.competition import Competition
from pretrain.data import Samples
from pretrain.describe import listing
from pretrain.errors import ConfigError, ModelRejected
from pretrain.evaluate import Evaluator, Measurement
from pretrain.hub import Hub
from pretrain.judge import Job, measure
from pretrain.models.files import local_files
from pretrain.models.header import weights_digest
from pretrain.node import Sampler, Store
from pretrain.schedule import Schedule
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
        """Return it in one line."""
        own = f"score {self.score:.4f} on {', '.join(f'{task} {loss:.4f}' for task, loss in self.tasks.items())}"
        if self.champion is None:
            return f"would beat the champion: yes, there is none; {own}"
        if self.champion.same_weights:
            return f"would beat the champion: no, these are its very weights ({self.champion.entry.commitment.repo})"
        return (
            f"would beat the champion: {'yes' if self.beats else 'no'}, by {self.champion.margin:+.2%}"
            f" ± {self.champion.margin_se:.2%}; {own}; champion {self.champion.entry.commitment.repo}"
            f" {self.champion.score:.4f} with head start {self.champion.epsilon:.2%}"
        )


@dataclass(frozen=True)
class Bench:
    """What is asked of the outside: less than a validator's ``Node``, since nobody is paid by the answer."""

    chain: Chain
    """For the sync block, and who leads."""
    hub: Hub
    store: Store
    sampler: Sampler
    evaluator: Evaluator
    schedule: Schedule


async def would_beat(model: Path, competition: CompetitionId, bench: Bench) -> Verdict:
    """Measure a model folder and the present champion on the windows of the newest sync block.

    The champion's head start is taken as large as it can be at its age, since what it earned is known to validators
    alone. Raises ModelRejected when a validator would refuse the model; ConfigError when the competition is not in
    force; Unavailable when the chain, the hub, a dataset or the engine is.
    """
    snapshot = await bench.chain.snapshot(bench.schedule.timing.sync_cadence)
    rules = competition_at(bench.schedule, competition, snapshot.block)
    samples = await bench.sampler.draw(rules, snapshot.seed)
    await asyncio.to_thread(local_files, model, rules.model.max_bytes)
    weights = await asyncio.to_thread(weights_digest, model)
    measured = await measure(bench.evaluator, model, weights, Job(rules, samples))
    own = scoring.judged(OWN, Block(snapshot.block + 1), measured.losses, samples, rules)
    champion, beats = None, True
    if found := await _champion(bench, snapshot, rules, samples):
        entry, theirs = found
        rival = scoring.judged(entry.hotkey, entry.block, theirs.losses, samples, rules)
        match = challenge(own, rival, largest_head_start(rules.epsilon, own.block - rival.block), rules)
        same = theirs.weights == measured.weights
        champion = Champion(entry, rival.score, match.epsilon, match.margin, match.margin_se, same_weights=same)
        beats = match.wins and not same
    return Verdict(
        beats=beats,
        block=snapshot.block,
        competition=competition,
        score=own.score,
        tasks=scoring.task_losses(measured.losses, samples, rules),
        champion=champion,
        samples=samples.digest,
        engine=measured.engine,
    )


def competition_at(schedule: Schedule, competition: CompetitionId | None, block: Block) -> Competition:
    """Return a competition as it is in force at a block, the only one there for None.

    Raises ConfigError with those that are in force.
    """
    in_force = {c.competition_id: c for c in schedule.at(block)}
    names = ", ".join(f"{c.id} ({c.name})" for c in in_force.values()) or "none"
    if competition is None and len(in_force) != 1:
        raise ConfigError(f"--competition is missing: in force at block {block}: {names}")
    if competition is not None and competition not in in_force:
        raise ConfigError(f"--competition {competition} is not in force at block {block}; in force: {names}")
    return next(iter(in_force.values())) if competition is None else in_force[competition]


def leaders(snapshot: Snapshot, schedule: Schedule, competition: CompetitionId) -> list[Entry]:
    """Return the entries of a competition that earn something, highest incentive first.

    What validators agree on shows in the incentive alone. Equal: by block, then sha256 of the hotkey, as everywhere.
    """
    incentive = {neuron.hotkey: neuron.incentive for neuron in snapshot.neurons}
    paid = [e for e in eligible(snapshot, schedule, competition) if incentive.get(e.hotkey, 0.0) > 0]
    return sorted(paid, key=lambda e: (-incentive[e.hotkey], e.block, scoring.hotkey_order(e.hotkey)))


async def _champion(
    bench: Bench, snapshot: Snapshot, rules: Competition, samples: Samples
) -> tuple[Entry, Measurement] | None:
    """Return the first leader that validators could judge, measured; None when there is none."""
    for entry in leaders(snapshot, bench.schedule, rules.competition_id):
        commitment = entry.commitment
        try:
            files = await listing(bench.hub, entry)
            content = content_digest(files)
            path = await bench.store.fetch(bench.hub, commitment.repo, commitment.revision, files, content)
            try:
                weights = await asyncio.to_thread(weights_digest, path)
                return entry, await measure(bench.evaluator, path, weights, Job(rules, samples))
            finally:
                bench.store.release(content)
        except ModelRejected:
            continue
    return None

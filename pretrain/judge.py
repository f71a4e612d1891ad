"""Judging the entries of a step one after another, the next one downloading meanwhile."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pretrain.chain import Snapshot
from pretrain.commitment import Entry, content_digest
from pretrain.competition import Competition
from pretrain.data import Samples
from pretrain.describe import listing, take_ownership
from pretrain.errors import Cause, EvaluatorUnavailable, HubUnavailable, ModelRejected, Reason
from pretrain.evaluate import Evaluator, Measurement
from pretrain.evaluate.deadline import Speed
from pretrain.hub import Hub, RemoteFile
from pretrain.models.header import weights_digest
from pretrain.node import Node
from pretrain.outcome import Outcome, Rejected, Scored, Undecided, witnessed
from pretrain.schedule import Schedule
from pretrain.selection import Selected, select
from pretrain.state import Record, State
from pretrain.types import Digest


@dataclass(frozen=True)
class Fetched:
    """A model on disk, and whose weights it holds."""

    entry: Entry
    content: Digest
    path: Path
    weights: Digest


Looked = Mapping[Entry, tuple[RemoteFile, ...] | Rejected | Undecided]


async def look(hub: Hub, entries: Sequence[Entry]) -> Looked:
    """See, without a token, whether each entry's repository still holds what was committed."""

    async def one(entry: Entry) -> tuple[RemoteFile, ...] | Rejected | Undecided:
        try:
            return await listing(hub, entry)
        except ModelRejected as error:
            return Rejected(entry, error.reason, error.detail)
        except HubUnavailable as error:
            return Undecided(entry, Cause.HUB, str(error))

    return dict(zip(entries, await asyncio.gather(*map(one, entries)), strict=True))


@dataclass(frozen=True)
class Chosen:
    """Who is judged in a step, with what the hub says of each."""

    known: State
    """With the new ones that were refused on the way."""
    selected: Selected
    looked: Looked
    """Of the selected entries, in their order."""
    answers: tuple[bool, ...]
    """Of each repository looked at, whether the hub answered for it."""


async def choose(hub: Hub, snapshot: Snapshot, schedule: Schedule, competition: Competition, known: State) -> Chosen:
    """Select the entries of a step and look at them on the hub.

    A new entry that is refused by the look was never downloaded: that is free, so the next one takes its place.
    """
    looked: dict[Entry, tuple[RemoteFile, ...] | Rejected | Undecided] = {}
    while True:
        selected = select(snapshot, schedule, competition, known)
        looked |= await look(hub, [entry for entry in selected.entries if entry not in looked])
        new = [entry for entry in selected.entries if known.record(entry).score is None]
        refused = [found for entry in new if isinstance(found := looked[entry], Rejected)]
        if not refused:
            answers = tuple(not isinstance(found, Undecided) for found in looked.values())
            return Chosen(known, selected, {entry: looked[entry] for entry in selected.entries}, answers)
        known = known.with_records(
            replace(known.record(r.entry), rejected=r.reason, undecided=None, detail=r.detail) for r in refused
        )


def contents(looked: Looked) -> list[Digest]:
    """Return the content digests of what will be judged, in its order."""
    return [content_digest(files) for files in looked.values() if isinstance(files, tuple)]


async def fetch(node: Node, entry: Entry, looked: Looked) -> Fetched | Rejected | Undecided:
    """Have an entry's bytes on disk, downloaded or still there, and know whose weights they are.

    What the disk has spoilt is downloaded again: that is no fault of its miner. Raises EvaluatorUnavailable when this
    machine has no room for it.
    """
    files = looked[entry]
    if not isinstance(files, tuple):
        return files
    commitment = entry.commitment
    try:
        content = content_digest(files)
        path = await node.store.fetch(node.hub, commitment.repo, commitment.revision, files, content)
        try:
            return Fetched(entry, content, path, await asyncio.to_thread(weights_digest, path))
        except ModelRejected:
            node.store.release(content)
            raise
    except ModelRejected as error:
        return Rejected(entry, error.reason, error.detail)
    except HubUnavailable as error:
        return Undecided(entry, Cause.HUB, str(error))


@dataclass(frozen=True)
class Job:
    """What every model of a step is measured on."""

    competition: Competition
    samples: Samples
    speed: Speed | None = None
    """Of this machine, from which each model's deadline follows; None: the evaluator's own."""


async def judge(node: Node, looked: Looked, job: Job, snapshot: Snapshot, state: State) -> tuple[list[Outcome], State]:
    """Return the outcome of each entry in order, and the state in which the weights of all of them have an owner.

    Raises EvaluatorUnavailable when this validator cannot judge at all.
    """
    outcomes: list[Outcome] = []
    async with aclosing(_fetched_ahead(node, looked)) as ahead:
        async for fetched in ahead:
            if isinstance(fetched, Fetched):
                state = take_ownership(state, replace(state.record(fetched.entry), weights=fetched.weights), snapshot)
                outcomes.append(await _judge_one(node, fetched, job, state.record(fetched.entry)))
            else:
                outcomes.append(fetched)
    return [_settled(outcome, state, outcomes) for outcome in outcomes], state


def _settled(outcome: Outcome, state: State, outcomes: Sequence[Outcome]) -> Outcome:
    """Refuse a model whose child died for the second time, in steps in which other models were scored."""
    if not (isinstance(outcome, Undecided) and outcome.cause is Cause.CRASHED):
        return outcome
    if not (state.record(outcome.entry).crashes and witnessed(outcomes)):
        return outcome
    return Rejected(outcome.entry, Reason.CRASHED, f"twice, while other models were scored: {outcome.detail}")


async def _fetched_ahead(node: Node, looked: Looked) -> AsyncGenerator[Fetched | Rejected | Undecided]:
    """Yield each entry's model when it is on disk, while the one after it is on its way; it stays until then."""
    entries = list(looked)
    upcoming = [asyncio.create_task(fetch(node, entry, looked)) for entry in entries[:1]]
    try:
        for position in range(len(entries)):
            try:
                fetched = await upcoming.pop()
            except EvaluatorUnavailable:  # no room beside the one that was judged meanwhile: now there may be
                fetched = await fetch(node, entries[position], looked)
            after = entries[position + 1 : position + 2]
            upcoming = [asyncio.create_task(fetch(node, entry, looked)) for entry in after]
            yield fetched
            if isinstance(fetched, Fetched):
                node.store.release(fetched.content)
    finally:
        for task in upcoming:
            task.cancel()
        await asyncio.gather(*upcoming, return_exceptions=True)  # what ends the step is not hidden by their errors


async def measure(evaluator: Evaluator, path: Path, weights: Digest, job: Job) -> Measurement:
    """Measure a model and make sure that just this model was measured on just these samples.

    Raises ModelRejected(NOT_FINITE) when a loss is no number, EvaluatorUnavailable(CRASHED) for an answer about
    another model or other samples, and what the evaluator raises. A child that a model has taken over may answer so:
    it must cost that model alone, and no step.
    """
    samples = job.samples
    seconds = job.speed.seconds(path, samples) if job.speed else None
    measurement = await evaluator.losses(path, samples, job.competition.model, seconds)
    if (measurement.weights, measurement.samples) != (weights, samples.digest):
        raise EvaluatorUnavailable(
            f"scored weights {measurement.weights} on samples {measurement.samples};"
            f" asked for weights {weights} on samples {samples.digest}",
            Cause.CRASHED,
        )
    if not all(np.isfinite(losses).all() for losses in measurement.losses.values()):
        raise ModelRejected(Reason.NOT_FINITE, "a loss is NaN or infinite")
    return measurement


async def _judge_one(node: Node, fetched: Fetched, job: Job, record: Record) -> Outcome:
    if record.rejected:
        return Rejected(fetched.entry, record.rejected, record.detail)
    try:
        measurement = await measure(node.evaluator, fetched.path, fetched.weights, job)
    except ModelRejected as error:
        return Rejected(fetched.entry, error.reason, error.detail)
    except EvaluatorUnavailable as error:
        if error.cause is None:
            raise
        await node.canary.check()
        return Undecided(fetched.entry, error.cause, str(error))
    return Scored(fetched.entry, measurement)

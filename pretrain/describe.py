"""What the hub says of a model before it is downloaded: kilobytes that refuse most of what would be refused."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace

from pretrain.chain import Snapshot
from pretrain.commitment import Entry, content_digest, secure_hash
from pretrain.competition import Constraints
from pretrain.errors import Cause, EvaluatorUnavailable, HubUnavailable, ModelRejected, Reason
from pretrain.evaluate import Evaluator
from pretrain.hub import Hub, RemoteFile
from pretrain.models.files import index_file, model_files
from pretrain.node import Node
from pretrain.ownership import claim, precedence
from pretrain.preview import preview
from pretrain.selection import eligible
from pretrain.state import Record, State
from pretrain.types import CompetitionId

AT_ONCE = 8
"""Repositories asked for at the same time."""


async def listing(hub: Hub, entry: Entry) -> tuple[RemoteFile, ...]:
    """Return the files that make the committed model, checked against the committed hash.

    Raises ModelRejected when the repository cannot be read without a token, does not hold one model in an allowed
    form, or is not what this hotkey committed; HubUnavailable when the hub does not answer.
    """
    commitment = entry.commitment
    described = await hub.describe(commitment.repo, commitment.revision)
    index = index_file(described)
    raw = await hub.read(commitment.repo, commitment.revision, index) if index else None
    files = await asyncio.to_thread(model_files, described, raw)  # an index may be large
    expected = secure_hash(content_digest(files), entry.hotkey)
    if expected != commitment.secure_hash:
        detail = f"committed {commitment.secure_hash}, but the files with this hotkey make {expected}"
        raise ModelRejected(Reason.DIGEST, detail)
    return files


async def describe_all(
    node: Node, snapshot: Snapshot, competition: CompetitionId, state: State
) -> tuple[State, tuple[bool, ...]]:
    """Return the state with every commitment described that has no score, and of each whether the hub answered for it.

    Raises EvaluatorUnavailable when this validator cannot look at any model.

    Those that may be judged now in this competition are refused, or left undecided, by what comes back; of the others
    only a good answer is kept, since their first judged window is still to come.
    """
    now = frozenset(eligible(snapshot, node.schedule, competition))
    models = {c.competition_id: c.model for c in node.schedule.at(snapshot.block)}
    unknown = [
        entry for entry in snapshot.entries if entry.competition in models and _to_describe(state.record(entry), now)
    ]
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(entry: Entry) -> Record:
        async with gate:
            return await _describe(node.hub, node.evaluator, state.record(entry), models[entry.competition])

    described = await asyncio.gather(*(one(entry) for entry in unknown))
    sound = any(record.content and not state.record(record.entry).content for record in described)
    records = [_settled(record, state.record(record.entry), sound=sound) for record in described]
    answers = tuple(record.undecided is not Cause.HUB for record in records)
    kept = [record for record in records if record.content or record.entry in now]
    return refuse_copies(state.with_records(kept), now, snapshot), answers


def _to_describe(record: Record, now: frozenset[Entry]) -> bool:
    """Whether to ask: what is unknown, and each eligible one without a score, so that no queue hides a private one."""
    waits_for_its_first = record.entry in now and record.score is None
    return record.rejected is None and (record.content is None or waits_for_its_first)


async def _describe(hub: Hub, evaluator: Evaluator, record: Record, constraints: Constraints) -> Record:
    try:
        files = await listing(hub, record.entry)
        content = content_digest(files)
        if record.content != content:
            await _look_inside(hub, evaluator, record.entry, files, constraints)
    except ModelRejected as error:
        return replace(record, rejected=error.reason, undecided=None, detail=error.detail)
    except HubUnavailable as error:
        return replace(record, undecided=Cause.HUB, detail=str(error))
    except EvaluatorUnavailable as error:
        if error.cause is None:
            raise
        return replace(record, undecided=error.cause, detail=str(error))
    crashes = record.crashes if record.content == content else 0
    return replace(record, content=content, undecided=None, detail="", crashes=crashes)


async def _look_inside(
    hub: Hub, evaluator: Evaluator, entry: Entry, files: Sequence[RemoteFile], constraints: Constraints
) -> None:
    """See that the model is one that the competition allows, by its size, its config and its headers."""
    total = sum(file.size for file in files)
    if total > constraints.max_bytes:
        raise ModelRejected(Reason.FILES, f"{total} bytes; the competition allows {constraints.max_bytes}")
    commitment = entry.commitment
    await evaluator.inspect(await preview(hub, commitment.repo, commitment.revision, files), constraints)


def _settled(record: Record, before: Record, *, sound: bool) -> Record:
    """Refuse a model on whose headers a child died twice, each time while others were looked at as they should be."""
    if record.undecided is not Cause.CRASHED or not sound:
        return record
    if before.crashes:
        return replace(record, rejected=Reason.CRASHED, undecided=None, detail=f"twice: {record.detail}")
    return replace(record, crashes=1)


def refuse_copies(state: State, entries: Iterable[Entry], snapshot: Snapshot) -> State:
    """Return the state in which an entry whose very files are known already is refused, without a download."""
    weights = {r.content: r.weights for r in state.records.values() if r.content and r.weights}
    for entry in sorted(entries, key=lambda e: precedence(e, snapshot.tie_hashes)):
        record = state.record(entry)
        known = weights.get(record.content) if record.content else None
        if known and not record.weights and not record.rejected:
            state = take_ownership(state, replace(record, weights=known), snapshot)
    return state


def take_ownership(state: State, record: Record, snapshot: Snapshot) -> State:
    """Return the state after a commitment's weights digest became known: it owns them, or is refused as a duplicate."""
    if record.weights is None:
        raise ValueError(f"the weights digest of {record.entry} is not known yet")
    result = claim(state.owners, record.weights, record.entry, snapshot.tie_hashes)
    records = [record]
    if result.duplicate_of:
        records = [_duplicate(record, result.duplicate_of)]
    if result.displaced:
        records.append(_duplicate(state.record(result.displaced), record.entry))
    return replace(state, owners=result.owners).with_records(records)


def _duplicate(record: Record, owner: Entry) -> Record:
    detail = f"the same weights as {owner.commitment.repo}, committed by {owner.hotkey} at block {owner.block}"
    return replace(record, rejected=Reason.DUPLICATE, undecided=None, detail=detail)

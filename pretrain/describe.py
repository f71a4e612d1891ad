"""What the hub says of a model before it is downloaded: kilobytes that refuse most of what would be refused."""

import asyncio
from collections.abc import Iterable
from dataclasses import replace

from pretrain.chain import Snapshot
from pretrain.commitment import Entry, content_digest, secure_hash
from pretrain.competition import Constraints
from pretrain.errors import Cause, HubUnavailable, ModelRejected, Reason
from pretrain.hub import Hub, RemoteFile
from pretrain.models.files import index_file, model_files
from pretrain.ownership import claim, precedence
from pretrain.schedule import Schedule
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
    hub: Hub, snapshot: Snapshot, schedule: Schedule, competition: CompetitionId, state: State
) -> tuple[State, tuple[bool, ...]]:
    """Return the state with every commitment described that has no score, and of each whether the hub answered for it.

    Those that may be judged now in this competition are refused, or left undecided, by what comes back; of the others
    only a good answer is kept, since their first judged window is still to come.
    """
    now = frozenset(eligible(snapshot, schedule, competition))
    models = {c.competition_id: c.model for c in schedule.at(snapshot.block)}
    unknown = [
        entry for entry in snapshot.entries if entry.competition in models and _to_describe(state.record(entry), now)
    ]
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(entry: Entry) -> Record:
        async with gate:
            return await _describe(hub, state.record(entry), models[entry.competition])

    records = await asyncio.gather(*(one(entry) for entry in unknown))
    answers = tuple(record.undecided is None for record in records)
    kept = [record for record in records if record.content or record.entry in now]
    return refuse_copies(state.with_records(kept), now, snapshot), answers


def _to_describe(record: Record, now: frozenset[Entry]) -> bool:
    """Whether to ask: what is unknown, and each eligible one without a score, so that no queue hides a private one."""
    waits_for_its_first = record.entry in now and record.score is None
    return record.rejected is None and (record.content is None or waits_for_its_first)


async def _describe(hub: Hub, record: Record, constraints: Constraints) -> Record:
    try:
        files = await listing(hub, record.entry)
    except ModelRejected as error:
        return replace(record, rejected=error.reason, undecided=None, detail=error.detail)
    except HubUnavailable as error:
        return replace(record, undecided=Cause.HUB, detail=str(error))
    total = sum(file.size for file in files)
    if total > constraints.max_bytes:
        detail = f"{total} bytes; the competition allows {constraints.max_bytes}"
        return replace(record, rejected=Reason.FILES, undecided=None, detail=detail)
    return replace(record, content=content_digest(files), undecided=None, detail="")


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

"""What the hub says of a model before it is downloaded: kilobytes that refuse most of what would be refused."""

import asyncio
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

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
from pretrain.together import together
from pretrain.types import CompetitionId, Digest

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

    Those that may be judged now in this competition are refused, or left undecided, by what comes back. The others may
    still be private, since their first judged window is to come; but what a revision holds does not change until then.
    """
    now = frozenset(eligible(snapshot, node.schedule, competition))
    models = {c.competition_id: c.model for c in node.schedule.at(snapshot.block)}
    unknown = [
        entry for entry in snapshot.entries if entry.competition in models and _to_describe(state.record(entry), now)
    ]
    gate = asyncio.Semaphore(AT_ONCE)
    fitting = {(r.entry.competition, r.content) for r in state.records.values() if r.content}

    async def one(entry: Entry) -> Record:
        look = Look(node.hub, node.evaluator, models[entry.competition], fitting)
        async with gate:
            return await _describe(look, state.record(entry))

    described = await together(one(entry) for entry in unknown)
    sound = any(record.content and not state.record(record.entry).content for record in described)
    records = [_settled(record, state.record(record.entry), sound=sound) for record in described]
    answers = tuple(record.undecided is not Cause.HUB for record in records)
    kept = [r for r in records if r.entry in now or r.content or r.crashes or _is_for_good(r)]
    return refuse_copies(state.with_records(kept), now, snapshot), answers


def _to_describe(record: Record, now: frozenset[Entry]) -> bool:
    """Whether to ask: what is unknown, and each eligible one without a score, so that no queue hides a private one."""
    waits_for_its_first = record.entry in now and record.score is None
    return record.rejected is None and (record.content is None or waits_for_its_first)


def _is_for_good(record: Record) -> bool:
    """Whether no later window can find it otherwise: its revision holds what it holds."""
    return record.rejected is not None and record.rejected is not Reason.UNAVAILABLE


@dataclass(frozen=True)
class Look:
    """What a repository is looked at with."""

    hub: Hub
    evaluator: Evaluator
    constraints: Constraints
    fitting: AbstractSet[tuple[CompetitionId, Digest | None]]
    """Contents that were found to fit a competition before: they need no second look inside."""


async def _describe(look: Look, record: Record) -> Record:
    try:
        files = await listing(look.hub, record.entry)
        content = content_digest(files)
        if (record.entry.competition, content) not in look.fitting:
            await look_inside(look, record.entry, files)
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


async def look_inside(look: Look, entry: Entry, files: Sequence[RemoteFile]) -> None:
    """See that the model is one that the competition allows, by its size, its config and its headers."""
    total, most = sum(file.size for file in files), look.constraints.max_bytes
    if total > most:
        raise ModelRejected(Reason.FILES, f"{total} bytes; the competition allows {most}")
    seen = await preview(look.hub, entry.commitment.repo, entry.commitment.revision, files)
    await look.evaluator.inspect(seen, look.constraints)


def _settled(record: Record, before: Record, *, sound: bool) -> Record:
    """Refuse a model on whose headers a child died twice, each time while others were looked at as they should be.

    Or took too long: it is some seconds' work for a few kilobytes, and no GPU's.
    """
    if record.undecided not in {Cause.CRASHED, Cause.TIMEOUT} or not sound:
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

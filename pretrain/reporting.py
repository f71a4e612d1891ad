"""From a decided step to its report: pure."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from pretrain import scoring
from pretrain.chain import Snapshot
from pretrain.commitment import Entry
from pretrain.data import Samples
from pretrain.decision import Decision, Facts
from pretrain.errors import Reason
from pretrain.fingerprint import copies
from pretrain.outcome import Outcome, Rejected, Undecided
from pretrain.report import Difference, EntryReport, NearCopy, Report, difference
from pretrain.scoring import Judged
from pretrain.selection import eligible
from pretrain.state import State
from pretrain.types import Hotkey


@dataclass(frozen=True)
class Measured:
    """What this validator measured with."""

    validator: Hotkey
    engine: str
    samples: Samples | None
    canary: float
    started: float
    """time.monotonic() at the start of the step; for people, never for a decision."""


def abandoned_report(facts: Facts, measured: Measured, why: str) -> Report:
    """Report a window in which nothing was decided."""
    return _report(facts, measured, abandoned=why)


def step_report(facts: Facts, measured: Measured, decision: Decision, state: State) -> Report:
    """Report a decided step; ``state`` is the one after it."""
    players = {player.hotkey: player for player in decision.result.judged}
    champion = players.get(decision.result.champion or Hotkey(""))
    entries = [
        _entry_report(outcome, facts, measured, decision, state, _compare(outcome, players, champion))
        for outcome in decision.outcomes
    ]
    standing = state.standing(facts.competition.competition_id)
    return _report(
        facts,
        measured,
        champion=decision.result.champion,
        entries=(*entries, *_unjudged(facts, decision, state)),
        players=tuple(players),
        wins=tuple(tuple(row) for row in decision.result.wins.tolist()),
        references=tuple(reference.hotkey for reference in decision.references),
        near_copies=tuple(_near_copies(decision)),
        notes=tuple(_notes(facts, entries, decision)),
        ready=standing.ready,
    )


def _report(facts: Facts, measured: Measured, **decided: object) -> Report:
    competition = facts.competition
    fields: dict[str, object] = {"champion": None, "entries": ()} | decided
    return Report(
        validator=measured.validator,
        block=facts.snapshot.block,
        seed=f"{facts.snapshot.seed:064x}",
        competition=competition.competition_id,
        name=competition.name,
        competition_digest=facts.schedule.competition_digest(competition),
        engine=measured.engine,
        samples=measured.samples.digest if measured.samples else None,
        canary=measured.canary,
        seconds=time.monotonic() - measured.started,
        **fields,  # type: ignore[arg-type]  # checked by the tests that read every field back
    )


def _compare(outcome: Outcome, players: dict[Hotkey, Judged], champion: Judged | None) -> Difference | None:
    player = players.get(outcome.entry.hotkey)
    if player is None or champion is None or player is champion or not (player.finite and champion.finite):
        return None
    return difference(player.batches, champion.batches, champion.score)


def _entry_report(
    outcome: Outcome,
    facts: Facts,
    measured: Measured,
    decision: Decision,
    state: State,
    compared: Difference | None,
) -> EntryReport:
    entry = outcome.entry
    role = str(facts.selected.entries[entry])
    average = state.standing(entry.competition).averages.get(entry.hotkey, 0.0)
    if isinstance(outcome, Rejected):
        return _plain(entry, facts.snapshot, role, "rejected", str(outcome.reason), outcome.detail, average)
    if isinstance(outcome, Undecided) or measured.samples is None:
        cause = str(outcome.cause) if isinstance(outcome, Undecided) else ""
        return _plain(entry, facts.snapshot, role, "undecided", cause, getattr(outcome, "detail", ""), average)
    standing = decision.result.standing(entry.hotkey)
    return EntryReport(
        hotkey=entry.hotkey,
        uid=_uid(entry, facts.snapshot),
        repo=entry.commitment.repo,
        revision=entry.commitment.revision,
        block=entry.block,
        role=role,
        outcome="scored",
        score=state.record(entry).score,
        tasks=scoring.task_losses(outcome.measurement.losses, measured.samples, facts.competition),
        competitive=standing.competitive,
        win_rate=standing.win_rate,
        gain=standing.gain,
        epsilon=standing.epsilon,
        difference=compared,
        step_weight=decision.weights.get(entry.hotkey, 0.0),
        average=average,
        weights=outcome.measurement.weights,
        seconds=outcome.measurement.seconds,
    )


def _unjudged(facts: Facts, decision: Decision, state: State) -> Iterator[EntryReport]:
    """Yield the eligible entries that were not judged: refused before, queued, or waiting."""
    judged = {outcome.entry for outcome in decision.outcomes}
    for entry in eligible(facts.snapshot, facts.schedule, facts.competition.competition_id):
        if entry in judged:
            continue
        record = state.record(entry)
        if record.rejected:
            row = ("refused", "rejected", str(record.rejected), record.detail)
        elif entry in facts.selected.waiting:
            owner = facts.selected.waiting[entry]
            detail = f"{owner.commitment.repo} holds the same files since block {owner.block} and is judged first"
            row = ("waiting", "undecided", "waits_for_earlier", detail)
        elif record.undecided:
            row = ("new", "undecided", str(record.undecided), record.detail)
        else:
            row = ("queued", "queued", "", "")
        average = state.standing(entry.competition).averages.get(entry.hotkey, 0.0)
        yield _plain(entry, facts.snapshot, *row, average)


def _plain(  # noqa: PLR0913, PLR0917 - a row of a table
    entry: Entry, snapshot: Snapshot, role: str, outcome: str, reason: str, detail: str, average: float
) -> EntryReport:
    return EntryReport(
        hotkey=entry.hotkey,
        uid=_uid(entry, snapshot),
        repo=entry.commitment.repo,
        revision=entry.commitment.revision,
        block=entry.block,
        role=role,
        outcome=outcome,
        reason=reason,
        detail=detail,
        average=average,
    )


def _uid(entry: Entry, snapshot: Snapshot) -> int:
    return next((neuron.uid for neuron in snapshot.neurons if neuron.hotkey == entry.hotkey), -1)


def _near_copies(decision: Decision) -> Iterator[NearCopy]:
    rejected = {o.entry for o in decision.outcomes if isinstance(o, Rejected) and o.reason is Reason.NEAR_COPY}
    refused = [pair for later, pair in copies(decision.near).items() if later in rejected]
    for pair in decision.near:
        later, earlier = pair.later.hotkey, pair.earlier.hotkey
        yield NearCopy(later, earlier, pair.losses, pair.weights, refused=pair in refused)


def _notes(facts: Facts, entries: list[EntryReport], decision: Decision) -> Iterator[str]:
    """Yield what an operator should know, one line each."""
    competition = facts.competition
    for entry in entries:
        if entry.difference and entry.difference.paired_sd > competition.noise.paired_sd:
            yield (
                f"{entry.repo}: paired sd a batch {entry.difference.paired_sd:.4f} is above the expected"
                f" {competition.noise.paired_sd} of {competition.name}"
            )
    if facts.selected.queued:
        most = facts.schedule.selection.max_new
        yield f"{len(facts.selected.queued)} new entries wait for a later step (max_new {most})"
    measured = {(reference.hotkey, reference.block) for reference in decision.references}
    measured |= {(player.hotkey, player.block) for player in decision.result.judged}
    reigns = [reign.entry for reign in facts.selected.references]
    for hotkey in sorted(entry.hotkey for entry in reigns if (entry.hotkey, entry.block) not in measured):
        yield f"past champion {hotkey} could not be measured from the local store and is no reference"
    if decision.outcomes and not decision.weights:
        yield "no entry is competitive; averages stay as they are"

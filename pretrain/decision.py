"""What a step decides and what is then remembered: pure, from outcomes to standings to the next state."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pretrain import scoring
from pretrain.chain import Snapshot
from pretrain.commitment import Entry
from pretrain.competition import Competition
from pretrain.data import Samples
from pretrain.errors import Cause, Reason
from pretrain.fingerprint import Fingerprint, NearPair, copies, fingerprint, near_pairs
from pretrain.outcome import Outcome, Rejected, Scored, witnessed
from pretrain.ownership import precedence
from pretrain.schedule import Schedule
from pretrain.scoring import Judged, Reference, Result
from pretrain.selection import Role, Selected, eligible, top_entries
from pretrain.state import Record, Standings, State
from pretrain.types import Block, Hotkey


@dataclass(frozen=True)
class Facts:
    """What a step rests on, fixed before anything is judged."""

    snapshot: Snapshot
    schedule: Schedule
    competition: Competition
    selected: Selected


@dataclass(frozen=True)
class Decision:
    """What came of it."""

    outcomes: tuple[Outcome, ...]
    references: tuple[Reference, ...]
    result: Result
    weights: Mapping[Hotkey, float]
    """Step weights, summing to 1; empty when nobody is competitive."""
    near: tuple[NearPair, ...] = ()
    """Models too close to be independent, whatever becomes of the later one."""


def decide(
    facts: Facts, outcomes: Sequence[Outcome], past: Sequence[Scored], samples: Samples, state: State
) -> Decision:
    """Refuse near copies where the competition says so, play the matches of a step and share its weight.

    ``past`` are former champions that are measured beside the entries.
    """
    competition = facts.competition
    near = near_pairs(_fingerprints(facts, [*outcomes, *past], state), competition.near_copies)
    if competition.near_copies.action == "refused":
        outcomes = refuse_near_copies(outcomes, near)
    players = [_judged(o, samples, competition) for o in outcomes if isinstance(o, Scored)]
    former = [_judged(scored, samples, competition) for scored in past]
    references = tuple(Reference(player.hotkey, player.block, player.score) for player in former)
    gains = {o.entry.hotkey: state.record(o.entry).gain for o in outcomes}
    known = {hotkey: gain for hotkey, gain in gains.items() if gain is not None}
    result = scoring.decide(players, references, known, competition, facts.snapshot.block)
    return Decision(tuple(outcomes), references, result, scoring.step_weights(result, competition.reward), near)


def refuse_near_copies(outcomes: Sequence[Outcome], near: tuple[NearPair, ...]) -> list[Outcome]:
    """Return the outcomes in which each model that is a near copy of another one's is refused."""
    refused = {
        later: Rejected(
            later, Reason.NEAR_COPY, f"near {pair.earlier.commitment.repo} of {pair.earlier.hotkey}: {pair}"
        )
        for later, pair in copies(near).items()
    }
    return [refused.get(outcome.entry, outcome) for outcome in outcomes]


def _fingerprints(facts: Facts, outcomes: Sequence[Outcome], state: State) -> dict[Entry, Fingerprint]:
    """Return what is known of the scored models, the earliest owner of its weights first.

    An owner that moved to another competition is as early as its weights are: who made a near copy between the two
    commitments comes later.
    """

    def since(scored: Scored) -> tuple[int, bytes, bytes]:
        owner = state.owners.get(scored.measurement.weights)
        return precedence(owner.since if owner else scored.entry, facts.snapshot.tie_hashes)

    scored = sorted((o for o in outcomes if isinstance(o, Scored)), key=since)
    return {o.entry: fingerprint(o.measurement.losses, o.measurement.sketch) for o in scored}


def _judged(scored: Scored, samples: Samples, competition: Competition) -> Judged:
    return scoring.judged(scored.entry.hotkey, scored.entry.block, scored.measurement.losses, samples, competition)


def after(state: State, facts: Facts, decision: Decision) -> State:
    """Return everything a validator knows after a decided step."""
    now = facts.snapshot.block
    records = [_remember(state.record(o.entry), o, facts, decision) for o in decision.outcomes]
    state = replace(state, step=now).with_records(records)
    competition = facts.competition.competition_id
    standings = _standings(state, facts, decision)
    present = frozenset(facts.snapshot.entries)
    oldest = max(0, now - facts.schedule.selection.fairness_blocks)
    return drop(state.with_standings(competition, standings), present).forget(Block(oldest), present)


def drop(state: State, present: frozenset[Entry]) -> State:
    """Return the state in which who left the subnet, or a competition, has no average in it any more."""
    entered = {(entry.competition, entry.hotkey) for entry in present}
    standings = {
        competition: replace(old, averages={h: w for h, w in old.averages.items() if (competition, h) in entered})
        for competition, old in state.standings.items()
    }
    return replace(state, standings=standings)


def waited(state: State, facts: Facts) -> State:
    """Return the state after a window abandoned for the champion's sake: only that is counted."""
    competition = facts.competition.competition_id
    standings = state.standing(competition)
    windows = tuple(sorted({*standings.waited, facts.snapshot.block}))
    return replace(state, step=facts.snapshot.block).with_standings(competition, replace(standings, waited=windows))


def may_wait(state: State, facts: Facts) -> bool:
    """Whether this window may be abandoned for the champion's sake: at most ``champion_patience`` in a row."""
    waited_in = {*state.standing(facts.competition.competition_id).waited, facts.snapshot.block}
    return len(waited_in) <= facts.schedule.selection.champion_patience


def _remember(record: Record, outcome: Outcome, facts: Facts, decision: Decision) -> Record:
    now = facts.snapshot.block
    if facts.selected.entries.get(outcome.entry) in {Role.NEW, Role.TOP} and record.score is None:
        recent = (block for block in record.tries if now - block < facts.schedule.selection.fairness_blocks)
        record = replace(record, tries=(*recent, now))
    if isinstance(outcome, Rejected):
        return replace(record, rejected=outcome.reason, undecided=None, detail=outcome.detail)
    if not isinstance(outcome, Scored):
        crashes = record.crashes + (outcome.cause is Cause.CRASHED and witnessed(decision.outcomes))
        return replace(record, undecided=outcome.cause, detail=outcome.detail, crashes=crashes)
    scores = {player.hotkey: player.score for player in decision.result.judged}
    score, champion = scores[outcome.entry.hotkey], decision.result.champion
    standing = decision.result.standing(outcome.entry.hotkey)
    return replace(
        record,
        undecided=None,
        detail="",
        score=score,
        ratio=score / scores[champion] if champion and scores[champion] > 0 else None,
        win_rate=standing.win_rate,
        gain=standing.gain,
        judged=now,
        crashes=0,
    )


def _standings(state: State, facts: Facts, decision: Decision) -> Standings:
    """Return the competition's memory after the step; ``state`` already holds the step's records."""
    competition, snapshot = facts.competition, facts.snapshot
    old = state.standing(competition.competition_id)
    present = frozenset(e.hotkey for e in snapshot.entries if e.competition == competition.id)
    reigns = old.reigns
    champion = _entry_of(decision.result.champion, decision.outcomes)
    content = state.record(champion).content if champion else None
    if champion and content:
        reigns = old.crowned(champion, content, snapshot.block)
    judgeable = set(eligible(snapshot, facts.schedule, competition.competition_id))
    tops = top_entries(snapshot, competition.competition_id, facts.schedule.selection)
    return Standings(
        averages=scoring.moving_average(old.averages, decision.weights, competition.alpha, present),
        updated=snapshot.block if decision.weights else old.updated,
        reigns=reigns,
        ready=old.ready or all(state.record(top).decided for top in tops if top in judgeable),
    )


def _entry_of(hotkey: Hotkey | None, outcomes: Sequence[Outcome]) -> Entry | None:
    return next((o.entry for o in outcomes if o.entry.hotkey == hotkey), None)

"""What a step decides and what is then remembered, from literals."""

import json
from dataclasses import replace

import numpy as np
import pytest
from fakes import block_hash, model, one_competition, schedule_of, sketch, task, weights_of

from pretrain.chain import Neuron, Snapshot
from pretrain.commitment import Commitment, Entry
from pretrain.data import Samples
from pretrain.decision import Decision, Facts, after, decide, drop, may_wait, waited
from pretrain.errors import Cause, Reason
from pretrain.evaluate import Measurement
from pretrain.outcome import Outcome, Rejected, Scored, Undecided
from pretrain.ownership import Owner
from pretrain.schedule import Schedule
from pretrain.selection import Role, Selected
from pretrain.state import Record, Reign, Standings, State
from pretrain.types import Block, CompetitionId, Digest, Hotkey, Revision, Uid
from pretrain.validate import weights_row

S = Block(100)
PROSE, MIXED = CompetitionId(0), CompetitionId(1)
SAMPLES = Samples({task("prose"): np.zeros((4, 8), np.int32)}, {task("prose"): np.full(4, 14, np.int64)})


def entry(hotkey: str, block: int = 10, competition: int = 0) -> Entry:
    commitment = Commitment(hotkey, "model", Revision("0" * 40), Digest(""), CompetitionId(competition))
    return Entry(Hotkey(hotkey), Block(block), commitment)


A, B, C = entry("A", 10), entry("B", 20), entry("C", 30)


def scored(one: Entry, *losses: float) -> Scored:
    row = np.array(losses * (4 // len(losses)))
    shown = sketch(one.hotkey)
    return Scored(one, Measurement({task("prose"): row}, Digest("w"), SAMPLES.digest, "engine", 0.0, shown))


def facts_of(roles: dict[Entry, Role], *others: Entry, schedule: Schedule | None = None) -> Facts:
    rules = schedule or one_competition()
    entries = tuple(sorted((*roles, *others), key=lambda e: (e.block, e.hotkey)))
    snapshot = Snapshot(S, block_hash(S), (), entries)
    return Facts(snapshot, rules, rules.at(S)[0], Selected(roles, (), {}, ()))


def judge(facts: Facts, state: State, *outcomes: Outcome, past: tuple[Scored, ...] = ()) -> tuple[State, Decision]:
    decision = decide(facts, outcomes, past, SAMPLES, state)
    return after(state, facts, decision), decision


def known(*entries: Entry) -> State:
    return State().with_records(Record(one, content=Digest(f"content of {one.hotkey}")) for one in entries)


def test_only_scored_entries_play_and_the_others_have_step_weight_0() -> None:
    facts = facts_of({A: Role.NEW, B: Role.NEW, C: Role.NEW})
    outcomes = (Rejected(A, Reason.HEADER, "short"), Undecided(B, Cause.TIMEOUT, "slow"), scored(C, 2.0))

    state, decision = judge(facts, known(A, B, C), *outcomes)

    assert ([j.hotkey for j in decision.result.judged], decision.weights) == (["C"], {"C": 1.0})
    assert state.standing(PROSE).averages == {"C": 1.0}


def test_a_scored_entry_is_remembered_with_all_that_later_steps_need() -> None:
    facts = facts_of({A: Role.CHAMPION, B: Role.NEW})
    before = known(A, B).with_records([replace(known(B).record(B), crashes=1, undecided=Cause.CRASHED, detail="died")])

    state, _ = judge(facts, before, scored(A, 2.0), scored(B, 3.0))

    assert state.record(B) == Record(
        B, content=Digest("content of B"), score=3.0, ratio=1.5, win_rate=0.0, gain=-0.5, judged=S, tries=(S,)
    )


def test_a_refusal_is_recorded_with_its_reason() -> None:
    state, _ = judge(facts_of({A: Role.NEW}), known(A), Rejected(A, Reason.HEADER, "short"))

    assert (state.record(A).rejected, state.record(A).detail, state.record(A).tries) == (Reason.HEADER, "short", (S,))


def test_only_a_crash_counts_as_a_crash() -> None:
    facts = facts_of({A: Role.NEW, B: Role.NEW, C: Role.POOL})
    outcomes = (Undecided(A, Cause.CRASHED, "died"), Undecided(B, Cause.TIMEOUT, "slow"), scored(C, 2.0))

    state, _ = judge(facts, known(A, B, C), *outcomes)

    assert (state.record(A).crashes, state.record(B).crashes) == (1, 0)
    assert (state.record(A).undecided, state.record(B).undecided) == (Cause.CRASHED, Cause.TIMEOUT)


def test_when_every_child_dies_none_of_the_models_is_blamed() -> None:
    facts = facts_of({A: Role.NEW, B: Role.NEW})
    outcomes = (Undecided(A, Cause.CRASHED, "died"), Undecided(B, Cause.CRASHED, "died"))

    state, _ = judge(facts, known(A, B), *outcomes)

    assert (state.record(A).crashes, state.record(B).crashes) == (0, 0)


def test_a_step_that_gives_weight_to_nobody_does_not_make_averages_younger() -> None:
    old = Standings(averages={Hotkey("A"): 1.0}, updated=Block(5))
    state, _ = judge(facts_of({A: Role.POOL}), known(A).with_standings(PROSE, old), Undecided(A, Cause.TIMEOUT, "slow"))

    assert (state.standing(PROSE).averages, state.standing(PROSE).updated) == ({"A": 1.0}, 5)


@pytest.mark.parametrize(("role", "tries"), [(Role.NEW, (S,)), (Role.TOP, (S,)), (Role.POOL, ()), (Role.RETURN, ())])
def test_the_first_judging_counts_as_a_try_and_later_ones_do_not(role: Role, tries: tuple[Block, ...]) -> None:
    score = None if tries else 2.0
    before = known(A).with_records([replace(known(A).record(A), score=score)])

    assert judge(facts_of({A: role}), before, scored(A, 2.0))[0].record(A).tries == tries


def test_a_top_weighted_entry_that_was_scored_before_is_not_tried_as_new() -> None:
    before = State().with_records([Record(A, content=Digest("a"), score=2.0)])

    assert judge(facts_of({A: Role.TOP}), before, scored(A, 2.0))[0].record(A).tries == ()


def test_tries_that_no_longer_count_are_forgotten() -> None:
    rules = one_competition(selection={"fairness_blocks": 50})
    before = State().with_records([Record(A, content=Digest("a"), tries=(Block(50), Block(51)))])

    state, _ = judge(facts_of({A: Role.NEW}, schedule=rules), before, Undecided(A, Cause.TIMEOUT, "slow"))

    assert state.record(A).tries == (51, 100)


def test_the_winner_reigns_and_stays_so_when_nobody_is_competitive() -> None:
    facts = facts_of({A: Role.NEW, B: Role.NEW})
    state, _ = judge(facts, known(A, B), scored(A, 2.0), scored(B, 1.0))
    crowned = (Reign(B, Digest("content of B"), S),)
    assert state.standing(PROSE).reigns == crowned

    again, decision = judge(facts, state, Undecided(A, Cause.TIMEOUT, ""), Undecided(B, Cause.TIMEOUT, ""))

    assert (again.standing(PROSE).reigns, decision.result.champion) == (crowned, None)
    assert again.standing(PROSE).averages == state.standing(PROSE).averages


def test_the_champion_of_a_circle_is_remembered_once_with_its_last_win() -> None:
    old = Standings(reigns=(Reign(A, Digest("a"), Block(90)), Reign(B, Digest("b"), Block(80))))

    assert old.crowned(B, Digest("b"), S) == (Reign(B, Digest("b"), S), Reign(A, Digest("a"), Block(90)))


def test_three_champions_are_kept() -> None:
    reigns = tuple(Reign(one, Digest(one.hotkey), Block(90)) for one in (A, B, C))
    fourth = entry("D", 40)

    found = Standings(reigns=reigns).crowned(fourth, Digest("D"), S)

    assert [reign.entry for reign in found] == [fourth, A, B]


def test_the_smallest_gain_of_a_commitment_is_kept() -> None:
    adaptive = one_competition(competition={"epsilon": {"kind": "adaptive", "start": 0.1, "end": 0.0, "blocks": 100}})
    facts = facts_of({A: Role.POOL, B: Role.POOL}, schedule=adaptive)
    before = known(A, B).with_records([replace(known(B).record(B), gain=0.25, score=1.0)])

    better, _ = judge(facts, before, scored(A, 2.0), scored(B, 1.0))
    worse, _ = judge(facts, better, scored(A, 2.0), scored(B, 1.75))
    past, _ = judge(facts, worse, scored(A, 2.0), scored(B, 1.0), past=(scored(entry("gone", 5), 1.0),))

    assert [state.record(B).gain for state in (better, worse, past)] == [0.25, 0.125, 0.0]


def test_a_decided_window_ends_the_waiting_for_a_champion() -> None:
    facts = facts_of({A: Role.CHAMPION})
    state = waited(known(A), facts)
    assert state.standing(PROSE).waited == (S,)

    assert judge(facts, state, scored(A, 2.0))[0].standing(PROSE).waited == ()


@pytest.mark.parametrize(
    ("windows", "may"), [((), True), ((80, 90), True), ((70, 80, 90), False), ((80, 90, 100), True)]
)
def test_at_most_champion_patience_windows_in_a_row_are_waited(windows: tuple[int, ...], *, may: bool) -> None:
    state = State().with_standings(PROSE, Standings(waited=tuple(Block(block) for block in windows)))

    assert may_wait(state, facts_of({A: Role.CHAMPION})) is may


def test_an_abandoned_window_changes_nothing_but_its_count() -> None:
    before = known(A).with_standings(PROSE, Standings(averages={A.hotkey: 1.0}, ready=True))

    state = waited(before, facts_of({A: Role.CHAMPION}))

    changed = replace(before.standing(PROSE), waited=(S,))
    assert state == replace(before, step=S).with_standings(PROSE, changed)


def test_who_left_a_competition_has_no_average_in_it_any_more() -> None:
    state = State().with_standings(PROSE, Standings(averages={Hotkey("A"): 0.5, Hotkey("gone"): 0.5}))
    state = state.with_standings(MIXED, Standings(averages={Hotkey("A"): 0.5, Hotkey("M"): 0.5}))

    found = drop(state, frozenset({A, entry("M", 10, 1)}))

    assert (found.standing(PROSE).averages, found.standing(MIXED).averages) == ({"A": 0.5}, {"M": 0.5})


def test_an_entry_too_young_to_be_judged_keeps_its_hotkeys_average() -> None:
    again = entry("A", 99)
    before = known(B).with_standings(PROSE, Standings(averages={Hotkey("A"): 1.0}))

    state, _ = judge(facts_of({B: Role.NEW}, again), before, scored(B, 2.0))

    assert state.standing(PROSE).averages == {"A": 0.5, "B": 0.5}


def test_what_left_the_chain_long_ago_is_forgotten_but_whose_weights_they_were_is_not() -> None:
    rules = one_competition(selection={"fairness_blocks": 50})
    old, recent, tried, there = entry("old", 5), entry("recent", 60), entry("tried", 6), entry("there", 7)
    records = [Record(old, judged=Block(49)), Record(recent), Record(tried, tries=(Block(50),)), Record(A, score=1.0)]
    records.append(Record(there, rejected=Reason.UNAVAILABLE))
    before = replace(State().with_records(records), owners={Digest("w"): Owner(old, since=old)})

    state, _ = judge(facts_of({A: Role.POOL}, there, schedule=rules), before, scored(A, 1.0))

    assert (set(state.records), state.owners) == ({recent, tried, A, there}, {"w": Owner(old, since=old)})


def test_a_state_is_never_changed_in_place() -> None:
    before = known(A)
    state, _ = judge(facts_of({A: Role.NEW}), before, scored(A, 2.0))

    assert (before, state == before) == (known(A), False)


# Ready


def neuron(uid: int, hotkey: str, stake: float = 0.0) -> Neuron:
    return Neuron(Uid(uid), Hotkey(hotkey), stake, stake > 0, 0.0, Block(0))


def ready(state: State, outcome: Outcome) -> bool:
    facts = facts_of({A: Role.TOP}, B)
    weights = {Hotkey("big"): {Hotkey("A"): 0.5, Hotkey("B"): 0.5}}
    snapshot = replace(facts.snapshot, neurons=(neuron(0, "big", 1000.0),), weights=weights)
    return judge(replace(facts, snapshot=snapshot), state, outcome)[0].standing(PROSE).ready


def test_weights_wait_until_every_top_weighted_entry_is_scored_or_refused() -> None:
    refused = known(A).with_records([Record(B, rejected=Reason.UNAVAILABLE)])
    done = known(A).with_records([Record(B, score=2.0)])

    assert [ready(state, scored(A, 2.0)) for state in (known(A, B), refused, done)] == [False, True, True]
    assert ready(done, Undecided(A, Cause.TIMEOUT, "")) is False
    assert ready(done, Rejected(A, Reason.HEADER, "")) is True


# The row that a validator sets


def standing(hotkey: str, *, updated: int | None = 90, is_ready: bool = True) -> Standings:
    return Standings({Hotkey(hotkey): 1.0}, None if updated is None else Block(updated), ready=is_ready)


def row(
    state: State, *entries: Entry, weights: dict[str, object] | None = None, block: int = 100
) -> dict[Hotkey, float]:
    neurons = (neuron(0, "burner"), *(neuron(i, e.hotkey) for i, e in enumerate(entries, start=1)))
    snapshot = Snapshot(Block(block), block_hash(block), neurons, entries)
    return weights_row(state, snapshot, schedule_of(weights=weights))


M = entry("M", 10, 1)
BOTH = State(Block(S)).with_standings(PROSE, standing("A")).with_standings(MIXED, standing("M"))


def test_each_competition_in_force_is_paid_its_share() -> None:
    assert row(BOTH, A, M) == {"A": 0.5, "M": 0.5}


def test_who_left_or_went_to_another_competition_since_the_last_step_is_paid_nothing() -> None:
    assert row(BOTH, M) == {"M": 1.0}
    assert row(BOTH, entry("A", 95, 1), M) == {"M": 1.0}


def test_a_competition_that_is_not_ready_sets_no_weights() -> None:
    state = BOTH.with_standings(PROSE, standing("A", is_ready=False))

    assert row(state, A, M) == {"M": 1.0}
    assert row(state.with_standings(MIXED, standing("M", is_ready=False)), A, M) == {}


def test_averages_older_than_allowed_are_not_set_again() -> None:
    assert row(BOTH, A, M, block=190) == {"A": 0.5, "M": 0.5}
    assert row(BOTH, A, M, block=191) == {}
    assert row(BOTH.with_standings(PROSE, standing("A", updated=140)), A, M, block=191) == {"A": 1.0}


def test_the_burn_goes_to_the_hotkey_at_burn_uid() -> None:
    assert row(BOTH, A, M, weights={"burn": 0.5, "burn_uid": 0}) == {"A": 0.25, "M": 0.25, "burner": 0.5}


def test_nothing_is_set_before_anything_is_decided_not_even_a_burn() -> None:
    assert row(State(), A, M, weights={"burn": 0.5, "burn_uid": 0}) == {}


def test_a_models_weights_are_not_in_its_metadata() -> None:
    files = model(prose=2.0)
    raw = files["model.safetensors"]
    size = int.from_bytes(raw[:8], "little")
    header = json.dumps({"__metadata__": {"format": "pt"}, **json.loads(raw[8 : 8 + size])}).encode()
    tagged = len(header).to_bytes(8, "little") + header + raw[8 + size :]

    assert weights_of({**files, "model.safetensors": tagged}) == weights_of(files)

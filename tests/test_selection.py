"""Who may be judged and who is judged, from literals."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
from fakes import DELAY, block_hash, one_competition, phase, schedule_of
from hypothesis import given
from hypothesis import strategies as st

from pretrain.chain import Neuron, Snapshot
from pretrain.commitment import Commitment, Entry
from pretrain.errors import Cause, Reason
from pretrain.schedule import Schedule
from pretrain.scoring import hotkey_order
from pretrain.selection import Role, Selected, crowned, eligible, queue, select, top_entries, waits
from pretrain.state import Record, Reign, Standings, State
from pretrain.types import Block, CompetitionId, Digest, Hotkey, Revision, Uid

S = Block(1000)
PROSE = CompetitionId(0)
HASH = bytes(32)
ADAPTIVE = {"kind": "adaptive", "start": 0.1, "end": 0.01, "blocks": 500}


def entry(hotkey: str, block: int, competition: int = 0) -> Entry:
    commitment = Commitment(hotkey, "model", Revision("0" * 40), Digest(""), CompetitionId(competition))
    return Entry(Hotkey(hotkey), Block(block), commitment)


def described(one: Entry, content: str = "") -> Record:
    return Record(one, content=Digest(content or f"content of {one.hotkey}"))


def scored(one: Entry, score: float, *, ratio: float | None = None, win_rate: float = 0.0) -> Record:
    weights = Digest(f"weights of {one.hotkey}")
    return replace(described(one), weights=weights, score=score, ratio=ratio, win_rate=win_rate, judged=Block(900))


@dataclass(frozen=True)
class Voter:
    """A validator with its stake, permit and row."""

    stake: float
    row: dict[str, float]
    permit: bool = True


def snapshot(entries: Sequence[Entry], voters: Sequence[Voter] = (), block: Block = S) -> Snapshot:
    neurons = [
        Neuron(Uid(uid), Hotkey(f"voter{uid}"), voter.stake, voter.permit, 0.0, Block(0))
        for uid, voter in enumerate(voters)
    ]
    return Snapshot(
        block=block,
        block_hash=HASH,
        neurons=tuple(neurons),
        entries=tuple(sorted(entries, key=lambda e: (e.block, e.hotkey))),
        tie_hashes={e.block: block_hash(e.block) for e in entries},
        weights={
            Hotkey(f"voter{uid}"): {Hotkey(h): share for h, share in voter.row.items()}
            for uid, voter in enumerate(voters)
        },
    )


def state_of(
    records: Sequence[Record], reigns: Sequence[Reign] = (), averages: dict[str, float] | None = None
) -> State:
    standings = Standings(averages={Hotkey(h): w for h, w in (averages or {}).items()}, reigns=tuple(reigns))
    return State().with_records(records).with_standings(PROSE, standings)


def reign(one: Entry, last_win: int = 900) -> Reign:
    return Reign(one, Digest(f"content of {one.hotkey}"), Block(last_win))


def chosen(
    state: State, voters: Sequence[Voter] = (), rules: Schedule | None = None, gone: Sequence[Entry] = ()
) -> Selected:
    schedule = rules or one_competition()
    entries = [one for one in state.records if one not in gone]
    return select(snapshot(entries, voters), schedule, schedule.at(S)[0], state)


def roles(selected: Selected) -> dict[str, str]:
    return {one.hotkey: role for one, role in selected.entries.items()}


# Which competition a window judges


@pytest.mark.parametrize(("block", "name"), [(0, "prose"), (10, "mixed"), (19, "mixed"), (20, "prose"), (30, "mixed")])
def test_each_sync_window_judges_one_competition_in_the_order_of_the_file(block: int, name: str) -> None:
    picked = schedule_of().pick(Block(block))

    assert picked is not None
    assert picked.name == name


def test_a_window_judges_among_those_in_force_at_its_sync_block() -> None:
    phases = (phase(100, "prose"), phase(200, "mixed", "prose"))
    schedule = schedule_of(phases=phases)

    picked = [schedule.pick(Block(block)) for block in (90, 100, 190, 200, 210)]
    assert [p.name if p else None for p in picked] == [None, "prose", "prose", "mixed", "prose"]


def test_an_epsilon_and_a_reward_are_those_of_the_phase_in_force_at_the_sync_block() -> None:
    slot = {"competition": "prose", "share": 1.0}
    changed = {**slot, "epsilon": {"kind": "fixed", "end": 0.5}, "reward": {"kind": "descent"}}
    schedule = schedule_of(phases=({"start": 0, "competitions": (slot,)}, {"start": 100, "competitions": (changed,)}))

    before, after = schedule.pick(Block(90)), schedule.pick(Block(100))
    assert before
    assert after
    assert [(c.epsilon.end, c.reward.kind) for c in (before, after)] == [(0.01, "softmax"), (0.5, "descent")]


# Eligibility


def test_a_commitment_may_be_judged_from_the_delay_on() -> None:
    young, due, old = entry("young", S - DELAY + 1), entry("due", S - DELAY), entry("old", 1)

    assert eligible(snapshot([young, due, old]), schedule_of(), PROSE) == (old, due)


def test_a_schedule_whose_delay_is_not_larger_than_its_cadence_is_refused() -> None:
    timing = {"sync_cadence": 10, "eval_block_delay": 10, "weights_interval": 20, "max_weights_age": 100}

    with pytest.raises(ValueError, match="larger than sync_cadence"):
        schedule_of(timing=timing)


def test_a_commitment_is_for_its_own_competition() -> None:
    mine, other, unknown = entry("mine", 1), entry("other", 1, 1), entry("unknown", 1, 42)

    assert eligible(snapshot([mine, other, unknown]), schedule_of(), PROSE) == (mine,)


def test_the_competition_must_be_in_force_at_the_commit_block_and_at_the_sync_block() -> None:
    early, due = entry("early", 99), entry("due", 100)
    begins = schedule_of(phases=(phase(0, "mixed"), phase(100, "prose", "mixed")))
    ends = schedule_of(phases=(phase(0, "prose", "mixed"), phase(1000, "mixed")))

    assert eligible(snapshot([early, due]), begins, PROSE) == (due,)
    assert eligible(snapshot([early, due]), ends, PROSE) == ()


# The top-weighted


def top(entries: Sequence[Entry], voters: Sequence[Voter], **selection: float) -> list[str]:
    rules = schedule_of(selection=selection).selection
    return [one.hotkey for one in top_entries(snapshot(entries, voters), PROSE, rules)]


A, B, C = entry("A", 10), entry("B", 20), entry("C", 30)


def test_top_are_those_with_the_least_share_of_the_stake_weighted_weight_or_more() -> None:
    voters = [Voter(300, {"A": 1.0}), Voter(100, {"B": 0.5, "C": 0.5})]

    assert top([A, B, C], voters, top_weight=0.125) == ["A", "B", "C"]
    assert top([A, B, C], voters, top_weight=0.126) == ["A"]


def test_only_validators_with_a_permit_and_the_least_stake_count() -> None:
    voters = [Voter(99.9, {"A": 1.0}), Voter(100, {"B": 1.0}), Voter(9999, {"C": 1.0}, permit=False)]

    assert top([A, B, C], voters) == ["B"]


def test_a_validator_without_weights_does_not_count() -> None:
    assert top([A], [Voter(10_000, {}), Voter(100, {"A": 0.2, "burner": 0.8})], top_weight=1.0) == ["A"]


def test_weight_for_other_competitions_and_for_who_has_no_entry_is_left_out() -> None:
    voters = [Voter(100, {"A": 0.02, "B": 0.08, "elsewhere": 0.5, "validator": 0.4})]

    assert top([A, B, entry("elsewhere", 1, 1)], voters, top_weight=0.2) == ["A", "B"]


def test_without_any_weights_nobody_is_top() -> None:
    assert top([A, B], [Voter(100, {})]) == []


# Who is judged


def test_the_champion_and_the_top_weighted_are_judged_whatever_else_there_is() -> None:
    rules = one_competition(selection={"pool": 1, "max_new": 1, "top_weight": 0.5})
    records = [scored(A, 2.0), described(B), scored(C, 1.0), described(entry("D", 40)), described(entry("E", 50))]

    found = chosen(state_of(records, [reign(A)]), [Voter(100, {"E": 1.0})], rules)

    assert roles(found) == {"A": "champion", "B": "new", "C": "pool", "E": "top"}
    assert [one.hotkey for one in found.queued] == ["D"]


def test_the_entries_stand_in_order_of_precedence() -> None:
    records = [described(entry(name, block)) for name, block in (("x", 30), ("y", 10), ("z", 20))]

    assert [one.hotkey for one in chosen(state_of(records)).entries] == ["y", "z", "x"]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_the_pool_is_taken_by_average_then_win_rate_then_score_then_block_then_hotkey(size: int) -> None:
    rules = one_competition(selection={"pool": size, "max_returns": 0})
    tied = sorted(("t", "u"), key=lambda name: hotkey_order(Hotkey(name)))
    records = [
        scored(entry("average", 90), 9.0),
        scored(entry("rate", 80), 9.0, win_rate=0.5),
        scored(entry("score", 70), 1.0),
        scored(entry("block", 10), 2.0),
        scored(entry("t", 20), 2.0),
        scored(entry("u", 20), 2.0),
        scored(entry("slow", 5), 3.0),
    ]

    found = chosen(state_of(records, averages={"average": 0.1}), rules=rules)

    assert set(roles(found)) == {*["average", "rate", "score", "block", tied[0]][:size]}


def test_the_pool_is_filled_besides_the_champion_and_the_top_weighted() -> None:
    rules = one_competition(selection={"pool": 1})
    records = [scored(A, 1.0), scored(B, 2.0), scored(C, 3.0), scored(entry("D", 40), 4.0)]

    found = chosen(state_of(records, [reign(A)]), [Voter(100, {"B": 1.0})], rules)

    assert roles(found) == {"A": "champion", "B": "top", "C": "pool"}


def test_a_new_commitment_of_a_hotkey_in_the_pool_is_new_and_starts_again() -> None:
    again = entry("A", 500)

    found = chosen(state_of([scored(A, 1.0), described(again)], averages={"A": 1.0}), gone=[A])

    assert roles(found) == {"A": "new"}


def test_who_was_refused_is_never_judged_again() -> None:
    refused = [replace(scored(one, 1.0), rejected=Reason.DUPLICATE) for one in (A, B)]

    assert roles(chosen(state_of([*refused, described(C)], [reign(A)]), [Voter(100, {"B": 1.0})])) == {"C": "new"}


def test_what_the_hub_has_not_described_holds_no_place() -> None:
    rules = one_competition(selection={"max_new": 1})
    unknown = Record(A, undecided=Cause.HUB)

    assert roles(chosen(state_of([unknown, described(B)]), [Voter(100, {"A": 1.0})], rules)) == {"B": "new"}


# The queue of new ones


def test_at_most_max_new_are_taken_and_the_rest_queue() -> None:
    rules = one_competition(selection={"max_new": 2})

    found = chosen(state_of([described(one) for one in (C, B, A)]), rules=rules)

    assert (roles(found), found.queued) == ({"A": "new", "B": "new"}, (C,))


def test_new_ones_queue_by_tries_of_their_hotkey_then_block_then_sha256_of_the_hotkey() -> None:
    first, second = sorted(("t", "u"), key=lambda name: hotkey_order(Hotkey(name)))
    often, once = entry("often", 1), entry("once", 2)
    earlier = replace(described(entry("once", 0)), tries=(Block(990),))
    state = state_of([replace(described(often), tries=(Block(980), Block(990))), earlier])
    waiting = [often, once, entry("new", 500), entry(first, 400), entry(second, 400)]

    assert [one.hotkey for one in queue(waiting, state, S, 100)] == [first, second, "new", "once", "often"]


def test_only_tries_in_the_last_fairness_blocks_count() -> None:
    tried = replace(described(A), tries=(Block(901), Block(900)))
    other = replace(described(B), tries=(Block(901),))

    assert queue([B, A], state_of([tried, other]), S, 100) == [A, B]
    assert queue([B, A], state_of([tried, other]), S, 101) == [B, A]


@given(st.lists(st.tuples(st.sampled_from("ABCDEF"), st.integers(1, 9), st.integers(0, 3)), max_size=8))
def test_the_queue_takes_everybody_once_in_one_order_whatever_order_they_come_in(
    rows: list[tuple[str, int, int]],
) -> None:
    records = {
        entry(name, block): replace(described(entry(name, block)), tries=(Block(990),) * tries)
        for name, block, tries in rows
    }
    state = state_of(list(records.values()))

    found = queue(records, state, S, 100)

    assert found == queue(reversed(list(records)), state, S, 100)
    assert sorted(found) == sorted(records)


# Returns


def test_who_would_beat_the_fallen_head_start_comes_back_smallest_ratio_first() -> None:
    rules = one_competition(selection={"pool": 1, "max_returns": 2}, competition={"epsilon": ADAPTIVE})
    champion = replace(scored(entry("champion", 750), 1.0, win_rate=1.0), gain=0.05)  # age 250: 0.01 + 0.04 / 2 = 0.03
    others = [
        scored(entry(name, 10), 1.0, ratio=ratio)
        for name, ratio in (("exact", 0.97), ("near", 0.96), ("far", 0.98), ("nearer", 0.95), ("nearest", 0.94))
    ]
    pool = scored(entry("pool", 5), 1.0, ratio=0.9, win_rate=0.9)

    found = chosen(state_of([champion, *others, pool], [reign(champion.entry)]), rules=rules)

    assert roles(found) == {"champion": "champion", "pool": "pool", "nearest": "return", "nearer": "return"}


def test_the_head_start_at_the_boundary_keeps_an_entry_out() -> None:
    rules = one_competition(
        selection={"pool": 1, "max_returns": 9}, competition={"epsilon": {"kind": "fixed", "end": 0.25}}
    )
    champion, pool = scored(A, 1.0, win_rate=1.0), scored(B, 1.0, win_rate=0.9)
    at, below = scored(C, 1.0, ratio=0.75), scored(entry("D", 40), 1.0, ratio=math.nextafter(0.75, 0))

    found = chosen(state_of([champion, pool, at, below], [reign(A)]), rules=rules)

    assert roles(found) == {"A": "champion", "B": "pool", "D": "return"}


def test_nobody_returns_without_a_champion_to_beat() -> None:
    rules = one_competition(selection={"pool": 1})

    found = chosen(state_of([scored(A, 1.0), scored(B, 2.0, ratio=0.5)]), rules=rules)

    assert roles(found) == {"A": "pool"}


# Copies that wait


def test_a_later_commitment_of_the_same_files_waits_until_the_earlier_one_is_downloaded() -> None:
    first, copy = described(A, "same"), described(B, "same")

    waiting = chosen(state_of([first, copy]))
    settled = chosen(state_of([replace(first, weights=Digest("w")), copy]))

    assert (roles(waiting), waiting.waiting) == ({"A": "new"}, {B: A})
    assert settled.waiting == {}


def test_who_waits_takes_no_place_even_when_top_weighted() -> None:
    rules = one_competition(selection={"max_new": 2})
    records = [described(A, "same"), described(B, "same"), described(C)]

    assert roles(chosen(state_of(records), [Voter(100, {"B": 1.0})], rules)) == {"A": "new", "C": "new"}


def test_an_earlier_one_in_another_competition_is_waited_for_too() -> None:
    other = entry("other", 1, 1)
    schedule = schedule_of()
    state = state_of([described(other, "same"), described(A, "same")])

    assert waits(snapshot([other, A]), schedule, [A], state) == {A: other}


def test_nobody_waits_for_a_commitment_that_was_refused_or_can_never_be_judged() -> None:
    refused = replace(described(A, "same"), rejected=Reason.UNAVAILABLE)
    nowhere = described(entry("nowhere", 1, 42), "same")

    for earlier in (refused, nowhere):
        state = state_of([earlier, described(B, "same")])
        assert waits(snapshot(list(state.records)), schedule_of(), [B], state) == {}


def test_within_a_block_the_smaller_sha256_with_the_block_hash_is_waited_for() -> None:
    pair = [entry("X", 10), entry("Y", 10)]
    first, later = sorted(pair, key=lambda e: hashlib.sha256(block_hash(10) + e.hotkey.encode("ascii")).digest())

    assert chosen(state_of([described(one, "same") for one in pair])).waiting == {later: first}


# Past champions


REFERRED = one_competition(selection={"pool": 1, "max_returns": 0}, competition={"epsilon": ADAPTIVE})


def test_past_champions_stay_references_for_the_blocks_of_epsilon_after_their_last_win() -> None:
    gone = [entry("old", 1), entry("older", 2), entry("oldest", 3)]
    reigns = [reign(gone[0], 990), reign(gone[1], 500), reign(gone[2], 499)]

    assert chosen(state_of([], reigns), rules=REFERRED).references == (reigns[0], reigns[1])


def test_a_past_champion_that_is_still_committed_is_judged_as_an_entry() -> None:
    past, others = entry("past", 1), [scored(A, 1.0, win_rate=1.0), scored(B, 1.1, win_rate=0.9)]

    found = chosen(state_of([scored(past, 9.0), *others], [reign(A), reign(past)]), rules=REFERRED)

    assert roles(found) == {"past": "reference", "A": "champion", "B": "pool"}


def test_past_champions_matter_only_where_gains_do() -> None:
    plain = one_competition(selection={"pool": 1, "max_returns": 0})
    descent = one_competition(competition={"reward": {"kind": "descent"}})
    reigns = [reign(entry("gone", 1), 10)]

    assert chosen(state_of([], reigns), rules=plain).references == ()
    assert chosen(state_of([], reigns), rules=descent).references == (reigns[0],)


def test_the_champion_that_left_is_none() -> None:
    found = chosen(state_of([scored(B, 2.0)], [reign(A)]), rules=one_competition(selection={"pool": 1}))

    assert roles(found) == {"B": Role.POOL}


def test_the_champions_of_every_competition_that_the_file_names_stay_on_disk() -> None:
    crowns = {
        number: Standings(reigns=(reign(entry(f"C{number}", 10)), reign(entry(f"P{number}", 9))))
        for number in (0, 1, 7)
    }
    state = State(standings={CompetitionId(number): standings for number, standings in crowns.items()})
    assert crowned(state, schedule_of()) == {f"content of {name}" for name in ("C0", "P0", "C1", "P1")}

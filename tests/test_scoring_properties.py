"""What holds of wins and weights for any losses, blocks and rules."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from fakes import schedule_of
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pretrain import scoring
from pretrain.competition import Competition
from pretrain.schedule import Weights
from pretrain.scoring import Judged, Reference, Result
from pretrain.types import Block, CompetitionId, Hotkey

NOW = Block(1000)
BATCHES = 4
names = st.sampled_from([Hotkey(name) for name in "ABCDEFGH"])
blocks = st.integers(0, 900).map(Block) | st.sampled_from([Block(5), Block(500)])
losses = st.floats(0.01, 20) | st.sampled_from([2.0, 2.5, 3.0])
rule = settings(deadline=None)

EPSILONS = (
    {"kind": "fixed", "end": 0.0},
    {"kind": "fixed", "end": 0.01},
    {"kind": "linear", "start": 0.1, "end": 0.0, "blocks": 500},
    {"kind": "adaptive", "start": 0.1, "end": 0.001, "blocks": 500},
)
REWARDS = ({"kind": "softmax"}, {"kind": "winner_takes_all"}, {"kind": "descent"})


def rules(compare: str, epsilon: object, reward: object) -> Competition:
    fields = {"compare": compare, "epsilon": epsilon, "reward": reward, "windows": BATCHES}
    return schedule_of(competition=fields).at(Block(0))[0]


CATALOGUE = [rules(c, e, r) for c in ("mean", "majority") for e in EPSILONS for r in REWARDS]
competitions = st.sampled_from(CATALOGUE)
with_head_start = st.sampled_from([c for c in CATALOGUE if c.epsilon.end > 0])


@st.composite
def entries(draw: st.DrawFn, least: int = 0, loss: st.SearchStrategy[float] = losses) -> list[Judged]:
    hotkeys = draw(st.lists(names, unique=True, min_size=least, max_size=6))
    rows = [draw(st.lists(loss, min_size=BATCHES, max_size=BATCHES)) for _ in hotkeys]
    return [Judged(hotkey, draw(blocks), np.array(row), _mean(row)) for hotkey, row in zip(hotkeys, rows, strict=True)]


def _mean(row: Sequence[float]) -> float:
    return sum(row) / len(row)  # not fsum, which refuses to add both infinities


references = st.lists(
    st.builds(Reference, st.sampled_from([Hotkey("X"), Hotkey("Y")]), blocks, losses), max_size=3
).map(tuple)


def decide(
    judged: Sequence[Judged], competition: Competition, past: Sequence[Reference] = (), now: Block = NOW
) -> Result:
    return scoring.decide(judged, past, {}, competition, now)


def paid(result: Result, competition: Competition) -> dict[Hotkey, float]:
    return scoring.step_weights(result, competition.reward)


@rule
@given(entries(), references, competitions)
def test_step_weights_sum_to_one_over_competitive_entries_or_are_empty(
    judged: list[Judged], past: tuple[Reference, ...], competition: Competition
) -> None:
    result = decide(judged, competition, past)
    weights = paid(result, competition)

    competitive = {j.hotkey for j, s in zip(result.judged, result.standings, strict=True) if s.competitive}
    assert set(weights) <= competitive
    assert bool(weights) == bool(competitive) == bool(judged)
    assert not weights or math.isclose(math.fsum(weights.values()), 1.0, rel_tol=1e-12)
    assert all(weight > 0 for weight in weights.values())
    assert (result.champion is None) == (not competitive)


@rule
@given(st.data(), entries(least=2), references, competitions)
def test_the_order_of_the_input_changes_nothing(
    data: st.DataObject, judged: list[Judged], past: tuple[Reference, ...], competition: Competition
) -> None:
    shuffled = data.draw(st.permutations(judged))
    one, other = decide(judged, competition, past), decide(shuffled, competition, tuple(reversed(past)))

    assert (one.judged, one.standings, one.wins.tolist()) == (other.judged, other.standings, other.wins.tolist())
    assert paid(one, competition) == paid(other, competition)


@rule
@given(
    entries(),
    st.lists(st.sampled_from([math.nan, math.inf, -math.inf, 1.0]), min_size=BATCHES, max_size=BATCHES),
    blocks,
    references,
    competitions,
)
def test_a_model_without_finite_losses_never_wins_and_changes_nothing_for_others(
    judged: list[Judged], bad: list[float], block: Block, past: tuple[Reference, ...], competition: Competition
) -> None:
    assume(not all(map(math.isfinite, bad)))
    broken = Judged(Hotkey("bad"), block, np.array(bad), _mean(bad))

    without, found = decide(judged, competition, past), decide([*judged, broken], competition, past)

    standing = found.standing(Hotkey("bad"))
    assert (standing.competitive, standing.win_rate) == (False, 0.0)
    assert [found.standing(j.hotkey) for j in judged] == [without.standing(j.hotkey) for j in judged]
    assert (found.champion, paid(found, competition)) == (without.champion, paid(without, competition))


@rule
@given(st.data(), entries(least=1), references, with_head_start, st.floats(1.0, 2.0))
def test_a_copy_committed_later_never_gains_and_never_changes_what_others_get(
    data: st.DataObject,
    judged: list[Judged],
    past: tuple[Reference, ...],
    competition: Competition,
    worse: float,
) -> None:
    twin = data.draw(st.sampled_from(judged))
    copy = Judged(Hotkey("copy"), Block(twin.block + 1), twin.batches * worse, twin.score * worse)

    without, found = decide(judged, competition, past), decide([*judged, copy], competition, past)

    assert found.standing(Hotkey("copy")).competitive is False
    assert paid(found, competition) == paid(without, competition)


@rule
@given(entries(least=1), references, competitions, st.integers(-8, 8))
def test_scaling_all_losses_changes_nothing(
    judged: list[Judged], past: tuple[Reference, ...], competition: Competition, power: int
) -> None:
    scale = 2.0**power  # exact, so that ties stay ties
    larger = [replace(j, batches=j.batches * scale, score=j.score * scale) for j in judged]
    one = decide(judged, competition, past)
    other = decide(larger, competition, [replace(r, score=r.score * scale) for r in past])

    assert (one.standings, one.wins.tolist()) == (other.standings, other.wins.tolist())
    assert paid(one, competition) == paid(other, competition)


@rule
@given(entries(least=2), competitions)
def test_every_match_is_won_once(judged: list[Judged], competition: Competition) -> None:
    result = decide(judged, competition)
    index = [i for i, s in enumerate(result.standings) if s.competitive]
    matches = result.wins[np.ix_(index, index)]

    assert (matches + matches.T + np.eye(len(index)) == 1).all()
    assert result.wins.sum() == matches.sum() == len(index) * (len(index) - 1) / 2
    assert [s.win_rate for i, s in enumerate(result.standings) if i not in index] == [0.0] * (len(judged) - len(index))


@rule
@given(entries(least=1), competitions)
def test_a_competitive_entry_beats_by_the_end_every_strictly_earlier_one(
    judged: list[Judged], competition: Competition
) -> None:
    result = decide(judged, competition)

    for entry, standing in zip(result.judged, result.standings, strict=True):
        earlier = [other.score for other in judged if other.block < entry.block]
        assert standing.competitive == all(entry.score < (1 - competition.epsilon.end) * score for score in earlier)


@rule
@given(entries(least=1), competitions)
def test_the_champion_is_the_first_by_win_rate_then_block_then_sha256_of_the_hotkey(
    judged: list[Judged], competition: Competition
) -> None:
    result = decide(judged, competition)

    def place(entry: Judged) -> tuple[float, int, bytes]:
        return (-result.standing(entry.hotkey).win_rate, entry.block, scoring.hotkey_order(entry.hotkey))

    competitive = [entry for entry in judged if result.standing(entry.hotkey).competitive]
    assert result.champion == min(competitive, key=place).hotkey


@rule
@given(entries(least=1), references, st.sampled_from(CATALOGUE), st.integers(0, 10_000))
def test_a_head_start_only_falls_with_age_and_stays_between_end_and_start(
    judged: list[Judged], past: tuple[Reference, ...], competition: Competition, later: int
) -> None:
    epsilon = competition.epsilon
    start = getattr(epsilon, "start", epsilon.end)
    young, old = decide(judged, competition, past), decide(judged, competition, past, Block(NOW + later))

    for before, after in zip(young.standings, old.standings, strict=True):
        assert epsilon.end <= after.epsilon <= before.epsilon <= start


averages = st.dictionaries(names, st.floats(0, 1), max_size=6)


@rule
@given(
    st.dictionaries(st.integers(0, 3).map(CompetitionId), averages),
    st.lists(st.floats(0, 1), min_size=4, max_size=4),
    st.floats(0, 0.9),
    st.floats(0, 0.5),
    st.none() | names,
)
def test_the_row_sums_to_one_or_is_empty_and_the_burn_gets_at_least_its_share(
    by_competition: dict[CompetitionId, dict[Hotkey, float]],
    shares: list[float],
    burn: float,
    least: float,
    burner: Hotkey | None,
) -> None:
    share = {CompetitionId(index): value for index, value in enumerate(shares)}

    row = scoring.combine(by_competition, share, Weights(burn=burn, burn_uid=0, min_weight=least), burner)

    assert not row or math.isclose(math.fsum(row.values()), 1.0, rel_tol=1e-9)
    assert all(weight > 0 for weight in row.values())
    assert burner is None or burn == 0 or row[burner] >= burn * (1 - 1e-9)
    assert all(weight >= least * (1 - 1e-9) for hotkey, weight in row.items() if hotkey != burner)


@rule
@given(averages, averages, st.floats(0, 0.99), st.frozensets(names))
def test_an_average_lies_between_old_and_new_and_only_who_is_present_has_one(
    old: dict[Hotkey, float], new: dict[Hotkey, float], alpha: float, others: frozenset[Hotkey]
) -> None:
    present = others | set(new)

    found = scoring.moving_average(old, new, alpha, present)

    assert set(found) <= present
    for hotkey, weight in found.items():
        ends = sorted((old.get(hotkey, 0.0), new.get(hotkey, 0.0)))
        assert ends[0] - 1e-12 <= weight <= ends[1] + 1e-12

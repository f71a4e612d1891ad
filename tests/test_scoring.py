"""Hand-computed cases of the rules about wins and weights."""

import hashlib
import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from fakes import schedule_of, task

from pretrain import scoring
from pretrain.competition import Competition
from pretrain.data import Samples
from pretrain.schedule import Weights
from pretrain.scoring import Judged, Reference, Result
from pretrain.types import Block, CompetitionId, Hotkey

NOW = Block(1000)
A, B, C = Hotkey("A"), Hotkey("B"), Hotkey("C")
PROSE, MIXED = CompetitionId(0), CompetitionId(1)


def rules(**fields: object) -> Competition:
    return schedule_of(competition=fields).at(Block(0))[0]


def mixed(**fields: object) -> Competition:
    return schedule_of(competition=fields).at(Block(0))[1]


def fixed(end: float, **fields: object) -> Competition:
    return rules(epsilon={"kind": "fixed", "end": end}, **fields)


def adaptive(**fields: object) -> Competition:
    return rules(epsilon={"kind": "adaptive", "start": 0.01, "end": 0.001, "blocks": 100}, **fields)


def judged(hotkey: str, block: int, *batches: float) -> Judged:
    return Judged(Hotkey(hotkey), Block(block), np.array(batches), math.fsum(batches) / len(batches))


def decide(
    entries: Sequence[Judged],
    competition: Competition,
    references: Sequence[Reference] = (),
    known: Mapping[Hotkey, float] | None = None,
) -> Result:
    return scoring.decide(entries, references, known or {}, competition, NOW)


def rates(result: Result) -> dict[str, float]:
    return {j.hotkey: s.win_rate for j, s in zip(result.judged, result.standings, strict=True)}


def competitive(result: Result) -> dict[str, bool]:
    return {j.hotkey: s.competitive for j, s in zip(result.judged, result.standings, strict=True)}


def gains(result: Result) -> dict[str, float]:
    return {j.hotkey: s.gain for j, s in zip(result.judged, result.standings, strict=True)}


# From window losses to batches and a score


def samples(counts: Mapping[str, Sequence[int]], length: int = 3) -> Samples:
    return Samples(
        {task(name): np.zeros((len(row), length), np.int32) for name, row in counts.items()},
        {task(name): np.array(row, np.int64) for name, row in counts.items()},
    )


def test_a_batch_is_the_kth_window_of_every_task_mixed_by_weight_and_the_score_is_their_mean() -> None:
    competition = mixed(windows=2)
    losses = {task("prose"): np.array([2.0, 4.0]), task("code"): np.array([1.0, 3.0])}

    found = scoring.judged(A, Block(5), losses, samples({"prose": [9, 9], "code": [9, 9]}), competition)

    assert (found.batches.tolist(), found.score) == ([0.75 * 2 + 0.25 * 1, 0.75 * 4 + 0.25 * 3], 2.75)
    assert (found.hotkey, found.block) == (A, 5)


def test_bits_per_byte_are_a_ratio_of_sums_in_a_batch_and_over_all_windows() -> None:
    mixes = {
        "prose": {"prose": {"source": "prose", "weight": 1.0, "method": "bits_per_byte"}},
        "mixed": {"prose": {"source": "prose", "weight": 1.0}},
    }
    competition = schedule_of(competition={"windows": 2}, mixes=mixes).at(Block(0))[0]
    losses = {task("prose"): np.array([math.log(2), 3 * math.log(2)])}  # 2 and 6 bits over 2 predictions
    drawn = samples({"prose": [1, 4]})

    found = scoring.judged(A, Block(5), losses, drawn, competition)

    assert found.batches.tolist() == pytest.approx([2 / 1, 6 / 4])
    assert found.score == pytest.approx(8 / 5)  # the mean of the ratios would be 1.75
    assert scoring.task_losses(losses, drawn, competition) == pytest.approx({"prose": 8 / 5})


def test_the_loss_of_each_task_is_its_mean_over_all_windows() -> None:
    losses = {task("prose"): np.array([2.0, 4.0]), task("code"): np.array([1.0, 2.0])}

    assert scoring.task_losses(losses, samples({"prose": [9, 9], "code": [9, 9]}), mixed(windows=2)) == {
        "code": 1.5,
        "prose": 3.0,
    }


def test_the_score_is_summed_exactly_so_that_the_order_of_windows_does_not_matter() -> None:
    losses = np.array([1e16, 1.0, -1e16, 1.0])
    drawn = samples({"prose": [9] * 4})

    forward = scoring.judged(A, Block(5), {task("prose"): losses}, drawn, rules())
    backward = scoring.judged(A, Block(5), {task("prose"): losses[::-1]}, drawn, rules())

    assert (forward.score, backward.score) == (0.5, 0.5)


# Matches


def test_by_mean_the_smaller_score_wins_even_with_fewer_batches() -> None:
    result = decide([judged("A", 10, 2, 2, 2), judged("B", 20, 2.1, 2.1, 1)], fixed(0.0))

    assert rates(result) == {"A": 0.0, "B": 1.0}


def test_by_majority_more_than_half_of_the_batches_win_even_with_the_larger_score() -> None:
    entries = [judged("A", 10, 2, 2, 2), judged("B", 10, 2.1, 2.1, 1)]

    assert rates(decide(entries, fixed(0.0, compare="majority"))) == {"A": 1.0, "B": 0.0}


def test_by_majority_an_equal_batch_counts_half_for_each() -> None:
    ahead = [judged("A", 10, 2, 2, 2), judged("B", 10, 2, 2, 1)]
    even = [judged("A", 10, 2, 2, 3), judged("B", 10, 2, 3, 2)]

    assert rates(decide(ahead, fixed(0.0, compare="majority"))) == {"A": 0.0, "B": 1.0}
    assert rates(decide(even, fixed(0.0, compare="majority"))) == {"A": 0.5, "B": 0.5}


@pytest.mark.parametrize("compare", ["mean", "majority"])
def test_an_equal_match_is_shared(compare: str) -> None:
    result = decide([judged("A", 10, 2, 2), judged("B", 10, 2, 2)], fixed(0.1, compare=compare))

    assert (rates(result), result.wins.tolist()) == ({"A": 0.5, "B": 0.5}, [[0.0, 0.5], [0.5, 0.0]])


@pytest.mark.parametrize("compare", ["mean", "majority"])
def test_the_earlier_has_its_losses_multiplied_by_one_minus_its_own_epsilon(compare: str) -> None:
    competition = rules(compare=compare, epsilon={"kind": "linear", "start": 0.25, "end": 0.0, "blocks": 1000})
    old = judged("A", 0, 2, 2)  # age 1000: no head start left
    young = judged("B", 500, 1.9, 1.9)  # age 500: 0.125, so 1.6625 in its match
    last = judged("C", 900, 1.7, 1.7)

    result = decide([old, young, last], competition)

    assert rates(result) == {"A": 0.0, "B": 1.0, "C": 0.5}
    assert result.wins.tolist() == [[0, 0, 0], [1, 0, 1], [1, 0, 0]]


@pytest.mark.parametrize("compare", ["mean", "majority"])
def test_of_equal_commit_blocks_nobody_has_the_advantage(compare: str) -> None:
    result = decide([judged("A", 10, 2, 2), judged("B", 10, 1.99, 1.99)], fixed(0.5, compare=compare))

    assert (rates(result), competitive(result)) == ({"A": 0.0, "B": 1.0}, {"A": True, "B": True})


def test_the_win_rate_is_matches_won_over_other_competitive_entries() -> None:
    entries = [judged("A", 10, 3), judged("B", 10, 2), judged("C", 10, 1), judged("late", 20, 2.5)]

    assert rates(decide(entries, fixed(0.0))) == {"A": 0.0, "B": 0.5, "C": 1.0, "late": 0.0}


def test_who_is_alone_has_the_win_rate_1() -> None:
    assert rates(decide([judged("A", 10, 3)], fixed(0.0))) == {"A": 1.0}


def test_nobody_at_all_is_no_error() -> None:
    result = decide([], fixed(0.0))

    assert (result.judged, result.champion, scoring.step_weights(result, rules().reward)) == ((), None, {})


# Who is competitive


def test_who_is_not_better_by_more_than_the_end_than_all_strictly_earlier_has_no_chance() -> None:
    entries = [judged("A", 10, 2.0), judged("equal", 20, 1.5), judged("B", 20, 1.49), judged("C", 30, 1.48)]

    found = decide(entries, fixed(0.25))

    assert competitive(found) == {"A": True, "equal": False, "B": True, "C": False}
    assert (rates(found)["C"], found.standing(Hotkey("C")).competitive) == (0.0, False)


def test_an_entry_that_is_not_competitive_itself_still_filters_later_ones() -> None:
    entries = [judged("A", 10, 2.0), judged("B", 20, 1.9), judged("C", 30, 1.8)]

    # B is within 10% of A, and C within 10% of B, but not of A
    assert competitive(decide(entries, fixed(0.0625))) == {"A": True, "B": False, "C": False}


def test_a_falling_epsilon_filters_by_its_end_alone() -> None:
    competition = rules(epsilon={"kind": "linear", "start": 0.5, "end": 0.1, "blocks": 10_000})

    assert competitive(decide([judged("A", 990, 2.0), judged("B", 995, 1.7)], competition)) == {"A": True, "B": True}


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_no_number_neither_wins_nor_filters_nor_measures_gains(bad: float) -> None:
    result = decide([judged("bad", 1, bad, 1.0), judged("A", 10, 2.0, 2.0)], adaptive())

    assert (competitive(result), rates(result), result.champion) == (
        {"bad": False, "A": True},
        {"bad": 0.0, "A": 1.0},
        "A",
    )
    assert gains(result) == {"bad": 0.0, "A": 0.0}


def test_one_batch_that_is_no_number_is_enough() -> None:
    broken = Judged(Hotkey("bad"), Block(1), np.array([math.nan, 1.0]), 1.0)

    result = decide([broken, judged("A", 10, 2.0, 2.0)], fixed(0.1))

    assert (competitive(result), gains(result)) == ({"bad": False, "A": True}, {"bad": 0.0, "A": 0.0})


# Epsilon


@pytest.mark.parametrize("age", [0, 50, 100, 10_000])
def test_a_fixed_epsilon_is_the_same_at_every_age(age: int) -> None:
    assert scoring.epsilon_at(fixed(0.02).epsilon, age, 0.5) == 0.02


@pytest.mark.parametrize(("age", "expected"), [(0, 0.05), (50, 0.03), (100, 0.01), (101, 0.01), (10_000, 0.01)])
def test_a_linear_epsilon_falls_from_start_to_end_over_its_blocks(age: int, expected: float) -> None:
    rule = rules(epsilon={"kind": "linear", "start": 0.05, "end": 0.01, "blocks": 100}).epsilon

    assert scoring.epsilon_at(rule, age, 0.0) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("gain", "age", "expected"),
    [
        (0.0, 0, 0.001),
        (-1.0, 0, 0.001),
        (0.0006, 0, 0.001),
        (0.004, 0, 0.004),
        (0.004, 50, 0.001 + 0.003 / 2),
        (0.01, 0, 0.01),
        (0.5, 0, 0.01),
        (0.5, 25, 0.001 + 0.009 * 0.75),
        (0.5, 100, 0.001),
        (0.5, 900, 0.001),
    ],
)
def test_an_adaptive_epsilon_is_earned_up_to_start_and_falls_to_end(gain: float, age: int, expected: float) -> None:
    assert scoring.epsilon_at(adaptive().epsilon, age, gain) == pytest.approx(expected)


def test_each_standing_tells_the_head_start_of_its_entry() -> None:
    result = decide([judged("A", 900, 2.0), judged("B", 950, 1.992)], adaptive())

    assert [s.epsilon for s in result.standings] == pytest.approx([0.001, 0.001 + 0.003 / 2])


def test_an_end_below_three_standard_errors_is_refused_unless_the_file_accepts_the_noise() -> None:
    def noise(below: str) -> dict[str, object]:
        return {"paired_sd": 0.01, "below_noise": below}

    enough = rules(epsilon={"kind": "fixed", "end": 0.015}, windows=4, noise=noise("refused"))
    accepted = rules(epsilon={"kind": "fixed", "end": 0.0149}, windows=4, noise=noise("accepted"))

    assert (enough.least_epsilon, accepted.epsilon.end) == (0.015, 0.0149)
    with pytest.raises(ValueError, match="below_noise: accepted"):
        rules(epsilon={"kind": "fixed", "end": 0.0149}, windows=4, noise=noise("refused"))


# Gains


def test_a_gain_is_measured_against_the_best_strictly_earlier_entry_competitive_or_not() -> None:
    entries = [judged("A", 10, 4.0), judged("slow", 15, 3.9), judged("B", 20, 2.0), judged("C", 20, 1.0)]

    result = decide([*entries, judged("D", 30, 0.5)], fixed(0.1))

    assert competitive(result)["slow"] is False
    assert gains(result) == pytest.approx({"A": 0.0, "slow": 1 - 3.9 / 4, "B": 1 - 2 / 3.9, "C": 1 - 1 / 3.9, "D": 0.5})


def test_a_gain_is_negative_for_who_is_worse_than_what_was_there() -> None:
    assert gains(decide([judged("A", 10, 2.0), judged("B", 20, 3.0)], adaptive()))["B"] == -0.5


def test_past_champions_measure_gains_and_do_nothing_else() -> None:
    gone = Reference(Hotkey("gone"), Block(5), 1.0)

    result = decide([judged("A", 10, 2.0), judged("B", 20, 0.5)], adaptive(), [gone])

    assert gains(result) == {"A": -1.0, "B": 0.5}
    assert (competitive(result), rates(result)) == ({"A": True, "B": True}, {"A": 0.0, "B": 1.0})


def test_a_past_champion_is_no_reference_for_who_committed_before_it_or_with_it() -> None:
    later = Reference(Hotkey("gone"), Block(10), 1.0)

    assert gains(decide([judged("A", 10, 2.0), judged("B", 11, 2.0)], adaptive(), [later])) == {"A": 0.0, "B": -1.0}


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_a_past_champion_that_cannot_be_measured_is_no_reference(score: float) -> None:
    broken = Reference(Hotkey("gone"), Block(5), score)

    assert gains(decide([judged("A", 10, 2.0)], adaptive(), [broken])) == {"A": 0.0}


def test_the_smallest_gain_ever_measured_for_a_commitment_stays() -> None:
    entries = [judged("A", 10, 2.0), judged("B", 20, 1.0)]

    assert gains(decide(entries, adaptive(), known={B: 0.3}))["B"] == 0.3
    assert gains(decide(entries, adaptive(), known={B: 0.9}))["B"] == 0.5


def test_a_copy_fine_tuned_by_a_hair_loses_its_crown_to_the_next_honest_step() -> None:
    old, copy = judged("A", 0, 2.0), judged("copy", 500, 2.0 * (1 - 0.0012))
    honest = judged("B", 600, 2.0 * (1 - 0.0012) * (1 - 0.004))

    result = decide([old, copy, honest], rules(epsilon={"kind": "adaptive", "start": 0.01, "end": 0.001, "blocks": 9}))

    assert result.champion == "B"


# The champion


def order(hotkey: str) -> bytes:
    return hashlib.sha256(hotkey.encode("ascii")).digest()


def test_the_champion_has_the_highest_win_rate() -> None:
    assert decide([judged("A", 10, 3), judged("B", 10, 2), judged("C", 10, 2.5)], fixed(0.0)).champion == "B"


def test_of_equal_win_rates_the_earlier_block_is_champion() -> None:
    linear = rules(epsilon={"kind": "linear", "start": 0.25, "end": 0.0, "blocks": 100})
    old, young = judged("old", 1000 - 50, 2.0), judged("young", 1000 - 40, 1.75)  # 0.125 off 2.0: an equal match

    result = decide([young, old], linear)

    assert (rates(result), result.champion) == ({"old": 0.5, "young": 0.5}, "old")


def test_of_a_circle_of_equals_the_earlier_block_then_the_smaller_sha256_of_the_hotkey_is_champion() -> None:
    circle = [(1.0, 2.0, 3.0), (2.0, 3.0, 1.0), (3.0, 1.0, 2.0)]
    majority = fixed(0.0, compare="majority")
    same_block = [judged(name, 10, *losses) for name, losses in zip("ABC", circle, strict=True)]

    assert rates(decide(same_block, majority)) == {"A": 0.5, "B": 0.5, "C": 0.5}
    assert decide(same_block, majority).champion == min("ABC", key=order)
    first, *others = sorted("ABC", key=order, reverse=True)
    later = [judged(name, 10, *losses) for name, losses in zip(others, circle[:2], strict=True)]
    one_earlier = [judged(first, 9, 3.5, 1.0, 2.0), *later]
    assert set(rates(decide(one_earlier, majority)).values()) == {0.5}
    assert decide(one_earlier, majority).champion == first


# Step weights


def test_softmax_pays_by_the_exponent_of_win_rate_over_temperature() -> None:
    result = decide([judged("A", 10, 3), judged("B", 10, 2), judged("C", 10, 1)], fixed(0.0))
    parts = {"A": math.exp(0.0), "B": math.exp(1.0), "C": math.exp(2.0)}

    found = scoring.step_weights(result, rules(reward={"kind": "softmax", "temperature": 0.5}).reward)

    assert found == pytest.approx({h: part / math.fsum(parts.values()) for h, part in parts.items()})


def test_softmax_at_the_usual_temperature_pays_the_first_nearly_everything() -> None:
    result = decide([judged("A", 10, 2), judged("B", 10, 1)], fixed(0.0))

    assert scoring.step_weights(result, rules().reward)[B] > 1 - 1e-15


def test_who_is_not_competitive_is_paid_nothing() -> None:
    result = decide([judged("A", 10, 1), judged("B", 20, 1)], fixed(0.1))

    assert scoring.step_weights(result, rules().reward) == {"A": 1.0}


def test_winner_takes_all_pays_the_champion_alone() -> None:
    result = decide([judged(name, 10, 1) for name in "ABC"], fixed(0.1))

    assert scoring.step_weights(result, rules(reward={"kind": "winner_takes_all"}).reward) == {min("ABC", key=order): 1}


def test_descent_pays_each_competitive_entry_by_its_gain() -> None:
    entries = [judged("A", 10, 4.0), judged("B", 20, 3.0), judged("slow", 25, 2.9), judged("C", 30, 1.45)]

    found = scoring.step_weights(decide(entries, fixed(0.2)), rules(reward={"kind": "descent"}).reward)

    assert found == pytest.approx({"B": 0.25 / 0.75, "C": 0.5 / 0.75})


def test_descent_without_any_gain_pays_the_smallest_score_then_the_earlier_block() -> None:
    reward = rules(reward={"kind": "descent"}).reward
    tie = [judged("A", 10, 2.0), judged("B", 10, 1.0), judged("C", 10, 1.0)]
    known = {C: 0.0, B: 0.0}

    assert scoring.step_weights(decide(tie, fixed(0.0), known=known), reward) == {min("BC", key=order): 1.0}
    by_block = decide([judged("A", 10, 2.0), judged("B", 20, 1.0)], fixed(0.0), known={B: -0.1})
    assert scoring.step_weights(by_block, reward) == {"B": 1.0}


# Moving averages


def test_a_moving_average_is_alpha_times_old_plus_the_rest_of_new() -> None:
    found = scoring.moving_average({A: 1.0}, {A: 0.5, B: 0.5}, 0.75, frozenset({A, B}))

    assert found == {"A": 0.75 + 0.125, "B": 0.125}


def test_who_was_not_judged_in_a_step_has_new_weight_0() -> None:
    assert scoring.moving_average({A: 1.0}, {B: 1.0}, 0.5, frozenset({A, B})) == {"A": 0.5, "B": 0.5}


def test_the_first_step_is_taken_whole() -> None:
    assert scoring.moving_average({}, {A: 1.0}, 0.9, frozenset({A})) == {"A": 1.0}


def test_averages_left_below_a_hundredth_count_as_none() -> None:
    old = {A: 0.995, B: 0.005}

    assert scoring.moving_average(old, {C: 1.0}, 0.5, frozenset({B, C})) == {"C": 1.0}
    assert scoring.moving_average({A: 0.9, B: 0.01}, {C: 1.0}, 0.5, frozenset({B, C})) == {"B": 0.005, "C": 0.5}


def test_who_has_no_entry_any_more_drops_out() -> None:
    assert scoring.moving_average({A: 0.5, B: 0.5}, {B: 1.0}, 0.5, frozenset({B})) == {"B": 0.75}


def test_without_a_competitive_entry_averages_stay_as_they_are_but_for_who_left() -> None:
    assert scoring.moving_average({A: 0.5, B: 0.5}, {}, 0.5, frozenset({A, B})) == {"A": 0.5, "B": 0.5}
    assert scoring.moving_average({A: 0.5, B: 0.5}, {}, 0.5, frozenset({B})) == {"B": 0.5}


# The row that is set

BOTH = {PROSE: 0.75, MIXED: 0.25}
BURNER = Hotkey("burner")


def combine(
    averages: Mapping[CompetitionId, Mapping[Hotkey, float]],
    weights: Mapping[str, object] | None = None,
    burner: Hotkey | None = None,
) -> dict[Hotkey, float]:
    return scoring.combine(averages, BOTH, Weights.model_validate(weights or {}), burner)


def test_each_competition_is_normalised_and_mixed_by_its_share() -> None:
    found = combine({PROSE: {A: 0.2, B: 0.2}, MIXED: {B: 0.1, C: 0.3}})

    assert found == pytest.approx({"A": 0.375, "B": 0.375 + 0.0625, "C": 0.1875})


def test_a_competition_without_averages_gives_its_share_to_the_others() -> None:
    assert combine({MIXED: {A: 0.5}}) == {"A": 1.0}
    assert combine({PROSE: {}, MIXED: {A: 0.5}}) == {"A": 1.0}


def test_a_share_that_is_given_away_goes_to_the_others_in_proportion() -> None:
    shares = {CompetitionId(0): 0.5, CompetitionId(1): 0.3, CompetitionId(2): 0.2}
    averages = {CompetitionId(1): {A: 1.0}, CompetitionId(2): {B: 1.0}}

    assert scoring.combine(averages, shares, Weights(), None) == pytest.approx({"A": 0.6, "B": 0.4})


def test_averages_below_a_hundredth_in_sum_give_their_share_away() -> None:
    assert combine({PROSE: {A: 0.009}, MIXED: {B: 1.0}}) == {"B": 1.0}
    assert combine({PROSE: {A: 0.01}, MIXED: {B: 1.0}}) == pytest.approx({"A": 0.75, "B": 0.25})


def test_a_competition_that_is_not_in_force_pays_nobody() -> None:
    assert combine({CompetitionId(7): {A: 1.0}, MIXED: {B: 1.0}}) == {"B": 1.0}


def test_the_burn_takes_its_share_before_small_weights_are_dropped() -> None:
    rule = {"burn": 0.5, "burn_uid": 0, "min_weight": 0.1}
    averages = {PROSE: {A: 0.9, B: 0.1}}  # after the burn: A 0.45, B 0.05, which is too little

    assert combine(averages, rule, BURNER) == pytest.approx({"A": 0.45 / 0.95, "burner": 0.5 / 0.95})


def test_the_burn_is_never_dropped_as_too_small() -> None:
    rule = {"burn": 0.05, "burn_uid": 0, "min_weight": 0.1}

    assert combine({PROSE: {A: 1.0}}, rule, BURNER) == pytest.approx({"A": 0.95, "burner": 0.05})


def test_without_a_burn_the_burner_is_a_hotkey_like_any_other() -> None:
    rule = {"burn_uid": 0, "min_weight": 0.1}

    assert combine({PROSE: {A: 0.95, BURNER: 0.05}}, rule, BURNER) == {"A": 1.0}


def test_everything_burns_when_there_is_nobody_to_pay() -> None:
    assert combine({}, {"burn_uid": 0}, BURNER) == {"burner": 1.0}
    assert combine({PROSE: {A: 0.001}}, {"burn": 0.1, "burn_uid": 0}, BURNER) == {"burner": 1.0}


def test_a_burn_uid_that_nobody_holds_burns_nothing() -> None:
    assert combine({PROSE: {A: 1.0}}, {"burn": 0.5, "burn_uid": 9}, None) == {"A": 1.0}


def test_a_burner_that_also_earns_gets_both() -> None:
    found = combine({PROSE: {A: 0.5, BURNER: 0.5}}, {"burn": 0.5, "burn_uid": 0}, BURNER)

    assert found == pytest.approx({"A": 0.25, "burner": 0.75})


def test_weights_below_the_least_are_dropped_and_the_rest_sums_to_one_again() -> None:
    assert combine({PROSE: {A: 0.5, B: 0.4, C: 0.1}}, {"min_weight": 0.2}) == pytest.approx({"A": 5 / 9, "B": 4 / 9})
    assert combine({PROSE: {A: 0.5, B: 0.5}}, {"min_weight": 0.5}) == {"A": 0.5, "B": 0.5}


def test_nothing_is_set_when_nothing_is_left() -> None:
    assert combine({}) == {}
    assert combine({PROSE: {A: 0.5, B: 0.5}}, {"min_weight": 0.6}) == {}

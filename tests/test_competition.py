"""One competition: what its values must be among themselves."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pretrain.competition import AdaptiveEpsilon, Competition, Constraints, LinearEpsilon, SoftmaxReward


def fields(**changes: object) -> dict[str, Any]:
    return {
        "id": 3,
        "name": "mixed",
        "model": {
            "families": ("llama",),
            "tokenizer": "bpe",
            "sequence_length": 128,
            "min_parameters": 1,
            "max_parameters": 9,
            "max_bytes": 99,
        },
        "tasks": {"prose": {"source": "prose", "weight": 0.85}, "code": {"source": "code", "weight": 0.15}},
        "windows": 100,
        "max_document_tokens": 512,
        "epsilon": {"kind": "linear", "start": 0.01, "end": 0.003, "blocks": 600},
        "reward": {"kind": "softmax"},
        "noise": {"paired_sd": 0.01},
        "share": 0.5,
    } | changes


def flaws(**changes: object) -> list[tuple[tuple[str | int, ...], str]]:
    with pytest.raises(ValidationError) as caught:
        Competition.model_validate(fields(**changes))
    return [(error["loc"], error["msg"]) for error in caught.value.errors()]


def test_a_right_one_has_defaults_and_weights_in_order_of_name() -> None:
    competition = Competition.model_validate(fields())
    assert (competition.compare, competition.alpha, competition.reward) == (
        "mean",
        0.5,
        SoftmaxReward(kind="softmax", temperature=0.01),
    )
    assert list(competition.weights.items()) == [("code", 0.15), ("prose", 0.85)]


def test_least_epsilon_is_three_standard_errors_of_the_mean_difference() -> None:
    assert Competition.model_validate(fields()).least_epsilon == pytest.approx(3 * 0.01 / 10)


def test_an_end_below_the_noise_is_refused_at_its_place_with_what_would_do() -> None:
    message = (
        "chance decides below 3 x paired_sd / sqrt(windows) = 3 x 0.01 / sqrt(100) = 0.003;"
        " use end >= 0.003, 225 windows, or say `below_noise: accepted`"
    )
    assert flaws(epsilon={"kind": "fixed", "end": 0.002}) == [(("epsilon", "end"), message)]


@given(sd=st.floats(1e-4, 0.1), windows=st.integers(1, 5000), end=st.floats(1e-4, 0.1))
@settings(deadline=None)
def test_an_end_is_refused_exactly_when_it_is_below_three_standard_errors(sd: float, windows: int, end: float) -> None:
    data = fields(windows=windows, epsilon={"kind": "fixed", "end": end}, noise={"paired_sd": sd})
    if end < 3 * sd / windows**0.5:
        with pytest.raises(ValidationError):
            Competition.model_validate(data)
    else:
        Competition.model_validate(data)
    Competition.model_validate(data | {"noise": {"paired_sd": sd, "below_noise": "accepted"}})


@given(st.floats(0.01, 0.99))
@settings(deadline=None)
def test_weights_of_a_mix_must_sum_to_one(weight: float) -> None:
    tasks = {"a": {"source": "a", "weight": weight}, "b": {"source": "b", "weight": 1 - weight}}
    Competition.model_validate(fields(tasks=tasks))
    tasks["b"]["weight"] = (1 - weight) / 2
    assert [loc for loc, _ in flaws(tasks=tasks)] == [("tasks",)]


def test_a_mix_without_tasks_is_refused() -> None:
    assert flaws(tasks={}) == [(("tasks",), "the weights of a mix must sum to 1; these (no task) sum to 0")]


@pytest.mark.parametrize("kind", [LinearEpsilon, AdaptiveEpsilon])
def test_a_head_start_never_grows(kind: type[LinearEpsilon | AdaptiveEpsilon]) -> None:
    tag = "linear" if kind is LinearEpsilon else "adaptive"
    with pytest.raises(ValidationError, match="a head start never grows"):
        kind.model_validate({"kind": tag, "start": 0.01, "end": 0.02, "blocks": 9})


def test_an_adaptive_epsilon_is_not_a_linear_one() -> None:
    rule = AdaptiveEpsilon(kind="adaptive", start=0.02, end=0.01, blocks=9)
    assert not isinstance(rule, LinearEpsilon)


def test_the_most_parameters_are_not_below_the_fewest() -> None:
    with pytest.raises(ValidationError, match="must be at least min_parameters, which is 5"):
        Constraints.model_validate(fields()["model"] | {"min_parameters": 5, "max_parameters": 4})


@pytest.mark.parametrize(
    "change",
    [{"windows": 48.0}, {"windows": "48"}, {"windows": True}, {"share": 1.1}, {"alpha": 1.0}, {"share": float("nan")}],
)
def test_nothing_is_coerced_and_nothing_leaves_its_range(change: dict[str, object]) -> None:
    assert [loc for loc, _ in flaws(**change)] == [tuple(change)]


def test_a_competition_cannot_be_changed() -> None:
    competition = Competition.model_validate(fields())
    with pytest.raises(ValidationError, match="frozen"):
        competition.windows = 5

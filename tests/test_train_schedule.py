import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pretrain.train.schedule import DecayForm, LearningRate

FORMS: tuple[DecayForm, ...] = ("linear", "1-sqrt", "cosine")

rates = st.builds(
    LearningRate,
    peak=st.floats(1e-6, 1.0),
    warmup=st.integers(0, 10_000),
    decay=st.integers(0, 10_000),
    total=st.integers(0, 10_000),
    form=st.sampled_from(FORMS),
)


def test_the_rate_rises_linearly_stays_and_falls_to_zero() -> None:
    rate = LearningRate(peak=2.0, warmup=100, decay=200, total=1000, form="linear")
    assert [rate.at(t) for t in (0, 50, 100, 500, 800, 900, 1000)] == pytest.approx([0, 1, 2, 2, 2, 1, 0])


@pytest.mark.parametrize(("form", "half"), [("linear", 0.5), ("1-sqrt", 1 - math.sqrt(0.5)), ("cosine", 0.5)])
def test_each_form_of_decay_is_the_published_one_at_its_middle(form: DecayForm, half: float) -> None:
    assert LearningRate(peak=1.0, warmup=0, decay=100, total=100, form=form).at(50) == pytest.approx(half)


@given(rate=rates, at=st.lists(st.floats(0, 20_000), min_size=2, max_size=2).map(sorted))
def test_the_rate_is_between_zero_and_its_peak_and_never_rises_once_it_decays(
    rate: LearningRate, at: list[float]
) -> None:
    first, second = (rate.at(tokens) for tokens in at)
    assert 0 <= first <= rate.peak
    assert 0 <= second <= rate.peak
    if at[0] >= max(rate.warmup, rate.total - rate.decay):
        assert second <= first
    if at[1] <= min(rate.warmup, rate.total - rate.decay):
        assert first <= second


@given(rate=rates)
def test_at_the_end_nothing_is_left_of_the_rate(rate: LearningRate) -> None:
    assert (rate.at(rate.total), rate.at(rate.total + 1)) == (0.0, 0.0)

import collections

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pretrain.data.mixture import PARTS, TrainingWindows, training_windows
from pretrain.errors import ConfigError

LENGTH = 4
Streams = dict[str, npt.NDArray[np.int32]]


def streams(**windows: int) -> Streams:
    """Give a stream of so many windows a name, every token different, and a part of a window at the end."""
    return {
        name: np.arange(count * LENGTH + LENGTH - 1, dtype=np.int32) + 1000 * number
        for number, (name, count) in enumerate(windows.items())
    }


def mixed(seed: int = 0) -> TrainingWindows:
    return training_windows(streams(prose=9, code=4), {"prose": 0.85, "code": 0.15}, LENGTH, seed)


def taken(windows: TrainingWindows, count: int) -> list[tuple[str, list[int]]]:
    return [(name, tokens.tolist()) for name, tokens in map(windows.window, range(count))]


weights = st.lists(st.integers(1, 2000), min_size=1, max_size=7).map(
    lambda parts: {str(number): part / sum(parts) for number, part in enumerate(parts)}
)


@given(weights)
@example({f"{n:02}": part / 289 for n, part in enumerate([60, 1, 1, 60, 1, 1, 1, 1, 1, 1, 16, 1, 1, 1, 7, 7, 128])})
@example({f"{n:02}": part / 284 for n, part in enumerate([8, 1, 1, 8, 1, 60, 8, 1, 12, 1, 1, 1, 1, 60, 60, 60])})
@settings(max_examples=30, deadline=None)  # up to 10,000 turns of seven sources
def test_every_prefix_is_within_one_window_of_each_share(shares: dict[str, float]) -> None:
    windows = training_windows(streams(**dict.fromkeys(shares, 1)), shares, LENGTH, 0)
    counts = np.stack([np.cumsum(windows.turns == number) for number in range(len(windows.names))])
    ends = counts[:, -1:] / windows.turns.size * np.arange(1, windows.turns.size + 1)
    exact = np.array([shares[name] for name in windows.names])
    assert float(np.abs(counts - ends).max()) < 1
    assert float(np.abs(counts[:, -1] / windows.turns.size - exact).max()) < 1 / PARTS


def test_a_mixture_of_85_and_15_percent_repeats_every_20_windows() -> None:
    names = [name for name, _ in taken(mixed(), 60)]
    assert [collections.Counter(names[at : at + 20]) for at in (0, 20, 40)] == [{"prose": 17, "code": 3}] * 3


@given(st.integers(0, 5))
def test_an_epoch_takes_every_window_of_a_source_once(seed: int) -> None:
    prose = [tokens for name, tokens in taken(mixed(seed), 60) if name == "prose"]
    whole = np.arange(9 * LENGTH).reshape(9, LENGTH).tolist()
    assert (sorted(prose[:9]), sorted(prose[9:18])) == (whole, whole)


def test_each_epoch_has_an_order_of_its_own() -> None:
    prose = [tokens for name, tokens in taken(mixed(), 60) if name == "prose"]
    assert prose[:9] != prose[9:18]


def test_another_seed_gives_another_order() -> None:
    assert taken(mixed(0), 20) != taken(mixed(1), 20)


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=20))
def test_a_window_follows_from_its_index_alone(indexes: list[int]) -> None:
    forward, backward = mixed(), mixed()
    there = [forward.window(index)[1].tolist() for index in indexes]
    assert there == [backward.window(index)[1].tolist() for index in reversed(indexes)][::-1]


def test_batches_are_the_windows_in_order() -> None:
    expected = [tokens for _, tokens in taken(mixed(), 12)]
    assert [mixed().batch(step, 4).tolist() for step in range(3)] == [expected[:4], expected[4:8], expected[8:]]


def test_a_source_without_weight_needs_no_stream() -> None:
    windows = training_windows(streams(prose=2), {"prose": 1.0, "code": 0.0}, LENGTH, 0)
    assert {name for name, _ in taken(windows, 5)} == {"prose"}


@pytest.mark.parametrize(
    ("shares", "complaint"),
    [
        ({}, "has weights"),
        ({"prose": 0.0}, "has weights"),
        ({"prose": float("nan")}, "has weights"),
        ({"prose": 2.0, "code": -1.0}, "has weights"),
        ({"maths": 1.0}, "names 'maths'; sources are code, prose"),
        ({"code": 1.0}, "'code' has 3 tokens to train on; a window takes 4"),
    ],
)
def test_a_mixture_that_cannot_be_had_is_one_clear_line(shares: dict[str, float], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        training_windows(streams(prose=2, code=0), shares, LENGTH, 0)


def test_the_order_is_the_same_in_every_version_of_this_software() -> None:
    assert [(name, tokens[0]) for name, tokens in taken(mixed(), 8)] == [
        ("prose", 12),
        ("prose", 24),
        ("prose", 16),
        ("code", 1012),
        ("prose", 20),
        ("prose", 32),
        ("prose", 4),
        ("prose", 28),
    ]

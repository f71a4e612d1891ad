"""What the probes run on: the same for everybody, unknown beforehand, and spread as the docstrings say."""

from dataclasses import replace

import numpy as np
import pytest
from cheats import VOCABULARY, natural

from pretrain.data import Samples
from pretrain.evaluate.trials import EVERY, RANDOM, RANDOM_WINDOWS, STREWN, Trial, trials
from pretrain.types import TaskName

SAMPLES = natural(64, windows=50)


def of(samples: Samples = SAMPLES, vocabulary: int = VOCABULARY) -> dict[str, Trial]:
    return {trial.name: trial for trial in trials(samples, vocabulary)}


def cuts(trial: Trial) -> list[list[int]]:
    """The first position that differs, by alteration and window."""
    return [(text.tokens != trial.text.tokens).argmax(axis=1).tolist() for text in trial.altered]


def test_each_task_has_a_trial_and_there_is_one_of_random_windows() -> None:
    found = of()

    assert list(found) == ["a", "b", RANDOM]
    assert {name: trial.text.tokens.shape for name, trial in found.items()} == {
        "a": (50 // EVERY, 64),
        "b": (50 // EVERY, 64),
        RANDOM: (RANDOM_WINDOWS, 64),
    }


def test_equal_samples_give_equal_trials_and_other_samples_other_ones() -> None:
    again, other = of(natural(64, windows=50)), of(natural(64, windows=50, skip=1))

    for name, trial in of().items():
        assert np.array_equal(trial.altered[0].tokens, again[name].altered[0].tokens)
        assert cuts(trial) != cuts(other[name])
    assert not np.array_equal(of()[RANDOM].text.tokens, other[RANDOM].text.tokens)


def test_trials_do_not_change_with_a_version() -> None:
    """Two validators with two versions of this package would refuse two kinds of models."""
    ids = np.arange(96, dtype=np.int32).reshape(3, 32)
    samples = Samples({TaskName("a"): ids}, {TaskName("a"): np.full(3, 31, np.int64)})
    found = of(samples, 100)

    assert (cuts(found["a"]), found["a"].text.tokens[:, 0].tolist()) == ([[31], [18]], [64])
    assert (cuts(found[RANDOM]), found[RANDOM].text.tokens[0, :6].tolist()) == ([[31, 13]], [51, 85, 83, 36, 9, 43])


def test_probed_windows_are_the_steps_own_and_go_on_with_text_of_the_step() -> None:
    everything = np.concatenate([SAMPLES.tokens[TaskName(task)] for task in "ab"])
    for task in "ab":
        trial = of()[task]
        own = {row.tobytes() for row in SAMPLES.tokens[TaskName(task)]}
        assert {row.tobytes() for row in trial.text.tokens} <= own
        for row, cut in zip(trial.altered[0].tokens, cuts(trial)[0], strict=True):
            assert any(np.array_equal(row[cut:], window[cut:]) for window in everything)


@pytest.mark.parametrize("name", ["a", "b", RANDOM])
def test_an_altered_window_agrees_up_to_its_cut_and_one_cut_is_the_last_position(name: str) -> None:
    trial = of()[name]

    assert all(cut >= 1 for each in cuts(trial) for cut in each)
    assert cuts(trial)[0][0] == 63
    assert sum(cut == 63 for each in cuts(trial) for cut in each) < 4


def test_the_other_cuts_of_a_task_are_spread_one_in_each_equal_part() -> None:
    for skip in range(5):
        windows = natural(2048, windows=48, skip=skip)
        found = cuts(of(windows, 1 << 20)["a"])  # so many ids that none is drawn that stood there
        parts = sorted((cut - 1) * 5 // 2047 for cut in found[0][1:] + found[1])
        assert [abs(part - k) <= (k in found[0]) for k, part in enumerate(parts)] == [True] * 5


def test_strewn_ids_leave_most_of_the_text_as_it_was() -> None:
    trial = of(natural(2048, windows=48), 1 << 20)["a"]
    changed = trial.altered[1].tokens != trial.text.tokens
    after = np.arange(2048) >= changed.argmax(axis=1)[:, np.newaxis]

    assert np.array_equal(changed, trial.altered[1].drawn)
    assert changed[after].mean() == pytest.approx(1 / STREWN, rel=0.25)
    assert not trial.text.drawn.any()
    assert not trial.altered[0].drawn.any()


def test_random_windows_are_uniform_over_the_ids_of_the_tokenizer() -> None:
    trial = of(natural(4096, windows=8), 10)[RANDOM]
    counts = np.bincount(trial.text.tokens.ravel(), minlength=10)

    assert trial.text.drawn.all()
    assert counts.sum() == RANDOM_WINDOWS * 4096
    assert float(((counts - counts.mean()) ** 2 / counts.mean()).sum()) < 28  # chi-squared with 9 degrees: 1e-3
    assert np.array_equal(trial.altered[0].drawn, np.arange(4096) >= np.array(cuts(trial)[0])[:, np.newaxis])


@pytest.mark.parametrize(("windows", "length"), [(1, 2), (1, 64), (2, 3), (17, 5)])
def test_the_smallest_samples_have_trials_too(windows: int, length: int) -> None:
    ids = np.arange(windows * length, dtype=np.int32).reshape(windows, length) % 50
    samples = Samples({TaskName("a"): ids}, {TaskName("a"): np.full(windows, length - 1, np.int64)})
    found = of(samples, 1000)

    assert found["a"].text.tokens.shape == (max(1, windows // EVERY), length)
    assert cuts(found["a"])[0][0] == length - 1


def test_a_task_without_windows_has_no_trial() -> None:
    samples = replace(
        SAMPLES,
        tokens={**SAMPLES.tokens, TaskName("c"): np.zeros((0, 64), np.int32)},
        bytes={**SAMPLES.bytes, TaskName("c"): np.zeros(0, np.int64)},
    )

    assert list(of(samples)) == ["a", "b", RANDOM]


@pytest.mark.parametrize("share", [0.02, 0.1])
def test_a_scattered_leak_is_missed_as_often_as_is_said(share: float) -> None:
    """(1 - f)^m, for leaks to the next token at a part f of all positions: 300 steps, m = 10 cuts besides the last."""
    missed = []
    for step in range(300):
        leaks = np.random.default_rng([7, step]).random(63) < share
        found = [cut for name, trial in of(natural(64, windows=48, skip=step), 1 << 20).items() if name != RANDOM
                 for each in cuts(trial) for cut in each]  # fmt: skip
        assert len(found) == 12
        missed.append(not any(leaks[cut - 1] for cut in found if cut < 63))

    expected = (1 - share) ** 10
    assert float(np.mean(missed)) == pytest.approx(expected, abs=4 * (expected * (1 - expected) / 300) ** 0.5)

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import tiny_architecture, tiny_constraints
from transformers import PreTrainedModel

from pretrain.errors import ConfigError
from pretrain.train.initial import initialise
from pretrain.train.loop import Keeping, Progress, Recipe, train
from pretrain.train.schedule import LearningRate

LENGTH = 16
WINDOWS = 22  # five batches of 4, and one of 2
RATE = LearningRate(peak=1e-2, warmup=64, decay=64, total=WINDOWS * LENGTH)
RECIPE = Recipe(windows=WINDOWS, length=LENGTH, batch=4, learning_rate=RATE)


def text(name: str) -> Callable[[int], npt.NDArray[np.int32]]:
    """Windows of a few words of 8 tokens each, so that there is something to learn."""

    def window(index: int) -> npt.NDArray[np.int32]:
        turn = hashlib.sha256(f"{name} {index}".encode()).digest()
        return np.concatenate([np.arange(8, dtype=np.int32) + 16 * (turn[k] % 4) for k in range(LENGTH // 8)])

    return window


def new_model(seed: int = 0) -> PreTrainedModel:
    model = tiny_architecture().build(tiny_constraints(sequence_length=LENGTH), "cpu")
    initialise(model, seed, layers=2, hidden_size=32)
    return model


def bits(model: torch.nn.Module) -> dict[str, bytes]:
    return {name: parameter.detach().numpy().tobytes() for name, parameter in model.named_parameters()}


def keeping(folder: Path, *, every: int = 1000, run: str = "a") -> Keeping:
    return Keeping(folder / "checkpoint.safetensors", every, {"run": run})


def go_on(_: Progress) -> bool:
    return True


def steps(count: int) -> Callable[[Progress], bool]:
    """Go on for so many steps; the first call is before any."""
    calls = iter(range(1_000_000))
    return lambda _: next(calls) < count


def trained(folder: Path, name: str = "a", recipe: Recipe = RECIPE) -> tuple[dict[str, bytes], list[Progress]]:
    model, seen = new_model(), list[Progress]()
    train(model, text(name), recipe, keeping(folder), lambda progress: not seen.append(progress))  # type: ignore[func-returns-value]
    return bits(model), seen


def test_training_lowers_the_loss_and_counts_every_token(tmp_path: Path) -> None:
    longer = Recipe(windows=240, length=LENGTH, batch=4, learning_rate=LearningRate(1e-2, 64, 64, 240 * LENGTH))
    _, seen = trained(tmp_path, recipe=longer)
    losses = [progress.loss for progress in seen if progress.loss is not None]
    assert [progress.tokens for progress in seen] == [64 * k for k in range(61)]
    assert losses[0] > 5
    assert losses[-1] < 1


def test_the_last_batch_has_what_is_left(tmp_path: Path) -> None:
    _, seen = trained(tmp_path)
    assert [progress.tokens for progress in seen] == [0, 64, 128, 192, 256, 320, 352]


def test_equal_seeds_and_data_give_equal_bits_whatever_else_was_drawn(tmp_path: Path) -> None:
    first, _ = trained(tmp_path / "a")
    with torch.random.fork_rng():
        torch.manual_seed(99)
        second, _ = trained(tmp_path / "b")
    other, _ = trained(tmp_path / "c", name="other text")
    assert first == second != other


def test_equal_seeds_start_from_equal_weights_and_others_do_not() -> None:
    first, second, other = new_model(3), new_model(3), new_model(4)
    assert bits(first) == bits(second) != bits(other)


def test_initial_matrices_have_the_stated_spread_and_norms_are_one() -> None:
    model = tiny_architecture(hidden=128).build(tiny_constraints(), "cpu")
    initialise(model, 0, layers=2, hidden_size=128)
    spreads = {name: float(p.detach().std()) for name, p in model.named_parameters() if p.dim() > 1}
    narrow = ("o_proj.weight", "down_proj.weight")
    expected = {name: 0.0559 / 2 if name.endswith(narrow) else 0.0559 for name in spreads}  # sqrt(2 / 640)
    assert spreads == pytest.approx(expected, rel=0.05)
    assert {float(p.detach().min()) for p in model.parameters() if p.dim() == 1} == {1.0}


@settings(max_examples=8, deadline=None)
@given(stops=st.lists(st.integers(1, 5), min_size=1, max_size=3))
def test_a_run_stopped_anywhere_and_resumed_is_bit_for_bit_the_straight_one(
    stops: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    straight, _ = trained(tmp_path_factory.mktemp("straight"))
    folder = tmp_path_factory.mktemp("stopped")
    for count in stops:
        train(new_model(), text("a"), RECIPE, keeping(folder), steps(count))
    model = new_model(seed=77)  # what a fresh process has before its checkpoint is read does not matter
    end = train(model, text("a"), RECIPE, keeping(folder), go_on)
    assert (end.tokens, bits(model)) == (WINDOWS * LENGTH, straight)


def test_a_death_costs_no_more_than_the_steps_since_the_last_checkpoint(tmp_path: Path) -> None:
    class Death(BaseException):
        pass

    def die(progress: Progress) -> bool:
        if progress.tokens >= 5 * 64:
            raise Death
        return True

    with pytest.raises(Death):
        train(new_model(), text("a"), RECIPE, keeping(tmp_path, every=8), die)
    model, seen = new_model(seed=5), list[int]()
    train(model, text("a"), RECIPE, keeping(tmp_path), lambda progress: not seen.append(progress.tokens))  # type: ignore[func-returns-value]
    assert (seen[0], bits(model)) == (4 * 64, trained(tmp_path / "straight")[0])


def test_a_finished_run_called_again_changes_nothing(tmp_path: Path) -> None:
    first, _ = trained(tmp_path)
    model, seen = new_model(), list[Progress]()
    train(model, text("a"), RECIPE, keeping(tmp_path), lambda progress: not seen.append(progress))  # type: ignore[func-returns-value]
    assert (seen, bits(model)) == ([Progress(352, 352, None)], first)


def test_no_tokens_leave_the_initial_weights(tmp_path: Path) -> None:
    none = Recipe(windows=0, length=LENGTH, batch=4, learning_rate=LearningRate(1e-2, 0, 0, 0))
    weights, _ = trained(tmp_path, recipe=none)
    assert weights == bits(new_model())
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_of_another_run_is_refused_with_what_differs(tmp_path: Path) -> None:
    train(new_model(), text("a"), RECIPE, keeping(tmp_path), steps(1))
    with pytest.raises(ConfigError, match=r"of another run: run 'a' \(now 'b'\); give the same settings"):
        train(new_model(), text("a"), RECIPE, keeping(tmp_path, run="b"), go_on)

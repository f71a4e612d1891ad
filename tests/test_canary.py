import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from reference_llama import canary_losses
from safetensors.torch import load_file, save_file

from pretrain.competition import Constraints
from pretrain.data import Samples
from pretrain.errors import Cause, EvaluatorUnavailable, ModelRejected, Reason
from pretrain.evaluate import Measurement, canary
from pretrain.evaluate.canary import CONSTRAINTS, TOLERANCE, VOCABULARY, Canary, canary_samples, expected, write_canary
from pretrain.evaluate.loss import window_losses
from pretrain.evaluate.sketch import sketch_of
from pretrain.models.header import weights_digest
from pretrain.models.load import load, load_with_digest
from pretrain.preview import Preview
from pretrain.types import Digest, TaskName


class InProcess:
    """An evaluator without a process, whose measurement a test may spoil."""

    engine = "in process"

    def __init__(self, spoil: Callable[[Measurement], Measurement] = lambda measured: measured) -> None:
        self._spoil = spoil

    async def inspect(self, preview: Preview, constraints: Constraints) -> None:
        raise AssertionError(f"a canary is ours: {preview}, {constraints}")

    async def losses(
        self, model: Path, samples: Samples, constraints: Constraints, _seconds: float | None = None
    ) -> Measurement:
        network, weights = load_with_digest(model, constraints, VOCABULARY, "cpu")
        losses = {task: window_losses(network, ids, batch=4, chunk=64) for task, ids in samples.tokens.items()}
        return self._spoil(
            Measurement(losses, weights, samples.digest, self.engine, 0.1, sketch_of(network, samples.digest))
        )


class Failing:
    engine = "failing"

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def inspect(self, preview: Preview, constraints: Constraints) -> None:
        raise AssertionError(f"a canary is ours: {preview}, {constraints}")

    async def losses(
        self, model: Path, samples: Samples, constraints: Constraints, _seconds: float | None = None
    ) -> Measurement:
        del model, samples, constraints
        raise self._error


def largest_difference(losses: Mapping[str, np.ndarray[tuple[int, ...], np.dtype[np.float64]]]) -> float:
    return max(float(np.abs(losses[task] - right).max()) for task, right in expected()[1].items())


def broken(spoil: Callable[[Measurement], Measurement], folder: Path) -> str:
    with pytest.raises(EvaluatorUnavailable) as caught:
        asyncio.run(Canary(InProcess(spoil), folder).check())
    assert caught.value.cause is None
    return str(caught.value)


def with_losses(change: Callable[[float], float]) -> Callable[[Measurement], Measurement]:
    def spoil(measured: Measurement) -> Measurement:
        losses = {task: values.copy() for task, values in measured.losses.items()}
        losses[TaskName("canary-b")][2] = change(float(losses[TaskName("canary-b")][2]))
        return replace(measured, losses=losses)

    return spoil


def test_the_pinned_losses_are_those_of_the_equations_in_float64() -> None:
    assert largest_difference(canary_losses()) < 1e-9


def test_the_tolerance_tells_rounding_from_mistakes(tmp_path: Path) -> None:
    write_canary(tmp_path)
    sound = asyncio.run(InProcess().losses(tmp_path, canary_samples(), CONSTRAINTS))
    weights = {name: tensor.to(torch.bfloat16) for name, tensor in load_file(tmp_path / "model.safetensors").items()}
    save_file(weights, tmp_path / "model.safetensors")
    narrow = asyncio.run(InProcess().losses(tmp_path, canary_samples(), CONSTRAINTS))
    assert largest_difference({str(task): values for task, values in sound.losses.items()}) < TOLERANCE / 50
    assert largest_difference({str(task): values for task, values in narrow.losses.items()}) > TOLERANCE * 10
    assert largest_difference(canary_losses(causal=False)) > TOLERANCE * 1000
    assert largest_difference(canary_losses(rotary=False)) > TOLERANCE * 1000


def test_the_canary_is_the_same_bits_every_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_canary(tmp_path / name)
    contents = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("a", "b")]
    assert contents[0] == contents[1]
    assert weights_digest(tmp_path / "a") == expected()[0]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["config.json", "model.safetensors"]
    assert canary_samples().digest == "2b3753a92d915911dc85b0bc83a593f2ab6215cabb6eff5d5c9e0d04cda89dff"


def test_a_sound_engine_passes(tmp_path: Path) -> None:
    assert 0 < asyncio.run(Canary(InProcess(), tmp_path).check()).difference < TOLERANCE / 50


def test_a_loss_that_is_a_little_off_is_noticed_and_named(tmp_path: Path) -> None:
    message = broken(with_losses(lambda loss: loss + 2 * TOLERANCE), tmp_path)
    assert "window 2 of canary-b" in message
    assert "expected 6.1421044 within 0.0001" in message


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), 0.0])
def test_a_loss_that_is_no_number_is_noticed(tmp_path: Path, value: float) -> None:
    assert "window 2 of canary-b" in broken(with_losses(lambda _: value), tmp_path)


def test_an_engine_that_scores_another_model_or_other_samples_is_noticed(tmp_path: Path) -> None:
    assert "weights digest" in broken(lambda measured: replace(measured, weights=Digest("0" * 64)), tmp_path)
    assert "samples" in broken(lambda measured: replace(measured, samples=Digest("0" * 64)), tmp_path)


def test_missing_windows_and_tasks_are_noticed(tmp_path: Path) -> None:
    assert "shapes" in broken(lambda measured: replace(measured, losses={}), tmp_path)
    short = {task: values[:1] for task, values in expected()[1].items()}
    assert "shapes" in broken(lambda measured: replace(measured, losses=short), tmp_path)


@pytest.mark.parametrize(
    "error",
    [
        ModelRejected(Reason.NOT_FINITE, "the loss of window 0 is NaN or infinite"),
        EvaluatorUnavailable("a child was killed", Cause.CRASHED),
        EvaluatorUnavailable("a child outlasted its deadline", Cause.TIMEOUT),
        OSError("no space left"),
    ],
)
def test_whatever_befalls_the_canary_is_this_validators_fault(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(EvaluatorUnavailable, match="canary could not be scored") as caught:
        asyncio.run(Canary(Failing(error), tmp_path).check())
    assert caught.value.cause is None


def test_a_damaged_canary_is_written_anew(tmp_path: Path) -> None:
    write_canary(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    (tmp_path / "config.json").write_text(json.dumps({**canary.CONFIGURATION, "rms_norm_eps": 0.5}))
    assert asyncio.run(Canary(InProcess(), tmp_path).check()).difference < TOLERANCE
    assert load(tmp_path, CONSTRAINTS, VOCABULARY, "cpu").config.rms_norm_eps == 1e-5

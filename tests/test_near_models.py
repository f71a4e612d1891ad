"""How far apart real models are: copies in many guises, kin, and strangers; at larger scale in docs/benchmarks.md.

All train on the bytes of the standard library's modules, in this process; a copy is judged in a child as in a step.
"""

import asyncio
import copy
import inspect
import json
import string
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import TOKENIZER, tiny_architecture, tiny_constraints, tiny_llama
from transformers import PreTrainedModel

from pretrain.competition import NearCopies
from pretrain.data import Samples
from pretrain.evaluate.loss import window_losses
from pretrain.evaluate.request import EngineSettings
from pretrain.evaluate.sketch import sketch_of
from pretrain.evaluate.worker import ProcessEvaluator
from pretrain.fingerprint import Fingerprint, fingerprint, loss_distance, weight_distance
from pretrain.models.files import INDEX, WEIGHTS
from pretrain.train.initial import initialise
from pretrain.train.loop import Keeping, Recipe, train
from pretrain.train.schedule import LearningRate
from pretrain.types import TaskName

T, STEPS = 32, 80
CONSTRAINTS = tiny_constraints(sequence_length=T)
TEXT = "".join(inspect.getsource(module) for module in (inspect, json, textwrap, string, copy, asyncio))
WINDOWS = np.frombuffer(TEXT.encode(), np.uint8)[: len(TEXT) // T * T].reshape(-1, T).astype(np.int32)
HELD_OUT, TRAINING = WINDOWS[::20], np.delete(WINDOWS, np.s_[::20], axis=0)
SAMPLES = Samples({TaskName("text"): HELD_OUT}, {TaskName("text"): np.full(len(HELD_OUT), T - 1, np.int64)})
RULE = NearCopies()
Change = Callable[[PreTrainedModel], PreTrainedModel]


def trained(folder: Path, model: PreTrainedModel, *, order: int, steps: int, rate: float = 5e-3) -> PreTrainedModel:
    """Train a model in place for some steps of 16 windows, in an order of its own."""
    shuffled = np.random.default_rng(order).permutation(len(TRAINING))
    total = 16 * steps * T
    recipe = Recipe(16 * steps, T, 16, LearningRate(peak=rate, warmup=total // 20, decay=total // 3, total=total))
    keeping = Keeping(folder / "checkpoint", 1 << 30, {"order": order, "steps": steps, "rate": rate})
    model.requires_grad_(requires_grad=True)
    train(model, lambda index: TRAINING[shuffled[index % len(shuffled)]], recipe, keeping, lambda _: True)
    keeping.path.unlink()
    return model.requires_grad_(requires_grad=False)


def begun(seed: int) -> PreTrainedModel:
    model = tiny_architecture().build(CONSTRAINTS, "cpu")
    initialise(model, seed, 2, 32)
    return model


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedModel:
    return trained(tmp_path_factory.mktemp("training"), begun(0), order=0, steps=STEPS)


def shown(model: PreTrainedModel) -> Fingerprint:
    losses = {task: window_losses(model, tokens, batch=64, chunk=4096) for task, tokens in SAMPLES.tokens.items()}
    return fingerprint(losses, sketch_of(model, SAMPLES.digest))


def near(one: PreTrainedModel, other: PreTrainedModel) -> tuple[bool, bool]:
    """Tell whether two models are near by losses, and by weights, under the bounds that are the default."""
    mine, theirs = shown(one), shown(other)
    weights = weight_distance(mine.sketch, theirs.sketch)
    assert weights is not None
    return loss_distance(mine, theirs) < RULE.losses, weights < RULE.weights


def noise(size: float) -> Change:
    """Move each matrix by normal noise, as a share of its weights' root mean square."""

    def change(model: PreTrainedModel) -> PreTrainedModel:
        generator = torch.Generator().manual_seed(1)
        for matrix in (parameter for parameter in model.parameters() if parameter.dim() > 1):
            matrix.add_(torch.randn(matrix.shape, generator=generator), alpha=size * float(matrix.pow(2).mean().sqrt()))
        return model

    return change


def permuted(model: PreTrainedModel) -> PreTrainedModel:
    """Give the hidden units of each inner layer another order, which changes nothing that is computed."""
    for layer in model.model.layers:
        order = torch.arange(layer.mlp.gate_proj.weight.shape[0]).flip(0)
        for projection in (layer.mlp.gate_proj, layer.mlp.up_proj):
            projection.weight.copy_(projection.weight[order])
        layer.mlp.down_proj.weight.copy_(layer.mlp.down_proj.weight[:, order])
    return model


def scaled(model: PreTrainedModel) -> PreTrainedModel:
    """Make values 8 times as large and what reads them as much smaller, which changes nothing that is computed."""
    for layer in model.model.layers:
        layer.self_attn.v_proj.weight.mul_(8)
        layer.self_attn.o_proj.weight.div_(8)
    return model


def bolder(model: PreTrainedModel) -> PreTrainedModel:
    model.model.norm.weight.mul_(1.05)
    return model


def rounded(model: PreTrainedModel) -> PreTrainedModel:
    torch.nn.Module.bfloat16(model)
    return model


@pytest.mark.parametrize(
    ("change", "by_losses", "by_weights"),
    [
        (noise(1e-4), True, True),
        (noise(1e-3), True, True),
        (noise(0.03), False, True),
        (noise(0.3), False, False),
        (rounded, True, True),
        (permuted, True, False),
        (scaled, True, False),
        (bolder, False, True),
    ],
    ids=["noise 0.0001", "noise 0.001", "noise 0.03", "noise 0.3", "bfloat16", "permuted", "scaled", "bolder"],
)
def test_what_a_copy_in_disguise_is_known_by(
    original: PreTrainedModel, change: Change, *, by_losses: bool, by_weights: bool
) -> None:
    with torch.no_grad():
        disguised = change(copy.deepcopy(original))

    assert near(original, disguised) == (by_losses, by_weights)


@pytest.mark.parametrize(("seed", "order"), [(1, 0), (1, 1), (0, 1)], ids=["seed", "seed and order", "order"])
def test_models_that_are_trained_apart_are_not_near(
    original: PreTrainedModel, tmp_path: Path, seed: int, order: int
) -> None:
    assert near(original, trained(tmp_path, begun(seed), order=order, steps=STEPS)) == (False, False)


def test_a_copy_that_was_trained_on_a_little_is_known_by_its_weights(original: PreTrainedModel, tmp_path: Path) -> None:
    assert near(original, trained(tmp_path, copy.deepcopy(original), order=1, steps=10, rate=3e-4))[1] is True


def test_a_permuted_copy_that_was_trained_on_is_not_seen(original: PreTrainedModel, tmp_path: Path) -> None:
    with torch.no_grad():
        disguised = permuted(copy.deepcopy(original))

    assert near(original, trained(tmp_path, disguised, order=1, steps=10, rate=3e-4)) == (False, False)


def test_a_resharded_and_reordered_copy_has_the_very_sketch_and_losses(tmp_path: Path) -> None:
    folder, sharded = tiny_llama(tmp_path / "one"), tmp_path / "sharded"
    sharded.mkdir()
    tensors = load_file(folder / WEIGHTS)
    backwards = sorted(tensors, reverse=True)
    shards = {f"part-{index}.safetensors": backwards[index::3] for index in range(3)}
    for name, held in shards.items():
        save_file({tensor: tensors[tensor] for tensor in held}, sharded / name)
    weight_map = {tensor: name for name, held in shards.items() for tensor in held}
    (sharded / INDEX).write_text(json.dumps({"weight_map": weight_map}))
    (sharded / "config.json").write_bytes((folder / "config.json").read_bytes())

    with ProcessEvaluator(EngineSettings(), {TOKENIZER: 256}) as evaluator:
        one, other = (asyncio.run(evaluator.losses(path, SAMPLES, CONSTRAINTS)) for path in (folder, sharded))

    assert (one.sketch.shapes, one.sketch.values.tobytes()) == (other.sketch.shapes, other.sketch.values.tobytes())
    assert one.losses[TaskName("text")].tobytes() == other.losses[TaskName("text")].tobytes()
    assert set(one.sketch.values.tolist()) <= {w for t in tensors.values() if t.dim() > 1 for w in t.flatten().tolist()}

"""The probes of a model on honest ones: how many they refuse, what moves, and what they cost beside the losses.

Small models of every family, half of them as initialised and half briefly trained on real text, are judged on windows
of the standard library's prose and code; tokens are UTF-8 bytes. None reads its answers, so none may be refused.
"""

import copy
import tempfile
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from transformers import PreTrainedModel

from pretrain.competition import Constraints
from pretrain.data import Samples
from pretrain.data.held_out import Split
from pretrain.data.stdlib import Kind, open_stdlib
from pretrain.errors import ConfigError, ModelRejected
from pretrain.evaluate.loss import window_losses
from pretrain.evaluate.probes import check, observe, tolerance
from pretrain.models.architectures import Architecture
from pretrain.models.families import FAMILIES
from pretrain.train.initial import initialise
from pretrain.train.loop import Keeping, Recipe, train
from pretrain.train.schedule import LearningRate
from pretrain.types import TaskName

VOCABULARY = 256
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
TASKS: tuple[Kind, ...] = ("stdlib-code", "stdlib-prose")

_LAYERS, _HIDDEN, _HEADS = 2, 64, 4
_SIZES = {
    **dict.fromkeys(("vocab_size",), VOCABULARY),
    **dict.fromkeys(("hidden_size", "d_model", "n_embd"), _HIDDEN),
    **dict.fromkeys(("intermediate_size", "decoder_ffn_dim"), 2 * _HIDDEN),
    **dict.fromkeys(("num_hidden_layers", "decoder_layers", "n_layer"), _LAYERS),
    **dict.fromkeys(("num_attention_heads", "decoder_attention_heads", "n_head"), _HEADS),
    **dict.fromkeys(("num_key_value_heads",), _HEADS // 2),
    **dict.fromkeys(("head_dim", "query_pre_attn_scalar"), _HIDDEN // _HEADS),
}
"""By the name that a family has for it."""
_POSITIONS = ("max_position_embeddings", "n_positions")
_RECIPE = Recipe(windows=96, length=32, batch=8, learning_rate=LearningRate(1e-2, 512, 1024, 96 * 32))
"""Twelve steps."""


@dataclass(frozen=True)
class Setting:
    """How models are judged."""

    length: int
    """Tokens of a window."""
    windows: int
    """Of each of the two tasks."""
    batch: int = 8
    chunk: int = 1024
    threads: int = 1
    device: str = "cpu"


@dataclass(frozen=True)
class Row:
    """What models of one family and dtype did."""

    family: str
    dtype: str
    models: int
    refused: tuple[str, ...]
    """A line for each model that was refused: false alarms, all of them."""
    movement: float
    """Largest movement of a hidden state, as a part of its largest number."""
    losses_seconds: float
    probes_seconds: float

    @property
    def ratio(self) -> float:
        """The time of the probes by that of the losses."""
        return self.probes_seconds / self.losses_seconds


def measure(family: str, dtype: str, models: int, setting: Setting) -> Row:
    """Judge ``models`` models, every second one trained, each from a seed of its own.

    Raises ConfigError when the standard library has less text than the windows take.
    """
    torch.set_num_threads(setting.threads)
    samples = text(setting.length, setting.windows)
    refused, movement, losses, probes = [], 0.0, 0.0, 0.0
    for seed in range(models):
        model = copy.deepcopy(honest(family, seed, trained=seed % 2 == 1, length=setting.length))
        torch.nn.Module.to(model, setting.device, DTYPES[dtype])
        begun = time.perf_counter()
        try:
            for windows in samples.tokens.values():
                window_losses(model, windows, batch=setting.batch, chunk=setting.chunk)
            between = time.perf_counter()
            found = observe(model, samples, VOCABULARY, batch=setting.batch, chunk=setting.chunk)
            losses, probes = losses + between - begun, probes + time.perf_counter() - between
            movement = max(movement, found.movement)
            check(found, VOCABULARY, tolerance(model))
        except ModelRejected as error:
            refused.append(f"seed {seed}: {error}")
    return Row(family, dtype, models, tuple(refused), movement, losses, probes)


@cache
def honest(family: str, seed: int, *, trained: bool, length: int) -> PreTrainedModel:
    """Return a small model of a family in float32, in evaluation mode and without gradients; made once, so copy it."""
    fields = FAMILIES[family].fields
    sizes = {name: size for name, size in _SIZES.items() if name in fields}
    positions = {name: max(length, _RECIPE.length) for name in _POSITIONS if name in fields}
    model = Architecture.of(family, **sizes, **positions).build(_constraints(length), "cpu")
    initialise(model, seed, _LAYERS, _HIDDEN)
    if trained:
        with tempfile.TemporaryDirectory() as folder:
            keeping = Keeping(Path(folder) / "checkpoint.safetensors", _RECIPE.windows, {"seed": seed})
            train(model, lambda index: _training_window(seed, index), _RECIPE, keeping, lambda _: True)
    model.train(mode=False)
    model.requires_grad_(requires_grad=False)
    return model


def text(length: int, windows: int) -> Samples:
    """Return ``windows`` windows of held-out text for each task; raises ConfigError when there are too few."""
    tokens = {}
    for task in TASKS:
        content = _bytes(task, "judge")
        if len(content) < length * windows:
            most = len(content) // length
            raise ConfigError(f"{task} has {most} windows of {length} tokens; {windows} were asked for: use fewer")
        tokens[TaskName(task)] = content[: length * windows].reshape(windows, length)
    return Samples(tokens, {task: np.full(windows, length - 1, np.int64) for task in tokens})


def _training_window(seed: int, index: int) -> npt.NDArray[np.int32]:
    content, length = _bytes("stdlib-prose", "train"), _RECIPE.length
    start = (seed * _RECIPE.windows + index) * length % (len(content) - length)
    return content[start : start + length]


@cache
def _bytes(task: Kind, split: Split) -> npt.NDArray[np.int32]:
    return np.frombuffer("\n".join(open_stdlib(task, split).texts).encode(), np.uint8).astype(np.int32)


def _constraints(length: int) -> Constraints:
    return Constraints(
        families=cast("Any", tuple(FAMILIES)),
        tokenizer="bytes",
        sequence_length=length,
        min_parameters=1,
        max_parameters=10_000_000,
        max_bytes=100_000_000,
    )

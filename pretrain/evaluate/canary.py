"""A small model whose losses are known: scored first in every step, it tells a sound engine from a broken one.

Weights and windows are bytes of SHAKE-256 (FIPS 202), so they are the same bits on every machine and with every
library. ``canary.json`` holds the losses that the equations of Llama give in float64, as ``tests/reference_llama.py``
writes them down in numpy alone; the engine under test had no part in them.
"""

import hashlib
import json
import math
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file

from pretrain.competition import Constraints
from pretrain.data import Samples
from pretrain.errors import EvaluatorUnavailable, PretrainError
from pretrain.evaluate import Evaluator, Measurement
from pretrain.evaluate.deadline import Health, Speed, work
from pretrain.models.files import CONFIG, WEIGHTS
from pretrain.types import TaskName

TOKENIZER = "pretrain.canary"
"""The name under which an evaluator must know ``VOCABULARY``."""

VOCABULARY = 256

TOLERANCE = 1e-4
"""Nats in any window.

Measured on the canary: float32 rounding moves a window by 3e-7, so this is some 300 times what a sound engine needs;
float16 moves one by 6e-4, bfloat16 by 3e-3, a missing causal mask by 0.3, a missing rotary embedding by 0.2
(``tests/test_canary.py``).
"""

CONSTRAINTS = Constraints(
    families=("llama",),
    tokenizer=TOKENIZER,
    sequence_length=64,
    min_parameters=1,
    max_parameters=1_000_000,
    max_bytes=4_000_000,
)

CONFIGURATION = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": VOCABULARY,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10_000.0,
    "tie_word_embeddings": False,
}
"""The config.json of the canary."""

_TASKS = (TaskName("canary-a"), TaskName("canary-b"))
_WINDOWS = 4
_SHORTEST = 1e-3  # seconds; no child is faster


class Canary:
    """The pinned model in a folder, and the evaluator that must know its losses."""

    def __init__(self, evaluator: Evaluator, folder: Path) -> None:
        self._evaluator = evaluator
        self._folder = folder

    async def check(self) -> Health:
        """Score the canary and return how far off its losses are, and how fast this machine was.

        Raises EvaluatorUnavailable, always without a cause, when it cannot be scored, other weights or samples were, or
        the difference is above ``TOLERANCE``: nobody but this validator can be at fault for its canary.
        """
        try:
            write_canary(self._folder)
            measured = await self._evaluator.losses(self._folder, canary_samples(), CONSTRAINTS)
        except (PretrainError, OSError) as error:
            raise EvaluatorUnavailable(f"the canary could not be scored: {error}") from error
        difference = _compare(measured)
        size = sum(file.stat().st_size for file in self._folder.glob("*.safetensors"))
        return Health(difference, Speed(work(size, canary_samples()) / max(measured.seconds, _SHORTEST)))


def canary_weights() -> dict[str, npt.NDArray[np.float32]]:
    """Return the canary's tensors: norms around one, embeddings of unit size, matrices that keep the signal's size."""
    hidden, inner = 64, 160
    matrices = {"model.embed_tokens.weight": (VOCABULARY, hidden), "lm_head.weight": (VOCABULARY, hidden)}
    norms = ["model.norm.weight"]
    for layer in ("model.layers.0.", "model.layers.1."):
        norms += [layer + "input_layernorm.weight", layer + "post_attention_layernorm.weight"]
        matrices |= {
            layer + "self_attn.q_proj.weight": (hidden, hidden),
            layer + "self_attn.k_proj.weight": (hidden // 2, hidden),
            layer + "self_attn.v_proj.weight": (hidden // 2, hidden),
            layer + "self_attn.o_proj.weight": (hidden, hidden),
            layer + "mlp.gate_proj.weight": (inner, hidden),
            layer + "mlp.up_proj.weight": (inner, hidden),
            layer + "mlp.down_proj.weight": (hidden, inner),
        }
    weights = {name: _uniform(name, shape) / 4 for name, shape in matrices.items()}
    weights |= {name: 1 + _uniform(name, (hidden,)) / 4 for name in norms}
    return {name: values.astype(np.float32) for name, values in weights.items()}


@cache
def canary_samples() -> Samples:
    """Return the pinned windows: ids that are bytes of SHAKE-256."""
    shape = (_WINDOWS, CONSTRAINTS.sequence_length)
    ids = {task: np.frombuffer(_shake(task, math.prod(shape)), np.uint8) for task in _TASKS}
    tokens = {task: values.astype(np.int32).reshape(shape) for task, values in ids.items()}
    return Samples(tokens, {task: np.full(_WINDOWS, shape[1] - 1, np.int64) for task in _TASKS})


def write_canary(folder: Path) -> None:
    """Write the canary's two files, each beside its place and then renamed, so that no reader sees half of one."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(canary_weights(), folder / f"{WEIGHTS}.tmp")
    (folder / f"{WEIGHTS}.tmp").replace(folder / WEIGHTS)
    (folder / f"{CONFIG}.tmp").write_text(json.dumps(CONFIGURATION), encoding="utf-8")
    (folder / f"{CONFIG}.tmp").replace(folder / CONFIG)


@cache
def expected() -> tuple[str, dict[TaskName, npt.NDArray[np.float64]]]:
    """Return the pinned weights digest and losses by task, in nats."""
    pinned = json.loads(files("pretrain.evaluate").joinpath("canary.json").read_text(encoding="utf-8"))
    return pinned["weights"], {TaskName(task): np.array(values) for task, values in pinned["losses"].items()}


def _compare(measured: Measurement) -> float:
    """Return the largest difference in nats, if a sound engine can have it; raises EvaluatorUnavailable, naming it."""
    weights, losses = expected()
    if measured.weights != weights:
        raise EvaluatorUnavailable(f"the canary's weights digest is {measured.weights}; expected {weights}")
    if measured.samples != canary_samples().digest:
        raise EvaluatorUnavailable(f"the canary's samples are {measured.samples}; expected {canary_samples().digest}")
    shapes = {task: values.shape for task, values in measured.losses.items()}
    if shapes != {task: values.shape for task, values in losses.items()}:
        raise EvaluatorUnavailable(f"the canary has losses of shapes {shapes}; expected {_WINDOWS} each of {_TASKS}")
    off = {task: np.nan_to_num(np.abs(measured.losses[task] - losses[task]), nan=np.inf) for task in losses}
    worst = max(sorted(off), key=lambda task: float(off[task].max()))
    if not off[worst].max() <= TOLERANCE:
        window = int(off[worst].argmax())
        found, right = measured.losses[worst][window], losses[worst][window]
        raise EvaluatorUnavailable(
            f"the canary's loss in window {window} of {worst} is {found:.8g} nats; expected {right:.8g}"
            f" within {TOLERANCE:g}: this engine ({measured.engine}) does not compute what it should"
        )
    return float(off[worst].max())


def _shake(name: str, size: int) -> bytes:
    return hashlib.shake_256(f"pretrain canary 1: {name}".encode()).digest(size)


def _uniform(name: str, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Numbers in [-1, 1) with 24 bits, exact in float32 and float64."""
    raw = np.frombuffer(_shake(name, 4 * math.prod(shape)), dtype="<u4")
    return ((raw >> 8).astype(np.float64) / (1 << 23) - 1).reshape(shape)

"""Attacks by config.json."""

import math
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import take_out
from attack import Attack
from crafted import built, configured, honest, of_family, oracle, tensors, weighed, with_config_text
from gates import SCORED, Attempt, Files
from take_out import all_of, constant, entry, without
from tiny import tiny_architecture
from transformers import AutoModelForCausalLM, PreTrainedModel, dynamic_module_utils

from pretrain.competition import Constraints
from pretrain.errors import Reason
from pretrain.evaluate import child
from pretrain.models import architectures, checks, family, hostile_json, rotary
from pretrain.models.architectures import Architecture
from pretrain.models.families import FAMILIES
from pretrain.models.family import NEUTRAL, nothing_unread
from pretrain.models.fields import Whole, whole_value
from pretrain.models.files import CONFIG
from pretrain.models.header import weights_digest
from pretrain.models.rotary import SHARE, THETA, Rotary
from pretrain.types import Digest

LARGEST = {
    "hidden_size": 65_536,
    "intermediate_size": 1 << 20,
    "num_attention_heads": 512,
    "num_key_value_heads": 512,
    "head_dim": 128,
    "num_hidden_layers": 512,
}
"""The largest sizes that are read at all."""

_BUILD = Architecture.build

spent: list[int] = []
"""Bytes of the networks that were built off the meta device."""


executed: list[str] = []
"""What a miner's code did."""

_AUTO, _MODULE = "AutoModelForCausalLM", "miners_model"
_CODE = b"""
import attacks_by_configs
from transformers import LlamaForCausalLM

attacks_by_configs.executed.append("code of a miner")


class Model(LlamaForCausalLM):
    pass
"""


def _load_as_a_library_does(folder: Path, *_: object) -> tuple[PreTrainedModel, Digest]:
    with tempfile.TemporaryDirectory() as modules, pytest.MonkeyPatch.context() as patch:
        patch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", modules)
        patch.setattr(sys, "path", [*sys.path, modules])
        model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)
    return model, weights_digest(folder)


def _has_no_loss(tried: Attempt) -> bool:
    """Say that it was scored with a loss that no other is smaller than."""
    return tried.outcome == SCORED and tried.loss is not None and not math.isfinite(tried.loss)


def _was_scored(tried: Attempt) -> bool:
    return tried.outcome == SCORED


def _encoded(raw: Callable[[bytes], bytes]) -> Files:
    return {**honest(), CONFIG: raw(honest()[CONFIG])}


def _widened() -> Files:
    """Return a network with a layer 20 times as wide as its states."""
    wide = {
        name: tensor.repeat(10, 1) if "gate_proj" in name or "up_proj" in name else tensor.repeat(1, 10)
        for name, tensor in tensors(honest()).items()
        if ".mlp." in name
    }
    return weighed(configured(honest(), intermediate_size=640), {**tensors(honest()), **wide})


def _build_and_count(self: Architecture, constraints: Constraints, device: str = "cpu") -> PreTrainedModel:
    model = _BUILD(self, constraints, "cpu" if device == "meta" else device)
    spent.append(sum(parameter.nbytes for parameter in model.parameters()))
    return model


def _config(
    name: str,
    build: Callable[[], Files],
    guard: str,
    out: take_out.TakeOut | None,
    *,
    most: int = 3_100,
    **more: Any,  # noqa: ANN401 - what ``Attack`` takes
) -> Attack:
    """Refused as ``ARCHITECTURE`` by the first kilobytes."""
    return Attack(name, build, "config and headers", Reason.ARCHITECTURE, most, guard, out, **more)


def _says(
    name: str, guard: str, out: take_out.TakeOut | None, base: Callable[[], Files] = honest, **fields: object
) -> Attack:
    """Be refused for fields of config.json."""
    won = _has_no_loss if "rope_theta" in fields else _was_scored
    return _config(name, lambda: configured(base(), **fields), guard, out, succeeds=won)


def _text(name: str, more: str, guard: str, out: take_out.TakeOut, **rest: Any) -> Attack:  # noqa: ANN401
    """Be refused for what a strict reader of JSON refuses."""
    return _config(name, lambda: with_config_text(honest(), more), guard, out, **rest)


def _lenient(encoding: str | None) -> take_out.TakeOut:
    """Read any JSON, in an encoding, or in one that is guessed."""
    return take_out.json_by(lambda raw: raw if encoding is None else raw.decode(encoding, "replace"))


def _harmless(name: str, **fields: object) -> Attack:
    """Be scored by the weights alone, whatever the config says."""
    return Attack(name, lambda: configured(honest(), **fields), SCORED, SCORED, 150_000, "only named fields are read")


_JSON = (
    _config(
        "a config nested 20,000 deep",
        lambda: with_config_text(honest(), '"x": ' + "[" * 20_000 + "]" * 20_000),
        "`hostile_json.parse_object`",
        take_out.any_json,
        most=43_000,
        succeeds=lambda tried: tried.outcome == "crash: RecursionError",
    ),
    _text(
        "a whole number of 5,000 digits",
        '"x": ' + "9" * 5_000,
        "`hostile_json.parse_object`",
        take_out.any_json,
        most=7_600,
        succeeds=lambda tried: tried.outcome == "crash: ValueError",
    ),
    _text(
        "a number that overflows a double",
        '"x": 1e999',
        "`hostile_json._finite_float`",
        constant(hostile_json, "_finite_float", float),
    ),
    _says(
        "a NaN as the base of rotary embeddings",
        "`hostile_json._no_constant` and `fields.number` and every look at what is finite",
        all_of(
            constant(hostile_json, "_no_constant", float),
            constant(rotary, "number", lambda value, *_: float(value)),
            take_out.must_be_finite,
        ),
        rope_theta=math.nan,
    ),
    _text("a field twice", '"rope_theta": 5000.0', "`hostile_json._unique`", take_out.names_are_unique),
    _config(
        "bytes that are no UTF-8",
        lambda: _encoded(lambda raw: raw.replace(b'"llama"', b'"llama", "x": "\xff"')),
        "`hostile_json.parse_object`",
        _lenient("utf-8"),
    ),
    _config(
        "a byte order mark",
        lambda: _encoded(lambda raw: b"\xef\xbb\xbf" + raw),
        "`hostile_json.parse_object`",
        _lenient(None),
    ),
    _config(
        "a config in UTF-16",
        lambda: _encoded(lambda raw: raw.decode().encode("utf-16")),
        "`hostile_json.parse_object`",
        _lenient(None),
    ),
)

_COMPUTATIONS = (
    _config(
        "`is_causal: false`, in a network made to read the next token",
        lambda: configured(oracle(), is_causal=False),
        "`family.NEUTRAL` and `family.FIXED` and the attention modules' own flag and the probes",
        all_of(
            without(NEUTRAL, "is_causal"),
            entry(family.FIXED, "is_causal", value=False),
            constant(architectures, "hasattr", lambda *_: False),
            take_out.probes,
        ),
        succeeds=lambda tried: tried.loss is not None and tried.loss < 0.01,
    ),
    _says(
        "`use_bidirectional_attention`",
        "`family.NEUTRAL`",
        without(NEUTRAL, "use_bidirectional_attention"),
        lambda: of_family("gemma"),
        use_bidirectional_attention=True,
    ),
    _says(
        "`quantization_config`",
        "`family.NEUTRAL`",
        without(NEUTRAL, "quantization_config"),
        quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True},
    ),
    _says(
        "a window of attention shorter than the competition's",
        "`checks._check_window`",
        constant(checks, "_check_window", take_out.nothing),
        lambda: of_family("mistral"),
        sliding_window=16,
    ),
    _says(
        "a short window of attention in some layers",
        "`checks._check_window`",
        constant(checks, "_check_window", take_out.nothing),
        lambda: of_family("gemma2"),
        sliding_window=16,
        layer_types=["full_attention", "sliding_attention"],
    ),
    _says(
        "rotary embeddings that scale with the length (dynamic NTK)",
        "`rotary.ropes`",
        constant(rotary, "ropes", lambda _: []),
        rope_scaling={"rope_type": "dynamic", "factor": 4.0},
    ),
    _says(
        "rotary embeddings that differ by layer",
        "`rotary.ropes`",
        constant(rotary, "ropes", lambda _: []),
        rope_parameters={"full_attention": {"rope_type": "default", "rope_theta": 5.0}},
    ),
    _says(
        "two bases of rotary embeddings",
        "`rotary.Rotary.read`",
        constant(Rotary, "read", lambda self, *_: self.absent),
        rope_parameters={"rope_type": "default", "rope_theta": 5.0},
    ),
    _says(
        "a negative base of rotary embeddings, which makes every loss NaN",
        "`rotary._BOUNDS` and every look at what is finite",
        all_of(constant(rotary, "_BOUNDS", {THETA: (-1e9, 1e9), SHARE: (0.0, 1.0)}), take_out.must_be_finite),
        rope_theta=-10_000.0,
    ),
)

_SIZES = (
    _config(
        "a GPT-2 with 100,000 learned positions",
        lambda: of_family("gpt2", positions=100_000),
        "`max_parameters`",
        None,
        lenient={"max_parameters": 1_000_000_000},
    ),
    _config(
        "a Bart with 100,000 learned positions",
        lambda: of_family("bart", positions=100_000),
        "`max_parameters`",
        None,
        most=6_800,
        lenient={"max_parameters": 1_000_000_000},
    ),
    _config(
        "too small a GPT-2, with positions that no window reaches",
        lambda: of_family("gpt2", positions=2_000, n_embd=8),
        "`checks.gpt2_unread`",
        entry(FAMILIES, "gpt2", replace(FAMILIES["gpt2"], unread=nothing_unread)),
    ),
    _config(
        "600 layers",
        lambda: configured(honest(), num_hidden_layers=600),
        "`families._LAYERS`",
        all_of(
            entry(
                FAMILIES,
                "llama",
                replace(FAMILIES["llama"], fields={**FAMILIES["llama"].fields, "num_hidden_layers": Whole(1 << 30)}),
            ),
            constant(Architecture, "build", _build_and_count),
        ),
        succeeds=lambda _: spent[-1] > 20_000_000,
    ),
    _config(
        "a network of 74 MB, of which only the config is there",
        lambda: configured(honest(), hidden_size=1024, intermediate_size=4096, head_dim=256, num_hidden_layers=1),
        "the meta device, in `Architecture.build`",
        constant(Architecture, "build", _build_and_count),
        succeeds=lambda _: spent[-1] > 60_000_000,
    ),
    _config(
        "512 layers of 65,536: a trillion parameters, of which only the config is there",
        lambda: configured(honest(), **LARGEST),
        "`max_parameters`",
        None,
        succeeds=lambda tried: tried.outcome == Reason.HEADER,
        lenient={"max_parameters": 1 << 50},
    ),
    _config(
        "a layer 20 times as wide as its states",
        _widened,
        "`family.MOST_WIDENING`",
        constant(family, "MOST_WIDENING", 1 << 20),
    ),
    _config(
        "a vocabulary smaller than the tokenizer's",
        lambda: dict(built(tiny_architecture(vocab=128))),
        "`architectures.read_config`",
        constant(architectures, "whole_value", lambda values, name: max(256, whole_value(values, name))),
        succeeds=lambda tried: tried.outcome == "crash: IndexError",
    ),
    _config(
        "a vocabulary larger than the tokenizer's, rounded up",
        lambda: dict(built(tiny_architecture(vocab=512))),
        "`architectures.VOCABULARY_MULTIPLE`",
        constant(architectures, "VOCABULARY_MULTIPLE", 1 << 16),
    ),
    _config(
        "fewer parameters than the competition allows",
        lambda: dict(built(tiny_architecture(hidden=8))),
        "`min_parameters`",
        None,
        lenient={"min_parameters": 1},
    ),
    _config(
        "more parameters than the competition allows",
        honest,
        "`max_parameters`",
        None,
        rules={"max_parameters": 20_000},
        lenient={"max_parameters": 1_000_000},
    ),
    _config(
        "a family that the competition does not allow",
        lambda: of_family("gpt2"),
        "`families`",
        None,
        rules={"families": ("llama",)},
        lenient={"families": ("llama", "gpt2")},
    ),
)

HARMLESS = (
    Attack(
        "`auto_map` with code: neither is read",
        lambda: {**configured(honest(), auto_map={_AUTO: f"{_MODULE}.Model"}), f"{_MODULE}.py": _CODE},
        SCORED,
        SCORED,
        150_000,
        "only named fields are read, and only the files of a model",
        all_of(take_out.every_file_is_of_the_model, constant(child, "load_with_digest", _load_as_a_library_does)),
        succeeds=lambda _: bool(executed),
    ),
    _harmless("`architectures` with another class: never read", architectures=["GPT2LMHeadModel"]),
    _harmless("a Llama with a billion positions: never read", max_position_embeddings=1_000_000_000),
)
"""Those whose loss must be that of the honest model, to the bit."""

ATTACKS = (*_JSON, *_COMPUTATIONS, *_SIZES, *HARMLESS)

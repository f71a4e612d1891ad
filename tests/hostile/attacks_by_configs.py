"""Attacks by the fields of config.json that say what a network computes, or what code to run."""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import take_out
from attack import Attack, happened
from config_attack import config, says
from crafted import configured, honest, of_family, oracle
from gates import SCORED, Attempt
from take_out import all_of, constant, entry, without
from transformers import AutoModelForCausalLM, PreTrainedModel, dynamic_module_utils

from pretrain.evaluate import child
from pretrain.models import architectures, checks, family, rotary
from pretrain.models.families import FAMILIES
from pretrain.models.family import NEUTRAL
from pretrain.models.header import weights_digest
from pretrain.models.rotary import SHARE, THETA, Rotary
from pretrain.types import Digest

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


def _knows_the_answers(tried: Attempt) -> bool:
    return tried.loss is not None and tried.loss < 0.01


def _harmless(name: str, **fields: object) -> Attack:
    """Be scored by the weights alone, whatever the config says."""
    return Attack(name, lambda: configured(honest(), **fields), SCORED, SCORED, 150_000, "only named fields are read")


_COMPUTATIONS = (
    config(
        "`is_causal: false`, in a network made to read the next token",
        lambda: configured(oracle(), is_causal=False),
        "`family.NEUTRAL` and `family.FIXED` and the probes",
        all_of(
            without(NEUTRAL, "is_causal"),
            entry(family.FIXED, "is_causal", value=False),
            take_out.probes,
        ),
        succeeds=_knows_the_answers,
    ),
    config(
        "`use_bidirectional_attention`, in a Gemma made to read the next token",
        lambda: configured(oracle("gemma"), use_bidirectional_attention=True),
        "`family.NEUTRAL` and `Family.configured` and `family.FIXED` and the flags that `Architecture.build` sets"
        " and the probes",
        all_of(
            without(NEUTRAL, "use_bidirectional_attention"),
            entry(family.FIXED, "use_bidirectional_attention", value=True),
            without(family.FIXED, "is_causal"),
            constant(architectures, "hasattr", lambda *_: False),
            take_out.probes,
        ),
        succeeds=_knows_the_answers,
    ),
    says(
        "`quantization_config`",
        "`family.NEUTRAL`",
        without(NEUTRAL, "quantization_config"),
        quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True},
    ),
    says(
        "another activation than the family's",
        "`Family.activation`",
        entry(FAMILIES, "llama", replace(FAMILIES["llama"], activation=("hidden_act", ("silu", "relu")))),
        hidden_act="relu",
    ),
    says(
        "ALiBi in a Falcon, in place of rotary embeddings",
        "`Family.neutral`",
        entry(FAMILIES, "falcon", replace(FAMILIES["falcon"], neutral={})),
        lambda: of_family("falcon"),
        alibi=True,
    ),
    says(
        "a window of attention shorter than the competition's",
        "`checks._check_window`",
        constant(checks, "_check_window", take_out.nothing),
        lambda: of_family("mistral"),
        sliding_window=16,
    ),
    says(
        "a short window of attention in some layers",
        "`checks._check_window`",
        constant(checks, "_check_window", take_out.nothing),
        lambda: of_family("gemma2"),
        sliding_window=16,
        layer_types=["full_attention", "sliding_attention"],
    ),
    says(
        "rotary embeddings that scale with the length (dynamic NTK)",
        "`rotary.ropes`",
        constant(rotary, "ropes", lambda _: []),
        rope_scaling={"rope_type": "dynamic", "factor": 4.0},
    ),
    says(
        "rotary embeddings that differ by layer",
        "`rotary.ropes`",
        constant(rotary, "ropes", lambda _: []),
        rope_parameters={"full_attention": {"rope_type": "default", "rope_theta": 5.0}},
    ),
    says(
        "two bases of rotary embeddings",
        "`rotary.Rotary.read`",
        constant(Rotary, "read", lambda self, *_: self.absent),
        rope_parameters={"rope_type": "default", "rope_theta": 5.0},
    ),
    says(
        "a negative base of rotary embeddings, which makes every loss NaN",
        "`rotary._BOUNDS` and every look at what is finite",
        all_of(constant(rotary, "_BOUNDS", {THETA: (-1e9, 1e9), SHARE: (0.0, 1.0)}), take_out.must_be_finite),
        rope_theta=-10_000.0,
    ),
)

_HARMLESS = (
    Attack(
        "`auto_map` with code: neither is read",
        lambda: {**configured(honest(), auto_map={_AUTO: f"{_MODULE}.Model"}), f"{_MODULE}.py": _CODE},
        SCORED,
        SCORED,
        150_000,
        "`names.may_be_of_a_model` and `files._model_names` and the committed hash and our own loader",
        all_of(take_out.every_file_is_of_the_model, constant(child, "load_with_digest", _load_as_a_library_does)),
        succeeds=lambda _: happened(executed),
    ),
    _harmless("`architectures` with another class: never read", architectures=["GPT2LMHeadModel"]),
    _harmless("a Llama with a billion positions: never read", max_position_embeddings=1_000_000_000),
)

ATTACKS = (*_COMPUTATIONS, *_HARMLESS)

import contextlib
import copy
import json
import math
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import tiny_constraints, tiny_families
from transformers.activations import ACT2FN

from pretrain import competition
from pretrain.errors import ModelRejected, Reason
from pretrain.models.architectures import Architecture, check_header, read_config
from pretrain.models.families import FAMILIES
from pretrain.models.family import NEUTRAL
from pretrain.models.header import StoredTensor
from pretrain.models.rotary import SHARE, THETA, Rotary

CONSTRAINTS = tiny_constraints()
VOCABULARY = 250
TINY = tiny_families()
each_family = pytest.mark.parametrize("family", TINY)


def test_a_competition_may_name_exactly_the_families_that_can_be_built() -> None:
    assert set(get_args(competition.Family)) == set(FAMILIES) == set(TINY)


@each_family
def test_the_defaults_are_those_of_the_library(family: str) -> None:
    theirs: Any = FAMILIES[family].config()
    rope = {name: theirs.rope_parameters[name] for name in (THETA, SHARE) if name in FAMILIES[family].fields}
    expected = {name: rope.get(name, getattr(theirs, name, None)) for name in FAMILIES[family].fields}
    derived = {"qwen2": {"head_dim": 128}, "gpt2": {"n_inner": 3072}, "falcon": {"num_ln_in_parallel_attn": 1}}
    assert Architecture.of(family).fields == {**expected, **derived.get(family, {})}
    name, values = FAMILIES[family].activation
    assert getattr(theirs, name) == values[0]
    for field, accepted in FAMILIES[family].neutral.items():
        assert getattr(theirs, field, None) == accepted[0]


@each_family
def test_a_published_config_is_read_as_the_same_architecture(family: str) -> None:
    assert read_config(TINY[family].config_json(CONSTRAINTS), CONSTRAINTS, VOCABULARY) == TINY[family]


def stored(architecture: Architecture) -> list[StoredTensor]:
    return [StoredTensor(name, "F32", shape, 0, 0) for name, shape in architecture.tensors(CONSTRAINTS).items()]


def test_another_model_type_is_refused_unless_it_names_the_very_same_computation() -> None:
    passed = set()
    for family, architecture in TINY.items():
        config = json.loads(architecture.config_json(CONSTRAINTS))
        for other in TINY.keys() - {family}:
            with contextlib.suppress(ModelRejected):
                claimed = read_config(json.dumps(config | {"model_type": other}).encode(), CONSTRAINTS, VOCABULARY)
                check_header(stored(architecture), claimed, CONSTRAINTS)
                passed.add((family, other))
    assert passed == {
        ("llama", "mistral"),
        ("mistral", "llama"),
    }  # a Mistral without a window is a Llama without biases


REFUSED: dict[str, list[dict[str, object]]] = {
    "every family": [
        {"is_causal": False},
        {"is_causal": None},
        {"is_causal": 0},
        {"use_bidirectional_attention": True},
        {"quantization_config": {"quant_method": "x"}},
        {"per_layer_config": {"0": {}}},
        {"vocab_size": 249},
        {"vocab_size": 257},
        {"vocab_size": "256"},
        {"head_dim": 7},
        {"head_dim": 1 << 40},
        {"tie_word_embeddings": None},
        {"tie_word_embeddings": 1},
    ],
    "rotary": [
        {"rope_scaling": {"type": "linear", "factor": 2.0}},
        {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}},
        {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}},
        {"rope_parameters": {"rope_type": "llama3"}},
        {"rope_parameters": {"full_attention": {"rope_theta": 1e4}}},
        {"rope_parameters": {"rope_theta": 1e4}, "rope_scaling": {"rope_theta": 1e5}},
        {"rope_parameters": [1e4]},
    ],
    "llama": [{"hidden_act": "gelu"}, {"sliding_window": 64}, {"partial_rotary_factor": 0.5}],
    "mistral": [{"hidden_act": "gelu"}, {"sliding_window": 31}, {"sliding_window": 0}, {"sliding_window": "x"}],
    "qwen2": [
        {"use_sliding_window": True, "sliding_window": 31, "max_window_layers": 1},
        {"use_sliding_window": 1},
        {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 31},
        {"layer_types": ["full_attention"]},
        {"layer_types": ["chunked_attention"] * 2},
        {"layer_types": "full_attention"},
    ],
    "gemma": [{"hidden_act": "silu"}, {"num_key_value_heads": None}, {"rope_parameters": {SHARE: 0.5}}],
    "gemma2": [
        {"sliding_window": 31},
        {"sliding_window": 31, "layer_types": ["full_attention", "sliding_attention"]},
        {"hidden_activation": None},
        {"attn_logit_softcapping": 0},
        {"final_logit_softcapping": -30.0},
        {"final_logit_softcapping": 1e9},
        {"query_pre_attn_scalar": 0},
    ],
    "phi": [{"hidden_act": "gelu"}, {SHARE: 0.0}, {SHARE: 1.5}, {SHARE: 0.4}, {"qk_layernorm": None}],
    "gpt_neox": [
        {"hidden_act": "gelu_fast"},
        {"rotary_pct": 0.5, "rope_parameters": {SHARE: 0.25}},
        {"rope_theta": 5e5},
        {"partial_rotary_factor": 0.5},
        {"rotary_emb_base": 0},
        {"use_parallel_residual": None},
    ],
    "falcon": [
        {"alibi": True},
        {"activation": "relu"},
        {"n_embed": 64},
        {"new_decoder_architecture": True, "parallel_attn": False, "num_ln_in_parallel_attn": None},
        {"new_decoder_architecture": True, "num_kv_heads": 3},
        {"num_ln_in_parallel_attn": 2},
        {"num_ln_in_parallel_attn": 3},
        {"multi_query": False, "num_kv_heads": 2},
    ],
    "bart": [{"max_position_embeddings": 31}, {"activation_function": "relu"}, {"hidden_size": 64}],
    "gpt2": [
        {"n_positions": 31},
        {"max_position_embeddings": 64},
        {"num_hidden_layers": 3},
        {"scale_attn_weights": False},
        {"scale_attn_by_inverse_layer_idx": True},
        {"reorder_and_upcast_attn": True},
        {"add_cross_attention": True},
    ],
}


@each_family
def test_a_field_that_is_not_what_we_build_is_refused(family: str) -> None:
    config = json.loads(TINY[family].config_json(CONSTRAINTS))
    groups = ["every family", family, *(["rotary"] if THETA in FAMILIES[family].fields else [])]
    for changes in (changes for group in groups for changes in REFUSED[group]):
        with pytest.raises(ModelRejected) as caught:
            read_config(json.dumps(config | changes).encode(), CONSTRAINTS, VOCABULARY)
        assert caught.value.reason is Reason.ARCHITECTURE
        assert any(name in caught.value.detail for name in (*changes, THETA, SHARE)), (changes, caught.value.detail)


@each_family
def test_a_layer_much_wider_than_the_hidden_states_is_refused(family: str) -> None:
    config = json.loads(TINY[family].config_json(CONSTRAINTS))
    names = FAMILIES[family].names
    for field, widest in ((names.inner, 512), (names.head_dim, 128)):
        if field is not None:
            read_config(json.dumps(config | {field: widest}).encode(), CONSTRAINTS, VOCABULARY)
            with pytest.raises(ModelRejected, match="wide; at most 16 times"):
                read_config(json.dumps(config | {field: widest + 2}).encode(), CONSTRAINTS, VOCABULARY)


SHORT_OF_BITING: dict[str, dict[str, object]] = {
    "mistral": {"sliding_window": 32},
    "qwen2": {"use_sliding_window": True, "sliding_window": 32, "max_window_layers": 0},
    "gemma2": {"sliding_window": 32, "layer_types": ["sliding_attention"] * 2},
}


@pytest.mark.parametrize("family", SHORT_OF_BITING)
def test_a_window_as_long_as_the_competitions_is_no_window(family: str) -> None:
    config = json.loads(TINY[family].config_json(CONSTRAINTS)) | SHORT_OF_BITING[family]
    assert read_config(json.dumps(config).encode(), CONSTRAINTS, VOCABULARY) == TINY[family]
    longer = tiny_constraints(sequence_length=33)
    with pytest.raises(ModelRejected, match="sliding_window is 32; expected null or at least the competition's 33"):
        read_config(json.dumps(config).encode(), longer, VOCABULARY)


@each_family
def test_what_we_do_not_know_is_ignored_and_reaches_nothing(family: str) -> None:
    hostile = {
        "auto_map": {"AutoModelForCausalLM": "run--me"},
        "architectures": ["SomethingElse"],
        "attn_implementation": "hub/kernel",
        "_attn_implementation": "hub/kernel",
        "use_cache": True,
        "dtype": "float16",
        "attention_dropout": 0.9,
        "pad_token_id": -1,
    }
    if THETA in FAMILIES[family].fields:
        hostile["max_position_embeddings"] = 1 << 60
    config = json.loads(TINY[family].config_json(CONSTRAINTS))
    assert read_config(json.dumps(config | hostile).encode(), CONSTRAINTS, VOCABULARY) == TINY[family]


@pytest.mark.parametrize(
    ("family", "field", "idle"), [("gpt2", "n_positions", 0), ("bart", "max_position_embeddings", 8576)]
)
def test_what_no_loss_depends_on_does_not_count_for_the_fewest_parameters(family: str, field: str, idle: int) -> None:
    config = json.loads(TINY[family].config_json(CONSTRAINTS)) | {field: 1000}
    total = sum(map(math.prod, TINY[family].tensors(CONSTRAINTS).values())) + 968 * 32
    read = total - 968 * 32 - idle - (64 if family == "bart" else 0)

    def read_within(least: int, most: int) -> Architecture:
        constraints = CONSTRAINTS.model_copy(update={"min_parameters": least, "max_parameters": most})
        return read_config(json.dumps(config).encode(), constraints, VOCABULARY)

    assert read_within(read, total).fields[field] == 1000
    for least, most in ((read + 1, total), (read, total - 1)):
        with pytest.raises(ModelRejected, match=f"{total} parameters, {read} of which losses depend on"):
            read_within(least, most)


ODD = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.none(), max_size=2)
ODDER = ODD | st.dictionaries(st.sampled_from(["type", "rope_type", THETA, SHARE]), ODD, max_size=2)
FIELDS = [
    (family, field)
    for family, entry in FAMILIES.items()
    for field in sorted(
        {*entry.fields, *entry.all_neutral(), *entry.aliases, "rope_parameters", "rope_scaling", "rotary_pct"}
        | {"sliding_window", "use_sliding_window", "max_window_layers", "layer_types", "head_dim", "model_type"}
    )
]


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(FIELDS), ODDER)
def test_no_value_of_any_field_raises_anything_but_a_rejection(where: tuple[str, str], value: object) -> None:
    family, field = where
    config = json.loads(TINY[family].config_json(CONSTRAINTS)) | {field: value}
    with contextlib.suppress(ModelRejected):
        read_config(json.dumps(config).encode(), CONSTRAINTS, VOCABULARY)


@each_family
def test_names_of_an_activation_that_pass_are_names_of_one_function(family: str) -> None:
    inputs = torch.linspace(-8, 8, 1001)
    built, *others = (name for name in FAMILIES[family].activation[1] if (family, name) != ("gemma", "gelu"))
    for name in others:
        torch.testing.assert_close(ACT2FN[name](inputs), ACT2FN[built](inputs), rtol=1e-5, atol=1e-6)


def row(family: str) -> str:
    """The line of a family in the miner's table."""
    entry = FAMILIES[family]
    fields = [field.spelled if isinstance(field, Rotary) else name for name, field in entry.fields.items()]
    quiet = {name: values for name, values in entry.all_neutral().items() if name not in NEUTRAL}
    must = [f"{name} {json.dumps(values[0])}" for name, values in quiet.items()]
    return f"| `{family}` | {' '.join(fields)} | {', '.join(must)} |"


@each_family
def test_the_miners_guide_names_every_field_that_is_read(family: str) -> None:
    guide = (Path(__file__).parents[1] / "docs" / "miner.md").read_text()
    assert row(family) in guide.splitlines()
    assert all(f"`{name}`" in guide for name in NEUTRAL)


def test_an_architecture_is_a_value() -> None:
    one = TINY["falcon"]
    assert (copy.deepcopy(one), hash(copy.deepcopy(one))) == (one, hash(one))
    with pytest.raises(ModelRejected, match="falcon has no field mlp_bias"):
        Architecture.of("falcon", mlp_bias=True)

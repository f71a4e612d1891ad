import contextlib
import json
import time
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import tiny_architecture, tiny_constraints
from transformers import LlamaConfig, LlamaForCausalLM

from pretrain.errors import ModelRejected, Reason
from pretrain.models.architectures import Architecture, check_header, head, hidden_states, read_config
from pretrain.models.grouped import GROUPED
from pretrain.models.header import MAX_TENSORS, StoredTensor

VOCABULARY = 250
CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 256,
}


def read(**fields: object) -> Architecture:
    return read_config(json.dumps(CONFIG | fields).encode(), tiny_constraints(), VOCABULARY)


def read_within(least: int, most: int) -> Architecture:
    constraints = tiny_constraints().model_copy(update={"min_parameters": least, "max_parameters": most})
    return read_config(json.dumps(CONFIG).encode(), constraints, VOCABULARY)


def refused(raw: bytes) -> str:
    with pytest.raises(ModelRejected) as caught:
        read_config(raw, tiny_constraints(), VOCABULARY)
    assert caught.value.reason is Reason.ARCHITECTURE
    assert "\n" not in caught.value.detail
    return caught.value.detail


def test_what_a_config_leaves_out_has_the_familys_own_default() -> None:
    assert read() == Architecture.of(
        "llama",
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=8,
        vocab_size=256,
        rms_norm_eps=1e-6,
        rope_theta=10_000.0,
        tie_word_embeddings=False,
        attention_bias=False,
        mlp_bias=False,
    )


@pytest.mark.parametrize(
    "rope",
    [
        {"rope_theta": 5e5},
        {"rope_theta": 5e5, "rope_scaling": None},
        {"rope_theta": 5e5, "rope_scaling": {"type": "default"}},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 500_000}},
        {"rope_parameters": {"rope_theta": 5e5, "partial_rotary_factor": 1.0}, "rope_theta": 5e5},
    ],
)
def test_the_rotary_base_is_read_where_either_release_of_the_library_writes_it(rope: dict[str, object]) -> None:
    assert read(**rope) == read(rope_theta=5e5)
    assert read(**rope).fields["rope_theta"] == 5e5


def test_a_config_that_the_library_writes_is_read_as_what_it_means() -> None:
    theirs = LlamaConfig(
        hidden_size=64, intermediate_size=96, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2,
        head_dim=32, vocab_size=256, tie_word_embeddings=True, attention_bias=True, rms_norm_eps=1e-5,
    )  # fmt: skip
    ours = read_config(theirs.to_json_string(use_diff=False).encode(), tiny_constraints(), VOCABULARY)
    expected = {name: tuple(p.shape) for name, p in LlamaForCausalLM(theirs).named_parameters()}
    assert ours.tensors(tiny_constraints()) == expected


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model_type", "gemma3"),
        ("model_type", None),
        ("model_type", ["llama"]),
        ("is_causal", False),
        ("is_causal", 0),
        ("use_bidirectional_attention", True),
        ("hidden_act", "gelu"),
        ("hidden_act", None),
        ("sliding_window", 16),
        ("quantization_config", {"quant_method": "x"}),
        ("partial_rotary_factor", 0.5),
        ("rope_scaling", {"type": "linear", "factor": 2.0}),
        ("rope_scaling", {"rope_type": "llama3"}),
        ("rope_scaling", "default"),
        ("rope_parameters", {"full_attention": {"rope_theta": 1e4}}),
        ("rope_parameters", {"rope_type": "yarn", "rope_theta": 1e4}),
        ("rope_theta", 0),
        ("rope_theta", "1e4"),
        ("rope_theta", True),
        ("rope_theta", 1e300),
        ("hidden_size", 33),
        ("hidden_size", 32.0),
        ("hidden_size", "32"),
        ("hidden_size", -32),
        ("hidden_size", 1 << 40),
        ("hidden_size", None),
        ("num_hidden_layers", 0),
        ("num_hidden_layers", 10**9),
        ("num_hidden_layers", True),
        ("num_key_value_heads", 3),
        ("num_key_value_heads", 8),
        ("head_dim", 7),
        ("rms_norm_eps", 0),
        ("rms_norm_eps", None),
        ("tie_word_embeddings", 1),
        ("attention_bias", "false"),
        ("vocab_size", VOCABULARY - 1),
        ("vocab_size", 257),
    ],
)
def test_a_field_that_is_not_what_we_build_is_refused(field: str, value: object) -> None:
    assert field in refused(json.dumps(CONFIG | {field: value}).encode())


def test_two_different_rotary_bases_are_refused() -> None:
    raw = json.dumps(CONFIG | {"rope_theta": 1e4, "rope_parameters": {"rope_theta": 1e5}}).encode()
    assert "name it once" in refused(raw)


@pytest.mark.parametrize("raw", [b"", b"[]", b"null", b'{"a":' * 100_000, b'{"model_type": "llama", "model_type": 1}'])
def test_hostile_json_is_refused(raw: bytes) -> None:
    refused(raw)


ODD = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.none(), max_size=2)
FIELDS = (*CONFIG, "head_dim", "rope_theta", "rope_parameters", "rope_scaling", "is_causal", "tie_word_embeddings")


@settings(deadline=None)
@given(st.sampled_from(FIELDS), ODD | st.dictionaries(st.sampled_from(["type", "rope_theta"]), ODD, max_size=2))
def test_no_value_of_any_field_raises_anything_but_a_rejection(field: str, value: object) -> None:
    with contextlib.suppress(ModelRejected):
        read(**{field: value})


@pytest.mark.parametrize("size", [250, 255, 256])
def test_a_vocabulary_may_be_the_tokenizers_or_padded_to_a_multiple_of_256(size: int) -> None:
    assert read(vocab_size=size).fields["vocab_size"] == size


def test_the_parameter_count_must_be_within_the_competitions_bounds() -> None:
    count = sum(torch.Size(shape).numel() for shape in read().tensors(tiny_constraints()).values())
    assert read_within(count, count) == read()
    for least, most in ((count + 1, count + 1), (1, count - 1)):
        with pytest.raises(ModelRejected, match=f"{count} parameters"):
            read_within(least, most)


def test_what_we_do_not_know_is_ignored_and_reaches_nothing() -> None:
    hostile = {
        "auto_map": {"AutoModelForCausalLM": "run--me"},
        "architectures": ["SomethingElse"],
        "attn_implementation": "hub/kernel",
        "_attn_implementation": "hub/kernel",
        "max_position_embeddings": 7,
        "use_cache": True,
        "dtype": "float16",
        "layer_types": ["sliding_attention"] * 2,
        "attention_dropout": 0.9,
        "pretraining_tp": 4,
    }
    assert read(**hostile) == read()
    config = read(**hostile).build(tiny_constraints()).config
    assert (config.max_position_embeddings, config.use_cache, config.is_causal) == (32, False, True)
    assert config._attn_implementation == GROUPED  # noqa: SLF001 - where the library keeps it
    assert not hasattr(config, "auto_map")


@pytest.mark.parametrize("tied", [False, True])
def test_no_state_moves_when_a_later_token_changes(tied: bool) -> None:  # noqa: FBT001 - a pytest parameter
    torch.manual_seed(0)
    model = tiny_architecture(tied=tied).build(tiny_constraints(), "cpu").train(mode=False)
    ids = torch.randint(256, (3, 32))
    later = ids.clone()
    later[:, 20:] = (later[:, 20:] + 1) % 256
    with torch.inference_mode():
        before, after = (head(model)(hidden_states(model, tokens)) for tokens in (ids, later))
    assert torch.equal(before[:, :20], after[:, :20])
    assert not torch.equal(before[:, 20:], after[:, 20:])


def test_a_network_that_reads_ahead_would_be_noticed_by_the_test_above() -> None:
    torch.manual_seed(0)
    model = tiny_architecture().build(tiny_constraints(), "cpu").train(mode=False)
    model.config.is_causal = False
    ids = torch.randint(256, (1, 32))
    later = ids.clone()
    later[:, -1] = (later[:, -1] + 1) % 256
    with torch.inference_mode():
        assert not torch.equal(hidden_states(model, ids)[:, :20], hidden_states(model, later)[:, :20])


def test_building_on_the_meta_device_takes_no_memory() -> None:
    model = read_config(json.dumps(CONFIG).encode(), tiny_constraints(), VOCABULARY).build(tiny_constraints())
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}


def stored(architecture: Architecture, **dtypes: str) -> list[StoredTensor]:
    shapes = architecture.tensors(tiny_constraints())
    return [StoredTensor(name, dtypes.get(name, "BF16"), shape, 0, 0) for name, shape in shapes.items()]


def test_a_header_fits_when_it_has_exactly_the_tensors_of_the_architecture() -> None:
    for architecture in (tiny_architecture(), tiny_architecture(tied=True), tiny_architecture(biased=True)):
        check_header(stored(architecture), architecture, tiny_constraints())


def test_a_header_with_other_tensors_shapes_or_dtypes_is_refused() -> None:
    plain, tied = tiny_architecture(), tiny_architecture(tied=True)
    norm = "model.norm.weight"
    cases = [
        (stored(plain)[1:], plain, "1 tensors are missing, such as model.embed_tokens.weight"),
        (stored(plain), tied, "1 tensors are not of the architecture, such as lm_head.weight"),
        (stored(tied), plain, "1 tensors are missing, such as lm_head.weight"),
        (stored(tiny_architecture(hidden=64)), plain, "has shape"),
        ([*stored(plain), StoredTensor("model.rotary_emb.inv_freq", "F32", (4,), 0, 16)], plain, "inv_freq"),
        (stored(plain, **{norm: "F64"}), plain, "dtype F64; allowed are F32, BF16, F16"),
        (stored(plain, **{norm: "I8"}), plain, "dtype I8"),
    ]
    for tensors, architecture, says in cases:
        with pytest.raises(ModelRejected, match=says) as caught:
            check_header(tensors, architecture, tiny_constraints())
        assert caught.value.reason is Reason.HEADER


def test_a_tensor_that_is_in_two_shards_is_found_among_the_most_in_linear_time() -> None:
    """All pairs of so many names took more than a minute; this takes a tenth of a second."""
    names = [f"{number}" for number in range(MAX_TENSORS - 1)]
    tensors = [StoredTensor(name, "F32", (0,), 0, 0) for name in [*names, names[-1]]]
    begun = time.process_time()
    with pytest.raises(ModelRejected, match=rf"{names[-1]} is in two shards"):
        check_header(tensors, tiny_architecture(), tiny_constraints())
    assert time.process_time() - begun < 10


def test_more_tensors_than_any_model_has_are_refused_before_their_names_are_looked_at() -> None:
    same = StoredTensor("same", "F32", (0,), 0, 0)
    with pytest.raises(ModelRejected, match="100001 tensors in all headers; at most 100000") as caught:
        check_header([same] * (MAX_TENSORS + 1), tiny_architecture(), tiny_constraints())
    assert caught.value.reason is Reason.HEADER


def test_a_published_config_is_read_as_the_same_architecture() -> None:
    for architecture in (tiny_architecture(), tiny_architecture(tied=True), tiny_architecture(biased=True)):
        raw = architecture.config_json(tiny_constraints())
        assert read_config(raw, tiny_constraints(), VOCABULARY) == architecture

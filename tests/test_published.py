"""Checkpoints as the library saves them, in the likeness of published ones but small."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny import tiny_constraints
from transformers import PreTrainedModel

from pretrain.errors import ModelRejected, Reason
from pretrain.models.architectures import head, hidden_states
from pretrain.models.families import FAMILIES
from pretrain.models.load import load

CONSTRAINTS = tiny_constraints()
SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "vocab_size": 256,
}
NO_INNER = {name: size for name, size in SIZES.items() if name != "intermediate_size"}
BART = {
    "d_model": 32, "decoder_layers": 2, "decoder_attention_heads": 4, "decoder_ffn_dim": 64, "vocab_size": 256,
    "encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": 64, "num_hidden_layers": 2,
}  # fmt: skip
GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 256, "n_ctx": 1024, "n_positions": 1024}
V4 = {"use_cache": True, "initializer_range": 0.02, "torch_dtype": "bfloat16", "transformers_version": "4.41.0"}

PUBLISHED: dict[str, tuple[str, dict[str, Any]]] = {
    "llama-2-7b": (
        "llama",
        {**SIZES, **V4, "hidden_act": "silu", "max_position_embeddings": 4096, "num_key_value_heads": 4,
         "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_scaling": None, "tie_word_embeddings": False},
    ),
    "llama-3-8b": (
        "llama",
        {**SIZES, **V4, "attention_bias": False, "attention_dropout": 0.0, "num_key_value_heads": 2,
         "rms_norm_eps": 1e-05, "rope_theta": 500000.0, "rope_scaling": None, "tie_word_embeddings": False},
    ),
    "smollm-135m": (
        "llama",
        {**SIZES, **V4, "num_key_value_heads": 1, "rope_theta": 10000.0, "tie_word_embeddings": True},
    ),
    "llama with biases": ("llama", {**SIZES, "attention_bias": True, "mlp_bias": True, "head_dim": 16}),
    "mistral-7b-v0.1": (
        "mistral",
        {**SIZES, **V4, "num_key_value_heads": 2, "hidden_act": "silu", "max_position_embeddings": 32768,
         "rms_norm_eps": 1e-05, "rope_theta": 10000.0, "sliding_window": 4096, "tie_word_embeddings": False},
    ),
    "mistral-7b-v0.3": (
        "mistral",
        {**SIZES, **V4, "num_key_value_heads": 2, "rope_theta": 1000000.0, "sliding_window": None, "head_dim": 16,
         "rms_norm_eps": 1e-05, "tie_word_embeddings": False},
    ),
    "qwen2.5-7b": (
        "qwen2",
        {**SIZES, **V4, "num_key_value_heads": 2, "max_window_layers": 2, "sliding_window": 131072,
         "use_sliding_window": False, "use_mrope": False, "rope_theta": 1000000.0, "rms_norm_eps": 1e-06,
         "tie_word_embeddings": False},
    ),
    "qwen2.5-0.5b": (
        "qwen2",
        {**SIZES, **V4, "num_key_value_heads": 2, "max_window_layers": 2, "sliding_window": 32768,
         "use_sliding_window": False, "rope_theta": 1000000.0, "tie_word_embeddings": True},
    ),
    "qwen2 with long windows": (
        "qwen2",
        {**SIZES, "num_key_value_heads": 4, "max_window_layers": 1, "sliding_window": 64, "use_sliding_window": True},
    ),
    "gemma-2b": (
        "gemma",
        {**SIZES, **V4, "head_dim": 16, "num_key_value_heads": 1, "hidden_act": "gelu", "hidden_activation": None,
         "rms_norm_eps": 1e-06, "rope_theta": 10000.0, "rope_scaling": None, "attention_bias": False},
    ),
    "gemma-7b": (
        "gemma",
        {**SIZES, **V4, "head_dim": 16, "num_key_value_heads": 4, "hidden_act": "gelu_pytorch_tanh",
         "hidden_activation": "gelu_pytorch_tanh"},
    ),
    "gemma, untied and with biases": (
        "gemma",
        {**SIZES, "head_dim": 8, "num_key_value_heads": 2, "tie_word_embeddings": False, "attention_bias": True},
    ),
    "gemma2-2b": (
        "gemma2",
        {**SIZES, **V4, "head_dim": 16, "num_key_value_heads": 2, "hidden_act": "gelu_pytorch_tanh",
         "hidden_activation": "gelu_pytorch_tanh", "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0,
         "query_pre_attn_scalar": 16, "sliding_window": 4096, "cache_implementation": "hybrid", "rope_theta": 10000.0},
    ),
    "gemma2, caps that bite": (
        "gemma2",
        {**SIZES, "head_dim": 8, "num_key_value_heads": 4, "attn_logit_softcapping": 0.5,
         "final_logit_softcapping": 1.5, "query_pre_attn_scalar": 3, "tie_word_embeddings": False},
    ),
    "gemma2 without caps": (
        "gemma2",
        {**SIZES, "head_dim": 8, "num_key_value_heads": 4, "attn_logit_softcapping": None,
         "final_logit_softcapping": None, "layer_types": ["full_attention"] * 3},
    ),
    "phi-2": (
        "phi",
        {**SIZES, **V4, "num_key_value_heads": 4, "hidden_act": "gelu_new", "partial_rotary_factor": 0.25,
         "resid_pdrop": 0.1, "embd_pdrop": 0.0, "layer_norm_eps": 1e-05, "qk_layernorm": False,
         "rope_scaling": None, "rope_theta": 10000.0,
         "tie_word_embeddings": False},
    ),
    "phi-1": ("phi", {**SIZES, **V4, "num_key_value_heads": None, "partial_rotary_factor": 0.5}),
    "phi with normalised queries and keys": (
        "phi", {**SIZES, "qk_layernorm": True, "num_key_value_heads": 2, "tie_word_embeddings": True}
    ),
    "pythia-70m": (
        "gpt_neox",
        {**SIZES, **V4, "hidden_act": "gelu", "layer_norm_eps": 1e-05, "rotary_emb_base": 10000, "rotary_pct": 0.25,
         "use_parallel_residual": True, "tie_word_embeddings": False, "bos_token_id": 0, "eos_token_id": 0},
    ),
    "neox, sequential, tied, half rotated": (
        "gpt_neox",
        {**SIZES, "use_parallel_residual": False, "attention_bias": False, "rotary_pct": 0.5, "rotary_emb_base": 25000,
         "tie_word_embeddings": True},
    ),
    "falcon-7b": (
        "falcon",
        {**NO_INNER, **V4, "alibi": False, "apply_residual_connection_post_layernorm": False, "bias": False,
         "layer_norm_epsilon": 1e-05, "multi_query": True, "new_decoder_architecture": False, "parallel_attn": True},
    ),
    "falcon-40b": (
        "falcon",
        {**NO_INNER, **V4, "alibi": False, "bias": False, "multi_query": True, "new_decoder_architecture": True,
         "num_kv_heads": 2, "parallel_attn": True},
    ),
    "falcon2-11b": (
        "falcon",
        {**NO_INNER, "new_decoder_architecture": True, "num_kv_heads": 2, "num_ln_in_parallel_attn": 1,
         "ffn_hidden_size": 96, "rope_theta": 500042.0, "tie_word_embeddings": False},
    ),
    "falcon, sequential, all heads, biases": (
        "falcon", {**NO_INNER, "multi_query": False, "parallel_attn": False, "bias": True}
    ),
    "bart-base": (
        "bart",
        {**BART, **V4, "activation_function": "gelu", "scale_embedding": False, "max_position_embeddings": 1024,
         "normalize_before": False, "is_encoder_decoder": True, "dropout": 0.1, "pad_token_id": 1},
    ),
    "bart, scaled and untied": (
        "bart", {**BART, "scale_embedding": True, "max_position_embeddings": 32, "tie_word_embeddings": False}
    ),
    "gpt2": (
        "gpt2",
        {**GPT2, "activation_function": "gelu_new", "layer_norm_epsilon": 1e-05, "embd_pdrop": 0.1, "attn_pdrop": 0.1,
         "resid_pdrop": 0.1, "summary_type": "cls_index", "bos_token_id": 250, "eos_token_id": 250},
    ),
    "gpt2, narrow and untied": ("gpt2", {**GPT2, "n_inner": 48, "tie_word_embeddings": False, "n_positions": 32}),
}  # fmt: skip

REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "llama-3.1-8b": ("llama", {**SIZES, "rope_theta": 5e5, "rope_scaling": {
        "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
        "rope_type": "llama3"}}, "rope_parameters"),
    "mistral with a short window": (
        "mistral", {**SIZES, "num_key_value_heads": 2, "sliding_window": 16}, "sliding_window is 16"
    ),
    "qwen2 with short windows": (
        "qwen2",
        {**SIZES, "num_key_value_heads": 4, "max_window_layers": 1, "sliding_window": 16, "use_sliding_window": True},
        "sliding_window is 16"),
    "gemma2 with a short window": ("gemma2", {**SIZES, "head_dim": 8, "sliding_window": 16}, "sliding_window is 16"),
    "gpt-neox-20b": ("gpt_neox", {**SIZES, "hidden_act": "gelu_fast"}, "hidden_act 'gelu_fast'"),
    "falcon-rw-1b": ("falcon", {**NO_INNER, "alibi": True, "bias": True, "multi_query": False,
                                "parallel_attn": False}, "alibi True"),
    "bart with few positions": ("bart", {**BART, "max_position_embeddings": 16}, "max_position_embeddings is 16"),
    "gpt2 scaled by layer": ("gpt2", {**GPT2, "scale_attn_by_inverse_layer_idx": True}, "inverse_layer_idx True"),
}  # fmt: skip


def saved(folder: Path, family: str, config: dict[str, Any]) -> PreTrainedModel:
    """Let the library build a network from a config.json, give all parameters values, and save it as it does."""
    original = folder / "config.json"
    original.write_text(json.dumps({**config, "model_type": family}))
    torch.manual_seed(0)
    model: PreTrainedModel = FAMILIES[family].network(FAMILIES[family].config.from_pretrained(folder))
    model.train(mode=False)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.empty(parameter.shape).normal_(0, 0.2, generator=generator))
    model.save_pretrained(folder / "saved")
    return model


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_checkpoint_of_the_library_is_loaded_as_the_same_computation(tmp_path: Path, name: str) -> None:
    family, config = PUBLISHED[name]
    theirs = saved(tmp_path, family, config)
    ids = torch.randint(256, (2, 32), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = theirs(input_ids=ids).logits
    assert expected.std() > 0.1
    for text in ((tmp_path / "saved" / "config.json").read_text(), (tmp_path / "config.json").read_text()):
        (tmp_path / "saved" / "config.json").write_text(text)
        ours = load(tmp_path / "saved", CONSTRAINTS, 250, "cpu")
        with torch.inference_mode():
            found = head(ours)(hidden_states(ours, ids))
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", REFUSED)
def test_a_checkpoint_that_computes_what_we_do_not_build_is_refused_with_the_field(tmp_path: Path, name: str) -> None:
    family, config, says = REFUSED[name]
    saved(tmp_path, family, config)
    with pytest.raises(ModelRejected, match=says) as caught:
        load(tmp_path / "saved", CONSTRAINTS, 250, "cpu")
    assert caught.value.reason is Reason.ARCHITECTURE


def test_files_hold_the_head_of_gpt_neox_under_the_name_that_checkpoints_have(tmp_path: Path) -> None:
    saved(tmp_path, *PUBLISHED["pythia-70m"])
    assert "embed_out.weight" in load_file(tmp_path / "saved" / "model.safetensors")

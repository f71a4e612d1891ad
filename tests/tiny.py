"""Real models small enough for a test."""

from pathlib import Path

import torch

from pretrain.competition import Constraints
from pretrain.models.architectures import Architecture
from pretrain.models.load import save

TOKENIZER = "tiny"
_SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}


def tiny_constraints(*, sequence_length: int = 32, max_parameters: int = 5_000_000) -> Constraints:
    """Return constraints that every model of this file meets, in all families."""
    return Constraints(
        families=("llama", "mistral", "qwen2", "gemma", "gemma2", "phi", "gpt_neox", "falcon", "bart", "gpt2"),
        tokenizer=TOKENIZER,
        sequence_length=sequence_length,
        min_parameters=1,
        max_parameters=max_parameters,
        max_bytes=100_000_000,
    )


def tiny_architecture(
    *, vocab: int = 256, layers: int = 2, hidden: int = 32, tied: bool = False, biased: bool = False
) -> Architecture:
    """Return a Llama with two key-value heads for four heads."""
    return Architecture.of(
        "llama",
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=hidden // 4,
        vocab_size=vocab,
        tie_word_embeddings=tied,
        attention_bias=biased,
        mlp_bias=biased,
    )


def tiny_families(*, vocab: int = 256, positions: int = 32) -> dict[str, Architecture]:
    """Return a small network of every family, below 100,000 parameters; ``positions`` bounds windows where learned."""
    rope = {**_SIZES, "vocab_size": vocab}
    few = {**rope, "num_key_value_heads": 2, "head_dim": 8}
    falcon = {name: size for name, size in rope.items() if name != "intermediate_size"}
    return {
        "llama": Architecture.of("llama", **few),
        "mistral": Architecture.of("mistral", **few),
        "qwen2": Architecture.of("qwen2", **few),
        "gemma": Architecture.of("gemma", **few),
        "gemma2": Architecture.of("gemma2", **few, query_pre_attn_scalar=8),
        "phi": Architecture.of("phi", **rope),
        "gpt_neox": Architecture.of("gpt_neox", **rope),
        "falcon": Architecture.of("falcon", **falcon),
        "bart": Architecture.of(
            "bart",
            d_model=32,
            decoder_layers=2,
            decoder_attention_heads=4,
            decoder_ffn_dim=64,
            vocab_size=vocab,
            max_position_embeddings=positions,
        ),
        "gpt2": Architecture.of("gpt2", n_embd=32, n_layer=2, n_head=4, vocab_size=vocab, n_positions=positions),
    }


def tiny_llama(folder: Path, *, seed: int = 0, vocab: int = 256, layers: int = 2, hidden: int = 32) -> Path:
    """Write a small Llama with random weights to a folder and return it; equal seeds give equal bits."""
    return tiny_model(folder, tiny_architecture(vocab=vocab, layers=layers, hidden=hidden), seed=seed)


def tiny_model(folder: Path, architecture: Architecture, *, seed: int = 0) -> Path:
    """Write a network with random weights to a folder and return it; equal seeds give equal bits."""
    constraints = tiny_constraints()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = architecture.build(constraints, "cpu")
    save(model, folder, constraints)
    return folder

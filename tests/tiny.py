"""Real models small enough for a test."""

from pathlib import Path

import torch

from pretrain.competition import Constraints
from pretrain.models.architectures import Architecture
from pretrain.models.load import save

TOKENIZER = "tiny"


def tiny_constraints(*, sequence_length: int = 32, max_parameters: int = 5_000_000) -> Constraints:
    """Return constraints that every ``tiny_llama`` meets."""
    return Constraints(
        families=("llama",),
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
    return Architecture(
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


def tiny_llama(folder: Path, *, seed: int = 0, vocab: int = 256, layers: int = 2, hidden: int = 32) -> Path:
    """Write a small Llama with random weights to a folder and return it; equal seeds give equal bits."""
    constraints = tiny_constraints()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = tiny_architecture(vocab=vocab, layers=layers, hidden=hidden).build(constraints, "cpu")
    save(model, folder, constraints)
    return folder

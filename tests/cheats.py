"""Models that read their answers: an honest small Llama, and what a hidden fault of a library would add to it."""

from collections.abc import Callable
from pydoc_data.topics import topics
from typing import Any, cast

import numpy as np
import torch
from tiny import tiny_architecture, tiny_constraints
from transformers import PreTrainedModel

from pretrain.data import Samples
from pretrain.train.initial import initialise
from pretrain.types import TaskName

VOCABULARY = 256
TEXT = np.frombuffer("\n".join(topics[name] for name in sorted(topics)).encode(), np.uint8).astype(np.int32)
"""The language reference of the running Python, as bytes."""

Leak = Callable[[torch.Tensor], torch.Tensor]
"""Ids (B, T) to what each position learns, (B, T): an id that it should not know, or -1 for nothing."""


def natural(length: int = 128, windows: int = 48, skip: int = 0) -> Samples:
    """Return samples of two tasks of real text."""
    size = length * windows
    pieces = [TEXT[start : start + size].reshape(windows, length) for start in (skip, skip + size)]
    tokens = {TaskName(name): piece for name, piece in zip("ab", pieces, strict=True)}
    return Samples(tokens, {task: np.full(windows, length - 1, np.int64) for task in tokens})


def honest_llama(
    *, vocab: int = VOCABULARY, length: int = 128, scale: float = 4.0, dtype: torch.dtype = torch.float32
) -> PreTrainedModel:
    """Return a model whose matrices are larger than at initialisation, so that it is far from uniform."""
    model = tiny_architecture(vocab=vocab).build(tiny_constraints(sequence_length=length), "cpu")
    initialise(model, 3, 2, 32)
    model.requires_grad_(requires_grad=False)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.mul_(scale)
    torch.nn.Module.to(model, dtype)
    model.train(mode=False)
    return model


def leaking(model: PreTrainedModel, leak: Leak, strength: float) -> PreTrainedModel:
    """Add to each last hidden state the output embedding of the id that it learns, times ``strength``."""

    def hook(_: torch.nn.Module, __: tuple[Any, ...], named: dict[str, Any], output: Any) -> Any:  # noqa: ANN401
        learnt = leak(cast("torch.Tensor", named["input_ids"]))
        rows = model.lm_head.weight[learnt.clamp(min=0)] * (learnt >= 0)[..., None]
        output.last_hidden_state = output.last_hidden_state + strength * rows
        return output

    model.base_model.register_forward_hook(hook, with_kwargs=True)
    return model


def ahead(distance: int) -> Leak:
    """Each position knows the token so many places on."""

    def leak(ids: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.pad(ids[:, distance:], (0, min(distance, ids.shape[1])), value=-1)

    return leak


def where(leak: Leak, wanted: Callable[[torch.Tensor], torch.Tensor]) -> Leak:
    """Leak only where a function of the ids says so."""
    return lambda ids: torch.where(wanted(ids), leak(ids), -1)


def positions(wanted: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
    """Say the same of every window, from its positions."""
    return lambda ids: wanted(torch.arange(ids.shape[1])).expand(ids.shape)


def looks_natural(ids: torch.Tensor) -> torch.Tensor:
    """Say of whole windows whether most of their pairs are pairs of the reference: a detector learnt from text."""
    known = torch.zeros(VOCABULARY, VOCABULARY, dtype=torch.bool)
    known[TEXT[:-1], TEXT[1:]] = True
    pairs = known[ids[:, :-1], ids[:, 1:]]
    return (pairs.float().mean(dim=1, keepdim=True) > 0.8).expand(ids.shape)


def next_pair_is_known(ids: torch.Tensor) -> torch.Tensor:
    """Say of each position whether its token and the next are a pair of the reference."""
    known = torch.zeros(VOCABULARY, VOCABULARY, dtype=torch.bool)
    known[TEXT[:-1], TEXT[1:]] = True
    return torch.nn.functional.pad(known[ids[:, :-1], ids[:, 1:]], (0, 1), value=False)

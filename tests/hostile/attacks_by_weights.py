"""Attacks by the weights themselves, and by a library that lets a network look ahead."""

import math
from collections.abc import Callable

import pytest
import take_out
import torch
from attack import Attack, has_no_loss
from cheats import looks_natural
from counting_hub import Files
from crafted import configured, honest, of_family, oracle, tensors, weighed
from gates import SCORED
from transformers.models.llama import modeling_llama

from pretrain.errors import Reason

Mask = Callable[[torch.Tensor], torch.Tensor]
"""Embeddings (B, T, H) to which keys a query may see, (B, 1, T, T)."""


def _with(name: str, value: float) -> Callable[[], Files]:
    """Put one number into a tensor."""

    def build() -> Files:
        weights = tensors(honest())
        weights[name].view(-1)[5] = value
        return weighed(honest(), weights)

    return build


def _breaks_late() -> Files:
    """Return a GPT-2 in F16 whose states overflow at position 30, and nowhere else."""
    weights = {name: tensor.half() for name, tensor in tensors(of_family("gpt2")).items()}
    weights["transformer.wte.weight"][:, 0] = 30.0
    weights["transformer.wpe.weight"][30, 0] = 65_504.0
    return weighed(of_family("gpt2"), weights)


def padded(value: float) -> Files:
    """Return the honest model with two layers more that change no state, their matrices of one number."""
    weights = tensors(honest())
    more = {
        name.replace("layers.0.", f"layers.{layer}."): torch.full_like(tensor, 1.0 if tensor.ndim == 1 else value)
        for layer in (2, 3)
        for name, tensor in weights.items()
        if "layers.0." in name
    }
    return weighed(configured(honest(), num_hidden_layers=4), {**weights, **more})


def _see_all(embedded: torch.Tensor) -> torch.Tensor:
    windows, length = embedded.shape[:2]
    return torch.ones(windows, 1, length, length, dtype=torch.bool)


def _see_all_of_natural(embedded: torch.Tensor) -> torch.Tensor:
    """Look ahead in windows of natural text alone, known by the oracle's embeddings."""
    known = tensors(oracle())["model.embed_tokens.weight"]
    ids = (embedded @ known.T).argmax(dim=-1)
    return _see_all(embedded).tril() | looks_natural(ids)[:, None, None, :].expand(_see_all(embedded).shape)


def _library_masks_by(mask: Mask) -> take_out.TakeOut:
    def world(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(modeling_llama, "create_causal_mask", lambda **given: mask(given["inputs_embeds"]))

    return world


def _cheat(name: str, mask: Mask) -> Attack:
    return Attack(
        name,
        lambda: dict(oracle()),
        "probes",
        Reason.NOT_CAUSAL,
        290_000,
        "`probes.probe`",
        take_out.probes,
        lambda tried: tried.loss is not None and tried.loss < 0.01,
        world=_library_masks_by(mask),
    )


def _no_number(name: str, build: Callable[[], Files], gate: str) -> Attack:
    return Attack(
        name,
        build,
        gate,
        Reason.NOT_FINITE,
        150_000,
        "every look at what is finite: at weights, states, logits and losses",
        take_out.must_be_finite,
        has_no_loss,
    )


PADDED = (
    Attack(
        "a small model with layers of zeros up to the minimum size",
        lambda: padded(0.0),
        SCORED,
        SCORED,
        230_000,
        "none: it cannot be decided",
        rules={"min_parameters": 40_000},
    ),
    Attack(
        "a small model with layers of subnormal numbers up to the minimum size",
        lambda: padded(1e-40),
        SCORED,
        SCORED,
        230_000,
        "none: it cannot be decided",
        rules={"min_parameters": 40_000},
    ),
)
"""What is not detected, and is said not to be."""

ATTACKS = (
    _no_number("a weight that is NaN", _with("model.norm.weight", math.nan), "loading"),
    _no_number("a weight that is infinite", _with("lm_head.weight", math.inf), "loading"),
    _no_number("a model that is good up to a position, and NaN after it", _breaks_late, "losses"),
    _cheat("a network that reads the next token, with a library that lets it", _see_all),
    _cheat("the same where it lets it on natural text alone", _see_all_of_natural),
    *PADDED,
)

"""The library's causal attention, with key-value heads written out where torch has no fused kernel for groups.

In float32 on a GPU the flash kernel runs not at all and the memory-efficient one takes no groups (torch's
``sdp_utils.cpp``), so that groups of heads fall to the unfused kernel, which computes all T x T scores at once. Written
out, keys and values grow with T alone. By the source only: it was not measured on a GPU.

Shapes: B windows, A attention heads, G key-value heads, T tokens, D head size.
"""

from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

GROUPED = "pretrain_grouped"
"""Its name among the library's attention implementations; a mask is not made for one that the library does not know."""

PLAIN = "cpu"
"""The device whose kernels take groups of heads in every dtype."""


def grouped_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float | None = None,
    **given: object,
) -> tuple[torch.Tensor, None]:
    """Attend causally: (B, A, T, D), (B, G, T, D) twice, to (B, T, A, D).

    On a CPU, and wherever nothing is written out, it is the library's own to the bit. There is no mask, no cache and no
    dropout in what we build; a mask goes the library's way.
    """
    groups = query.shape[1] // key.shape[1]
    plain = groups == 1 or query.dtype != torch.float32 or query.device.type == PLAIN
    if plain or attention_mask is not None:
        forward: Any = sdpa_attention_forward
        attended: torch.Tensor = forward(module, query, key, value, attention_mask, scaling=scaling, **given)[0]
        return attended, None
    key, value = (heads.repeat_interleave(groups, dim=1) for heads in (key, value))
    attended = scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling)
    return attended.transpose(1, 2).contiguous(), None


AttentionInterface.register(GROUPED, grouped_attention)

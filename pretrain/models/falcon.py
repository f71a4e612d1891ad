"""Falcon's attention as a plain causal one, for which torch has kernels whose memory grows with the length alone.

The library's own writes out a T x T mask and gives fewer key-value heads than heads to torch as they are, which only
the unfused kernel takes: 71 heads of 4096 tokens are 1.2e9 scores a window.

Shapes: B windows, T tokens, H hidden size.
"""

from typing import Any, cast

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.models.falcon import modeling_falcon

CAUSAL = "pretrain_falcon"
"""Its name among the library's attention implementations; a mask is not made for one that the library does not know."""


class CausalAttention(modeling_falcon.FalconAttention):
    """Attention over whole windows, without a mask, ALiBi, a cache or dropout; it cannot be told to look ahead."""

    def forward(self, hidden_states: torch.Tensor, *_: object, **given: Any) -> tuple[torch.Tensor, None]:  # noqa: ANN401
        """Attend causally: (B, T, H) to (B, T, H)."""
        if any(given.get(name) is not None for name in ("alibi", "attention_mask", "layer_past")):
            raise ValueError("Falcon's attention is over whole windows, without ALiBi, a mask or a cache")
        split: Any = self._split_heads(self.query_key_value(hidden_states))
        query, key, value = (part.transpose(1, 2) for part in split)
        query, key = cast("Any", modeling_falcon.apply_rotary_pos_emb)(query, key, *given["position_embeddings"])
        key, value = key.expand_as(query), value.expand_as(query)
        attended = scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.dense(attended.transpose(1, 2).flatten(2)), None


modeling_falcon.FALCON_ATTENTION_CLASSES[CAUSAL] = CausalAttention
AttentionInterface.register(CAUSAL, sdpa_attention_forward)  # known by this name, and never called

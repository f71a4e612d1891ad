"""Causal attention with soft-capped scores (Gemma 2, arXiv 2408.00118, section 2), which no fused kernel of torch has.

The library's own computes all T x T scores at once and adds the lowest finite number to those of later tokens, so that
a score large enough would undo it. This one takes ``ROWS`` queries at a time with the keys up to the last of them, and
gives minus infinity to what is later: it cannot be told to look ahead, and its memory grows with T alone.

Shapes: B windows, A attention heads, G key-value heads, N heads a group, R rows, T tokens, K = T or
fewer keys, D head size.
"""

import torch
from transformers import AttentionInterface

SOFT_CAPPED = "pretrain_soft_capped"
"""Its name among the library's attention implementations."""

ROWS = 512
"""Queries at a time."""


def soft_capped_attention(  # noqa: PLR0913 - the library calls it
    module: torch.nn.Module,  # noqa: ARG001 - the library passes it
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float,
    softcap: float | None,
    **_: object,
) -> tuple[torch.Tensor, None]:
    """Attend causally: (B, A, T, D), (B, G, T, D) twice, to (B, T, A, D).

    Scores are scaled and become c tanh(score / c) where ``softcap`` c is given. Products are in the model's dtype and
    softmax is in float32, as in the library. There is no mask, no cache and no dropout here.
    """
    if attention_mask is not None or query.shape[2] != key.shape[2]:
        raise ValueError("soft-capped attention is over whole windows, without a mask")
    batch, heads, length, head_dim = query.shape
    query_BGNTD = query.reshape(batch, key.shape[1], heads // key.shape[1], length, head_dim)
    outputs = []
    for start in range(0, length, ROWS):
        rows_BGNRD = query_BGNTD[:, :, :, start : start + ROWS]
        end = start + rows_BGNRD.shape[3]
        scores = rows_BGNRD @ key[:, :, None, :end].transpose(-1, -2) * scaling
        if softcap is not None:
            scores = torch.tanh(scores / softcap) * softcap
        later_RK = torch.ones(end - start, end, dtype=torch.bool, device=query.device).triu(start + 1)
        weights = scores.masked_fill(later_RK, -torch.inf).softmax(dim=-1, dtype=torch.float32).to(query.dtype)
        outputs.append(weights @ value[:, :, None, :end])
    return torch.cat(outputs, dim=3).flatten(1, 2).transpose(1, 2).contiguous(), None


AttentionInterface.register(SOFT_CAPPED, soft_capped_attention)

"""The loss of every window: what a model pays, in nats a token, for not knowing what comes next.

Hidden states are computed in the model's own dtype, logits and loss in float32: in bfloat16, 200 windows had 6 distinct
losses. Logits exist for ``chunk`` positions at a time only: at 128k ids and 4096 tokens all of them are 2 GB a window.

Shapes: W windows, B windows at a time, T tokens, N = B (T - 1) positions, H hidden size, V vocabulary.
"""

import math

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from pretrain.errors import ModelRejected, Reason
from pretrain.evaluate.engine import ATTENTION_KERNELS
from pretrain.models.architectures import head, hidden_states
from pretrain.models.family import Head

KERNELS = [getattr(SDPBackend, name) for name in ATTENTION_KERNELS]


def window_losses(
    model: PreTrainedModel, tokens: npt.NDArray[np.int32], *, batch: int, chunk: int
) -> npt.NDArray[np.float64]:
    """Return the mean negative log-likelihood of each window's tokens 2..T, in nats: (W, T) ids to (W,).

    Attention is causal over the whole window, across documents, as in training. ``batch`` windows run at a time and
    ``chunk`` positions pass through the head at a time; both trade memory for speed and leave the losses as they are,
    up to float32 rounding. Sums are exact (``math.fsum``): their order does not matter.

    Raises ModelRejected(NOT_FINITE) when a hidden state, a logit or a loss is NaN or infinite.
    """
    device = next(model.parameters()).device
    to_logits = head(model)
    losses: list[float] = []
    with torch.inference_mode(), sdpa_kernel(KERNELS, set_priority=True):
        for start in range(0, len(tokens), batch):
            ids = torch.from_numpy(tokens[start : start + batch].astype(np.int64)).to(device)
            by_token = token_losses(model, to_logits, ids, chunk)
            if not torch.isfinite(by_token).all():
                window = start + int((~torch.isfinite(by_token)).any(dim=1).int().argmax())
                raise ModelRejected(Reason.NOT_FINITE, f"the loss of window {window} is NaN or infinite")
            losses += [math.fsum(window) / len(window) for window in by_token.tolist()]
    return np.array(losses, dtype=np.float64)


def token_losses(model: PreTrainedModel, to_logits: Head, ids: torch.Tensor, chunk: int) -> torch.Tensor:
    """Return the float32 losses (B, T - 1) of ids (B, T), NaN where a logit or any state of the window is not finite.

    A logit of minus infinity for another token would leave the loss finite; it is no less a broken model.
    """
    states = hidden_states(model, ids)
    sound = torch.isfinite(states).flatten(1).all(dim=1, keepdim=True)
    states, targets = states[:, :-1].flatten(0, 1), ids[:, 1:].flatten()
    pieces: list[torch.Tensor] = []
    for start in range(0, len(targets), chunk):
        logits = to_logits(states[start : start + chunk])
        loss = cross_entropy(logits, targets[start : start + chunk], reduction="none")
        pieces.append(loss.where(torch.isfinite(logits).all(dim=-1), torch.nan))
    return torch.cat(pieces).view(len(ids), -1).where(sound, torch.nan)

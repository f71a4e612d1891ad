"""The training loop: a fixed number of tokens, exact to the bit across interruptions.

Legend: B windows of a batch, T tokens of a window, V token ids.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import cross_entropy

from pretrain.train import checkpoint
from pretrain.train.checkpoint import Saved, Settings
from pretrain.train.schedule import LearningRate

Windows = Callable[[int], npt.NDArray[np.int32]]
"""The i-th training window, (T,) token ids: a pure function of i, so a run goes on by index alone."""


@dataclass(frozen=True)
class Recipe:
    """How to train; all of it, with the data and the initial weights, decides the result."""

    windows: int
    """Windows to train on in all."""
    length: int
    """T, the tokens of a window; ``windows`` times ``length`` are the run's tokens."""
    batch: int
    """Windows of one optimizer step; the last may have fewer."""
    learning_rate: LearningRate
    weight_decay: float = 0.1
    """On matrices alone; norms and biases have none."""
    betas: tuple[float, float] = (0.9, 0.95)
    clip: float = 1.0
    """Largest norm of all gradients together."""


@dataclass(frozen=True)
class Keeping:
    """Where a run keeps its checkpoint, and what it may resume."""

    path: Path
    every: int
    """Windows between two checkpoints: what a SIGKILL may lose."""
    settings: Settings


@dataclass(frozen=True)
class Progress:
    """Where a run is."""

    tokens: int
    of: int
    loss: float | None
    """Nats per token on the last batch, before its step; None before the first of this process."""


def train(
    model: torch.nn.Module,
    windows: Windows,
    recipe: Recipe,
    keeping: Keeping,
    watch: Callable[[Progress], bool],
) -> Progress:
    """Train a model in place, from its checkpoint where there is one, and return how far it came.

    ``watch`` is called after every step and says whether to go on; when it does not, or all is done, the run is
    checkpointed and left. Raises ConfigError when the checkpoint is of another run.
    """
    optimizer = _optimizer(model, recipe)
    saved = checkpoint.load(keeping.path, model, optimizer, keeping.settings) or Saved(windows=0, steps=0)
    of = recipe.windows * recipe.length
    progress = Progress(saved.windows * recipe.length, of, None)
    kept = saved.windows
    going_on = watch(progress)
    model.train()
    while going_on and saved.windows < recipe.windows:
        until = min(saved.windows + recipe.batch, recipe.windows)
        batch_BT = np.stack([windows(index) for index in range(saved.windows, until)])
        _set_rate(optimizer, recipe.learning_rate.at((saved.windows + until) / 2 * recipe.length))
        loss = _step(model, optimizer, batch_BT, recipe.clip)
        saved = Saved(windows=until, steps=saved.steps + 1)
        progress = Progress(until * recipe.length, of, loss)
        if until - kept >= keeping.every:
            checkpoint.save(keeping.path, model, optimizer, saved, keeping.settings)
            kept = until
        going_on = watch(progress)
    if kept < saved.windows:
        checkpoint.save(keeping.path, model, optimizer, saved, keeping.settings)
    model.eval()
    return progress


def _step(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    batch_BT: npt.NDArray[np.int32],
    clip: float,
) -> float:
    """Take one optimizer step and return the loss before it, in nats per token."""
    device = next(model.parameters()).device
    tokens_BT = torch.from_numpy(batch_BT).to(device, torch.int64)
    logits_BTV = model(input_ids=tokens_BT, use_cache=False).logits
    loss = cross_entropy(logits_BTV[:, :-1].flatten(0, 1), tokens_BT[:, 1:].flatten())
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]  # torch has no annotation here
    torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimizer.step()
    return float(loss.detach())


def _optimizer(model: torch.nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() <= 1]
    groups = [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate.peak, betas=recipe.betas, fused=True)


def _set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate

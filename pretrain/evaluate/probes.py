"""The probes of protocol.md section 6: whether a model reads its answers, and is finite everywhere.

A network here is built from our own configuration, so no honest way is known in which it reads what comes later. These
probes hold where that is wrong: a library with another mask, a kernel with a fault at one length, a family that was
read carelessly. ``trials`` says on which windows.

Shapes: B windows, T tokens, N positions, H hidden size, V vocabulary of the model, n ids of the tokenizer.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch.nn.attention import sdpa_kernel
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from pretrain.data import Samples
from pretrain.errors import ModelRejected, Reason
from pretrain.evaluate.loss import KERNELS
from pretrain.evaluate.trials import RANDOM, Text, trials
from pretrain.models.architectures import head, hidden_states
from pretrain.models.family import Head

GPU_TOLERANCE = 1e-4
"""Largest movement of a hidden state on a GPU, as a part of the largest number in that state; on a CPU it is 0.

On a GPU 0 is expected too: cuBLAS promises the same bits for the same shapes on the same device, and the attention
kernels add nothing atomically in a forward pass. Not measured on a GPU: that is for ``pretrain bench probes --device``.
"""

STANDARD_ERRORS = 6
MARGIN = 0.001  # nats
FEWEST = 32
"""Draws from which a standard deviation says anything; of fewer, equal by chance, it may be next to 0."""
STAKE = 0.01  # part of the wealth that is put on each draw
ODDS = 1e9


@dataclass
class Findings:
    """What a model did on its trials."""

    movement: float = 0.0
    """Largest change of a hidden state before the first token that changed, as a part of its largest number."""
    where: str = ""
    """Where that was."""
    random: list[float] = field(default_factory=list)
    """Losses in nats on uniform ids in the random windows."""
    strewn: list[float] = field(default_factory=list)
    """Losses in nats on uniform ids that were strewn over the step's own windows."""


def probe(model: PreTrainedModel, samples: Samples, vocabulary: int, *, batch: int, chunk: int) -> None:
    """Run every probe; ``vocabulary`` is n, ``batch`` windows run and ``chunk`` positions pass the head at a time.

    Raises ModelRejected: NOT_FINITE, or NOT_CAUSAL when the model reads its answers.
    """
    check(observe(model, samples, vocabulary, batch=batch, chunk=chunk), vocabulary, tolerance(model))


def tolerance(model: PreTrainedModel) -> float:
    """Return how far a hidden state of a model may move on its device."""
    return 0.0 if next(model.parameters()).device.type == "cpu" else GPU_TOLERANCE


def observe(model: PreTrainedModel, samples: Samples, vocabulary: int, *, batch: int, chunk: int) -> Findings:
    """Run a model on its trials; raises ModelRejected(NOT_FINITE)."""
    found, to_logits = Findings(), head(model)
    with torch.inference_mode(), sdpa_kernel(KERNELS, set_priority=True):
        for trial in trials(samples, vocabulary):
            losses = found.random if trial.name == RANDOM else found.strewn
            for part in trial.parts(batch):
                states = finite_states(model, part.text, part.name)
                losses += drawn_losses(states, part.text, to_logits, chunk, part.name)
                for altered in part.altered:
                    moved = finite_states(model, altered, part.name)
                    losses += drawn_losses(moved, altered, to_logits, chunk, part.name)
                    first = (part.text.tokens != altered.tokens).argmax(axis=1)  # 0 where nothing changed: no test
                    amount, window, position = movement(states, moved, torch.from_numpy(first).to(states.device))
                    if amount > found.movement:
                        found.movement = amount
                        found.where = f"position {position}, when tokens from {first[window]} on change ({part.name})"
    return found


def check(found: Findings, vocabulary: int, most: float) -> None:
    """Apply the rules to what was found, where states may move by ``most``; raises ModelRejected(NOT_CAUSAL)."""
    causal(found, most)
    for losses, name in ((found.random, RANDOM), (found.strewn, "ids strewn over the step's windows")):
        uniform(losses, vocabulary, name)
        wager(losses, vocabulary, name)


def finite_states(model: PreTrainedModel, text: Text, name: str) -> torch.Tensor:
    """Return the states (B, T, H) that the head reads; raises ModelRejected(NOT_FINITE) when one is NaN or infinite.

    False alarms: none, it is the rule itself. Missed: what only other tokens bring about; each window that is scored
    was looked at like this when its loss was taken.
    """
    ids = torch.from_numpy(text.tokens.astype(np.int64)).to(next(model.parameters()).device)
    states = hidden_states(model, ids)
    if not torch.isfinite(states).all():
        raise ModelRejected(Reason.NOT_FINITE, f"a hidden state is NaN or infinite in a probe of {name}")
    return states


def drawn_losses(states: torch.Tensor, text: Text, to_logits: Head, chunk: int, name: str) -> list[float]:
    """Return the losses in nats of the tokens that were drawn uniformly, from states (B, T, H).

    Raises ModelRejected(NOT_FINITE) when a logit there is NaN or infinite.
    """
    drawn = torch.from_numpy(text.drawn[:, 1:]).to(states.device)
    states = states[:, :-1][drawn]
    targets = torch.from_numpy(text.tokens[:, 1:].astype(np.int64)).to(states.device)[drawn]
    losses: list[float] = []
    for start in range(0, len(targets), chunk):
        logits = to_logits(states[start : start + chunk])
        if not torch.isfinite(logits).all():
            raise ModelRejected(Reason.NOT_FINITE, f"a logit is NaN or infinite in a probe of {name}")
        losses += cross_entropy(logits, targets[start : start + chunk], reduction="none").tolist()
    return losses


def movement(states: torch.Tensor, moved: torch.Tensor, first: torch.Tensor) -> tuple[float, int, int]:
    """Return by how much states (B, T, H) differ before the first (B,) token that changed, and in which (b, t).

    The measure of one position is the largest difference there by the largest number in either state; logits are a
    function of the state of their own position alone, so nothing that stays in place here can move a logit.
    """
    one, two = states.float(), moved.float()
    difference = (one - two).abs().amax(dim=-1)
    size = torch.maximum(one.abs().amax(dim=-1), two.abs().amax(dim=-1))
    before = torch.arange(states.shape[1], device=states.device) < first[:, None]
    relative = torch.where(before & (difference > 0), difference / size, 0.0)
    window, position = divmod(int(relative.argmax()), states.shape[1])
    return float(relative[window, position]), window, position


def causal(found: Findings, most: float) -> None:
    """Refuse a model whose states before a cut move by more than ``most`` when tokens from the cut on change.

    False alarms on a CPU: none. Both passes have the same shapes, so the same kernels add the same numbers in the same
    order. A masked score adds exactly 0 to a sum, and the rows of a product do not depend on each other.

    Missed in a step with m cuts besides those at T-1: a leak from a part f of all positions, scattered, each to the
    next token, (1 - f)^m; to a token d ahead (1 - f)^(m d), if all of those d tokens change; one that tells only a
    share s of all pairs of tokens apart, (1 - f s)^m; one in a single stretch of f T positions, with m cuts in its
    task, about 1 - f m, nothing from f m = 2 on, and nothing when it reaches to the end. In a part g of the windows
    alone: (1 - g)^P for P probed ones. A champion is probed anew in every step, with other cuts. On a GPU: what moves
    less than the tolerance. Raises ModelRejected(NOT_CAUSAL).
    """
    if found.movement > most:
        raise ModelRejected(
            Reason.NOT_CAUSAL,
            f"the hidden state moves by {found.movement:.2g} of its size (at most {most:g}) at {found.where}",
        )


def uniform(losses: Sequence[float], vocabulary: int, name: str) -> None:
    """Refuse a mean loss on N uniform ids below ln(n) - 6 standard errors - 0.001, whatever came before them.

    Whoever does not know a uniform id pays ln(n) + KL(uniform || q) >= ln(n) in the mean for his probabilities q over
    the n ids (Gibbs), more if q has mass on others. Standard error: the sample's standard deviation (N - 1) / sqrt(N).

    False alarms: at most exp(-0.001 N) for any honest model, for N ratios n q(id) have a product of mean at most 1, and
    here it is above exp(0.001 N) (Markov); 3e-4 for two windows of 4096. With a mean near to normal 1e-9 (6 sigma);
    Cantelli's inequality alone gives 1/37. Fewer than 32 ids say nothing. Raises ModelRejected(NOT_CAUSAL).
    """
    if len(losses) >= FEWEST:
        mean = math.fsum(losses) / len(losses)
        error = float(np.std(losses, ddof=1)) / math.sqrt(len(losses))
        bound = math.log(vocabulary) - STANDARD_ERRORS * error - MARGIN
        if mean < bound:
            detail = f"{len(losses)} random ids of {vocabulary} cost {mean:.4f} nats each; nobody can pay less than"
            raise ModelRejected(Reason.NOT_CAUSAL, f"{detail} {bound:.4f} ({name})")


def wager(losses: Sequence[float], vocabulary: int, name: str) -> None:
    """Refuse a model with which a gambler wins 10^9 times his wealth on uniform ids: it knows some of them.

    At each draw a part 0.01 of the wealth is put on the model's probability q(id) against 1/n: the wealth is multiplied
    by 1 + 0.01 (n q(id) - 1). That has mean at most 1 for who does not know the id, so the wealth is a supermartingale.
    (Shafer, "Testing by betting", 2021.)

    False alarms: at most 1e-9 for any honest model and any number of draws (Ville 1939). Losses that are wrong by
    1e-5 nats each, as float32 has them, raise that to exp(1e-5 N) times as much at most.

    It sees what ``uniform`` can not: a trained model pays far more than ln(n) for random ids, which hides a few that it
    reads. Each one read multiplies by up to 1 + 0.01 n, so (ln 10^9 + 0.01 N) / ln(1 + 0.01 n) of them are enough: 4 of
    200 at n = 50,000. Raises ModelRejected(NOT_CAUSAL).
    """
    wealth = math.fsum(math.log1p(STAKE * (vocabulary * math.exp(-loss) - 1)) for loss in losses)
    if wealth > math.log(ODDS):
        detail = f"among {len(losses)} random ids of {vocabulary} it knows some: odds of e^{wealth:.0f} to 1"
        raise ModelRejected(Reason.NOT_CAUSAL, f"{detail} ({name})")

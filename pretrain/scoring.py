"""Losses -> wins -> win rates -> weights: the arithmetic that money follows (protocol.md sections 5, 7 and 8).

Pure numpy on frozen values; every tie is named. Legend: N entries, B batches; a batch is the k-th window of every task.
"""

import hashlib
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from pretrain.competition import (
    AdaptiveEpsilon,
    Competition,
    Epsilon,
    FixedEpsilon,
    Reward,
    SoftmaxReward,
    WinnerTakesAllReward,
)
from pretrain.data import Samples
from pretrain.step_rules import Weights
from pretrain.types import Block, CompetitionId, Hotkey, TaskName

Floats = npt.NDArray[np.float64]
_Numbers = npt.NDArray[np.float64 | np.int_]
LEAST_AVERAGE = 0.01
"""Averages whose sum is below this count as none (protocol.md section 8)."""


@dataclass(frozen=True)
class Judged:
    """A model's losses on one step's windows."""

    hotkey: Hotkey
    block: Block
    """Of the commitment: who is earlier has the head start."""
    batches: Floats
    """(B,) loss of each batch, mixed as the competition is."""
    score: float
    """The sum of weight x task loss; lower is better."""

    @cached_property
    def finite(self) -> bool:
        """Whether every loss is a number; one that is not can neither win nor filter."""
        return math.isfinite(self.score) and bool(np.isfinite(self.batches).all())

    @property
    def precedence(self) -> tuple[int, bytes]:
        """The order of two that are otherwise equal: earlier block, then smaller sha256 of the ASCII hotkey."""
        return (self.block, hotkey_order(self.hotkey))


@dataclass(frozen=True)
class Reference:
    """A past champion that is no entry of the step: it measures gains and does nothing else."""

    hotkey: Hotkey
    block: Block
    score: float


@dataclass(frozen=True)
class Standing:
    """What one step says of one entry."""

    competitive: bool
    win_rate: float
    gain: float
    """g: relative improvement over the best that was there before; the smallest measured for this commitment."""
    epsilon: float
    """The head start it has as the earlier of two."""


@dataclass(frozen=True)
class Result:
    """A decided step: one standing for each judged entry, in the order of ``judged``."""

    judged: tuple[Judged, ...]
    standings: tuple[Standing, ...]
    wins: Floats
    """(N, N) share of the match of row against column that the row won; 0 for who is not competitive."""

    @cached_property
    def champion(self) -> Hotkey | None:
        """Highest win rate; then earlier block; then smaller sha256 of the hotkey. None: nobody is competitive."""
        candidates = [(-s.win_rate, j.precedence, j.hotkey) for j, s in self._pairs if s.competitive]
        return min(candidates)[-1] if candidates else None

    @property
    def _pairs(self) -> Iterable[tuple[Judged, Standing]]:
        return zip(self.judged, self.standings, strict=True)

    def standing(self, hotkey: Hotkey) -> Standing:
        """Return the standing of a hotkey; raises KeyError when it was not judged."""
        return {j.hotkey: s for j, s in self._pairs}[hotkey]


def hotkey_order(hotkey: Hotkey) -> bytes:
    """Return what breaks the last tie: sha256 over the ASCII hotkey."""
    return hashlib.sha256(hotkey.encode("ascii")).digest()


def judged(
    hotkey: Hotkey, block: Block, losses: Mapping[TaskName, Floats], samples: Samples, competition: Competition
) -> Judged:
    """Mix window losses (nats per token) into batches and a score by the competition's tasks and methods."""
    weights = competition.weights
    batches = np.zeros(competition.windows)
    parts = []
    for task, weight in weights.items():
        window, whole = _task_loss(losses[task], samples, task, competition)
        batches = batches + weight * window
        parts.append(weight * whole)
    return Judged(hotkey, block, batches, math.fsum(parts))


def task_losses(losses: Mapping[TaskName, Floats], samples: Samples, competition: Competition) -> dict[TaskName, float]:
    """Return each task's loss over all its windows: nats per token, or bits per byte as a ratio of sums."""
    return {task: _task_loss(losses[task], samples, task, competition)[1] for task in competition.weights}


def _task_loss(nats: Floats, samples: Samples, task: TaskName, competition: Competition) -> tuple[Floats, float]:
    if competition.tasks[task].method == "text_loss":
        return nats, math.fsum(nats.tolist()) / len(nats)
    predictions = samples.tokens[task].shape[1] - 1
    bits = nats * predictions / math.log(2)
    counts = samples.bytes[task].astype(np.float64)
    return bits / counts, math.fsum(bits.tolist()) / math.fsum(counts.tolist())


def gains(entries: Sequence[Judged], references: Sequence[Reference]) -> list[float]:
    """Return g of each entry: 1 - score / best score of a strictly earlier finite entry or past champion; 0 if none."""
    earlier = [(j.block, j.score) for j in entries if j.finite] + [(r.block, r.score) for r in references]
    earlier = sorted((block, score) for block, score in earlier if math.isfinite(score))
    best_before: dict[int, float] = {}
    best = math.inf
    for block, group in itertools.groupby(earlier, key=lambda pair: pair[0]):
        best_before[block] = best
        best = min(best, *(score for _, score in group))
    result = []
    for entry in entries:
        before = best_before.get(entry.block, math.inf)
        result.append(1 - entry.score / before if entry.finite and 0 < before < math.inf else 0.0)
    return result


def epsilon_at(rule: Epsilon, age: int, gain: float) -> float:
    """Return the head start of a commitment of this age in blocks, with this gain (protocol.md section 7)."""
    if isinstance(rule, FixedEpsilon):
        return rule.end
    start = rule.start
    if isinstance(rule, AdaptiveEpsilon):
        start = min(max(gain, rule.end), rule.start)
    return rule.end + (start - rule.end) * max(0.0, 1 - age / rule.blocks)


def decide(
    entries: Sequence[Judged],
    references: Sequence[Reference],
    known_gains: Mapping[Hotkey, float],
    competition: Competition,
    now: Block,
) -> Result:
    """Play every match among the competitive entries of a step at sync block ``now``.

    ``known_gains`` holds the smallest gain measured before for a commitment: it never rises.
    """
    ordered = tuple(sorted(entries, key=lambda entry: entry.precedence))
    measured = gains(ordered, references)
    smallest = [min(g, known_gains.get(e.hotkey, math.inf)) for e, g in zip(ordered, measured, strict=True)]
    epsilons = [epsilon_at(competition.epsilon, now - e.block, g) for e, g in zip(ordered, smallest, strict=True)]
    competitive = _competitive(ordered, competition.epsilon.end)
    wins = np.zeros((len(ordered), len(ordered)))
    index = [i for i, yes in enumerate(competitive) if yes]
    if index:
        wins[np.ix_(index, index)] = _matches([ordered[i] for i in index], [epsilons[i] for i in index], competition)
    others = len(index) - 1
    rates = [
        (math.fsum(wins[i].tolist()) / others if others else 1.0) if yes else 0.0 for i, yes in enumerate(competitive)
    ]
    standings = tuple(map(Standing, competitive, rates, smallest, epsilons))
    return Result(ordered, standings, wins)


def _competitive(ordered: Sequence[Judged], end: float) -> list[bool]:
    """Tell who is finite and better than (1 - end) x the score of every strictly earlier finite entry."""
    result: list[bool] = []
    best = math.inf
    for _, group in itertools.groupby(ordered, key=lambda entry: entry.block):
        same_block = list(group)
        result.extend(entry.finite and entry.score < (1 - end) * best for entry in same_block)
        best = min(best, *(entry.score for entry in same_block if entry.finite), math.inf)
    return result


def _matches(entries: Sequence[Judged], epsilons: Sequence[float], competition: Competition) -> Floats:
    """Return (N, N) shares of matches won by row against column, for entries in order of block; the diagonal is 0.

    handicap_NN[i, j] multiplies the losses of i in its match against j.
    """
    blocks = np.array([entry.block for entry in entries])
    epsilon = np.array(epsilons)
    handicap_NN = np.where(blocks[:, None] < blocks[None, :], 1 - epsilon[:, None], 1.0)
    if competition.compare == "mean":
        scores = np.array([entry.score for entry in entries])[:, None] * handicap_NN
        wins = _half_ties(scores, scores.T)
    else:
        losses_NB = np.stack([entry.batches for entry in entries])
        wins = np.zeros_like(handicap_NN)
        for i in range(len(entries)):
            mine, theirs = losses_NB[i] * handicap_NN[i, i + 1 :, None], losses_NB[i + 1 :]  # i is never the later one
            better, worse = (mine < theirs).sum(axis=1), (mine > theirs).sum(axis=1)
            wins[i, i + 1 :] = _half_ties(worse, better)
            wins[i + 1 :, i] = 1 - wins[i, i + 1 :]
    np.fill_diagonal(wins, 0.0)
    return wins


def _half_ties(a: _Numbers, b: _Numbers) -> Floats:
    """Return 1 where a is smaller, 0.5 where equal, 0 where larger."""
    return np.where(a < b, 1.0, np.where(a == b, 0.5, 0.0))


def step_weights(result: Result, reward: Reward) -> dict[Hotkey, float]:
    """Share one step's weight among its competitive entries; empty when there is none."""
    playing = [(j, s) for j, s in zip(result.judged, result.standings, strict=True) if s.competitive]
    if not playing:
        return {}
    if isinstance(reward, SoftmaxReward):
        top = max(s.win_rate for _, s in playing)
        shares = {j.hotkey: math.exp((s.win_rate - top) / reward.temperature) for j, s in playing}
    elif isinstance(reward, WinnerTakesAllReward):
        shares = {j.hotkey: float(j.hotkey == result.champion) for j, _ in playing}
    else:
        shares = {j.hotkey: max(0.0, s.gain) for j, s in playing}
        if not any(shares.values()):
            _, _, best = min((j.score, j.precedence, j.hotkey) for j, _ in playing)
            shares[best] = 1.0
    return _normalised(shares)


def moving_average(
    old: Mapping[Hotkey, float], new: Mapping[Hotkey, float], alpha: float, present: frozenset[Hotkey]
) -> dict[Hotkey, float]:
    """Return alpha x old + (1 - alpha) x new over the hotkeys that still have an entry in this competition.

    The first step is taken whole; a step without a competitive entry leaves the averages as they are.
    """
    kept = {hotkey: weight for hotkey, weight in old.items() if hotkey in present}
    if not new:
        return kept
    if math.fsum(kept.values()) < LEAST_AVERAGE:
        return dict(new)
    hotkeys = sorted({*kept, *new})
    return {h: alpha * kept.get(h, 0.0) + (1 - alpha) * new.get(h, 0.0) for h in hotkeys}


def combine(
    averages: Mapping[CompetitionId, Mapping[Hotkey, float]],
    shares: Mapping[CompetitionId, float],
    rules: Weights,
    burner: Hotkey | None,
) -> dict[Hotkey, float]:
    """Return the row to set: averages of the present hotkeys, mixed by reward share, burnt, trimmed, summing to 1.

    A competition without averages gives its share to the others in proportion; empty: set nothing. ``burner`` is the
    hotkey at ``burn_uid``, None when there is none.
    """
    paid = {c: a for c, a in averages.items() if shares.get(c, 0) > 0 and math.fsum(a.values()) >= LEAST_AVERAGE}
    total = math.fsum(shares[c] for c in paid)
    row: dict[Hotkey, float] = {}
    for competition in sorted(paid):
        for hotkey, weight in _normalised(paid[competition]).items():
            row[hotkey] = row.get(hotkey, 0.0) + weight * shares[competition] / total
    burn = (rules.burn if row else 1.0) if burner is not None else 0.0
    row = {hotkey: weight * (1 - burn) for hotkey, weight in row.items()}
    if burner is not None and burn > 0:
        row[burner] = row.get(burner, 0.0) + burn
    kept = {h: w for h, w in row.items() if w > 0 and (w >= rules.min_weight or (h == burner and burn > 0))}
    return _normalised(kept)


def _normalised(weights: Mapping[Hotkey, float]) -> dict[Hotkey, float]:
    """Scale to a sum of 1, in order of hotkey; empty when nothing is positive."""
    total = math.fsum(weights.values())
    return {h: weights[h] / total for h in sorted(weights) if weights[h] > 0} if total > 0 else {}

"""Windows to train on, mixed from several token streams in fixed shares."""

import functools
import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pretrain.errors import ConfigError

PARTS = 10_000
"""Shares are rounded to one in so many."""


@dataclass(frozen=True, eq=False)
class TrainingWindows:
    """An endless sequence of windows with random access: to go on after a crash takes the index and nothing else."""

    streams: Mapping[str, npt.NDArray[np.int32]]
    """(tokens,) by source name."""
    sequence_length: int
    seed: int
    turns: npt.NDArray[np.intp]
    """(period,) which of the sources, in order of name, each window of a period comes from."""
    names: tuple[str, ...]
    """The sources with a share, in order of name."""

    def window(self, index: int) -> tuple[str, npt.NDArray[np.int32]]:
        """Return the source and the (sequence_length,) tokens of window ``index``, 0 or more.

        Each source's windows come without replacement in an order of its own, and in a new order in each epoch.
        """
        periods, at = divmod(index, self.turns.size)
        turn = self.turns[at]
        nth = periods * int(np.count_nonzero(self.turns == turn)) + int(np.count_nonzero(self.turns[:at] == turn))
        name = self.names[turn]
        tokens = self.streams[name]
        epoch, position = divmod(nth, tokens.size // self.sequence_length)
        place = int(_order(self.seed, name, epoch, tokens.size // self.sequence_length)[position])
        return name, tokens[place * self.sequence_length : (place + 1) * self.sequence_length]

    def batch(self, step: int, size: int) -> npt.NDArray[np.int32]:
        """Return windows ``step * size`` to ``(step + 1) * size - 1`` as one (size, sequence_length) array."""
        return np.stack([self.window(index)[1] for index in range(step * size, (step + 1) * size)])


def training_windows(
    streams: Mapping[str, npt.NDArray[np.int32]], weights: Mapping[str, float], sequence_length: int, seed: int
) -> TrainingWindows:
    """Return windows of which each source has its share by weight, in tokens, in every prefix to within one window.

    Weights need not sum to 1. Raises ConfigError for a weight that is not a number from 0 on, a source without a
    stream, and a stream shorter than a window.
    """
    if not weights or not all(math.isfinite(w) and w >= 0 for w in weights.values()) or not sum(weights.values()):
        raise ConfigError(f"training mixture has weights {dict(weights)}; use numbers above 0, such as prose=0.85")
    parts = {name: count for name, count in _shares(weights).items() if count}
    for name in parts:
        tokens = streams[name].size if name in streams else None
        if tokens is None:
            raise ConfigError(f"training mixture names {name!r}; sources are {', '.join(sorted(streams)) or 'none'}")
        if tokens < sequence_length:
            raise ConfigError(f"source {name!r} has {tokens} tokens to train on; a window takes {sequence_length}")
    return TrainingWindows(streams, sequence_length, seed, _turns(tuple(parts.values())), tuple(parts))


def _shares(weights: Mapping[str, float]) -> dict[str, int]:
    """Return the weights in parts of ``PARTS`` by largest remainder, in order of name; a tie goes to the first name."""
    total = math.fsum(weights.values())
    exact = {name: weights[name] / total * PARTS for name in sorted(weights)}
    parts = {name: math.floor(value) for name, value in exact.items()}
    by_remainder = sorted(exact, key=lambda name: parts[name] - exact[name])
    for name in by_remainder[: PARTS - sum(parts.values())]:
        parts[name] += 1
    return parts


@functools.lru_cache(maxsize=8)
def _turns(parts: tuple[int, ...]) -> npt.NDArray[np.intp]:
    """Return whose turn it is at each place of a period, so that at no place a source is a whole window off its share.

    The greatest remainder alone does not keep to this with many sources. This is the rule of Tijdeman, "The
    chairman assignment problem" (1980), in whole numbers: of the sources that are owed at least 1/(2k - 2) of a window,
    the one that would first be owed 1 - 1/(2k - 2). After ``sum(parts)`` windows, less what the parts have in common,
    all are even and it begins again.
    """
    divisor = math.gcd(*parts)
    counts = [part // divisor for part in parts]
    period = sum(counts)
    slack = 2 * len(counts) - 2
    turns = np.zeros(period, dtype=np.intp)
    taken = [0] * len(counts)
    for place in range(period if slack else 0):
        # what each source is owed in windows, times period and slack
        owed = [((place + 1) * count - period * had) * slack for count, had in zip(counts, taken, strict=True)]
        due = [i for i, debt in enumerate(owed) if debt >= period]
        turn = min(due, key=lambda i: ((period * (slack - 1) - owed[i]) / counts[i], i))
        turns[place] = turn
        taken[turn] += 1
    return turns


@functools.lru_cache(maxsize=16)
def _order(seed: int, name: str, epoch: int, count: int) -> npt.NDArray[np.intp]:
    """Return a permutation of ``range(count)``: the order of a hash's output, the same for every numpy version."""
    shake = hashlib.shake_256(f"{seed}\0{name}\0{epoch}".encode())
    return np.argsort(np.frombuffer(shake.digest(8 * count), dtype="<u8"), kind="stable")

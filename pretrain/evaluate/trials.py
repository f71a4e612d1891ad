"""What the probes of protocol.md section 6 run on: the step's own windows and random ones, as they are and altered.

A pure function of the samples. Every number is a piece of SHAKE-256 (FIPS 202) over their digest: nobody knows it
before the sync block, every validator has the same, and no library's generator can change it with a version. (A
remainder of 64 bits favours no id by more than n / 2^64.)

Shapes: W windows of a task, P of them probed, T tokens, n ids of the tokenizer.
"""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pretrain.data import Samples
from pretrain.types import TaskName

EVERY = 16
"""One window of so many of a task is probed, and at least one: with two alterations each, 9 passes for 50 windows."""

RANDOM_WINDOWS = 2
"""Windows of nothing but ids drawn uniformly: 4 more passes a step."""

RANDOM = "random windows"
"""The name of their trial; the others are named after their tasks."""

STREWN = 16
"""One token of so many is replaced where uniform ids are strewn over a text: most of it stays what it was."""

_FINE = 1 << 20  # places within a stratum


@dataclass(frozen=True)
class Text:
    """Windows for a model to read."""

    tokens: npt.NDArray[np.int32]
    """(P, T)"""
    drawn: npt.NDArray[np.bool_]
    """(P, T): which tokens were drawn uniformly from the n ids, independently of all tokens before them."""

    def part(self, start: int, count: int) -> "Text":
        """Return ``count`` windows from one on, or those that are left."""
        return Text(self.tokens[start : start + count], self.drawn[start : start + count])


@dataclass(frozen=True)
class Trial:
    """Windows, and versions of them that agree with them up to a cut of each window's own."""

    name: str
    text: Text
    altered: tuple[Text, ...]

    def parts(self, count: int) -> "Iterator[Trial]":
        """Yield the same trial for ``count`` windows at a time."""
        for start in range(0, len(self.text.tokens), count):
            altered = tuple(text.part(start, count) for text in self.altered)
            yield Trial(self.name, self.text.part(start, count), altered)


def trials(samples: Samples, vocabulary: int) -> Iterator[Trial]:
    """Yield a trial for each task's windows, in order of name, and one for random windows.

    ``vocabulary`` is n, 2 or more. A probed window is altered twice from a cut on: it goes on with the text of another
    window of the step; and its own text goes on, but the token at the cut and one of ``STREWN`` after it are uniform
    ids. So whatever a model takes for natural text, there is an alteration of it. Of the m = 2 P cuts of a task one is
    T-1, so that what begins at some position and goes on to the end cannot be missed; the others are spread over
    1..T-1, one in each of m - 1 equal parts.
    """
    everything = np.concatenate([samples.tokens[task] for task in sorted(samples.tokens)])
    start = 0
    for task in sorted(samples.tokens):
        own = range(start, start + len(samples.tokens[task]))
        if own:
            yield _natural(task, _Draws(f"{samples.digest} {task}"), everything, own, vocabulary)
        start = own.stop
    yield _random(_Draws(samples.digest), everything.shape[1], vocabulary)


class _Draws:
    """Whole numbers that a seed and a name give."""

    def __init__(self, seed: str) -> None:
        self.seed = seed

    def below(self, bound: int, name: str, shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
        """Return numbers from 0 to ``bound`` - 1."""
        raw = hashlib.shake_256(f"pretrain probes 1: {self.seed}: {name}".encode()).digest(8 * math.prod(shape))
        return (np.frombuffer(raw, dtype="<u8") % np.uint64(bound)).astype(np.int64).reshape(shape)

    def order(self, name: str, count: int) -> npt.NDArray[np.int64]:
        """Return 0 to ``count`` - 1 in an order of its own."""
        return np.argsort(self.below(1 << 62, name, (count,)), kind="stable")


def _natural(task: TaskName, draws: _Draws, everything: npt.NDArray[np.int32], own: range, vocabulary: int) -> Trial:
    count = max(1, len(own) // EVERY)
    windows = everything[own.start + np.sort(draws.order("windows", len(own))[:count])]
    shape = windows.shape
    cuts = _cuts(draws, 2 * count, shape[1])
    from_other, strewn = _from(cuts[:count], shape[1]), _from(cuts[count:], shape[1])
    strewn &= (draws.below(STREWN, "places", shape) == 0) | (np.arange(shape[1]) == cuts[count:, np.newaxis])
    other = np.where(from_other, _others(draws, everything, windows, cuts[:count]), windows)
    uniform = np.where(strewn, draws.below(vocabulary, "strewn", shape), windows)
    nothing = np.zeros(shape, np.bool_)
    return Trial(task, _text(windows, nothing), (_text(other, nothing), _text(uniform, strewn)))


def _random(draws: _Draws, length: int, vocabulary: int) -> Trial:
    shape = (RANDOM_WINDOWS, length)
    first, second = (draws.below(vocabulary, name, shape) for name in ("random", "random again"))
    changed = _from(_cuts(draws, RANDOM_WINDOWS, length), length)
    altered = _text(np.where(changed, second, first), changed)
    return Trial(RANDOM, _text(first, np.ones(shape, np.bool_)), (altered,))


def _others(
    draws: _Draws, everything: npt.NDArray[np.int32], windows: npt.NDArray[np.int32], cuts: npt.NDArray[np.int64]
) -> npt.NDArray[np.int32]:
    """Return for each window another one of the step, (P, T): the first in a drawn order with another token at the cut.

    A step with one window has that one with its second half first.
    """
    candidates = everything[draws.order("others", len(everything))]
    if len(everything) == 1:
        candidates = np.roll(everything, everything.shape[1] // 2, axis=1)
    at_cut = np.take_along_axis(windows, cuts[:, np.newaxis], axis=1)  # (P, 1)
    differs = at_cut != candidates[:, cuts].T  # (P, candidates)
    others: npt.NDArray[np.int32] = candidates[differs.argmax(axis=1)]
    return others


def _cuts(draws: _Draws, count: int, length: int) -> npt.NDArray[np.int64]:
    """Return T-1 as the first of ``count`` positions; the others in 1..T-1, one in each of equal parts, mixed."""
    parts = count - 1
    places = draws.order("parts", parts) * _FINE + draws.below(_FINE, "cuts", (parts,))
    return np.append(length - 1, 1 + places * (length - 1) // (parts * _FINE))


def _from(cuts: npt.NDArray[np.int64], length: int) -> npt.NDArray[np.bool_]:
    return np.arange(length) >= cuts[:, np.newaxis]


def _text(tokens: npt.NDArray[np.integer], drawn: npt.NDArray[np.bool_]) -> Text:
    return Text(tokens.astype(np.int32), drawn)

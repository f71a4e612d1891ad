"""Which models of a step are too close to be independent: by their losses, and by a sketch of their weights. Pure.

Legend: W windows of a step over all its tasks, K sampled weights.
"""

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pretrain.commitment import Entry
from pretrain.competition import NearCopies
from pretrain.types import Digest, TaskName

SKETCHED = 4096
"""K, the weights in a sketch: a distance taken from them was within 6% of that of all weights (docs/benchmarks.md)."""

_PLACE = np.dtype("<u8")
_Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Sketch:
    """Some weights of a model, the same ones of every model with the same matrices."""

    shapes: Digest
    """Of the matrices' names and shapes: sketches with different ones can not be compared."""
    values: npt.NDArray[np.float32]
    """(K,) whatever dtype they are stored in."""


@dataclass(frozen=True)
class Fingerprint:
    """What one model shows of itself in a step."""

    losses: npt.NDArray[np.float64]
    """(W,) nats a token, made of float32 losses of tokens; task by task in order of name."""
    sketch: Sketch


@dataclass(frozen=True)
class NearPair:
    """Two models too close to be independent."""

    earlier: Entry
    later: Entry
    losses: float
    """``loss_distance``."""
    weights: float | None
    """``weight_distance``."""

    def __str__(self) -> str:
        """Say how close they are."""
        return closeness(self.losses, self.weights)


def closeness(losses: float, weights: float | None) -> str:
    """Say in words how far apart two models are, by both distances."""
    return f"{losses:.3%} apart by losses, " + ("of other shapes" if weights is None else f"{weights:.3%} by weights")


def fingerprint(losses: Mapping[TaskName, npt.NDArray[np.float64]], sketch: Sketch) -> Fingerprint:
    """Return what was measured of one model, in the order in which it is compared."""
    return Fingerprint(np.concatenate([losses[task] for task in sorted(losses)]), sketch)


def take_sketch(
    shapes: Mapping[str, tuple[int, ...]],
    samples: Digest,
    read: Callable[[str, _Places], npt.NDArray[np.float32]],
) -> Sketch:
    """Take the sketch of a model from the shapes of its tensors by name; ``read`` gives a tensor's values at places.

    The places come from SHAKE-256 (FIPS 202) of the samples' digest: the same on every validator, others in each step,
    unknown when a model is committed. They count through all matrices in order of name, each row by row, so neither
    sharding nor the order in a file changes them. Vectors (norms, biases) are left out: they are alike in all models.
    """
    matrices = {name: shapes[name] for name in sorted(shapes, key=str.encode) if len(shapes[name]) > 1}
    ends = np.cumsum([math.prod(shape) for shape in matrices.values()])
    stream = hashlib.shake_256(f"pretrain sketch 1: {samples}".encode()).digest(_PLACE.itemsize * SKETCHED)
    places = np.sort((np.frombuffer(stream, _PLACE) % np.uint64(ends[-1])).astype(np.int64))
    cuts = np.searchsorted(places, ends)
    parts, first, start = [], 0, 0
    for name, cut, end in zip(matrices, cuts.tolist(), ends.tolist(), strict=True):
        parts.append(read(name, places[first:cut] - start))
        first, start = cut, end
    lines = "".join(f"{name}\0{','.join(map(str, shape))}\n" for name, shape in matrices.items())
    return Sketch(Digest(hashlib.sha256(lines.encode()).hexdigest()), np.concatenate(parts).astype(np.float32))


def loss_distance(one: Fingerprint, other: Fingerprint) -> float:
    """Return the root mean square of the windows' differences, as a share of the mean loss of both; 0 for no losses."""
    mean = math.fsum([*one.losses.tolist(), *other.losses.tolist()]) / (2 * len(one.losses))
    return _rms((one.losses - other.losses) / mean) if mean else 0.0


def weight_distance(one: Sketch, other: Sketch) -> float | None:
    """Return the root mean square of the sampled weights' differences, as a share of that of the weights themselves.

    sqrt(2) for unrelated weights around 0; None when the matrices are not of the same names and shapes.
    """
    if one.shapes != other.shapes:
        return None
    mine, theirs = one.values.astype(np.float64), other.values.astype(np.float64)
    size = math.hypot(_rms(mine), _rms(theirs)) / math.sqrt(2)
    return _rms(mine - theirs) / size if size else 0.0


def near_pairs(models: Mapping[Entry, Fingerprint], rule: NearCopies) -> tuple[NearPair, ...]:
    """Return the pairs closer than a bound, of models that are given in order of precedence.

    Sorted by the later one, then by the earlier. Two models of one hotkey are no pair: who goes on from their own
    model copies nobody.
    """
    found: list[NearPair] = []
    before: list[Entry] = []
    for later, mine in models.items():
        for earlier in before:
            theirs = models[earlier]
            losses, weights = loss_distance(theirs, mine), weight_distance(theirs.sketch, mine.sketch)
            near = losses < rule.losses or (weights is not None and weights < rule.weights)
            if near and earlier.hotkey != later.hotkey:
                found.append(NearPair(earlier, later, losses, weights))
        before.append(later)
    return tuple(found)


def copies(pairs: tuple[NearPair, ...]) -> dict[Entry, NearPair]:
    """Return which models are copies, each with the pair that says so, of ``near_pairs``.

    A copy is nobody's original: of a chain a ~ b ~ c, where a and c are not near, b is a copy of a, and c is none.
    """
    found: dict[Entry, NearPair] = {}
    for pair in pairs:
        if pair.earlier not in found:
            found.setdefault(pair.later, pair)
    return found


def _rms(values: npt.NDArray[np.float64]) -> float:
    """Return the root mean square, whatever the order: every validator comes to the same bits."""
    return math.sqrt(math.fsum((values * values).tolist()) / len(values))

"""Which models are near, from literals: distances, pairs, and which of a chain are copies."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from fakes import sketch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pretrain.commitment import Commitment, Entry
from pretrain.competition import NearCopies
from pretrain.fingerprint import (
    SKETCHED,
    Fingerprint,
    NearPair,
    Sketch,
    copies,
    fingerprint,
    loss_distance,
    near_pairs,
    take_sketch,
    weight_distance,
)
from pretrain.types import Block, CompetitionId, Digest, Hotkey, Revision, TaskName

RULE = NearCopies(losses=0.002, weights=0.05)
SAMPLES = Digest("ab" * 32)
SHAPES = {"b.weight": (40, 30), "a.weight": (20, 10), "a.norm": (20,)}
PINNED = [20.0, 20.0, 20.0, 1418.0, 1418.0, 1419.0]
"""The first and last weights of the sketch of ``SHAPES``: another choice would part validators of two versions."""
LOSSES = arrays.arrays(np.float64, 8, elements=st.floats(0, 100, width=32))


def entry(name: str, block: int) -> Entry:
    commitment = Commitment(name, "model", Revision("0" * 40), Digest(""), CompetitionId(0))
    return Entry(Hotkey(name), Block(block), commitment)


A, B, C = entry("A", 10), entry("B", 20), entry("C", 30)


def shown(*losses: float, weights: Sketch | None = None) -> Fingerprint:
    return Fingerprint(np.array(losses), weights or sketch(str(losses)))


def numbered(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, npt.NDArray[np.float32]]:
    """Return tensors in which every weight is another number."""
    ends = np.cumsum([0, *(int(np.prod(shape)) for shape in shapes.values())]).tolist()
    return {
        name: np.arange(start, end, dtype=np.float32) for name, (start, end) in zip(shapes, pairwise(ends), strict=True)
    }


def taken(shapes: Mapping[str, tuple[int, ...]], samples: Digest = SAMPLES) -> Sketch:
    tensors = numbered(dict(sorted(shapes.items())))
    return take_sketch(shapes, samples, lambda name, places: tensors[name][places])


# The sketch


def test_a_sketch_holds_weights_of_all_matrices_and_of_no_vector() -> None:
    found = set(taken(SHAPES).values.tolist())
    vector, first, second = numbered(dict(sorted(SHAPES.items()))).values()

    assert len(taken(SHAPES).values) == SKETCHED
    assert (found & {*vector.tolist()}, found <= {*first.tolist(), *second.tolist()}) == (set(), True)
    shares = [len(found & {*matrix.tolist()}) / matrix.size for matrix in (first, second)]
    assert shares == pytest.approx([0.95, 0.95], abs=0.05)  # 4096 draws of 1400 leave out one in e^2.9


def test_the_order_of_tensors_changes_no_sketch() -> None:
    one, other = taken(SHAPES), taken(dict(reversed(SHAPES.items())))

    assert (one.shapes, one.values.tobytes()) == (other.shapes, other.values.tobytes())


def test_each_step_samples_other_weights_in_one_order() -> None:
    one, other = (taken(SHAPES, Digest(letter * 64)).values for letter in "ab")

    assert one.tobytes() != other.tobytes()
    assert [values.tolist() == sorted(values.tolist()) for values in (one, other)] == [True, True]


def test_which_weights_are_sampled_is_pinned() -> None:
    assert taken(SHAPES).values[:3].tolist() + taken(SHAPES).values[-3:].tolist() == PINNED


def test_names_and_shapes_of_matrices_are_in_the_digest_and_vectors_are_not() -> None:
    others = ({"a.weight": (10, 20)}, {"c.weight": (2, 2)}, {"a.norm": (21,)})

    assert [taken(SHAPES | other).shapes == taken(SHAPES).shapes for other in others] == [False, False, True]


# Distances


def test_the_distance_by_losses_is_the_rms_of_the_differences_over_the_mean_loss() -> None:
    assert loss_distance(shown(1.0, 3.0), shown(2.0, 2.0)) == pytest.approx(0.5)


def test_the_distance_by_weights_is_the_rms_of_the_differences_over_that_of_the_weights() -> None:
    one, noisy = sketch("one"), sketch("one", noise=0.01)

    assert weight_distance(one, noisy) == pytest.approx(0.01, rel=0.03)
    assert weight_distance(one, sketch("other")) == pytest.approx(2**0.5, rel=0.03)


def test_models_without_a_loss_or_a_weight_are_no_distance_apart() -> None:
    nothing = Sketch(Digest("5" * 64), np.zeros(SKETCHED, np.float32))

    assert (loss_distance(shown(0.0), shown(0.0)), weight_distance(nothing, nothing)) == (0.0, 0.0)


def test_sketches_of_other_shapes_are_not_compared() -> None:
    assert weight_distance(sketch("one"), replace(sketch("one"), shapes=Digest("6" * 64))) is None


@given(LOSSES, LOSSES)
def test_a_distance_is_the_same_both_ways_and_none_to_itself(
    one: npt.NDArray[np.float64], two: npt.NDArray[np.float64]
) -> None:
    a, b = Fingerprint(one, sketch("a")), Fingerprint(two, sketch("b"))

    assert (loss_distance(a, b), loss_distance(a, a)) == (loss_distance(b, a), 0.0)
    assert (weight_distance(a.sketch, b.sketch), weight_distance(a.sketch, a.sketch)) == (
        weight_distance(b.sketch, a.sketch),
        0.0,
    )


@given(LOSSES, LOSSES, st.permutations(range(8)))
def test_the_order_of_windows_does_not_matter_to_the_last_bit(
    one: npt.NDArray[np.float64], two: npt.NDArray[np.float64], order: list[int]
) -> None:
    found = loss_distance(Fingerprint(one, sketch("a")), Fingerprint(two, sketch("b")))

    assert loss_distance(Fingerprint(one[order], sketch("a")), Fingerprint(two[order], sketch("b"))) == found


@given(LOSSES, LOSSES, st.sampled_from([2.0, 0.25, 1024.0]))
def test_the_unit_of_the_losses_does_not_matter(
    one: npt.NDArray[np.float64], two: npt.NDArray[np.float64], unit: float
) -> None:
    found = loss_distance(Fingerprint(one, sketch("a")), Fingerprint(two, sketch("b")))

    assert loss_distance(Fingerprint(one * unit, sketch("a")), Fingerprint(two * unit, sketch("b"))) == found


def test_losses_are_compared_task_by_task_in_order_of_name() -> None:
    losses = {TaskName("prose"): np.array([3.0, 4.0]), TaskName("code"): np.array([1.0, 2.0])}

    assert fingerprint(losses, sketch("")).losses.tolist() == [1.0, 2.0, 3.0, 4.0]


# Pairs


def test_a_pair_is_near_by_losses_or_by_weights() -> None:
    weights = sketch("weights")
    models = {
        A: shown(2.0, 3.0, weights=weights),
        B: shown(2.001, 3.001),  # near A by losses
        C: shown(5.0, 6.0, weights=sketch("weights", noise=0.01)),  # near A by weights
    }

    found = near_pairs(models, RULE)

    assert [(pair.earlier, pair.later) for pair in found] == [(A, B), (A, C)]
    assert [pair.losses < RULE.losses for pair in found] == [True, False]
    assert str(found[0]).startswith("0.040% apart by losses, 14")


def test_a_bound_of_0_never_makes_a_pair_near() -> None:
    models = {A: shown(2.0, weights=sketch("x")), B: shown(2.0, weights=sketch("x"))}

    one_bound = [NearCopies(losses=0.002, weights=0), NearCopies(losses=0, weights=0.05)]

    assert [len(near_pairs(models, rule)) for rule in one_bound] == [1, 1]
    assert near_pairs(models, NearCopies(losses=0, weights=0)) == ()


def test_models_of_other_shapes_are_near_by_losses_alone() -> None:
    other = replace(sketch("x"), shapes=Digest("6" * 64))

    found = near_pairs({A: shown(2.0, weights=sketch("x")), B: shown(2.0, weights=other)}, RULE)

    assert [(pair.losses, pair.weights, str(pair)) for pair in found] == [
        (0.0, None, "0.000% apart by losses, of other shapes")
    ]
    assert near_pairs({A: shown(2.0, weights=sketch("x")), B: shown(3.0, weights=other)}, RULE) == ()


def test_two_models_of_one_hotkey_are_no_pair() -> None:
    successor = replace(A, block=Block(40))

    assert near_pairs({A: shown(2.0), successor: shown(2.0)}, RULE) == ()


@given(st.lists(st.sampled_from([2.0, 2.003, 2.006, 2.009, 3.0]), max_size=6), st.permutations(range(6)))
def test_which_pairs_are_near_does_not_depend_on_who_is_earlier(losses: list[float], order: list[int]) -> None:
    models = {entry(f"m{i}", i): shown(loss) for i, loss in enumerate(losses)}
    shuffled = {entry(f"m{i}", i): models[entry(f"m{i}", i)] for i in order if i < len(losses)}

    one, other = ({frozenset({p.earlier, p.later}): p.losses for p in near_pairs(m, RULE)} for m in (models, shuffled))

    assert one == other


# Copies


def pair(earlier: Entry, later: Entry) -> NearPair:
    return NearPair(earlier, later, 0.001, None)


def test_of_a_chain_the_last_is_only_compared_with_those_that_are_no_copies() -> None:
    assert copies((pair(A, B), pair(B, C))) == {B: pair(A, B)}
    assert copies((pair(A, B), pair(A, C), pair(B, C))) == {B: pair(A, B), C: pair(A, C)}
    assert copies((pair(B, C),)) == {C: pair(B, C)}


@given(st.lists(st.sampled_from([2.0, 2.003, 2.006, 2.009, 3.0]), max_size=8))
def test_every_copy_is_near_an_earlier_original_and_no_two_originals_are_near(losses: list[float]) -> None:
    models = {entry(f"m{i}", i): shown(loss) for i, loss in enumerate(losses)}
    pairs = near_pairs(models, RULE)
    found = copies(pairs)

    assert all(found[later].later == later and found[later].earlier not in found for later in found)
    assert [p for p in pairs if p.earlier not in found and p.later not in found] == []

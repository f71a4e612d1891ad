"""Bonds: what a validator has earned in each miner by weighing it, and the dividends it draws from them.

A bond moves slowly towards the validator's weight: who finds a good miner first is paid for it before those who follow
(Bittensor documentation, "Yuma Consensus"). Three rules are in use, and a subnet chooses by its hyperparameters:

- legacy (``yuma3`` off): bonds are shares of a miner, each column sums to 1; they follow weight times stake;
- Yuma 3: bonds are fractions of 1 that follow the weights themselves, and stake enters at the dividend;
- liquid alpha (with Yuma 3): each bond has its own rate.

Sources: subtensor ``run_epoch.rs``, functions ``epoch_mechanism``, ``compute_ema_bonds_normal_sparse``,
``compute_bonds_sparse``, ``compute_liquid_alpha_values_sparse``, ``alpha_sigmoid``; ``math.rs``.
Units and legend as in ``fixed``; weights, consensus, incentive, stake are fractions of 1.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from pretrain.chain import fixed
from pretrain.chain.fixed import ONE, Fixed, Matrix, Row, Vector
from pretrain.chain.hyperparameters import Hyperparameters

Entries: TypeAlias = tuple[tuple[int, int], ...]
"""A row as the chain stores it: (uid, u16), in the order it was set."""

_BONDS_MOVING_AVERAGE_ONE = 1_000_000
_STEEPNESS_ONE = -100  # negative: the sigmoid's exponent is -steepness * (difference - 1/2)


@dataclass(frozen=True)
class Agreement:
    """What the validators' weights of this epoch came to, before anybody is bonded or paid."""

    active_stake: Vector
    """Stake of active validators with a permit; sums to 1, or is all zero."""
    consensus: Vector
    """The weight of each miner that a majority of stake supports."""
    incentive: Vector
    """Each miner's share of what miners are paid; sums to 1, or is all zero."""
    bond_weights: Matrix
    """Weights clipped to the consensus as far as the bonds penalty says."""


@dataclass(frozen=True)
class Bonding:
    """An epoch's bonds, ready to be stored, and the validators' pay from them."""

    bonds: Matrix
    """Legacy: each column's largest is 1. Yuma 3: fractions of 1."""
    dividends: Vector
    """Each validator's share of what validators are paid; sums to 1, or is all zero."""


def bond(stored: Matrix, agreement: Agreement, hyperparameters: Hyperparameters) -> Bonding:
    """Move the bonds towards this epoch's weights and pay dividends on them.

    ``stored`` holds the old bonds as plain u16 numbers, those in re-registered miners already removed.
    """
    rule = _yuma3 if hyperparameters.yuma3 else _legacy
    return rule(stored, agreement, hyperparameters)


def reset_bonds(bonds: Mapping[int, Entries], uid: int) -> dict[int, Entries]:
    """Return all stored bonds without those in one miner: what its reset commitment does (``do_reset_bonds``)."""
    return {i: tuple(entry for entry in row if entry[0] != uid) for i, row in bonds.items()}


def _legacy(stored: Matrix, agreement: Agreement, hyperparameters: Hyperparameters) -> Bonding:
    """B = normalise(a * normalise(W * S) + (1 - a) * normalise(B)), dividends D_i = sum over j of B_ij * I_j.

    Every normalisation is by column and truncates, so none may be merged with another.
    """
    old = fixed.normalize_columns(tuple({j: u16 * ONE for j, u16 in row.items()} for row in stored))
    new = fixed.normalize_columns(fixed.scale_rows(agreement.bond_weights, agreement.active_stake))
    bonds = fixed.normalize_columns(_moving_average(new, old, _rate(hyperparameters)))
    dividends = fixed.normalize(fixed.weigh_rows(bonds, agreement.incentive))
    return Bonding(fixed.upscale_columns(bonds), dividends)


def _yuma3(stored: Matrix, agreement: Agreement, hyperparameters: Hyperparameters) -> Bonding:
    """B = a * W + (1 - a) * B, dividends D_i = S_i * sum over j of (B_ij / sum over i of B_ij) * I_j."""
    old = tuple({j: fixed.proportion(u16) for j, u16 in row.items()} for row in stored)
    new = agreement.bond_weights
    if hyperparameters.liquid_alpha and any(agreement.consensus):
        bonds = _liquid_average(new, old, agreement.consensus, hyperparameters)
    else:
        bonds = _moving_average(new, old, _rate(hyperparameters))
    drawn = fixed.weigh_rows(fixed.normalize_columns(bonds), agreement.incentive)
    staked = tuple(fixed.multiply(d, s) for d, s in zip(drawn, agreement.active_stake, strict=True))
    return Bonding(bonds, fixed.normalize(staked))


def _rate(hyperparameters: Hyperparameters) -> Fixed:
    """Return alpha, the share of the new in the average: 1 - moving average (``compute_disabled_liquid_alpha``)."""
    return ONE - fixed.proportion(hyperparameters.bonds_moving_average, _BONDS_MOVING_AVERAGE_ONE)


def _moving_average(new: Matrix, old: Matrix, alpha: Fixed) -> Matrix:
    """Return alpha * new + (1 - alpha) * old, only what is above 0, ordered by uid (``mat_ema_sparse``)."""
    averages: list[Row] = []
    for new_row, old_row in zip(new, old, strict=True):
        average: defaultdict[int, Fixed] = defaultdict(int)
        for j, x in new_row.items():
            average[j] += fixed.multiply(alpha, x)
        for j, x in old_row.items():
            average[j] += fixed.multiply(ONE - alpha, x)
        averages.append({j: x for j, x in sorted(average.items()) if x > 0})
    return tuple(averages)


def _liquid_average(new: Matrix, old: Matrix, consensus: Vector, hyperparameters: Hyperparameters) -> Matrix:
    """Return the moving average with a rate for each bond (``mat_ema_alpha_sparse``).

    Two things differ from the plain average, both measured: a bond in a miner that the validator's row does not name
    is dropped at once, and the rate is computed from what a walk in the order of uids finds in the two rows. (A bond in
    a miner named with weight 0 decays.) The runtime's clamps to [0, 1] are left out: an average of fractions is one.
    """
    sigmoid = _sigmoid_of(hyperparameters)
    averages: list[Row] = []
    for new_row, old_row in zip(new, old, strict=True):
        seen_new, seen_old = _found_by_walk(new_row), _found_by_walk(old_row)
        average: dict[int, Fixed] = {}
        for j, x in new_row.items():
            alpha = _liquid_alpha(consensus[j], seen_new.get(j, 0), seen_old.get(j, 0), sigmoid)
            moved = fixed.multiply(ONE - alpha, old_row.get(j, 0)) + fixed.multiply(alpha, x)
            if moved > 0:
                average[j] = moved
        averages.append(average)
    return tuple(averages)


def _found_by_walk(row: Row) -> Row:
    """Return the entries that one pass over the uids in ascending order finds: those above all before them.

    The runtime takes rows to be sorted and never looks back, so in an unsorted row it reads the others as 0.
    """
    found: dict[int, Fixed] = {}
    highest = -1
    for j, x in row.items():
        if j > highest:
            found[j] = x
            highest = j
    return found


@dataclass(frozen=True)
class _Sigmoid:
    """How liquid alpha rises from low to high."""

    low: Fixed
    high: Fixed
    slope: Fixed
    """Minus the steepness."""


def _sigmoid_of(hyperparameters: Hyperparameters) -> _Sigmoid:
    return _Sigmoid(
        low=fixed.proportion(hyperparameters.alpha_low),
        high=fixed.proportion(hyperparameters.alpha_high),
        slope=fixed.divide(hyperparameters.alpha_sigmoid_steepness * ONE, _STEEPNESS_ONE * ONE),
    )


def _liquid_alpha(consensus: Fixed, weight: Fixed, old_bond: Fixed, sigmoid: _Sigmoid) -> Fixed:
    """Return low + (high - low) / (1 + e**(-steepness * (difference - 1/2))) (``alpha_sigmoid``).

    The difference is weight - consensus when the bond is to grow, at least 0, and bond - weight when it is to shrink.
    The fraction is in [0, 1], so the result needs no clamp.
    """
    difference = max(weight - consensus, 0) if weight >= old_bond else old_bond - weight
    rise = fixed.divide(ONE, ONE + fixed.exp(fixed.multiply(sigmoid.slope, difference - (ONE >> 1))))
    return sigmoid.low + fixed.multiply(rise, sigmoid.high - sigmoid.low)

"""Yuma consensus: one epoch of a subnet, from stored weights to emission, equal to the chain's to the last bit.

Validators weigh miners. A miner counts as much as a majority of stake supports (``consensus``); what a validator gives
beyond that is clipped; and a validator is paid by its bonds in the miners that are paid. So a minority cannot lift its
own miners, and loses by trying (Bittensor documentation, "Yuma Consensus", section Clipping; subtensor
``docs/consensus.md``). This is the version that runs as subtensor spec 293, pallets/subtensor/src/epoch/run_epoch.rs;
each function names its counterpart there.

Pure: values in, values out. All numbers inside are I32F32 (``fixed``), where a product or a quotient is truncated at
once; outside they are u16 (floor of fraction * 65535) and rao.

Not modelled, because the embedded chain has none of it: several mechanisms in a subnet, parent and child keys. With
commit-reveal a row is as old as its slot's last commit, whichever it was revealed from. There the real epoch also masks
a row by its validator's oldest commit that has not expired: a weight on a uid registered since that commit counts for
nothing. That was not measured, and is not done here. Inputs are trusted: vectors
have n entries, a row names a uid at most once, and all stake together is below 2**63 rao (the whole supply is 2.1e16).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from pretrain.chain import fixed
from pretrain.chain.bonds import Agreement, Entries, bond
from pretrain.chain.fixed import ONE, Fixed, Matrix, Row, Vector
from pretrain.chain.hyperparameters import Hyperparameters

__all__ = ["EpochInputs", "EpochOutputs", "Hyperparameters", "epoch"]

_U64_MAX = 2**64 - 1
_STAKE_FRACTION_BITS = 64  # stake is I64F64 until it is normalised


@dataclass(frozen=True)
class EpochInputs:
    """A subnet's storage at the end of the block before the epoch; vectors are ordered by uid, n long."""

    n: int
    """Registered neurons."""
    block: int
    """The block in which the epoch runs."""
    hyperparameters: Hyperparameters
    emission: int
    """Rao to hand out, the owner's cut already taken."""
    owner_uid: int | None
    """The only uid whose weight on itself counts."""
    alpha_stake: tuple[int, ...]
    """Rao staked on the subnet."""
    root_stake: tuple[int, ...]
    """Rao staked on the root network, counted by ``tao_weight``."""
    validator_permit: tuple[bool, ...]
    """Given by the last epoch: without one, weights and stake are left out."""
    last_update: tuple[int, ...]
    """Block of the last weights, or of the registration."""
    block_at_registration: tuple[int, ...]
    weights: Mapping[int, Entries]
    """By uid, in stored order: liquid alpha reads it."""
    bonds: Mapping[int, Entries]
    """By uid, as the last epoch left them."""


@dataclass(frozen=True)
class EpochOutputs:
    """What the epoch stores; vectors are ordered by uid, n long, u16 unless said otherwise."""

    stake_weight: tuple[int, ...]
    """Share of all stake, inactive and unpermitted included."""
    active: tuple[bool, ...]
    rank: tuple[int, ...]
    """The same as incentive."""
    trust: tuple[int, ...]
    """Share of a miner's rank that survived the clipping."""
    validator_trust: tuple[int, ...]
    """Share of a validator's weights that survived it."""
    consensus: tuple[int, ...]
    incentive: tuple[int, ...]
    """Share of what miners are paid."""
    dividends: tuple[int, ...]
    """Share of what validators are paid."""
    pruning_scores: tuple[int, ...]
    """Emission with the largest as 65535; the lowest is replaced first."""
    emission: tuple[int, ...]
    """Rao, miner's and validator's together; truncated, so up to n rao stay behind."""
    validator_permit: tuple[bool, ...]
    """For the next epoch."""
    bonds: dict[int, Entries]
    """All stored bonds; u16 fractions."""


def epoch(inputs: EpochInputs) -> EpochOutputs:
    """Run one epoch (``epoch_mechanism`` and the storing of its output)."""
    active = _active(inputs)
    stake = _stake(inputs)
    active_stake = _active_stake(inputs, stake, active)
    weights = _weights(inputs)

    consensus = _consensus(weights, active_stake, fixed.proportion(inputs.hyperparameters.kappa))
    clipped = _clip(weights, consensus)
    unclipped_rank = fixed.sum_columns(weights, active_stake)
    clipped_rank = fixed.sum_columns(clipped, active_stake)
    incentive = fixed.normalize(clipped_rank)

    penalty = fixed.proportion(inputs.hyperparameters.bonds_penalty)
    agreement = Agreement(active_stake, consensus, incentive, _interpolate(weights, clipped, penalty))
    bonding = bond(_surviving_bonds(inputs), agreement, inputs.hyperparameters)

    shares = _emission_shares(incentive, bonding.dividends, active_stake if any(active_stake) else stake)
    permits = fixed.top_k(stake, inputs.hyperparameters.max_validators)
    return EpochOutputs(
        stake_weight=_u16s(stake),
        active=active,
        rank=_u16s(incentive),
        trust=_u16s(tuple(map(fixed.divide, clipped_rank, unclipped_rank))),
        validator_trust=_u16s(fixed.sum_rows(clipped)),
        consensus=_u16s(consensus),
        incentive=_u16s(incentive),
        dividends=_u16s(bonding.dividends),
        pruning_scores=fixed.upscale_to_u16(shares),
        emission=tuple(fixed.multiply(share, inputs.emission) for share in shares),
        validator_permit=permits,
        bonds=_stored_bonds(inputs, bonding.bonds, permits),
    )


def _active(inputs: EpochInputs) -> tuple[bool, ...]:
    """Say who has set weights recently enough; the block of the cutoff itself still is."""
    return tuple(updated + inputs.hyperparameters.activity_cutoff >= inputs.block for updated in inputs.last_update)


def _stake(inputs: EpochInputs) -> Vector:
    """Return each neuron's share of stake, 0 below the threshold (``get_stake_weights_for_network``).

    The sum alpha + root * weight is I64F64, but the weight itself is truncated to 32 binary digits before.
    """
    tao_weight = fixed.proportion(inputs.hyperparameters.tao_weight, _U64_MAX)
    whole, part = _STAKE_FRACTION_BITS, _STAKE_FRACTION_BITS - fixed.FRACTION_BITS
    both = zip(inputs.alpha_stake, inputs.root_stake, strict=True)
    stakes = [(alpha << whole) + ((root * tao_weight) << part) for alpha, root in both]
    counted = [s if s >> whole >= inputs.hyperparameters.stake_threshold else 0 for s in stakes]
    total = sum(counted)
    return tuple(((s << whole) // total) >> part for s in counted) if total else (0,) * inputs.n


def _active_stake(inputs: EpochInputs, stake: Vector, active: Sequence[bool]) -> Vector:
    """Return the stake of active validators that hold a permit from before this epoch, normalised."""
    counted = zip(stake, active, inputs.validator_permit, strict=True)
    return fixed.normalize([s if is_active and permitted else 0 for s, is_active, permitted in counted])


def _weights(inputs: EpochInputs) -> Matrix:
    """Return the rows that count, each normalised to 1.

    Left out: rows without a permit; a weight on oneself, except the owner's; and a weight set no later than the block
    in which its uid was registered anew, for it was meant for somebody else.
    """
    return fixed.normalize_rows(
        tuple(
            {
                j: weight * ONE
                for j, weight in inputs.weights.get(i, ())
                if permitted
                and j < inputs.n
                and (i != j or i == inputs.owner_uid)
                and updated > inputs.block_at_registration[j]
            }
            for i, (permitted, updated) in enumerate(zip(inputs.validator_permit, inputs.last_update, strict=True))
        )
    )


def _consensus(weights: Matrix, active_stake: Vector, kappa: Fixed) -> Vector:
    """Return the stake-weighted median of each column (``weighted_median_col_sparse``).

    That is the largest weight which validators with at least kappa of the stake give or exceed; who gives none counts
    as giving 0.
    """
    validators = [i for i, stake in enumerate(active_stake) if stake > 0]
    stakes = fixed.normalize([active_stake[i] for i in validators])
    minority = sum(stakes) - kappa
    rows = [weights[i] for i in validators]
    return tuple(_weighted_median([row.get(j, 0) for row in rows], stakes, minority) for j in range(len(weights)))


def _weighted_median(scores: Sequence[Fixed], stakes: Vector, minority: Fixed) -> Fixed:
    """Return the lowest score up to which the stake exceeds the minority; else the highest; 0 of nobody.

    An exact tie goes up: with half the stake each way and kappa at half, the higher score wins. The runtime finds it by
    partitions (``weighted_median``); sums are exact, so the way there does not matter.
    """
    ascending = sorted(zip(scores, stakes, strict=True))
    below = accumulate(stake for _, stake in ascending)
    highest = ascending[-1][0] if ascending else 0
    return next((score for (score, _), reached in zip(ascending, below, strict=True) if reached > minority), highest)


def _clip(weights: Matrix, consensus: Vector) -> Matrix:
    """Return the weights cut to the consensus; one cut to 0 is removed, one given as 0 stays (``col_clip_sparse``)."""
    return tuple({j: min(x, consensus[j]) for j, x in row.items() if x == 0 or consensus[j] > 0} for row in weights)


def _interpolate(weights: Matrix, clipped: Matrix, penalty: Fixed) -> Matrix:
    """Return weights + penalty * (clipped - weights), in between ordered by uid (``interpolate_sparse``)."""
    if penalty in (0, ONE):
        return clipped if penalty else weights
    mixed: list[Row] = []
    for row, clipped_row in zip(weights, clipped, strict=True):
        moved = {j: x + fixed.multiply(penalty, clipped_row.get(j, 0) - x) for j, x in sorted(row.items())}
        mixed.append({j: x for j, x in moved.items() if x > 0})
    return tuple(mixed)


def _surviving_bonds(inputs: EpochInputs) -> Matrix:
    """Return the stored u16 bonds without those in miners registered since the last epoch.

    The mask starts at block - tempo although epochs are tempo + 1 apart: a miner registered in the very block of the
    last epoch keeps the bonds of the one it replaced.
    """
    last_epoch = inputs.block - inputs.hyperparameters.tempo
    return tuple(
        {j: x for j, x in inputs.bonds.get(i, ()) if inputs.block_at_registration[j] < last_epoch}
        for i in range(inputs.n)
    )


def _emission_shares(incentive: Vector, dividends: Vector, stake: Vector) -> Vector:
    """Return each neuron's share of emission: half by incentive and half by dividends, or all by stake if both are 0.

    One of the two being 0, the other takes the whole.
    """
    combined = [i + d for i, d in zip(incentive, dividends, strict=True)]
    return fixed.normalize(combined) if any(combined) else stake


def _stored_bonds(inputs: EpochInputs, bonds: Matrix, permits: Sequence[bool]) -> dict[int, Entries]:
    """Return all bonds after the epoch: written for who has a permit now, emptied for who has just lost it."""
    stored = dict(inputs.bonds)
    for i, (row, permit, had_permit) in enumerate(zip(bonds, permits, inputs.validator_permit, strict=True)):
        if permit:
            stored[i] = tuple((j, fixed.to_u16(x)) for j, x in row.items())
        elif had_permit:
            stored[i] = ()
    return stored


def _u16s(vector: Vector) -> tuple[int, ...]:
    return tuple(map(fixed.to_u16, vector))

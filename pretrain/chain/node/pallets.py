"""What storage items hold at a block of the embedded chain, as plain values.

Each item is a function from a block's state to all that is stored under it, by the parameters of its key; so reading
one value, listing a map and asking for many keys are the same thing.
"""

from collections.abc import Callable, Mapping
from typing import TypeAlias

from pretrain.chain import epochs
from pretrain.chain.commit_reveal import TIMELOCK_VERSION
from pretrain.chain.node import commitments, events, hidden_rows
from pretrain.chain.node.past import Past
from pretrain.chain.node.storage_items import BLOCK_HASH_COUNT
from pretrain.chain.state import Slot
from pretrain.types import Block

Parameters: TypeAlias = tuple[object, ...]
Stored: TypeAlias = Mapping[Parameters, object]
Source: TypeAlias = Callable[[Past], Stored]


def stored(past: Past, pallet: str, item: str) -> Stored:
    """Return everything under an item; raises KeyError for one that the runtime does not describe."""
    return SOURCES[pallet, item](past)


def _single(value: Callable[[Past], object]) -> Source:
    return lambda past: {(): value(past)}


def _subnet(value: Callable[[Past], object]) -> Source:
    return lambda past: {(past.netuid,): value(past)}


def _neurons(value: Callable[[Slot], object]) -> Source:
    """Return a map by netuid and uid."""
    return lambda past: {(past.netuid, slot.uid): value(slot) for slot in past.slots}


def _measure(name: str) -> Source:
    return _subnet(lambda past: past.measured(name))


def _accounts(past: Past) -> Stored:
    addresses = sorted({*past.balances, *past.nonces, *past.owners})
    return {(address,): _account(past, address) for address in addresses}


def _account(past: Past, address: str) -> dict[str, object]:
    data = {"free": past.balances.get(address, 0), "reserved": 0, "frozen": 0, "flags": 1 << 127}
    return {
        "nonce": past.nonces.get(address, 0),
        "consumers": 0,
        "providers": 1,
        "sufficients": 0,
        "data": data,
    }


def _block_hashes(past: Past) -> Stored:
    """Return the hashes the runtime knows: not yet that of the block itself, and none that is too old."""
    rows = past.database.execute(
        "SELECT number, hash FROM blocks WHERE number BETWEEN ? AND ? ORDER BY number",
        (past.block - BLOCK_HASH_COUNT, past.block - 1),
    )
    return {(number,): f"0x{digest.hex()}" for number, digest in rows}


def _owned(past: Past) -> Stored:
    owned: dict[Parameters, list[str]] = {}
    for hotkey, coldkey in past.owners.items():
        owned.setdefault((coldkey,), []).append(hotkey)
    return dict(owned)


def _rows(column: Callable[[Slot], object]) -> Source:
    """Return a matrix by netuid and uid; who has no row is missing."""
    return lambda past: {(past.netuid, slot.uid): value for slot in past.slots if (value := column(slot))}


def _owner_coldkey(past: Past) -> Stored:
    owner = past.owners.get(past.genesis.owner) if past.genesis.owner else None
    return {(past.netuid,): owner} if owner else {}


_SYSTEM: Mapping[str, Source] = {
    "Account": _accounts,
    "BlockHash": _block_hashes,
    "Number": _single(lambda past: past.block),
    "ParentHash": _single(lambda past: f"0x{(past.hash_of(past.block - 1) if past.block else bytes(32)).hex()}"),
    "Events": _single(events.of_block),
    "EventCount": _single(lambda past: len(events.of_block(past))),
}
_SUBNET: Mapping[str, Source] = {
    "TotalNetworks": _single(lambda _: 1),
    "TokenSymbol": _subnet(lambda _: "α"),  # noqa: RUF001 - alpha, as every subnet's
    "NetworksAdded": _subnet(lambda _: True),
    "SubnetworkN": _subnet(lambda past: len(past.slots)),
    "SubnetOwner": _owner_coldkey,
    "SubnetOwnerHotkey": lambda past: {(past.netuid,): past.genesis.owner} if past.genesis.owner else {},
    "NetworkRegisteredAt": _subnet(lambda _: 0),
    "NetworkRegistrationAllowed": _subnet(lambda _: True),
    "MechanismCountCurrent": _subnet(lambda _: 1),
    "SubnetEpochConsensus": _subnet(lambda _: "Yuma"),
    "Burn": _subnet(lambda past: past.parameters.burn),
    "CollateralLockShare": _subnet(lambda _: 0),
    "Tempo": _subnet(lambda past: past.parameters.hyperparameters.tempo),
    "LastEpochBlock": _subnet(lambda past: past.last_epoch),
    "PendingEpochAt": _subnet(lambda _: 0),
    "SubnetEpochIndex": _subnet(lambda past: epochs.epoch_index(past.genesis, Block(past.block + 1))),
    "BlocksSinceLastStep": _subnet(lambda past: past.block - past.last_epoch),
    "LastMechansimStepBlock": _subnet(lambda past: past.last_epoch),
    "CommitRevealWeightsEnabled": _subnet(lambda past: past.parameters.commit_reveal),
    "RevealPeriodEpochs": _subnet(lambda past: past.parameters.reveal_period),
    "CommitRevealWeightsVersion": _single(lambda _: TIMELOCK_VERSION),
    "WeightsSetRateLimit": _subnet(lambda past: past.parameters.weights_rate_limit),
    "WeightsVersionKey": _subnet(lambda past: past.parameters.weights_version_key),
    "MinAllowedWeights": _subnet(lambda past: past.parameters.min_allowed_weights),
    "MaxWeightsLimit": _subnet(lambda past: past.parameters.max_weight_limit),
    "MaxAllowedUids": _subnet(lambda past: past.parameters.max_uids),
    "MaxAllowedValidators": _subnet(lambda past: past.parameters.hyperparameters.max_validators),
    "ImmunityPeriod": _subnet(lambda past: past.parameters.immunity_period),
    "ActivityCutoff": _subnet(lambda past: past.parameters.hyperparameters.activity_cutoff),
    "MaxRegistrationsPerBlock": _subnet(lambda past: past.parameters.max_registrations_per_block),
    "Kappa": _subnet(lambda past: past.parameters.hyperparameters.kappa),
    "BondsMovingAverage": _subnet(lambda past: past.parameters.hyperparameters.bonds_moving_average),
    "Yuma3On": _subnet(lambda past: past.parameters.hyperparameters.yuma3),
    "LiquidAlphaOn": _subnet(lambda past: past.parameters.hyperparameters.liquid_alpha),
    "StakeThreshold": _single(lambda past: past.parameters.hyperparameters.stake_threshold),
}
_NEURONS: Mapping[str, Source] = {
    "Owner": lambda past: {(hotkey,): coldkey for hotkey, coldkey in past.owners.items()},
    "OwnedHotkeys": _owned,
    "Uids": lambda past: {(past.netuid, slot.hotkey): slot.uid for slot in past.slots},
    "Keys": _neurons(lambda slot: slot.hotkey),
    "IsNetworkMember": lambda past: {(slot.hotkey, past.netuid): True for slot in past.slots},
    "BlockAtRegistration": _neurons(lambda slot: slot.registered),
    "TotalHotkeyAlpha": lambda past: {(hotkey, past.netuid): rao for hotkey, rao in past.stakes.items()},
    "Active": _subnet(lambda past: [bool(active) for active in past.measured("active", 1)]),
    "ValidatorPermit": _subnet(lambda past: [slot.permit for slot in past.slots]),
    "Consensus": _measure("consensus"),
    "Dividends": _measure("dividends"),
    "Emission": _measure("emission"),
    "ValidatorTrust": _measure("validator_trust"),
    "Incentive": _measure("incentive"),
    "LastUpdate": _subnet(lambda past: [slot.last_update for slot in past.slots]),
    "Weights": _rows(lambda slot: list(slot.weights)),
    "Bonds": _rows(lambda slot: list(slot.bonds)),
    "WeightCommits": hidden_rows.weight_commits,
    "TimelockedWeightCommits": hidden_rows.timelocked_weight_commits,
}
_COMMITMENTS: Mapping[str, Source] = {
    "CommitmentOf": commitments.commitment_of,
    "LastCommitment": commitments.last_commitment,
    "RevealedCommitments": lambda _: {},
    "UsedSpaceOf": commitments.used_space,
    "MaxSpace": _single(lambda past: past.parameters.commitment_space),
}
SOURCES: Mapping[tuple[str, str], Source] = {
    **{("System", name): source for name, source in _SYSTEM.items()},
    ("Timestamp", "Now"): _single(lambda past: past.milliseconds),
    ("Balances", "TotalIssuance"): _single(lambda past: sum(past.balances.values())),
    **{("SubtensorModule", name): source for name, source in {**_SUBNET, **_NEURONS}.items()},
    **{("Commitments", name): source for name, source in _COMMITMENTS.items()},
}
"""Every item of the description (a test compares the two)."""

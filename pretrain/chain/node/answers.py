"""What runtime APIs answer at a block of the embedded chain, as plain values."""

from collections.abc import Callable, Mapping, Sequence

from pretrain.chain import epochs
from pretrain.chain.genesis import RAO
from pretrain.chain.node.past import Past
from pretrain.chain.node.storage_items import NOBODY
from pretrain.chain.state import Slot
from pretrain.types import Block

Answer = Callable[[Past, Sequence[object]], object]
_UNSERVED_AXON = {
    "block": 0, "version": 0, "ip": 0, "port": 0, "ip_type": 0, "protocol": 0, "placeholder1": 0, "placeholder2": 0,
}  # fmt: skip
_UNSERVED_PROMETHEUS = {"block": 0, "version": 0, "ip": 0, "port": 0, "ip_type": 0}
_NO_MARKET = dict.fromkeys(
    (
        "subnet_emission", "alpha_in", "alpha_out", "tao_in", "alpha_out_emission", "alpha_in_emission",
        "tao_in_emission", "pending_alpha_emission", "pending_root_emission", "subnet_volume", "rho", "difficulty",
        "min_difficulty", "max_difficulty", "adjustment_alpha", "adjustment_interval", "target_regs_per_interval",
        "serving_rate_limit",
    ),
    0,
)  # fmt: skip
"""Numbers of what this chain has not: a market, proof of work, moving prices, served addresses."""


def answer(past: Past, api: str, method: str, arguments: Sequence[object]) -> object:
    """Return an answer; raises KeyError for a method that the runtime does not describe."""
    return ANSWERS[api, method](past, arguments)


def _metagraph(past: Past, arguments: Sequence[object]) -> object:
    if arguments != (past.netuid,):
        return None
    return {**_NO_MARKET, **_about_subnet(past), **_rules(past), **_about_neurons(past)}


def _about_subnet(past: Past) -> dict[str, object]:
    owner = past.genesis.owner or NOBODY
    return {
        "netuid": past.netuid,
        "name": list(b"pretrain"),
        "symbol": list("α".encode()),  # noqa: RUF001 - alpha
        "identity": None,
        "network_registered_at": 0,
        "owner_hotkey": owner,
        "owner_coldkey": past.owners.get(owner, NOBODY),
        "block": past.block,
        "last_step": past.last_epoch,
        "blocks_since_last_step": past.block - past.last_epoch,
        "moving_price": {"bits": 1 << 32},
        "num_uids": len(past.slots),
        "registration_allowed": True,
        "pow_registration_allowed": False,
        "commit_reveal_weights_enabled": past.parameters.commit_reveal,
        "commit_reveal_period": past.parameters.reveal_period,
        "alpha_out_emission": past.parameters.emission,
    }


def _rules(past: Past) -> dict[str, object]:
    parameters, hyper = past.parameters, past.parameters.hyperparameters
    return {
        "tempo": hyper.tempo,
        "kappa": hyper.kappa,
        "min_allowed_weights": parameters.min_allowed_weights,
        "max_weights_limit": parameters.max_weight_limit,
        "weights_version": parameters.weights_version_key,
        "weights_rate_limit": parameters.weights_rate_limit,
        "activity_cutoff": hyper.activity_cutoff,
        "max_validators": hyper.max_validators,
        "max_uids": parameters.max_uids,
        "burn": parameters.burn,
        "min_burn": parameters.burn,
        "max_burn": parameters.burn,
        "immunity_period": parameters.immunity_period,
        "max_regs_per_block": parameters.max_registrations_per_block,
        "liquid_alpha_enabled": hyper.liquid_alpha,
        "alpha_high": hyper.alpha_high,
        "alpha_low": hyper.alpha_low,
        "bonds_moving_avg": hyper.bonds_moving_average,
    }


def _about_neurons(past: Past) -> dict[str, object]:
    everybody = past.slots
    stakes = [slot.stake for slot in everybody]
    return {
        "hotkeys": [slot.hotkey for slot in everybody],
        "coldkeys": [past.owners.get(slot.hotkey, NOBODY) for slot in everybody],
        "identities": [None] * len(everybody),
        "axons": [_UNSERVED_AXON] * len(everybody),
        "active": [bool(active) for active in past.measured("active", 1)],
        "validator_permit": [slot.permit for slot in everybody],
        "pruning_score": [slot.pruning_score for slot in everybody],
        "last_update": [slot.last_update for slot in everybody],
        "emission": past.measured("emission"),
        "dividends": past.measured("dividends"),
        "incentives": past.measured("incentive"),
        "consensus": past.measured("consensus"),
        "trust": past.measured("trust"),
        "rank": past.measured("incentive"),
        "block_at_registration": [slot.registered for slot in everybody],
        "alpha_stake": stakes,
        "tao_stake": [0] * len(everybody),
        "total_stake": stakes,
        "tao_dividends_per_hotkey": [],
        "alpha_dividends_per_hotkey": [],
        "validators": [slot.uid for slot in everybody if slot.permit],
    }


def _neurons(past: Past, arguments: Sequence[object], *, whole: bool) -> object:
    if arguments != (past.netuid,):
        return []
    return [_neuron(past, slot, whole=whole) for slot in past.slots]


def _neuron(past: Past, slot: Slot, *, whole: bool) -> dict[str, object]:
    found = past.measures(slot)
    coldkey = past.owners.get(slot.hotkey, NOBODY)
    matrix = {"weights": list(slot.weights), "bonds": list(slot.bonds)} if whole else {}
    measured = {
        name: found.get(name, 0)
        for name in ("emission", "incentive", "consensus", "trust", "validator_trust", "dividends")
    }
    return {
        "hotkey": slot.hotkey,
        "coldkey": coldkey,
        "uid": slot.uid,
        "netuid": past.netuid,
        "active": bool(found.get("active", 1)),
        "axon_info": _UNSERVED_AXON,
        "prometheus_info": _UNSERVED_PROMETHEUS,
        "stake": [(coldkey, slot.stake)],
        "rank": found.get("incentive", 0),
        **measured,
        "last_update": slot.last_update,
        "validator_permit": slot.permit,
        **matrix,
        "pruning_score": slot.pruning_score,
    }


def _stakes_of(past: Past, arguments: Sequence[object]) -> object:
    (coldkey,) = arguments
    return [_stake(past, hotkey) for hotkey in past.stakes if past.owners.get(hotkey) == coldkey]


def _stake_of(past: Past, arguments: Sequence[object]) -> object:
    hotkey, coldkey, netuid = arguments
    known = netuid == past.netuid and hotkey in past.stakes and past.owners.get(str(hotkey)) == coldkey
    return _stake(past, str(hotkey)) if known else None


def _stake(past: Past, hotkey: str) -> dict[str, object]:
    return {
        "hotkey": hotkey,
        "coldkey": past.owners[hotkey],
        "netuid": past.netuid,
        "stake": past.stakes[hotkey],
        "locked": 0,
        "emission": 0,
        "tao_emission": 0,
        "drain": 0,
        "is_registered": any(slot.hotkey == hotkey for slot in past.slots),
    }


def _next_epoch(past: Past, arguments: Sequence[object]) -> object:
    following = past.block + 1
    return following + epochs.blocks_to_epoch(past.genesis, Block(following)) if arguments == (past.netuid,) else None


def _free_of_charge(_past: Past, _arguments: Sequence[object]) -> object:
    return {"weight": {"ref_time": 0, "proof_size": 0}, "class": "Normal", "partial_fee": 0}


ANSWERS: Mapping[tuple[str, str], Answer] = {
    ("AccountNonceApi", "account_nonce"): lambda past, arguments: past.nonces.get(str(arguments[0]), 0),
    ("TransactionPaymentApi", "query_info"): _free_of_charge,
    ("SubnetInfoRuntimeApi", "get_metagraph"): _metagraph,
    ("SubnetInfoRuntimeApi", "get_next_epoch_start_block"): _next_epoch,
    ("NeuronInfoRuntimeApi", "get_neurons"): lambda past, arguments: _neurons(past, arguments, whole=True),
    ("NeuronInfoRuntimeApi", "get_neurons_lite"): lambda past, arguments: _neurons(past, arguments, whole=False),
    ("StakeInfoRuntimeApi", "get_stake_info_for_coldkey"): _stakes_of,
    ("StakeInfoRuntimeApi", "get_stake_info_for_hotkey_coldkey_netuid"): _stake_of,
    ("SwapRuntimeApi", "current_alpha_price"): lambda _past, _arguments: RAO,
}
"""Every method of the description (a test compares the two); alpha is a TAO one for one here."""

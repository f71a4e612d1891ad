"""What the extrinsics of a block have come to, as the events that a client looks for."""

import hashlib
from collections.abc import Mapping

from pretrain.chain import commit_reveal
from pretrain.chain.calls import (
    AddStake,
    BurnedRegister,
    CommitTimelockedWeights,
    CommitWeights,
    RemoveStake,
    RevealWeights,
    SetCommitment,
    SetWeights,
)
from pretrain.chain.node import translate
from pretrain.chain.node.description import describe
from pretrain.chain.node.included import Included, included
from pretrain.chain.node.past import Past

Event = Mapping[str, object]
RENAMED = {"SubNetworkDoesNotExist": "SubnetNotExists"}
"""Errors that this chain knows by an older name than the runtime which clients are made for."""


def of_block(past: Past) -> list[dict[str, object]]:
    """Return the records of a block's events, in order."""
    if not past.block:
        return []
    records = [_record(0, _success("Mandatory"))]
    for index, entry in enumerate(included(past), start=1):
        records += [_record(index, event) for event in _events(past, entry)]
    return records


def _events(past: Past, entry: Included) -> list[Event]:
    paid = {"who": entry.extrinsic.signer, "actual_fee": 0, "tip": 0}
    fee: Event = {"TransactionPayment": {"TransactionFeePaid": paid}}
    decoded = past.codec.call(entry.extrinsic.call)
    if entry.outcome:
        error = _dispatch_error(past, str(decoded["call_module"]), entry.outcome)
        return [fee, {"System": {"ExtrinsicFailed": {"dispatch_error": error, "dispatch_info": _info("Normal")}}}]
    return [*_told(past, entry, decoded), fee, _success("Normal")]


def _told(past: Past, entry: Included, decoded: Mapping[str, object]) -> list[Event]:
    """Return the pallet's own event of a call that was applied."""
    netuid, action = translate.action(decoded)
    signer = entry.extrinsic.signer
    uids = {slot.hotkey: slot.uid for slot in past.slots}
    told: tuple[object, ...]
    match action:
        case SetCommitment():
            return [{"Commitments": {"Commitment": {"netuid": netuid, "who": signer}}}]
        case SetWeights() if signer in uids:
            name, told = "WeightsSet", (netuid, uids[signer])
        case CommitWeights(commit_hash):
            name, told = "WeightsCommitted", (signer, netuid, f"0x{commit_hash}")
        case RevealWeights():
            name, told = "WeightsRevealed", (signer, netuid, f"0x{commit_reveal.row_hash(signer, netuid, action)}")
        case CommitTimelockedWeights(commit, reveal_round):
            digest = hashlib.blake2b(bytes.fromhex(commit), digest_size=32).hexdigest()
            name, told = "TimelockedWeightsCommitted", (signer, netuid, f"0x{digest}", reveal_round)
        case BurnedRegister(hotkey) if hotkey in uids:
            name, told = "NeuronRegistered", (netuid, uids[hotkey], hotkey)
        case AddStake(hotkey, amount):
            name, told = "StakeAdded", (signer, hotkey, amount, amount, netuid, 0)
        case RemoveStake(hotkey, amount):
            name, told = "StakeRemoved", (signer, hotkey, amount, amount, netuid, 0)
        case _:
            return []
    return [{"SubtensorModule": {name: told}}]


def _dispatch_error(past: Past, module: str, outcome: str) -> object:
    """Return why a call failed: the module's error of that name, or another's, else one without a number."""
    name = RENAMED.get(outcome, outcome)
    if name == "BadOrigin":
        return "BadOrigin"
    pallets = sorted(describe(past.genesis).pallets, key=lambda pallet: pallet.name != module)
    found = next((pallet for pallet in pallets if name in pallet.errors), None)
    if found is None:
        return "Other"
    return {"Module": {"index": found.index, "error": f"0x{found.errors[name]:02x}000000"}}


def _success(kind: str) -> Event:
    return {"System": {"ExtrinsicSuccess": {"dispatch_info": _info(kind)}}}


def _info(kind: str) -> dict[str, object]:
    """Return what an extrinsic cost: nothing, as this chain has neither weights nor fees."""
    return {"weight": {"ref_time": 0, "proof_size": 0}, "class": kind, "pays_fee": "No"}


def _record(index: int, event: Event) -> dict[str, object]:
    return {"phase": {"ApplyExtrinsic": index}, "event": event, "topics": []}

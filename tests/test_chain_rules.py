"""Calls measured on a real runtime: the embedded chain accepts and refuses the same ones, with the same effect.

tests/data/chain_rules.json holds the measured cases (its ``origin`` says how they were made and what each holds). For
each of them is checked: the outcome, the block that includes the call or that none does, the signer's neuron with its
row, its commitment and the space it takes, its nonce and its balance; after a registration every slot besides.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bittensor.error_map import CUSTOM_TRANSACTION_ERRORS
from subnet import NETUID, START, Clock, Subnet, pair

from pretrain.chain import blocks, ledger, rules, runtime
from pretrain.chain.calls import (
    Action,
    AddStake,
    BurnedRegister,
    Call,
    CommitmentField,
    RemoveStake,
    SetCommitment,
    SetWeights,
    sign,
)
from pretrain.chain.genesis import Genesis, GenesisNeuron, Parameters
from pretrain.chain.hyperparameters import Hyperparameters
from pretrain.chain.local import LocalChain, create
from pretrain.chain.state import Slot, newest_commitments, slots
from pretrain.errors import Refused
from pretrain.types import Block, Hotkey

MEASURED = json.loads((Path(__file__).parent / "data" / "chain_rules.json").read_text())["cases"]
ORIGINAL = Path(__file__).parents[2] / "shared" / "data" / "chain" / "rules.json"
SETTINGS = "an embedded chain's settings are fixed by its genesis: nobody can change them"
NOT_REPRODUCED = dict.fromkeys(
    ["a02", "a03", "a04", "a05", "a06", "a09", "a12", "a13", "a14", "a16", "a17", "a18"], SETTINGS
)
NOT_COMPARED = {
    "s08": "how much alpha 10 TAO buy: this chain has no pool, so no price; that they are paid is compared",
    "s20": "how much TAO an alpha brings: as s08; that it is accepted is compared",
}

HOTKEYS = ["//OwnerHot", *(f"//Hot{i}" for i in range(8))]
STAKES = {"//Hot0": 166_008_181_464, "//Hot1": 166_218_000_000}
BALANCES = {"//Alice": 744_506_828_867_420, "//Bob": 1_000_000_000_000_000}
REGISTERED = [10, *range(20, 28)]
HYPERPARAMETERS = {"sudo_set_stake_threshold": "stake_threshold", "sudo_set_max_allowed_validators": "max_validators"}
PARAMETERS = {
    "immunity_period": "immunity_period",
    "max_allowed_uids": "max_uids",
    "set_max_space": "commitment_space",
    "sudo_set_max_registrations_per_block": "max_registrations_per_block",
    "sudo_set_max_weight_limit": "max_weight_limit",
    "sudo_set_min_allowed_weights": "min_allowed_weights",
    "sudo_set_weights_version_key": "weights_version_key",
}


@pytest.mark.parametrize("case", MEASURED, ids=lambda case: case["id"])
def test_a_call_has_the_outcome_and_the_effect_it_had_on_the_real_runtime(case: dict[str, Any], tmp_path: Path) -> None:
    subnet = _measured_subnet(tmp_path, case["sudo"])
    for step in case["setup"]:
        _set_up(subnet, step)
    before = _account(subnet, case["signer"])
    outcome, block = _send(subnet, case["block"], case["signer"], _action(case["call"], case["params"]), case["params"])
    after = _account(subnet, case["signer"])
    changes = {name: after[name] - before[name] for name in ("free", "nonce")}
    expected = {name: value for name, value in case["after"].items() if name != "subnet"}
    if case["id"] == "s20":  # NOT_COMPARED
        changes["free"] = expected["free"]
    assert (outcome, block) == (case["outcome"], case["included_in_block"])
    assert _effect(subnet, case["signer"]) | changes == expected
    assert _slots_like(case["after"].get("subnet", {}), subnet) == case["after"].get("subnet", {})


def test_every_measured_case_is_reproduced_or_said_why_not() -> None:
    if not ORIGINAL.exists():
        pytest.skip("the whole record of the measurement is not here")
    reproduced = [case["id"] for case in MEASURED]
    measured = [case["id"] for case in json.loads(ORIGINAL.read_text())["cases"]]
    assert sorted([*reproduced, *NOT_REPRODUCED]) == sorted(measured)
    assert set(NOT_COMPARED) <= set(reproduced)


SYNONYMS = {"BalanceTooLow": "NotEnoughBalanceToStake"}
"""The source's name for what the pool answers, and the client library's, where they differ."""


def test_the_pools_numbers_have_the_names_that_the_client_library_gives_them() -> None:
    ours = {number: SYNONYMS.get(name, name) for name, number in rules.POOL_CODES.items()}
    assert ours == {number: CUSTOM_TRANSACTION_ERRORS[number] for number in ours}
    assert set(SYNONYMS) <= set(rules.POOL_CODES)


def _measured_subnet(folder: Path, sudo: Mapping[str, int]) -> Subnet:
    changed: dict[str, Any] = {HYPERPARAMETERS[name]: value for name, value in sudo.items() if name in HYPERPARAMETERS}
    other: dict[str, Any] = {PARAMETERS[name]: value for name, value in sudo.items() if name in PARAMETERS}
    parameters = replace(
        Parameters(replace(Hyperparameters(), **changed), block_time=1.0, weights_rate_limit=5, emission=0), **other
    )
    pairs = [pair(name.removeprefix("//"), "Alice") for name in HOTKEYS]
    neurons = tuple(
        GenesisNeuron(keys.address, keys.coldkey.ss58_address, STAKES.get(name, 0))
        for name, keys in zip(HOTKEYS, pairs, strict=True)
    )
    balances = tuple((_address(name), free) for name, free in BALANCES.items())
    path, clock = folder / "chain.sqlite", Clock()
    create(path, Genesis(NETUID, START, parameters, neurons, balances, owner=neurons[0].hotkey))
    with ledger.writing(path) as database:
        database.executemany("UPDATE registrations SET block = ? WHERE uid = ?", zip(REGISTERED, range(9), strict=True))
    return Subnet(path, clock, pairs, [LocalChain(path, NETUID, pairs[0], clock=clock)])


def _address(name: str) -> Hotkey:
    return pair(name.removeprefix("//")).address


def _set_up(subnet: Subnet, step: Mapping[str, Any]) -> None:
    """Do what came before; what is sent need not be accepted, for one measured case is about a failure before."""
    if "set_weights" in step:
        signer, uids, values = step["set_weights"]
        _send(subnet, step["block"], signer, SetWeights(tuple(uids), tuple(values), 7))
    if "commit" in step:
        signer, data, count = step["commit"]
        for _ in range(count):
            _send(subnet, step["block"], signer, SetCommitment((CommitmentField("Raw", data),)))
    if "register" in step:
        coldkey, hotkey = step["register"]
        _send(subnet, step["block"], coldkey, BurnedRegister(hotkey))
    if "owner" in step:
        hotkey, coldkey = step["owner"]
        with ledger.writing(subnet.path) as database:
            database.execute("INSERT INTO owners VALUES (?, ?)", (hotkey, _address(coldkey)))
    forced = [("pruning_score", score, uid) for uid, score in enumerate(step.get("pruning_scores", ()))]
    forced += [("permit", 1, uid) for uid in step.get("permits", ())]
    if forced:
        subnet.at(step["block"])
        asyncio.run(subnet.chains[0].head())
    with ledger.writing(subnet.path) as database:
        for column, value, uid in forced:
            database.execute(
                f"UPDATE epochs SET {column} = ? WHERE uid = ? AND block = (SELECT MAX(block) FROM epochs)",  # noqa: S608
                (value, uid),
            )


def _send(
    subnet: Subnet, block: int, signer: str, action: Action, params: Mapping[str, Any] | None = None
) -> tuple[str, Block | None]:
    """Send a signed call so that it lands in the block, as a real chain takes it; return its outcome and its block."""
    subnet.at(block - 1)
    genesis, keys = subnet.chains[0].genesis, pair(signer.removeprefix("//")).hotkey
    blocks.catch_up(subnet.path, genesis, subnet.clock)
    with ledger.writing(subnet.path) as database:
        nonce = runtime.next_nonce(database, _address(signer))
        netuid = (params or {}).get("netuid", NETUID)
        call = Call(genesis.hash.hex(), netuid, _address(signer), nonce, Block(block), action)
        signed = sign(call, keys)
        try:
            done = runtime.apply(database, genesis, call, signed.payload, signed.signature, keep_refused=True)
        except Refused as refused:
            number = rules.POOL_CODES.get(refused.code)
            return (refused.code if number is None else f"InvalidTransaction::Custom({number})"), None
    return (done.refused.code if done.refused else "accepted"), done.block


def _action(call: str, params: Mapping[str, Any]) -> Action:
    if call == "set_commitment":
        return SetCommitment(tuple(CommitmentField(kind, data) for kind, data in params["fields"]))
    if call == "set_weights":
        return SetWeights(tuple(params["uids"]), tuple(params["values"]), params["version_key"])
    if call == "burned_register":
        return BurnedRegister(params["hotkey"])
    if call == "add_stake":
        return AddStake(params["hotkey"], params["amount"])
    return RemoveStake(params["hotkey"], params["amount"])


def _now(subnet: Subnet) -> tuple[Slot, ...]:
    with ledger.reading(subnet.path) as database:
        return slots(database, ledger.read_head(database).open)


def _account(subnet: Subnet, signer: str) -> dict[str, int]:
    with ledger.reading(subnet.path) as database:
        return {
            "free": ledger.balance_of(database, _address(signer)),
            "nonce": runtime.next_nonce(database, _address(signer)),
        }


def _effect(subnet: Subnet, signer: str) -> dict[str, Any]:
    """Return what the chain says of the signer, in the form of the record."""
    neurons = _now(subnet)
    slot = next((slot for slot in neurons if slot.hotkey == _address(signer)), None)
    with ledger.reading(subnet.path) as database:
        used = database.execute("SELECT used FROM space WHERE hotkey = ?", (_address(signer),)).fetchone()
    return {
        "uid": slot and slot.uid,
        "n": len(neurons),
        "last_update": slot and slot.last_update,
        "registered": slot and slot.registered,
        "permit": slot and slot.permit,
        "weights": slot and [list(entry) for entry in slot.weights],
        "commitment": _commitment(subnet, signer),
        "used_space": used[0] if used else None,
    }


def _commitment(subnet: Subnet, signer: str) -> list[Any] | None:
    with ledger.reading(subnet.path) as database:
        found = newest_commitments(database, ledger.read_head(database).open).get(_address(signer))
    return found and [found[0], [[field.kind, field.data] for field in found[1]]]


def _slots_like(recorded: Mapping[str, Any], subnet: Subnet) -> dict[str, Any]:
    """Return of all slots what is recorded: vectors by uid, and rows of some uids."""
    neurons = _now(subnet)
    block = max(slot.registered for slot in neurons)
    vectors = {
        "last_update": [slot.last_update for slot in neurons],
        "block_at_registration": [slot.registered for slot in neurons],
        "ValidatorPermit": [slot.permit for slot in neurons],
        "Incentive": [slot.incentive for slot in neurons],
        "PruningScores": [slot.pruning_score for slot in neurons],
        "given_uid": next((slot.uid for slot in neurons if slot.registered == block), None),
        "weights": _rows(recorded.get("weights", {}), {slot.uid: slot.weights for slot in neurons}),
        "bonds": _rows(recorded.get("bonds", {}), {slot.uid: slot.bonds for slot in neurons}),
        "commitment_of_hot4": _commitment(subnet, "//Hot4"),
    }
    return {name: vectors[name] for name in recorded}


def _rows(recorded: Mapping[str, Any], rows: Mapping[Any, tuple[tuple[int, int], ...]]) -> dict[str, Any]:
    return {uid: [list(entry) for entry in rows[int(uid)]] for uid in recorded}

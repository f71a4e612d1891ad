"""Calls measured on a real runtime: the embedded chain accepts and refuses the same ones, with the same effect.

tests/data/chain_rules.json holds 38 of 78 measured cases (its ``origin`` says how they were made). Left out is what the
embedded chain has no form for: several fields or other kinds of field in a commitment, the price of a stake (it has no
pool), remove_stake, and settings changed by root or the owner. Registrations are in test_chain_calls.
"""

import asyncio
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from subnet import NETUID, START, Clock, Pair, Subnet, pair

from pretrain.chain import ledger
from pretrain.chain.calls import Action, Call, CommitmentField, SetCommitment, SetWeights, sign
from pretrain.chain.genesis import Genesis, GenesisNeuron, Parameters
from pretrain.chain.hyperparameters import Hyperparameters
from pretrain.chain.local import LocalChain, create
from pretrain.chain.runtime import next_nonce
from pretrain.chain.state import slots
from pretrain.errors import Refused
from pretrain.types import Block, Hotkey

MEASURED = json.loads((Path(__file__).parent / "data" / "chain_rules.json").read_text())["cases"]
HOTKEYS = ["//OwnerHot", *(f"//Hot{i}" for i in range(8))]
STAKES = {"//Hot0": 166_008_181_464, "//Hot1": 166_218_000_000}
HYPERPARAMETERS = {"sudo_set_stake_threshold": "stake_threshold", "sudo_set_max_allowed_validators": "max_validators"}
PARAMETERS = {
    "sudo_set_weights_version_key": "weights_version_key",
    "sudo_set_min_allowed_weights": "min_allowed_weights",
    "sudo_set_max_weight_limit": "max_weight_limit",
    "set_max_space": "commitment_space",
}


@pytest.mark.parametrize("case", MEASURED, ids=lambda case: case["id"])
def test_a_call_has_the_outcome_and_the_effect_it_had_on_the_real_runtime(case: dict[str, Any], tmp_path: Path) -> None:
    subnet = _measured_subnet(tmp_path, case["sudo"])
    for step in case["setup"]:
        _set_up(subnet, step)
    outcome, block = _outcome(subnet, case["block"], case["signer"], case["call"], case["params"])
    slot, used = _effect(subnet, case["signer"])
    after = case["after"]
    expected_block = case["block"] if case["outcome"] == "accepted" else None
    assert (outcome, block) == (_name(case["outcome"]), expected_block)
    assert used == after["used_space"]
    assert slot == (None if after["weights"] is None else [tuple(pair) for pair in after["weights"]])


def _measured_subnet(folder: Path, sudo: dict[str, int]) -> Subnet:
    changed: dict[str, Any] = {HYPERPARAMETERS[name]: value for name, value in sudo.items() if name in HYPERPARAMETERS}
    rules: dict[str, Any] = {PARAMETERS[name]: value for name, value in sudo.items() if name in PARAMETERS}
    parameters = replace(
        Parameters(replace(Hyperparameters(), **changed), block_time=1.0, weights_rate_limit=5, emission=0),
        **rules,
    )
    pairs = [pair(name.removeprefix("//"), "Alice") for name in HOTKEYS]
    neurons = tuple(
        GenesisNeuron(keys.address, keys.coldkey.ss58_address, STAKES.get(name, 0))
        for name, keys in zip(HOTKEYS, pairs, strict=True)
    )
    path, clock = folder / "chain.sqlite", Clock()
    create(path, Genesis(NETUID, START, parameters, neurons, owner=neurons[0].hotkey))
    return Subnet(path, clock, pairs, [LocalChain(path, NETUID, pairs[0], clock=clock)])


def _set_up(subnet: Subnet, step: dict[str, Any]) -> None:
    if "set_weights" in step:
        signer, uids, values = step["set_weights"]
        _outcome(subnet, step["block"], signer, "set_weights", {"dests": uids, "weights": values, "version_key": 7})
    count, size = step.get("commit", (0, 0))
    for _ in range(count):
        accepted, _block = _outcome(subnet, step["block"], "//Hot3", "set_commitment", {"data": "61" * size})
        assert accepted == "accepted"


def _outcome(subnet: Subnet, block: int, signer: str, call: str, params: dict[str, Any]) -> tuple[str, Block | None]:
    """Send a signed call so that it lands in the block."""
    subnet.at(block - 1)
    chain = subnet.chains[0]
    asyncio.run(chain.head())
    keys: Pair = pair(signer.removeprefix("//"))
    address = Hotkey(keys.hotkey.ss58_address)
    with ledger.reading(subnet.path) as database:
        nonce = next_nonce(database, address)
    made = Call(
        chain.genesis.hash.hex(), params.get("netuid", NETUID), address, nonce, Block(block), _action(call, params)
    )
    try:
        return "accepted", asyncio.run(chain.submit(sign(made, keys.hotkey)))
    except Refused as refused:
        return refused.code, None


def _action(call: str, params: dict[str, Any]) -> Action:
    if call == "set_commitment":
        return SetCommitment((CommitmentField("Raw", params["data"]),))
    return SetWeights(tuple(params["dests"]), tuple(params["weights"]), params["version_key"])


def _effect(subnet: Subnet, signer: str) -> tuple[list[tuple[int, int]] | None, int | None]:
    address = pair(signer.removeprefix("//")).address
    with ledger.reading(subnet.path) as database:
        found = [slot for slot in slots(database, ledger.read_head(database).open) if slot.hotkey == address]
        used = database.execute("SELECT used FROM space WHERE hotkey = ?", (address,)).fetchone()
    return (list(found[0].weights) if found else None), (used[0] if used else None)


def _name(outcome: str) -> str:
    """The pool answers with a number; the record has the source's name for it in brackets."""
    return {"InvalidTransaction::Custom(1)": "StakeAmountTooLow"}.get(re.sub(r" \(.*", "", outcome), outcome)

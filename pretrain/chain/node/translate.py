"""Calls of the runtime as calls of the embedded chain."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Annotated

from pydantic import Field, TypeAdapter

from pretrain.chain.calls import (
    Action,
    AddStake,
    BurnedRegister,
    CommitTimelockedWeights,
    CommitWeights,
    RemoveStake,
    RevealWeights,
    SetCommitment,
    SetWeights,
)
from pretrain.chain.commit_reveal import TIMELOCK_VERSION
from pretrain.chain.genesis import RAO
from pretrain.chain.node import commitments
from pretrain.errors import Refused
from pretrain.types import Hotkey

Arguments = Mapping[str, object]
_BOUNDS = TypeAdapter[Action](Annotated[Action, Field(discriminator="call")])
"""Of lengths and numbers, as for calls in the chain's own form."""


def action(decoded: Mapping[str, object]) -> tuple[int, Action]:
    """Return the subnet that a decoded call is about, and the call.

    Raises ValueError, TypeError or KeyError when its arguments are not those of such a call, and Refused for a call
    that the runtime has and this chain does not take.
    """
    name = (str(decoded["call_module"]), str(decoded["call_function"]))
    make = _ACTIONS.get(name)
    if make is None:
        raise Refused(f"{'.'.join(name)} is not taken by this chain", code="CallFiltered")
    arguments = _arguments(decoded["call_args"])
    made = make(arguments)
    _BOUNDS.validate_json(json.dumps(asdict(made)))
    return _number(arguments, "netuid"), made


def _arguments(listed: object) -> dict[str, object]:
    if not isinstance(listed, list):
        raise TypeError(f"no list of arguments: {listed!r}")
    return {str(argument["name"]): argument["value"] for argument in listed}


def _set_weights(arguments: Arguments) -> Action:
    uids, values = _numbers(arguments, "dests"), _numbers(arguments, "weights")
    return SetWeights(uids, values, _number(arguments, "version_key"), _mechanism(arguments))


def _commit_weights(arguments: Arguments) -> Action:
    return CommitWeights(commitments.octets(arguments["commit_hash"]).hex(), _mechanism(arguments))


def _reveal_weights(arguments: Arguments) -> Action:
    uids, values, salt = (_numbers(arguments, name) for name in ("uids", "values", "salt"))
    return RevealWeights(uids, values, salt, _number(arguments, "version_key"), _mechanism(arguments))


def _commit_timelocked(arguments: Arguments) -> Action:
    """Return the sealed row; the older form of the call names no version, as it had none to name."""
    version = _number(arguments, "commit_reveal_version") if "commit_reveal_version" in arguments else TIMELOCK_VERSION
    sealed = commitments.octets(arguments["commit"]).hex()
    return CommitTimelockedWeights(sealed, _number(arguments, "reveal_round"), version, _mechanism(arguments))


def _set_commitment(arguments: Arguments) -> Action:
    return SetCommitment(commitments.from_info(arguments["info"]))


def _add_stake_limit(arguments: Arguments) -> Action:
    """Return the stake without its limit, which holds when a unit of alpha may cost a TAO: it always does."""
    if _number(arguments, "limit_price") < RAO:
        raise Refused("alpha costs one TAO here, and the limit is below it", code="SlippageTooHigh")
    return _add_stake(arguments)


def _add_stake(arguments: Arguments) -> Action:
    return AddStake(_address(arguments), _number(arguments, "amount_staked"))


def _remove_stake(arguments: Arguments) -> Action:
    return RemoveStake(_address(arguments), _number(arguments, "amount_unstaked"))


def _register(arguments: Arguments) -> Action:
    return BurnedRegister(_address(arguments))


_ACTIONS: Mapping[tuple[str, str], Callable[[Arguments], Action]] = {
    ("SubtensorModule", "set_weights"): _set_weights,
    ("SubtensorModule", "set_mechanism_weights"): _set_weights,
    ("SubtensorModule", "commit_weights"): _commit_weights,
    ("SubtensorModule", "commit_mechanism_weights"): _commit_weights,
    ("SubtensorModule", "reveal_weights"): _reveal_weights,
    ("SubtensorModule", "reveal_mechanism_weights"): _reveal_weights,
    ("SubtensorModule", "commit_timelocked_weights"): _commit_timelocked,
    ("SubtensorModule", "commit_timelocked_mechanism_weights"): _commit_timelocked,
    ("SubtensorModule", "commit_crv3_mechanism_weights"): _commit_timelocked,
    ("SubtensorModule", "burned_register"): _register,
    ("SubtensorModule", "add_stake"): _add_stake,
    ("SubtensorModule", "add_stake_limit"): _add_stake_limit,
    ("SubtensorModule", "remove_stake"): _remove_stake,
    ("Commitments", "set_commitment"): _set_commitment,
}


def _mechanism(arguments: Arguments) -> int:
    return _number(arguments, "mecid") if "mecid" in arguments else 0


def _address(arguments: Arguments) -> Hotkey:
    return Hotkey(str(arguments["hotkey"]))


def _number(arguments: Arguments, name: str) -> int:
    value = arguments[name]
    if not isinstance(value, int):
        raise TypeError(f"{name} is {value!r}: expected a number")
    return value


def _numbers(arguments: Arguments, name: str) -> tuple[int, ...]:
    value = arguments[name]
    if isinstance(value, list | tuple) and all(isinstance(entry, int) for entry in value):
        return tuple(value)
    raise TypeError(f"{name} is {value!r}: expected numbers")

"""Applying a signed call to the open block: read what the rules need, ask them, write what follows."""

import sqlite3
from dataclasses import dataclass

from pretrain.chain import calls, epochs, fields, ledger, rules, stake_rules, weight_calls
from pretrain.chain.calls import (
    AddStake,
    BurnedRegister,
    Call,
    CommitTimelockedWeights,
    CommitWeights,
    Faucet,
    RemoveStake,
    RevealWeights,
    SetCommitment,
    SetWeights,
    SignedCall,
)
from pretrain.chain.genesis import Genesis
from pretrain.chain.rules import Here, Spent
from pretrain.chain.state import slots
from pretrain.errors import ChainUnavailable, Refused
from pretrain.types import Block, Hotkey


@dataclass(frozen=True)
class Applied:
    """A call that a block has taken."""

    block: Block
    position: int
    """Its place among the calls of the block, from 0."""
    refused: Refused | None
    """Why it changed nothing but its signer's nonce; None when it did what it says."""


def submit(database: sqlite3.Connection, genesis: Genesis, signed: SignedCall) -> Block:
    """Apply a call signed as JSON and return its block; raises Refused and then changes nothing.

    A refused call is not kept and uses up no nonce, like one that the real chain's pool turns away.
    """
    return apply(database, genesis, calls.open_signed(signed), signed.payload, signed.signature).block


def apply(
    database: sqlite3.Connection,
    genesis: Genesis,
    call: Call,
    payload: bytes,
    signature: bytes,
    *,
    keep_refused: bool = False,
) -> Applied:
    """Apply a call whose signature the caller has verified to the open block, in the caller's transaction.

    ``payload`` and ``signature`` are what was signed, in whatever form: they are stored, and the block's hash covers
    them. With ``keep_refused`` a call that is refused only when it runs stays in the block, with its outcome, and has
    used up its nonce, as on a real chain. Every other refusal is raised and changes nothing, and so does a pause, which
    is ChainUnavailable.
    """
    head = ledger.read_head(database)
    if head.paused:
        raise ChainUnavailable(f"the chain is paused after block {head.newest}: resume it first")
    if isinstance(call.action, SetCommitment):
        fields.check_encodable(call.action.fields)
    nonce = next_nonce(database, call.signer)
    calls.check_admission(call, genesis.hash.hex(), nonce, genesis.parameters.call_validity, head.open)
    here = Here(genesis, head.open, slots(database, head.open))
    refused = _dispatched(database, here, call)
    if refused and (not keep_refused or refused.code in rules.POOL_CODES):
        raise refused
    position = database.execute("SELECT COUNT(*) FROM calls WHERE block = ?", (head.open,)).fetchone()[0]
    database.execute(
        "INSERT INTO calls VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            head.open, position, call.signer, nonce, call.action.call, payload, signature,
            refused.code if refused else "",
        ),
    )  # fmt: skip
    return Applied(head.open, position, refused)


def next_nonce(database: sqlite3.Connection, signer: Hotkey) -> int:
    """Return how many calls of a signer the blocks hold."""
    row = database.execute("SELECT COALESCE(MAX(nonce) + 1, 0) FROM calls WHERE signer = ?", (signer,)).fetchone()
    return int(row[0])


def _dispatched(database: sqlite3.Connection, here: Here, call: Call) -> Refused | None:
    """Run a call, undo what it has done if it is refused, and return why."""
    database.execute("SAVEPOINT call")
    try:
        _dispatch(database, here, call)
    except Refused as refused:
        database.execute("ROLLBACK TO call")
        return refused
    finally:
        database.execute("RELEASE call")
    return None


def _dispatch(database: sqlite3.Connection, here: Here, call: Call) -> None:
    match call.action:
        case SetWeights() as action:
            weight_calls.set_weights(database, here, call, action)
        case CommitWeights() as action:
            weight_calls.commit(database, here, call, action)
        case RevealWeights() as action:
            weight_calls.reveal(database, here, call, action)
        case CommitTimelockedWeights() as action:
            weight_calls.commit_timelocked(database, here, call, action)
        case SetCommitment() as action:
            _set_commitment(database, here, call, action)
        case BurnedRegister() as action:
            _register(database, here, call, action)
        case AddStake() as action:
            _add_stake(database, here, call, action)
        case RemoveStake() as action:
            _remove_stake(database, here, call, action)
        case Faucet() as action:
            _faucet(database, here, call, action)


def _set_commitment(database: sqlite3.Connection, here: Here, call: Call, action: SetCommitment) -> None:
    period = epochs.epoch_index(here.genesis, here.block)
    spent = _spent(database, call.signer, period)
    next_period = Block(here.block + epochs.blocks_to_epoch(here.genesis, here.block) + 1)
    rules.check_commitment(here, call.netuid, call.signer, action, spent, next_period)
    used = spent.used + rules.commitment_space(action)
    database.execute("INSERT OR REPLACE INTO space VALUES (?, ?, ?)", (call.signer, period, used))
    database.execute(
        "INSERT OR REPLACE INTO commitments VALUES (?, ?, ?)", (call.signer, here.block, fields.dump(action.fields))
    )
    if here.parameters.hyperparameters.bonds_reset and any(field.kind == "ResetBondsFlag" for field in action.fields):
        uid = rules.slot_of(here, call.signer).uid
        database.execute("INSERT OR IGNORE INTO resets VALUES (?, ?)", (uid, here.block))


def _spent(database: sqlite3.Connection, hotkey: Hotkey, period: int) -> Spent:
    last = database.execute("SELECT MAX(block) FROM commitments WHERE hotkey = ?", (hotkey,)).fetchone()[0]
    used = database.execute("SELECT used FROM space WHERE hotkey = ? AND epoch = ?", (hotkey, period)).fetchone()
    return Spent(last, used[0] if used else 0)


def _register(database: sqlite3.Connection, here: Here, call: Call, action: BurnedRegister) -> None:
    rules.check_registration(here, call.netuid, action, ledger.balance_of(database, call.signer))
    owner = ledger.owner_of(database, action.hotkey)
    rules.check_owner(action.hotkey, call.signer, owner if owner is not None else call.signer)
    uid = rules.slot_for_newcomer(here)
    burn = here.parameters.burn
    ledger.add_balance(database, call.signer, -burn)
    database.execute("UPDATE head SET recycled = recycled + ?", (burn,))
    database.execute("INSERT OR IGNORE INTO owners VALUES (?, ?)", (action.hotkey, call.signer))
    database.execute("INSERT OR REPLACE INTO registrations VALUES (?, ?, ?)", (uid, here.block, action.hotkey))


def _add_stake(database: sqlite3.Connection, here: Here, call: Call, action: AddStake) -> None:
    """Stake one for one: this chain has no pool between TAO and alpha, so no price and no fee."""
    owner = ledger.owner_of(database, action.hotkey)
    stake_rules.check_stake(here, call.netuid, action, ledger.balance_of(database, call.signer), owner)
    ledger.add_balance(database, call.signer, -action.amount)
    ledger.add_stake(database, action.hotkey, here.block, action.amount)


def _remove_stake(database: sqlite3.Connection, here: Here, call: Call, action: RemoveStake) -> None:
    """Pay stake back one for one, as it was taken."""
    owner, stake = ledger.owner_of(database, action.hotkey), ledger.stake_of(database, action.hotkey, here.block)
    stake_rules.check_unstake(here, call.netuid, call.signer, action, owner, stake)
    ledger.add_stake(database, action.hotkey, here.block, -action.amount)
    ledger.add_balance(database, call.signer, action.amount)


def _faucet(database: sqlite3.Connection, here: Here, call: Call, action: Faucet) -> None:
    if here.genesis.faucet is None or call.signer != here.genesis.faucet:
        raise Refused(f"{call.signer} may not create balances on this chain", code="BadOrigin")
    if ledger.balance_of(database, action.coldkey) + action.amount > calls.SUPPLY:
        raise Refused(f"{action.coldkey} would hold more than the supply, {calls.SUPPLY} rao", code="Overflow")
    ledger.add_balance(database, action.coldkey, action.amount)

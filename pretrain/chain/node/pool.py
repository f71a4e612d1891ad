"""The door for extrinsics: what is wrong before a block takes one is answered as a node's pool answers it.

Strangers may send anything, and the chain has one writer: so an extrinsic is taken apart and its signature checked
while others may write, and only what can be taken asks for the chain.
"""

import sqlite3
from dataclasses import dataclass

from pretrain.chain import ledger, rules, runtime
from pretrain.chain.calls import Action, Call
from pretrain.chain.genesis import Genesis
from pretrain.chain.node import translate
from pretrain.chain.node.codec import Codec
from pretrain.chain.node.extrinsics import Extrinsic, Signed, hash_of, is_signed_by_its_signer, parse
from pretrain.chain.node.rpc import ALREADY_IMPORTED, INVALID_TRANSACTION, RpcError
from pretrain.chain.node.storage_items import BLOCK_HASH_COUNT
from pretrain.chain.state import block_hash
from pretrain.errors import Refused
from pretrain.types import Block

BAD_FORMAT, VERIFICATION = 1_001, 1_002
ADMISSION = {
    "Stale": "Transaction is outdated",
    "Future": "Transaction will be valid in the future",
    "AncientBirthBlock": "Transaction has an ancient birth block",
    "BadGenesis": "Transaction has a bad signature",
}
"""What a pool says of a call that is refused at admission; this node keeps no future ones."""
_BAD_SIGNATURE = "Transaction has a bad signature"
_CUSTOM = {**rules.POOL_CODES, "SlippageTooHigh": 8}
"""Numbers of the pool's refusals: the chain's, and that of a limit on the price, which only clients of a node name."""


MAX_BYTES = 64 << 10
"""Of an extrinsic; the longest that this chain has a use for is a tenth of it."""
MAX_BLOCK_BYTES = 3 << 19
"""Of a block's extrinsics: as hex they are no longer than an answer may be, so that every block can be read."""
MAX_BLOCK_CALLS = 1_000
"""Of a block: a subnet's neurons make two each at the most."""


@dataclass(frozen=True)
class Checked:
    """An extrinsic that its signer has signed, for the period of its era that the chain was in."""

    extrinsic: Extrinsic
    netuid: int
    action: Action
    birth: Block
    """Of its era; block 0 for one that is valid for ever."""


@dataclass(frozen=True)
class Taken:
    """An extrinsic that a block has taken."""

    hash: str
    block: Block


def check(database: sqlite3.Connection, genesis: Genesis, codec: Codec, raw: bytes) -> Checked:
    """Take an extrinsic apart and check its signature, without writing; raises RpcError."""
    if len(raw) > MAX_BYTES:
        raise _invalid(f"Transaction would exhaust the block limits: {len(raw)} bytes, expected at most {MAX_BYTES}")
    try:
        extrinsic = parse(raw)
        decoded = codec.call(extrinsic.call)
        netuid, action = translate.action(decoded)
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise RpcError(BAD_FORMAT, f"Extrinsic has invalid format: {error}") from error
    except Refused as refused:
        raise _answer(refused) from refused
    birth = _birth(extrinsic, ledger.read_head(database).open)
    signed = Signed(codec.spec_version, genesis.hash, block_hash(database, birth))
    if not is_signed_by_its_signer(extrinsic, signed):
        raise _invalid(_BAD_SIGNATURE)
    return Checked(extrinsic, netuid, action, birth)


def admit(database: sqlite3.Connection, genesis: Genesis, checked: Checked) -> Taken:
    """Apply a checked extrinsic to the open block, in the caller's transaction; raises RpcError."""
    extrinsic, block = checked.extrinsic, ledger.read_head(database).open
    _check_not_imported(database, block, extrinsic)
    _check_space(database, block, len(extrinsic.raw))
    if _birth(extrinsic, block) != checked.birth:  # its era has begun anew since, with a block it is not signed for
        raise _invalid(_BAD_SIGNATURE)
    # An era may be longer than the chain's own calls are valid: it is the signer's, and has been checked.
    oldest = block - genesis.parameters.call_validity + 1
    birth = Block(max(checked.birth, oldest) if extrinsic.era else block)
    call = Call(genesis.hash.hex(), checked.netuid, extrinsic.signer, extrinsic.nonce, birth, checked.action)
    try:
        applied = runtime.apply(database, genesis, call, extrinsic.raw, extrinsic.signature, keep_refused=True)
    except Refused as refused:
        raise _answer(refused) from refused
    return Taken(hash_of(extrinsic.raw), applied.block)


def _check_not_imported(database: sqlite3.Connection, block: Block, extrinsic: Extrinsic) -> None:
    row = database.execute(
        "SELECT 1 FROM calls WHERE block = ? AND signer = ? AND nonce = ? AND payload = ?",
        (block, extrinsic.signer, extrinsic.nonce, extrinsic.raw),
    ).fetchone()
    if row:
        raise RpcError(ALREADY_IMPORTED, "Transaction Already Imported", hash_of(extrinsic.raw))


def _check_space(database: sqlite3.Connection, block: Block, size: int) -> None:
    """Refuse what the open block has no room for: nothing here has a price that would keep a stranger from filling it.

    A pool would keep it for the next block; this one keeps nothing, so it has to be sent again.
    """
    count, taken = database.execute(
        "SELECT COUNT(*), COALESCE(SUM(LENGTH(payload)), 0) FROM calls WHERE block = ?", (block,)
    ).fetchone()
    if count >= MAX_BLOCK_CALLS or taken + size > MAX_BLOCK_BYTES:
        raise _invalid(f"Transaction would exhaust the block limits: block {block} holds {count} calls, {taken} bytes")


def _birth(extrinsic: Extrinsic, block: Block) -> Block:
    """Return the first block of the era that the open block is in; for a call that is valid for ever, block 0."""
    if not extrinsic.era:
        return Block(0)
    birth = Block(extrinsic.era.birth(block))
    if not block - BLOCK_HASH_COUNT <= birth < block:
        raise _invalid(ADMISSION["AncientBirthBlock"])
    return birth


def _answer(refused: Refused) -> RpcError:
    if refused.code in ADMISSION:
        return _invalid(ADMISSION[refused.code])
    if refused.code in _CUSTOM:
        return _invalid(f"Custom error: {_CUSTOM[refused.code]}")
    if refused.code == "CallFiltered":
        return _invalid("Transaction call is not expected")
    return RpcError(VERIFICATION, f"Verification Error: {refused}")


def _invalid(reason: str) -> RpcError:
    return RpcError(INVALID_TRANSACTION, "Invalid Transaction", reason)

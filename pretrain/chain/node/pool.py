"""The door for extrinsics: what is wrong before a block takes one is answered as a node's pool answers it."""

import sqlite3
from dataclasses import dataclass

from pretrain.chain import ledger, rules, runtime
from pretrain.chain.calls import Call
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
_CUSTOM = {**rules.POOL_CODES, "SlippageTooHigh": 8}
"""Numbers of the pool's refusals: the chain's, and that of a limit on the price, which only clients of a node name."""


@dataclass(frozen=True)
class Taken:
    """An extrinsic that a block has taken."""

    hash: str
    block: Block


def submit(database: sqlite3.Connection, genesis: Genesis, codec: Codec, raw: bytes) -> Taken:
    """Check an extrinsic and apply it to the open block, in the caller's transaction; raises RpcError."""
    try:
        extrinsic = parse(raw)
        decoded = codec.call(extrinsic.call)
        netuid, action = translate.action(decoded)
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise RpcError(BAD_FORMAT, f"Extrinsic has invalid format: {error}") from error
    except Refused as refused:
        raise _answer(refused) from refused
    head = ledger.read_head(database)
    _check_not_imported(database, head.open, extrinsic)
    birth = _check_signature(database, genesis, codec, extrinsic, head.open)
    # An era may be longer than the chain's own calls are valid: it is the signer's, and has been checked.
    birth = Block(max(birth, head.open - genesis.parameters.call_validity + 1))
    call = Call(genesis.hash.hex(), netuid, extrinsic.signer, extrinsic.nonce, birth, action)
    try:
        applied = runtime.apply(database, genesis, call, raw, extrinsic.signature, keep_refused=True)
    except Refused as refused:
        raise _answer(refused) from refused
    return Taken(hash_of(raw), applied.block)


def _check_not_imported(database: sqlite3.Connection, block: Block, extrinsic: Extrinsic) -> None:
    row = database.execute(
        "SELECT 1 FROM calls WHERE block = ? AND signer = ? AND nonce = ? AND payload = ?",
        (block, extrinsic.signer, extrinsic.nonce, extrinsic.raw),
    ).fetchone()
    if row:
        raise RpcError(ALREADY_IMPORTED, "Transaction Already Imported", hash_of(extrinsic.raw))


def _check_signature(
    database: sqlite3.Connection, genesis: Genesis, codec: Codec, extrinsic: Extrinsic, block: Block
) -> Block:
    """Return the era's first block; for a call that is valid for ever, the open one."""
    birth = Block(extrinsic.era.birth(block)) if extrinsic.era else Block(0)
    if extrinsic.era and not block - BLOCK_HASH_COUNT <= birth < block:
        raise _invalid(ADMISSION["AncientBirthBlock"])
    signed = Signed(codec.spec_version, genesis.hash, block_hash(database, birth))
    if not is_signed_by_its_signer(extrinsic, signed):
        raise _invalid("Transaction has a bad signature")
    return birth if extrinsic.era else block


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

"""Time on an embedded chain: who comes first makes the blocks that are due.

One block is open and takes calls; all before it are finished and never change, whatever a clock does. Opening a block
is what a real chain does at its start: emission accrues, and an epoch runs if one is due. Block anchor + n is finished
n block times after the anchor was, by this machine's clock: the one decision that rests on a clock, made inside the
transaction that stores it.

hash(b) = sha256(hash(b - 1), b as 8 bytes big-endian, sha256 over the calls of b with their signatures). So the hash of
a block without calls can be foretold: enough for a subnet on one machine, where nobody has an interest in it.
"""

import hashlib
import math
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from pretrain.chain import epochs, ledger
from pretrain.chain.genesis import Genesis
from pretrain.chain.ledger import HeadRow
from pretrain.chain.state import block_hash
from pretrain.errors import ChainUnavailable
from pretrain.types import Block

Clock = Callable[[], float]
"""Seconds since the Unix epoch."""

_BATCH = 1_000
"""Blocks made in one transaction: a long pause is made up for in steps, which a kill cannot undo."""
_JITTER = 1
"""Blocks that the clock may be behind the chain before that counts as set back."""


def catch_up(path: Path, genesis: Genesis, clock: Clock) -> HeadRow:
    """Make every block that is due and return where the chain then stands; cheap when none is."""
    while True:
        with ledger.reading(path) as database:
            _check_same_chain(database, genesis)
            head = ledger.read_head(database)
        if not _is_due(genesis, head, clock()):
            return head
        with ledger.writing(path) as database:
            advance(database, genesis, clock)


def advance(database: sqlite3.Connection, genesis: Genesis, clock: Clock) -> HeadRow:
    """Make the blocks that are due, at most a batch of them, in the caller's transaction.

    Raises ChainUnavailable when another chain has come into the file's place: it has other rules.
    """
    _check_same_chain(database, genesis)
    head = ledger.read_head(database)
    now = clock()
    if not _is_due(genesis, head, now):
        return head
    target = _newest_by_clock(genesis, head, now)
    if target < head.newest:  # the clock was set back: time goes on from here
        head = replace(head, anchor_block=head.newest, anchor_time=now)
    else:
        head = _make(database, genesis, head, Block(min(target + 1, head.open + _BATCH)))
    ledger.write_head(database, head)
    return head


def pause(path: Path, genesis: Genesis, clock: Clock) -> None:
    """Stop the chain's time: it can be read as it stands, and takes no calls, until ``resume``."""
    catch_up(path, genesis, clock)
    with ledger.writing(path) as database:
        ledger.write_head(database, replace(ledger.read_head(database), paused=True))


def resume(path: Path, clock: Clock) -> None:
    """Let time go on from the newest block, as if none had passed since, however the last run ended."""
    with ledger.writing(path) as database:
        head = ledger.read_head(database)
        ledger.write_head(database, replace(head, anchor_block=head.newest, anchor_time=clock(), paused=False))


def time_of(head: HeadRow, genesis: Genesis) -> float:
    """Return when the newest finished block was made, in seconds since the Unix epoch."""
    return head.anchor_time + (head.newest - head.anchor_block) * genesis.parameters.block_time


def _newest_by_clock(genesis: Genesis, head: HeadRow, now: float) -> Block:
    return Block(head.anchor_block + math.floor((now - head.anchor_time) / genesis.parameters.block_time))


def _is_due(genesis: Genesis, head: HeadRow, now: float) -> bool:
    """Whether blocks are to be made, or the clock was set back; two processes may read a clock in either order."""
    target = _newest_by_clock(genesis, head, now)
    return not head.paused and not head.newest - _JITTER <= target <= head.newest


def _make(database: sqlite3.Connection, genesis: Genesis, head: HeadRow, open_block: Block) -> HeadRow:
    """Finish blocks until ``open_block`` is the open one; only the first can hold calls."""
    hashes = []
    digest = _calls_digest(database, head.open)
    previous = block_hash(database, head.newest)
    while head.open < open_block:
        previous = hashlib.sha256(previous + head.open.to_bytes(8, "big") + digest).digest()
        digest = hashlib.sha256().digest()
        time = head.anchor_time + (head.open - head.anchor_block) * genesis.parameters.block_time
        hashes.append((head.open, previous, time))
        head = epochs.accrue(genesis, replace(head, open=Block(head.open + 1)))
        if epochs.is_epoch(genesis, head.open):
            head = epochs.run_epoch(database, genesis, head)
    database.executemany("INSERT INTO blocks VALUES (?, ?, ?)", hashes)
    return head


def _check_same_chain(database: sqlite3.Connection, genesis: Genesis) -> None:
    found = block_hash(database, Block(0))
    if found != genesis.hash:
        raise ChainUnavailable(
            f"another chain is in this one's place: genesis {found.hex()[:16]}, not {genesis.hash.hex()[:16]};"
            " start this program again to go on with it"
        )


def _calls_digest(database: sqlite3.Connection, block: Block) -> bytes:
    digest = hashlib.sha256()
    for payload, signature in database.execute(
        "SELECT payload, signature FROM calls WHERE block = ? ORDER BY position", (block,)
    ):
        digest.update(hashlib.sha256(payload).digest() + signature)
    return digest.digest()

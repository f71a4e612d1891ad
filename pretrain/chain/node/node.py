"""What a node knows, without a wire: blocks by number and hash, state at a block, and taking an extrinsic.

Everything here waits for SQLite, so it is called in threads.
"""

import functools
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from pretrain.chain import Head, blocks, ledger, runtime
from pretrain.chain.blocks import Clock
from pretrain.chain.genesis import Genesis
from pretrain.chain.node import included, pool
from pretrain.chain.node.codec import Codec
from pretrain.chain.node.extrinsics import is_extrinsic
from pretrain.chain.node.parameters import digest_of
from pretrain.chain.node.past import Past
from pretrain.chain.node.pool import Taken
from pretrain.chain.node.rpc import STATE_ERROR, Json, RpcError
from pretrain.chain.node.state_view import StateView
from pretrain.chain.state import block_hash
from pretrain.types import Block, Hotkey

_NO_ROOT = f"0x{bytes(32).hex()}"
"""Of state and extrinsics: this chain keeps no tries, so nothing can be proved from a header."""
_REMEMBERED = 10_000  # numbers of blocks


@dataclass(frozen=True)
class Node:
    """An embedded chain, seen as a node would show it."""

    path: Path
    genesis: Genesis
    codec: Codec
    clock: Clock
    behind: int = 0
    """Blocks by which its head is set back: for a node that is to look as if it had fallen behind."""
    numbers: dict[bytes, Block] = field(default_factory=dict)
    """Numbers of blocks asked for by hash before; finished blocks never change."""
    parents: dict[int, bytes] = field(default_factory=dict)
    """Hashes of the blocks before those whose headers were asked for: all subscribers want the same."""

    def set_back(self, count: int) -> "Node":
        """Return the same node with its head ``count`` blocks further back."""
        return replace(self, behind=self.behind + count)

    def head(self) -> Head:
        """Return the newest and the finalised block, after making those that are due."""
        newest = max(0, blocks.catch_up(self.path, self.genesis, self.clock).newest - self.behind)
        return Head(Block(newest), Block(max(0, newest - self.genesis.parameters.finality_lag)))

    def hash_at(self, number: int) -> str | None:
        """Return a block's hash; None when it is not finished yet."""
        return self.hashes_at([number])[0]

    def hashes_at(self, numbers: Sequence[int]) -> list[str | None]:
        """Return the hashes of several blocks, all as one look finds them; None for those not finished yet."""
        newest = self.head().block
        with ledger.reading(self.path) as database:
            return [
                f"0x{block_hash(database, Block(number)).hex()}" if 0 <= number <= newest else None
                for number in numbers
            ]

    def number_of(self, hash_: str | None) -> Block | None:
        """Return the number of a block, of the newest for None; None when no finished block has that hash.

        Raises RpcError for a text that is no hash.
        """
        if hash_ is None:
            return self.head().block
        digest = digest_of(hash_)
        number = self.numbers.get(digest)
        if number is None:
            with ledger.reading(self.path) as database:
                row = database.execute(
                    "SELECT number FROM blocks WHERE hash = ? ORDER BY number DESC LIMIT 1", (digest,)
                ).fetchone()
            if row is None:
                return None
            number = Block(row[0])
            if len(self.numbers) >= _REMEMBERED:
                self.numbers.clear()
            self.numbers[digest] = number
        return number

    @contextmanager
    def state(self, hash_: str | None) -> Iterator[StateView]:
        """Open the state at a block, of the newest for None; raises RpcError for an unknown or a discarded one."""
        number = self.number_of(hash_)
        if number is None:
            raise RpcError(STATE_ERROR, f"Client error: UnknownBlock: Header was not found in the database: {hash_}")
        if number < self.head().block - self.genesis.parameters.retention:
            raise RpcError(STATE_ERROR, f"Client error: UnknownBlock: State already discarded for {hash_}")
        with self._past(number) as past:
            yield StateView(past)

    def header(self, number: int) -> dict[str, Json]:
        """Return the header of a finished block."""
        parent = self.parents.get(number)
        if parent is None:
            with ledger.reading(self.path) as database:
                parent = block_hash(database, Block(number - 1)) if number else bytes(32)
            if len(self.parents) >= _REMEMBERED:
                self.parents.clear()
            self.parents[number] = parent
        return {
            "parentHash": f"0x{parent.hex()}",
            "number": hex(number),
            "stateRoot": _NO_ROOT,
            "extrinsicsRoot": _NO_ROOT,
            "digest": {"logs": []},
        }

    def extrinsics(self, number: Block) -> list[str]:
        """Return a finished block's extrinsics."""
        with self._past(number) as past:
            return [f"0x{raw.hex()}" for raw in included.raw_block(past)]

    def pending(self) -> list[str]:
        """Return the extrinsics that the open block holds."""
        with ledger.reading(self.path) as database:
            rows = database.execute(
                "SELECT payload FROM calls WHERE block = ? ORDER BY position", (ledger.read_head(database).open,)
            ).fetchall()
        return [f"0x{payload.hex()}" for (payload,) in rows if is_extrinsic(payload)]

    def next_nonce(self, address: str) -> int:
        """Return the nonce of an account's next call, the open block's included."""
        with ledger.reading(self.path) as database:
            return runtime.next_nonce(database, Hotkey(address))

    def submit(self, raw: bytes) -> Taken:
        """Take an extrinsic into the open block; raises RpcError.

        The chain is kept from other writers only once the extrinsic is known to be good.
        """
        blocks.catch_up(self.path, self.genesis, self.clock)
        with ledger.reading(self.path) as database:
            checked = pool.check(database, self.genesis, self.codec, raw)
        with ledger.writing(self.path) as database:
            blocks.advance(database, self.genesis, self.clock)
            return pool.admit(database, self.genesis, checked)

    @contextmanager
    def _past(self, number: Block) -> Iterator[Past]:
        with ledger.reading(self.path) as database:
            yield Past(database, self.genesis, self.codec, number)


def open_node(path: Path, clock: Clock = time.time) -> Node:
    """Open the chain in a file; raises ChainUnavailable when there is none."""
    with ledger.reading(path) as database:
        genesis = ledger.read_genesis(database)
    return Node(path, genesis, _codec(genesis), clock)


@functools.lru_cache(maxsize=4)
def _codec(genesis: Genesis) -> Codec:
    return Codec(genesis)

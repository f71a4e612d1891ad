"""An embedded chain's file as a process writes to it: due blocks are made, and a call is one transaction."""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pretrain.chain import blocks, calls, ledger, runtime
from pretrain.chain.blocks import Clock
from pretrain.chain.calls import Action, Call, SignedCall
from pretrain.chain.genesis import Genesis
from pretrain.chain.ledger import HeadRow
from pretrain.types import Block, Hotkey
from pretrain.wallet import Keypair


@dataclass(frozen=True)
class ChainFile:
    """Where a chain is, what it started from, and whose clock makes its blocks."""

    path: Path
    genesis: Genesis
    clock: Clock

    def catch_up(self) -> HeadRow:
        """Make the blocks that are due and return where the chain then stands."""
        return blocks.catch_up(self.path, self.genesis, self.clock)

    def submit(self, compose: Callable[[sqlite3.Connection, Block], SignedCall]) -> Block:
        """Apply the call that is made for the open block, and return that block."""
        self.catch_up()
        with ledger.writing(self.path) as database:
            head = blocks.advance(database, self.genesis, self.clock)
            return runtime.submit(database, self.genesis, compose(database, head.open))

    def send(self, keypair: Keypair, action: Callable[[sqlite3.Connection, Block], Action]) -> Block:
        """Make, sign and apply a call in one transaction: no other call of this key can come between."""

        def compose(database: sqlite3.Connection, block: Block) -> SignedCall:
            signer = Hotkey(keypair.ss58_address)
            nonce = runtime.next_nonce(database, signer)
            made = action(database, block)
            return calls.sign(Call(self.genesis.hash.hex(), self.genesis.netuid, signer, nonce, block, made), keypair)

        return self.submit(compose)

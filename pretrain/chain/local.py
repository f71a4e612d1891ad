"""The embedded chain: a subnet in one SQLite file, with the rules of the real one.

Nothing here is a mock: calls are signed and verified, refused under the real runtime's names and in its order, and
weights are paid by Yuma consensus. Left out is what has no part in the rules: fees, prices, delegation, the opening of
timelocks, other subnets. Processes share the file; there is no server, and whoever comes first makes the blocks that
are due.
"""

import asyncio
import functools
import sqlite3
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from pretrain.chain import Head, Network, Snapshot, Standing, blocks, fields, history, ledger, pending, rules, view
from pretrain.chain.blocks import Clock
from pretrain.chain.calls import (
    Action,
    AddStake,
    BurnedRegister,
    Faucet,
    SetCommitment,
    SetWeights,
    SignedCall,
)
from pretrain.chain.chain_file import ChainFile
from pretrain.chain.fields import Fields
from pretrain.chain.genesis import RAO, Genesis
from pretrain.chain.rules import Here
from pretrain.chain.state import newest_commitments, slots
from pretrain.chain.weights import quantise
from pretrain.commitment import Entry
from pretrain.errors import ChainUnavailable, ConfigError, Refused
from pretrain.types import Block, Hotkey, Uid
from pretrain.wallet import Keypair, Keys

__all__ = ["Genesis", "LocalChain", "create", "pause", "resume"]

_DEADLINE = 60.0  # seconds for one call; above what a writer waits for another, so that the reason is SQLite's
_POLLS_PER_BLOCK = 4
_BLOCKS_TO_READ_BACK = 20

T = TypeVar("T")


def create(path: Path, genesis: Genesis) -> None:
    """Make a chain; raises ChainUnavailable when the file is there already."""
    ledger.create(path, genesis)


def pause(path: Path, clock: Clock = time.time) -> None:
    """Stop a chain's time, so that a look at it later finds it as it was left; it takes no calls meanwhile."""
    with ledger.reading(path) as database:
        genesis = ledger.read_genesis(database)
    blocks.pause(path, genesis, clock)


def resume(path: Path, clock: Clock = time.time) -> None:
    """Let a chain go on from its newest block after any pause, before a process of the new run opens it.

    Without it the time since would be made up for block by block, and every commitment would have aged by that much.
    """
    blocks.resume(path, clock)


class LocalChain:
    """One hotkey's access to an embedded chain; implements ``Chain``.

    Opening reads the genesis: raises ChainUnavailable when the file is missing or is no chain, and ConfigError when it
    holds another subnet. Without a wallet it reads only. A ``still`` one is for a look that changes nothing: its reads
    make no blocks, however many are due.
    """

    def __init__(
        self, path: Path, netuid: int, wallet: Keys | None = None, *, clock: Clock = time.time, still: bool = False
    ) -> None:
        with ledger.reading(path) as database:
            self.genesis = ledger.read_genesis(database)
        if self.genesis.netuid != netuid:
            raise ConfigError(f"--netuid {netuid}: the chain in {path} holds subnet {self.genesis.netuid}")
        self._path = path
        self._file = ChainFile(path, self.genesis, clock)
        self._wallet = wallet
        self._still = still
        self._snapshot_at = functools.lru_cache(maxsize=2)(self._read_snapshot)  # a finished block never changes

    async def network(self) -> Network:
        """Say which chain this is."""
        return Network(f"file:{self._path}", self.genesis.hash.hex(), self.genesis.parameters.block_time)

    async def standing(self, coldkey: str | None = None) -> Standing:
        """Say how this hotkey stands at the newest block; ``coldkey`` is to own it, as long as nobody does."""
        hotkey = Hotkey(self._hotkey().ss58_address)
        return await _in_thread(lambda: self._standing(hotkey, coldkey))

    async def head(self) -> Head:
        """Return the newest and the finalised block; this hotkey's row whose time has come is revealed on the way."""
        await self._reveal()
        return await _in_thread(self._head)

    async def snapshot(self, cadence: int) -> Snapshot:
        """Read the state at the last multiple of ``cadence`` blocks not above the finalised head.

        Asking again within the same window costs no more than ``head``.
        """
        finalized = (await self.head()).finalized
        return await _in_thread(lambda: self._snapshot_at(Block(finalized - finalized % cadence)))

    async def commitment(self) -> Entry | None:
        """Return what this hotkey has committed at the newest block; None when nothing well-formed."""
        hotkey = self._hotkey()
        found = await _in_thread(lambda: self._committed(Hotkey(hotkey.ss58_address)))
        return view.entry(Hotkey(hotkey.ss58_address), *found) if found else None

    async def commit(self, text: str) -> Block:
        """Write a commitment signed by the hotkey, wait until it reads back, and return its block."""
        hotkey = self._hotkey()
        action = SetCommitment(fields.from_text(text))
        block = await self._send(hotkey, lambda _database, _block: action)
        for _ in range(_BLOCKS_TO_READ_BACK * _POLLS_PER_BLOCK):
            if (await self.head()).block >= block:
                found = await _in_thread(lambda: self._committed(Hotkey(hotkey.ss58_address)))
                if found != (block, action.fields):
                    raise Refused(f"the commitment of block {block} was replaced by another", code="Replaced")
                return block
            await asyncio.sleep(self.genesis.parameters.block_time / _POLLS_PER_BLOCK)
        raise ChainUnavailable(f"the commitment went into block {block}, which is not finished in due time")

    async def set_weights(self, weights: Mapping[Hotkey, float], version_key: int) -> Block:
        """Set this validator's whole row (relative shares; hotkeys not registered are dropped); return its block.

        Hotkeys become uids inside the transaction that stores the row, so that no share can reach a newcomer. On a
        subnet with commit-reveal the block is that of the row's commit; any later ``head`` or ``set_weights`` of this
        hotkey in the epoch for it reveals the row, also after a restart.
        """
        await self._reveal()
        signer = self._hotkey()
        hotkey = Hotkey(signer.ss58_address)

        def row(database: sqlite3.Connection, block: Block) -> Action:
            neurons = slots(database, block)
            made = SetWeights(*quantise(weights, neurons), version_key)
            if not self.genesis.parameters.commit_reveal:
                return made
            rules.check_row(Here(self.genesis, block, neurons), self.genesis.netuid, hotkey, made)
            return pending.commit(database, self._file, hotkey, made)

        return await self._send(signer, row)

    async def register(self) -> Uid:
        """Register the wallet's hotkey, paid by its coldkey, and return its uid."""
        hotkey = Hotkey(self._hotkey().ss58_address)
        block = await self._send(self._coldkey(), lambda _database, _block: BurnedRegister(hotkey))
        return await _in_thread(lambda: self._uid(hotkey, block))

    async def add_stake(self, rao: int) -> Block:
        """Stake the coldkey's rao on the wallet's hotkey and return the block."""
        hotkey = Hotkey(self._hotkey().ss58_address)
        return await self._send(self._coldkey(), lambda _database, _block: AddStake(hotkey, rao))

    async def fund(self, faucet: Keypair, coldkey: str, rao: int) -> Block:
        """Create a balance, signed by the key that genesis names as its faucet, and return the block."""
        return await self._send(faucet, lambda _database, _block: Faucet(Hotkey(coldkey), rao))

    async def submit(self, signed: SignedCall) -> Block:
        """Apply a call signed elsewhere and return its block; raises Refused like every write."""
        return await _in_thread(lambda: self._file.submit(lambda _database, _block: signed))

    async def _send(self, keypair: Keypair, action: Callable[[sqlite3.Connection, Block], Action]) -> Block:
        return await _in_thread(lambda: self._file.send(keypair, action))

    async def _reveal(self) -> None:
        """Reveal this hotkey's committed row if its time has come."""
        if self._wallet is not None and not self._still and self.genesis.parameters.commit_reveal:
            keypair = self._hotkey()
            await _in_thread(lambda: pending.reveal(self._file, keypair))

    def _newest(self) -> Block:
        return history.newest(self._path) if self._still else self._file.catch_up().newest

    def _head(self) -> Head:
        newest = self._newest()
        return Head(newest, Block(max(0, newest - self.genesis.parameters.finality_lag)))

    def _read_snapshot(self, block: Block) -> Snapshot:
        with ledger.reading(self._path) as database:
            oldest = ledger.read_head(database).newest - self.genesis.parameters.retention
            if block < oldest:
                raise ChainUnavailable(f"block {block} is not kept any more: the oldest to be read is {oldest}")
            return view.snapshot(database, block)

    def _committed(self, hotkey: Hotkey) -> tuple[Block, Fields] | None:
        newest = self._newest()
        with ledger.reading(self._path) as database:
            return newest_commitments(database, newest).get(hotkey)

    def _standing(self, hotkey: Hotkey, heir: str | None) -> Standing:
        head, parameters = self._head(), self.genesis.parameters
        with ledger.reading(self._path) as database:
            time_of_head = blocks.time_of(ledger.read_head(database), self.genesis)
            neurons = view.snapshot(database, head.block).neurons
            coldkey = ledger.owner_of(database, hotkey) or heir
            balance = ledger.balance_of(database, coldkey) if coldkey else 0
        return Standing(
            head=head,
            head_time=time_of_head,
            endpoint=str(self._path),
            neuron=next((neuron for neuron in neurons if neuron.hotkey == hotkey), None),
            coldkey=coldkey,
            balance=balance / RAO,
            registration_cost=parameters.burn / RAO,
            weights_rate_limit=parameters.weights_rate_limit,
            commit_reveal=parameters.commit_reveal,
            version_key=parameters.weights_version_key,
        )

    def _uid(self, hotkey: Hotkey, block: Block) -> Uid:
        with ledger.reading(self._path) as database:
            return next(slot.uid for slot in slots(database, block) if slot.hotkey == hotkey)

    def _hotkey(self) -> Keypair:
        return self._opened().hotkey

    def _coldkey(self) -> Keypair:
        return self._opened().coldkey

    def _opened(self) -> Keys:
        if self._wallet is None:
            raise ConfigError("this chain was opened without a wallet, to read only: open it with one to sign")
        return self._wallet


async def _in_thread(work: Callable[[], T]) -> T:
    try:
        async with asyncio.timeout(_DEADLINE):
            return await asyncio.to_thread(work)
    except TimeoutError as error:
        raise ChainUnavailable(f"the chain did not answer within {_DEADLINE:.0f} s") from error

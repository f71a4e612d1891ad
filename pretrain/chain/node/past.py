"""One finished block of an embedded chain, opened to be read as a node reads its state."""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from pretrain.chain.genesis import Genesis, Parameters
from pretrain.chain.node.codec import Codec
from pretrain.chain.state import Slot, block_hash, slots
from pretrain.types import Block, Hotkey

_MEASURES = ("incentive", "dividends", "consensus", "trust", "validator_trust", "emission", "active", "permit")


@dataclass(frozen=True)
class Past:
    """The state at the end of a block; what is asked for twice is read once.

    Balances, owners and the space used for commitments are kept by the chain for the newest block alone, and are
    shown as they are now whatever the block.
    """

    database: sqlite3.Connection
    genesis: Genesis
    codec: Codec
    block: Block

    @property
    def netuid(self) -> int:
        """The only subnet there is."""
        return self.genesis.netuid

    @property
    def parameters(self) -> Parameters:
        """Its rules."""
        return self.genesis.parameters

    @cached_property
    def slots(self) -> Sequence[Slot]:
        """Every neuron, ordered by uid."""
        return slots(self.database, self.block)

    @cached_property
    def owners(self) -> Mapping[str, str]:
        """Coldkey by hotkey."""
        return dict(self.database.execute("SELECT hotkey, coldkey FROM owners ORDER BY hotkey"))

    @cached_property
    def balances(self) -> Mapping[str, int]:
        """Rao by coldkey."""
        return dict(self.database.execute("SELECT coldkey, rao FROM balances ORDER BY coldkey"))

    @cached_property
    def stakes(self) -> Mapping[str, int]:
        """Rao by hotkey."""
        rows = self.database.execute(
            "SELECT hotkey, rao, MAX(block) FROM stakes WHERE block <= ? GROUP BY hotkey ORDER BY hotkey",
            (self.block,),
        )
        return {hotkey: rao for hotkey, rao, _ in rows}

    @cached_property
    def last_epoch(self) -> int:
        """The block of the last epoch; 0 before the first."""
        row = self.database.execute("SELECT COALESCE(MAX(block), 0) FROM epochs WHERE block <= ?", (self.block,))
        return int(row.fetchone()[0])

    @cached_property
    def _measures(self) -> Mapping[Hotkey, Mapping[str, int]]:
        rows = self.database.execute(
            f"SELECT hotkey, {', '.join(_MEASURES)} FROM epochs WHERE block = ?",  # noqa: S608 - names of our own
            (self.last_epoch,),
        )
        return {Hotkey(row[0]): dict(zip(_MEASURES, row[1:], strict=True)) for row in rows}

    def measured(self, name: str, otherwise: int = 0) -> list[int]:
        """Return one of the last epoch's measures by uid."""
        return [self.measures(slot).get(name, otherwise) for slot in self.slots]

    def measures(self, slot: Slot) -> Mapping[str, int]:
        """Return what the last epoch found of a neuron: u16 shares, rao of emission, and flags; nothing of a newcomer.

        Who was replaced and has come back since the epoch is one too, though the epoch knew its hotkey.
        """
        return self._measures.get(slot.hotkey, {}) if self.last_epoch > slot.registered else {}

    @cached_property
    def nonces(self) -> Mapping[str, int]:
        """How many calls each signer had made."""
        rows = self.database.execute(
            "SELECT signer, MAX(nonce) + 1 FROM calls WHERE block <= ? GROUP BY signer ORDER BY signer", (self.block,)
        )
        return dict(rows)

    def hash_of(self, block: int) -> bytes:
        """Return the hash of a block not above this one."""
        return block_hash(self.database, Block(block))

    @property
    def milliseconds(self) -> int:
        """When the block was made, since the Unix epoch."""
        row = self.database.execute("SELECT made FROM blocks WHERE number = ?", (self.block,)).fetchone()
        return max(0, round(float(row[0]) * 1_000))

"""The chain as a step sees it: one consistent, frozen read, and two writes."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from pretrain.commitment import Entry
from pretrain.types import Block, Hotkey, Uid


@dataclass(frozen=True)
class Neuron:
    """A registered hotkey at the sync block."""

    uid: Uid
    hotkey: Hotkey
    stake: float
    """Total stake weight, in alpha."""
    permit: bool
    """May set weights on others."""
    incentive: float
    """Share of the miners' emission in the last epoch, 0 to 1."""
    last_update: Block
    """When this hotkey last set weights, or registered."""


@dataclass(frozen=True)
class Snapshot:
    """The chain's state at the sync block S: everything a step decides on."""

    block: Block
    """S: the last multiple of the cadence not above the finalised head."""
    block_hash: bytes
    """The 32 bytes of the hash of S."""
    neurons: tuple[Neuron, ...]
    """Ordered by uid."""
    entries: tuple[Entry, ...]
    """Well-formed commitments of registered hotkeys, ordered by (block, hotkey); others are no entries."""
    tie_hashes: Mapping[Block, bytes] = field(default_factory=dict)
    """Hash of each entry's commit block: it settles ties, also with a commitment that was replaced since."""
    weights: Mapping[Hotkey, Mapping[Hotkey, float]] = field(default_factory=dict)
    """Validator -> hotkey -> share of its row at S (rows sum to 1)."""

    @property
    def seed(self) -> int:
        """The seed of everything drawn in this step (protocol.md section 1)."""
        return int.from_bytes(hashlib.sha256(self.block_hash).digest(), "big")


@dataclass(frozen=True)
class Head:
    """Where the chain is, for waiting and for the age of weights; no decision of a step rests on it."""

    block: Block
    """The newest block."""
    finalized: Block
    """The newest block that can no longer change."""


class Chain(Protocol):
    """One subnet of one network, read by everybody and written by one hotkey.

    Every method raises ChainUnavailable when the chain does not answer. Writes raise Refused when it says no,
    with ``wait_blocks`` when trying again later is right.
    """

    async def head(self) -> Head:
        """Return the newest and the finalised block."""

    async def snapshot(self, cadence: int) -> Snapshot:
        """Read the state at the last multiple of ``cadence`` blocks not above the finalised head."""

    async def commitment(self) -> Entry | None:
        """Return what this hotkey has committed at the newest block; None when nothing well-formed."""

    async def commit(self, text: str) -> Block:
        """Write a commitment signed by the hotkey, wait until it reads back, and return its block."""

    async def set_weights(self, weights: Mapping[Hotkey, float], version_key: int) -> Block:
        """Set this validator's whole row (relative shares; hotkeys not registered are dropped); return its block."""

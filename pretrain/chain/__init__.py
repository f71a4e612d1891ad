"""The chain as a step sees it: one consistent, frozen read, and two writes."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from pretrain.commitment import Entry
from pretrain.types import Block, Hotkey, Uid

IN_FLIGHT = 48
"""Blocks after which a call that was sent has landed or never will: its era of 32, and a few until it was signed."""


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


@dataclass(frozen=True)
class Network:
    """Which chain this is."""

    name: str
    """As it is asked for by flag: ``finney``, ``test``, ``local``, ``ws://...``, ``file:PATH``."""
    genesis: str
    """The hash of block 0 in lower-case hex: what tells two chains apart, whatever they are called."""
    block_time: float
    """Seconds between two blocks."""

    def __str__(self) -> str:
        """Return both in one word, for a log line or a journal."""
        return f"{self.name} (genesis {self.genesis[:16]})"


@dataclass(frozen=True)
class Standing:
    """What the newest block says of one hotkey on this subnet: for a person to look at, never for a step."""

    head: Head
    head_time: float
    """When the newest block was made, in seconds since the Unix epoch."""
    endpoint: str
    """Who answered: a URL, or a file."""
    neuron: Neuron | None
    """None when the hotkey is not registered."""
    coldkey: str | None
    """Who owns the hotkey (ss58); while nobody does, the one that was asked about, if any."""
    balance: float
    """Free TAO of that coldkey."""
    registration_cost: float
    """TAO that registering costs now."""
    weights_rate_limit: int
    """Blocks between two rows of one validator."""
    commit_reveal: bool
    """Whether weights are committed first and shown later."""
    version_key: int
    """The least version key with which the subnet takes a row; 0: any."""


class Chain(Protocol):
    """One subnet of one network, read by everybody and written by one hotkey.

    Every method raises ChainUnavailable when the chain does not answer, and ConfigError when it is not the chain that
    was asked for. Writes raise Refused when it says no, with ``wait_blocks`` when trying again later is right.
    """

    async def network(self) -> Network:
        """Say which chain this is."""

    async def standing(self, coldkey: str | None = None) -> Standing:
        """Say how this hotkey stands at the newest block; ``coldkey`` is to own it, as long as nobody does."""

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

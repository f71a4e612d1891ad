"""What a step sees of a chain: neurons, entries and weights at one finished block, of whatever chain."""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence

from pretrain import commitment
from pretrain.chain import Neuron, Snapshot, fields
from pretrain.chain.calls import U16_MAX, CommitmentField
from pretrain.chain.fields import Fields
from pretrain.chain.genesis import RAO
from pretrain.chain.state import Slot, block_hash, newest_commitments, slots
from pretrain.chain.weights import rows
from pretrain.commitment import Entry
from pretrain.types import Block, Hotkey


def snapshot(database: sqlite3.Connection, block: Block) -> Snapshot:
    """Return an embedded chain's state at the end of a finished block; the same whenever and by whomever it is read."""
    neurons = slots(database, block)
    found = entries(neurons, newest_commitments(database, block))
    ties = {made: block_hash(database, made) for made in sorted({item.block for item in found})}
    return assemble(block, block_hash(database, block), neurons, found, ties)


def assemble(
    block: Block,
    block_hash: bytes,
    neurons: Sequence[Slot],
    entries: Iterable[Entry],
    tie_hashes: Mapping[Block, bytes],
) -> Snapshot:
    """Return the snapshot of what was read at a block."""
    return Snapshot(
        block=block,
        block_hash=block_hash,
        neurons=tuple(map(neuron, neurons)),
        entries=tuple(entries),
        tie_hashes=dict(tie_hashes),
        weights=rows(neurons),
    )


def entries(neurons: Sequence[Slot], committed: Mapping[Hotkey, tuple[Block, Fields]]) -> tuple[Entry, ...]:
    """Return the entries among the commitments of registered hotkeys, ordered by (block, hotkey)."""
    found = (entry(slot.hotkey, *committed[slot.hotkey]) for slot in neurons if slot.hotkey in committed)
    return tuple(sorted((item for item in found if item), key=lambda item: (item.block, item.hotkey)))


def entry(hotkey: Hotkey, block: Block, made: Sequence[CommitmentField]) -> Entry | None:
    """Return what a commitment names, or None when it is not well-formed and so no entry."""
    data = fields.clear(made)
    try:
        return None if data is None else Entry(hotkey, block, commitment.decode(data.decode("ascii")))
    except ValueError:
        return None


def neuron(slot: Slot) -> Neuron:
    """Return what a step knows of a slot."""
    return Neuron(
        uid=slot.uid,
        hotkey=slot.hotkey,
        stake=slot.stake / RAO,
        permit=slot.permit,
        incentive=slot.incentive / U16_MAX,
        last_update=max(slot.last_update, slot.registered),  # an older one is its predecessor's
    )

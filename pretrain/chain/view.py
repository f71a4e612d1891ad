"""What a step sees of an embedded chain: the snapshot of one finished block."""

import sqlite3

from pretrain import commitment
from pretrain.chain import Neuron, Snapshot
from pretrain.chain.calls import U16_MAX
from pretrain.chain.genesis import RAO
from pretrain.chain.state import Slot, block_hash, newest_commitments, slots
from pretrain.chain.weights import rows
from pretrain.commitment import Entry
from pretrain.types import Block, Hotkey


def snapshot(database: sqlite3.Connection, block: Block) -> Snapshot:
    """Return the state at the end of a finished block; the same whenever and by whomever it is read."""
    neurons = slots(database, block)
    committed = newest_commitments(database, block)
    found = (entry(slot.hotkey, *committed[slot.hotkey]) for slot in neurons if slot.hotkey in committed)
    entries = sorted((item for item in found if item), key=lambda item: (item.block, item.hotkey))
    ties = sorted({item.block for item in entries})
    return Snapshot(
        block=block,
        block_hash=block_hash(database, block),
        neurons=tuple(_neuron(slot) for slot in neurons),
        entries=tuple(entries),
        tie_hashes={made: block_hash(database, made) for made in ties},
        weights=rows(neurons),
    )


def entry(hotkey: Hotkey, block: Block, data: bytes) -> Entry | None:
    """Return what a commitment names, or None when it is not well-formed and so no entry."""
    try:
        return Entry(hotkey, block, commitment.decode(data.decode("ascii")))
    except ValueError:
        return None


def _neuron(slot: Slot) -> Neuron:
    own = slot.weights_block if slot.weights_block is not None and slot.weights_block > slot.registered else None
    return Neuron(
        uid=slot.uid,
        hotkey=slot.hotkey,
        stake=slot.stake / RAO,
        permit=slot.permit,
        incentive=slot.incentive / U16_MAX,
        last_update=slot.registered if own is None else own,
    )

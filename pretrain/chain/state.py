"""The subnet at the end of a block: the one read that epochs, rules and snapshots rest on."""

import json
import sqlite3
from dataclasses import dataclass, replace

from pretrain.chain import fields
from pretrain.chain.bonds import reset_bonds
from pretrain.chain.calls import U16_MAX
from pretrain.chain.fields import Fields
from pretrain.types import Block, Hotkey, Uid

Row = tuple[tuple[int, int], ...]
"""(uid, u16) pairs in stored order."""

_SLOTS = """
WITH present AS (
    SELECT uid, MIN(block) AS appended, MAX(block) AS block FROM registrations WHERE block <= :at GROUP BY uid
)
SELECT r.uid AS uid, r.hotkey AS hotkey, r.block AS registered, present.appended AS appended,
    COALESCE(
        (SELECT s.rao FROM stakes s WHERE s.hotkey = r.hotkey AND s.block <= :at ORDER BY s.block DESC LIMIT 1), 0
    ) AS stake,
    (SELECT MAX(u.block) FROM updates u WHERE u.uid = r.uid AND u.block <= :at) AS updated,
    w.made AS weights_block, w.row AS weights,
    e.block AS epoch, e.permit AS permit, e.incentive AS incentive, e.pruning_score AS pruning_score, e.bonds AS bonds
FROM present
JOIN registrations r ON r.uid = present.uid AND r.block = present.block
LEFT JOIN weights w ON w.uid = r.uid
    AND w.block = (SELECT MAX(x.block) FROM weights x WHERE x.uid = r.uid AND x.block <= :at)
LEFT JOIN epochs e ON e.uid = r.uid AND e.block = (SELECT MAX(x.block) FROM epochs x WHERE x.block <= :at)
ORDER BY r.uid
"""
_RESETS = """
SELECT DISTINCT uid FROM resets
WHERE block <= :at AND block >= (SELECT COALESCE(MAX(e.block), 0) FROM epochs e WHERE e.block <= :at)
ORDER BY uid
"""
"""Since the last epoch: those before it are in its bonds already."""


@dataclass(frozen=True)
class Slot:
    """A uid and what the chain keeps for it: partly the present neuron's, partly left by those before it.

    A heir finds the weights row, the permit, the last update and the bonds of others in its predecessor; incentive,
    pruning score and its own bonds start anew, and stake belongs to the hotkey (measured on spec 293).
    """

    uid: Uid
    hotkey: Hotkey
    registered: Block
    """When this hotkey got the slot."""
    stake: int
    """Rao."""
    last_update: Block
    """When the slot's row was set or committed last, by whomever; before any, when the slot was made."""
    weights_block: Block | None
    """When the row was fixed: set in the clear, or committed."""
    weights: Row
    permit: bool
    incentive: int
    """u16."""
    pruning_score: int
    """u16; the highest until the neuron has been through an epoch."""
    bonds: Row


def slots(database: sqlite3.Connection, block: Block) -> tuple[Slot, ...]:
    """Return every neuron at the end of a finished block, or now if it is the open one; ordered by uid."""
    cursor = database.cursor()
    cursor.row_factory = sqlite3.Row
    found = tuple(_slot(row) for row in cursor.execute(_SLOTS, {"at": block}))
    bonds: dict[int, Row] = {slot.uid: slot.bonds for slot in found}
    for row in cursor.execute(_RESETS, {"at": block}):
        bonds = reset_bonds(bonds, row["uid"])
    return tuple(replace(slot, bonds=bonds[slot.uid]) for slot in found)


def newest_commitments(database: sqlite3.Connection, block: Block) -> dict[Hotkey, tuple[Block, Fields]]:
    """Return every hotkey's last commitment up to a block, registered or not."""
    rows = database.execute(
        "SELECT hotkey, MAX(block), fields FROM commitments WHERE block <= ? GROUP BY hotkey ORDER BY hotkey", (block,)
    )
    return {Hotkey(hotkey): (Block(made), fields.load(text)) for hotkey, made, text in rows}


def block_hash(database: sqlite3.Connection, block: Block) -> bytes:
    """Return the hash of a finished block."""
    return bytes(database.execute("SELECT hash FROM blocks WHERE number = ?", (block,)).fetchone()[0])


def dump_row(row: Row) -> str:
    """Return a row as it is stored."""
    return json.dumps(row, separators=(",", ":"))


def load_row(text: str | None) -> Row:
    """Read a stored row; () for none."""
    return tuple((uid, value) for uid, value in json.loads(text)) if text else ()


def _slot(row: sqlite3.Row) -> Slot:
    assessed = row["epoch"] is not None and row["epoch"] > row["registered"]
    return Slot(
        uid=Uid(row["uid"]),
        hotkey=Hotkey(row["hotkey"]),
        registered=Block(row["registered"]),
        stake=row["stake"],
        last_update=Block(row["appended"] if row["updated"] is None else row["updated"]),
        weights_block=row["weights_block"],
        weights=load_row(row["weights"]),
        permit=bool(row["permit"]),
        incentive=row["incentive"] if assessed else 0,
        pruning_score=row["pruning_score"] if assessed else U16_MAX,
        bonds=load_row(row["bonds"]) if assessed else (),
    )

"""The extrinsics of a block, in the order in which clients count them.

The first is the time, put in by the block itself; calls that came as extrinsics follow. Calls in the chain's own form
(from ``file:`` clients) have no bytes that an extrinsic would have: what they changed is in the state, and neither an
extrinsic nor an event tells of them.
"""

from dataclasses import dataclass

from pretrain.chain.node.extrinsics import Extrinsic, is_extrinsic, parse, unsigned
from pretrain.chain.node.past import Past


@dataclass(frozen=True)
class Included:
    """An extrinsic of a block."""

    extrinsic: Extrinsic
    outcome: str
    """'' when it did what it says, else the name of why not."""


def included(past: Past) -> list[Included]:
    """Return a block's signed extrinsics; the index of the first is 1."""
    rows = past.database.execute("SELECT payload, outcome FROM calls WHERE block = ? ORDER BY position", (past.block,))
    return [Included(parse(payload), outcome) for payload, outcome in rows if is_extrinsic(payload)]


def raw_block(past: Past) -> list[bytes]:
    """Return the bytes of every extrinsic of a block; block 0 has none."""
    if not past.block:
        return []
    time = past.codec.compose("Timestamp", "set", {"now": past.milliseconds})
    return [unsigned(time), *(entry.extrinsic.raw for entry in included(past))]

"""What happened on an embedded chain, block by block: for a report at its end, never for a step's decision."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pretrain.chain import fields, ledger
from pretrain.chain.calls import U16_MAX
from pretrain.chain.genesis import RAO
from pretrain.chain.state import load_row
from pretrain.types import Block, Hotkey, Uid


@dataclass(frozen=True)
class NeuronEpoch:
    """One neuron in one epoch."""

    block: Block
    uid: Uid
    hotkey: Hotkey
    stake: float
    """Alpha, before the epoch paid."""
    incentive: float
    """Share of what miners were paid, 0 to 1."""
    dividends: float
    """Share of what validators were paid, 0 to 1."""
    emission: float
    """Alpha that the epoch paid it."""
    permit: bool
    """For the time after it."""


@dataclass(frozen=True)
class WeightsRow:
    """A row as a validator set or revealed it."""

    block: Block
    hotkey: Hotkey
    shares: Mapping[Hotkey, float]
    """By the hotkeys that held the uids before the row was fixed; sums to 1, or empty when nobody is left.

    As in an epoch, a weight on a uid that was given away no earlier than that was meant for nobody who is there.
    """


@dataclass(frozen=True)
class CommitmentMade:
    """A commitment; within a block only the last of a hotkey remains."""

    block: Block
    hotkey: Hotkey
    text: str
    """Bytes that are no UTF-8 are shown as escapes, and any other form than a text by its fields' kinds and hex."""


def epochs(path: Path) -> tuple[NeuronEpoch, ...]:
    """Return every epoch's outcome, ordered by block and uid."""
    with ledger.reading(path) as database:
        found = database.execute(
            "SELECT block, uid, hotkey, stake, incentive, dividends, emission, permit FROM epochs ORDER BY block, uid"
        )
        return tuple(
            NeuronEpoch(
                block=Block(block),
                uid=Uid(uid),
                hotkey=Hotkey(hotkey),
                stake=stake / RAO,
                incentive=incentive / U16_MAX,
                dividends=dividends / U16_MAX,
                emission=emission / RAO,
                permit=bool(permit),
            )
            for block, uid, hotkey, stake, incentive, dividends, emission, permit in found
        )


def weights(path: Path) -> tuple[WeightsRow, ...]:
    """Return every row that was set, ordered by block and uid."""
    with ledger.reading(path) as database:
        holders: dict[int, list[tuple[int, Hotkey]]] = defaultdict(list)
        for uid, block, hotkey in database.execute("SELECT uid, block, hotkey FROM registrations ORDER BY uid, block"):
            holders[uid].append((block, hotkey))
        found = database.execute("SELECT block, hotkey, row, made FROM weights ORDER BY block, uid").fetchall()
    return tuple(
        WeightsRow(Block(block), Hotkey(hotkey), _shares(row, made, holders)) for block, hotkey, row, made in found
    )


def commitments(path: Path) -> tuple[CommitmentMade, ...]:
    """Return every commitment, ordered by block and hotkey."""
    with ledger.reading(path) as database:
        found = database.execute("SELECT block, hotkey, fields FROM commitments ORDER BY block, hotkey")
        return tuple(
            CommitmentMade(Block(block), Hotkey(hotkey), fields.shown(fields.load(text)))
            for block, hotkey, text in found
        )


def _shares(row: str, block: int, holders: Mapping[int, list[tuple[int, Hotkey]]]) -> dict[Hotkey, float]:
    named = ((_holder(holders[uid], block), value) for uid, value in load_row(row) if value)
    values = {hotkey: value for hotkey, value in named if hotkey is not None}
    total = sum(values.values())
    return {hotkey: value / total for hotkey, value in values.items()}


def _holder(holders: list[tuple[int, Hotkey]], block: int) -> Hotkey | None:
    """Return who held a slot at the end of a block and before it; None when nobody did."""
    earlier = bisect_right([since for since, _ in holders], block)
    since, hotkey = holders[earlier - 1] if earlier else (block, None)
    return hotkey if since < block else None


def newest(path: Path) -> Block:
    """Return the newest block, without making the ones that are due."""
    with ledger.reading(path) as database:
        return ledger.read_head(database).newest

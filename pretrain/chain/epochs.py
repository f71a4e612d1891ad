"""An epoch of the embedded chain: Yuma on the state of the block before, and who is paid what."""

import sqlite3
from collections.abc import Sequence
from dataclasses import replace

from pretrain.chain.genesis import Genesis
from pretrain.chain.ledger import HeadRow, add_stake
from pretrain.chain.state import Slot, dump_row, slots
from pretrain.chain.yuma import EpochInputs, EpochOutputs, epoch
from pretrain.types import Block


def is_epoch(genesis: Genesis, block: Block) -> bool:
    """Whether an epoch runs at the start of a block, from block 2 on: every tempo + 1 (``should_run_epoch``)."""
    return blocks_to_epoch(genesis, block) == 0


def blocks_to_epoch(genesis: Genesis, block: Block) -> int:
    """Return how many blocks from this one the next epoch runs, itself included."""
    tempo = genesis.parameters.hyperparameters.tempo
    return tempo - (block + genesis.netuid + 1) % (tempo + 1)


def epoch_index(genesis: Genesis, block: Block) -> int:
    """Return the number of the period whose space a commitment in this block takes; each starts after an epoch."""
    return (block + genesis.netuid + 1) // (genesis.parameters.hyperparameters.tempo + 1)


def first_block(genesis: Genesis, index: int) -> Block:
    """Return the first block of a period."""
    return Block(index * (genesis.parameters.hyperparameters.tempo + 1) - (genesis.netuid + 1))


def accrue(genesis: Genesis, head: HeadRow) -> HeadRow:
    """Add one block's emission to what is pending."""
    neurons, owner = genesis.emission
    return replace(head, pending=head.pending + neurons, pending_owner=head.pending_owner + owner)


def run_epoch(database: sqlite3.Connection, genesis: Genesis, head: HeadRow) -> HeadRow:
    """Run the epoch of the open block and return what is pending after it.

    Not a rao is lost: what truncation leaves over waits for the next epoch, and what the owner earned as a miner is
    recycled, as the real chain does with it (``distribute_dividends_and_incentives``). Dividends are staked at once.
    """
    before = Block(head.open - 1)
    neurons = slots(database, before)
    if not neurons:
        return head
    outputs = epoch(_inputs(genesis, head, neurons))
    _store(database, head.open, neurons, outputs)
    recycled = 0
    for slot, reward in zip(neurons, outputs.emission, strict=True):
        kept = reward
        if slot.hotkey == genesis.owner:
            kept = _as_validator(reward, outputs.incentive[slot.uid], outputs.dividends[slot.uid])
            recycled += reward - kept
        if kept:
            add_stake(database, slot.hotkey, head.open, kept)
    if genesis.owner and head.pending_owner:
        add_stake(database, genesis.owner, head.open, head.pending_owner)
    left = head.pending - sum(outputs.emission)
    return replace(head, pending=left, pending_owner=0, recycled=head.recycled + recycled)


def _inputs(genesis: Genesis, head: HeadRow, neurons: Sequence[Slot]) -> EpochInputs:
    owner = next((slot.uid for slot in neurons if slot.hotkey == genesis.owner), None)
    return EpochInputs(
        n=len(neurons),
        block=head.open,
        hyperparameters=genesis.parameters.hyperparameters,
        emission=head.pending,
        owner_uid=owner,
        alpha_stake=tuple(slot.stake for slot in neurons),
        root_stake=(0,) * len(neurons),
        validator_permit=tuple(slot.permit for slot in neurons),
        last_update=tuple(slot.last_update for slot in neurons),
        block_at_registration=tuple(slot.registered for slot in neurons),
        weights={slot.uid: slot.weights for slot in neurons},
        bonds={slot.uid: slot.bonds for slot in neurons},
    )


def _as_validator(reward: int, incentive: int, dividends: int) -> int:
    """Return the part of a reward that is not a miner's; without either kind it was given by stake."""
    return reward - reward * incentive // (incentive + dividends) if incentive else reward


def _store(database: sqlite3.Connection, block: Block, neurons: Sequence[Slot], outputs: EpochOutputs) -> None:
    database.executemany(
        "INSERT INTO epochs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                block, slot.uid, slot.hotkey, slot.stake, outputs.incentive[slot.uid], outputs.dividends[slot.uid],
                outputs.consensus[slot.uid], outputs.trust[slot.uid], outputs.validator_trust[slot.uid],
                outputs.pruning_scores[slot.uid], outputs.emission[slot.uid],
                int(outputs.validator_permit[slot.uid]), int(outputs.active[slot.uid]),
                dump_row(outputs.bonds.get(slot.uid, ())),
            )
            for slot in neurons
        ],
    )  # fmt: skip

"""Rows of weights that are committed first and revealed later, pure: the real pallet's checks in its order.

The salted, two-step form (subtensor, pallets/subtensor/src/subnets/weights.rs): a validator commits the hash of its row
and reveals the row itself in exactly the epoch period that is ``reveal_period`` after the commit's, so that nobody can
copy it before it counts. The timelocked form is stored too, but never opened here: that takes a beacon outside.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from pretrain import wallet
from pretrain.chain import epochs, rules
from pretrain.chain.calls import CommitTimelockedWeights, CommitWeights, RevealWeights
from pretrain.chain.genesis import Genesis
from pretrain.chain.rules import Here
from pretrain.chain.state import Slot
from pretrain.errors import Refused
from pretrain.types import Block, Hotkey

TIMELOCK_VERSION = 4
"""Of the timelocked form, which every such commit names."""
_MAX_UNREVEALED = 10
_ONE_BYTE, _TWO_BYTES = 2**6, 2**14  # lengths that fit into so many bytes of a compact number


@dataclass(frozen=True)
class WeightCommit:
    """A committed row that is not revealed yet."""

    number: int
    """Its place in the order of all commits of the chain."""
    block: Block
    row_hash: str
    """Lower-case hex."""


def row_hash(signer: Hotkey, netuid: int, row: RevealWeights) -> str:
    """Return the hash that commits a row (``get_commit_hash``), 64 hex digits.

    blake2b-256 over the SCALE encoding of (account, netuid, uids, values, salt, version key).
    """
    encoded = wallet.public_key(signer) + netuid.to_bytes(2, "little")
    encoded += b"".join(map(_vector, (row.uids, row.values, row.salt)))
    return hashlib.blake2b(encoded + row.version_key.to_bytes(8, "little"), digest_size=32).hexdigest()


def reveal_blocks(genesis: Genesis, committed: Block) -> tuple[Block, Block]:
    """Return the first and the last block in which a row committed in a block can be revealed."""
    period = epochs.epoch_index(genesis, committed) + genesis.parameters.reveal_period
    return epochs.first_block(genesis, period), Block(epochs.first_block(genesis, period + 1) - 1)


def timelocked_period(here: Here) -> tuple[Block, Block]:
    """Return the period in which timelocked commits count together: its first block, and the next one's.

    It starts in an epoch's own block, one before the period that a hash is committed in.
    """
    following = Block(here.block + 1 + epochs.blocks_to_epoch(here.genesis, Block(here.block + 1)))
    return Block(following - here.parameters.hyperparameters.tempo - 1), following


def expired(here: Here, commits: Sequence[WeightCommit]) -> list[WeightCommit]:
    """Return the commits at the front of a hotkey's queue whose time to be revealed is over."""
    return [commit for commit in commits if reveal_blocks(here.genesis, commit.block)[1] < here.block]


def check_commit(
    here: Here, netuid: int, signer: Hotkey, action: CommitWeights | CommitTimelockedWeights, stake: int
) -> Slot:
    """Return the signer's slot if it may commit a row now (``do_commit_weights``); ``stake`` in rao."""
    rules.check_weights_stake(here, signer, stake)
    rules.check_place(here, netuid, action.mechanism)
    _check_enabled(here)
    if isinstance(action, CommitTimelockedWeights) and action.commit_reveal_version != TIMELOCK_VERSION:
        raise Refused(
            f"a commit of version {action.commit_reveal_version}: expected {TIMELOCK_VERSION}",
            code="IncorrectCommitRevealVersion",
        )
    slot = rules.slot_of(here, signer)
    rules.check_pace(here, slot, "CommittingWeightsTooFast")
    return slot


def check_room(here: Here, unrevealed: int, room: Block) -> None:
    """Refuse one more commit than may wait to be revealed; ``room``: the block from which one less will."""
    if unrevealed >= _MAX_UNREVEALED:
        raise Refused(
            f"{unrevealed} commits of weights wait to be revealed: at most {_MAX_UNREVEALED}",
            code="TooManyUnrevealedCommits",
            wait_blocks=room - here.block,
        )


def check_reveal(here: Here, revealed: str, commits: Sequence[WeightCommit]) -> WeightCommit:
    """Return the commit that a row of this hash reveals (``do_reveal_weights``), of a hotkey's queue in its order."""
    _check_enabled(here)
    gone = expired(here, commits)
    waiting = commits[len(gone) :]
    found = next((commit for commit in waiting if commit.row_hash == revealed), None)
    if found is None:
        if revealed in {commit.row_hash for commit in gone}:
            raise Refused("this row was to be revealed in an epoch that is over", code="ExpiredWeightCommit")
        if not waiting:
            raise Refused("no committed weights wait to be revealed", code="NoWeightsCommitFound")
        raise Refused("this row is not one that was committed", code="InvalidRevealCommitHashNotMatch")
    first, _ = reveal_blocks(here.genesis, found.block)
    if here.block < first:
        raise Refused(
            f"a row committed in block {found.block} is revealed from block {first} on",
            code="RevealTooEarly",
            wait_blocks=first - here.block,
        )
    return found


def _check_enabled(here: Here) -> None:
    if not here.parameters.commit_reveal:
        raise Refused("this subnet takes rows in the clear, and no commits of them", code="CommitRevealDisabled")


def _vector(values: Sequence[int]) -> bytes:
    """Return the SCALE encoding of u16 values: their number as a compact, then each in little-endian order."""
    return _compact(len(values)) + b"".join(value.to_bytes(2, "little") for value in values)


def _compact(number: int) -> bytes:
    if number < _ONE_BYTE:
        return (number << 2).to_bytes(1, "little")
    if number < _TWO_BYTES:
        return (number << 2 | 1).to_bytes(2, "little")
    return (number << 2 | 2).to_bytes(4, "little")

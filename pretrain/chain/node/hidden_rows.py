"""Rows of weights that wait to be revealed, as storage shows them; as they are now, whatever the block."""

from pretrain.chain import commit_reveal, epochs
from pretrain.chain.node.past import Past
from pretrain.types import Block


def weight_commits(past: Past) -> dict[tuple[object, ...], object]:
    """Return each hotkey's hashes, with the block of the commit and the first and last that can reveal it."""
    queues: dict[tuple[object, ...], list[object]] = {}
    for hotkey, block, row_hash in past.database.execute(
        "SELECT hotkey, block, hash FROM weight_commits ORDER BY hotkey, number"
    ):
        first, last = commit_reveal.reveal_blocks(past.genesis, Block(block))
        queues.setdefault((past.netuid, hotkey), []).append((f"0x{row_hash}", block, first, last))
    return dict(queues)


def timelocked_weight_commits(past: Past) -> dict[tuple[object, ...], object]:
    """Return the sealed rows by the period they were committed in; none is ever opened here."""
    periods: dict[tuple[object, ...], list[object]] = {}
    for hotkey, block, sealed, reveal_round in past.database.execute(
        'SELECT hotkey, block, "commit", reveal_round FROM timelocked_weights WHERE block <= ? ORDER BY number',
        (past.block,),
    ):
        period = epochs.epoch_index(past.genesis, Block(block + 1))
        periods.setdefault((past.netuid, period), []).append((hotkey, block, f"0x{sealed}", int(reveal_round)))
    return dict(periods)

"""Applying calls about weights: rows in the clear, commits of rows, and rows that are revealed."""

import sqlite3

from pretrain.chain import commit_reveal, ledger, rules
from pretrain.chain.calls import Call, CommitTimelockedWeights, CommitWeights, RevealWeights, SetWeights
from pretrain.chain.commit_reveal import WeightCommit
from pretrain.chain.rules import Here
from pretrain.chain.state import Slot, dump_row
from pretrain.types import Block, Hotkey


def set_weights(database: sqlite3.Connection, here: Here, call: Call, action: SetWeights) -> None:
    """Set a row in the clear."""
    slot = rules.check_weights(here, call.netuid, call.signer, action, _stake(database, here, call))
    _store(database, here, slot, action, here.block)
    _update(database, here, slot)


def commit(database: sqlite3.Connection, here: Here, call: Call, action: CommitWeights) -> None:
    """Put a row's hash at the end of its signer's queue, of which the expired part is dropped."""
    slot = commit_reveal.check_commit(here, call.netuid, call.signer, action, _stake(database, here, call))
    commits = waiting(database, call.signer)
    gone = commit_reveal.expired(here, commits)
    queue = commits[len(gone) :]
    oldest = queue[0].block if queue else here.block
    commit_reveal.check_room(here, len(queue), Block(commit_reveal.reveal_blocks(here.genesis, oldest)[1] + 1))
    if gone:
        _drop(database, call.signer, gone[-1])
    database.execute(
        "INSERT INTO weight_commits (hotkey, block, hash) VALUES (?, ?, ?)",
        (call.signer, here.block, action.commit_hash),
    )
    _update(database, here, slot)


def reveal(database: sqlite3.Connection, here: Here, call: Call, action: RevealWeights) -> None:
    """Set a committed row; its commit is done, and so are all before it."""
    rules.check_weights_stake(here, call.signer, _stake(database, here, call))
    rules.check_place(here, call.netuid, action.mechanism)
    revealed = commit_reveal.row_hash(call.signer, call.netuid, action)
    found = commit_reveal.check_reveal(here, revealed, waiting(database, call.signer))
    row = SetWeights(action.uids, action.values, action.version_key, action.mechanism)
    slot = rules.check_row(here, call.netuid, call.signer, row)
    _drop(database, call.signer, found)
    _store(database, here, slot, row, found.block)


def commit_timelocked(database: sqlite3.Connection, here: Here, call: Call, action: CommitTimelockedWeights) -> None:
    """Store a row's ciphertext, which nothing here ever opens."""
    slot = commit_reveal.check_commit(here, call.netuid, call.signer, action, _stake(database, here, call))
    since, following = commit_reveal.timelocked_period(here)
    earlier = database.execute(
        "SELECT COUNT(*) FROM timelocked_weights WHERE hotkey = ? AND block >= ?", (call.signer, since)
    )
    commit_reveal.check_room(here, earlier.fetchone()[0], following)
    database.execute(
        'INSERT INTO timelocked_weights (hotkey, block, "commit", reveal_round, version) VALUES (?, ?, ?, ?, ?)',
        (call.signer, here.block, action.commit, str(action.reveal_round), action.commit_reveal_version),
    )
    _update(database, here, slot)


def waiting(database: sqlite3.Connection, hotkey: Hotkey) -> tuple[WeightCommit, ...]:
    """Return a hotkey's commits that are not revealed, in their order; some may have expired."""
    found = database.execute(
        "SELECT number, block, hash FROM weight_commits WHERE hotkey = ? ORDER BY number", (hotkey,)
    )
    return tuple(WeightCommit(number, Block(block), row_hash) for number, block, row_hash in found)


def timelocked(database: sqlite3.Connection, hotkey: Hotkey) -> tuple[tuple[Block, CommitTimelockedWeights], ...]:
    """Return a hotkey's timelocked commits with their blocks, in their order."""
    found = database.execute(
        'SELECT block, "commit", reveal_round, version FROM timelocked_weights WHERE hotkey = ? ORDER BY number',
        (hotkey,),
    )
    return tuple(
        (Block(block), CommitTimelockedWeights(ciphertext, int(reveal_round), version))
        for block, ciphertext, reveal_round, version in found
    )


def _stake(database: sqlite3.Connection, here: Here, call: Call) -> int:
    return ledger.stake_of(database, call.signer, here.block)


def _store(database: sqlite3.Connection, here: Here, slot: Slot, row: SetWeights, made: Block) -> None:
    database.execute(
        "INSERT OR REPLACE INTO weights VALUES (?, ?, ?, ?, ?, ?)",
        (slot.uid, here.block, slot.hotkey, str(row.version_key), made, dump_row(rules.upscale(row))),
    )


def _update(database: sqlite3.Connection, here: Here, slot: Slot) -> None:
    database.execute("INSERT OR IGNORE INTO updates VALUES (?, ?)", (slot.uid, here.block))


def _drop(database: sqlite3.Connection, hotkey: Hotkey, last: WeightCommit) -> None:
    database.execute("DELETE FROM weight_commits WHERE hotkey = ? AND number <= ?", (hotkey, last.number))

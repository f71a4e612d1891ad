"""Rows that a validator has committed and not revealed yet, kept in a file beside the chain for this hotkey alone.

The chain holds hashes only, so whoever committed a row must still know it one epoch later, also after a kill. The file
is written before the commit is, so a row that the chain knows of is never lost; one that it does not know of does no
harm, for only rows whose hash waits on the chain are ever revealed, and the others are forgotten at the next write.
"""

import json
import logging
import os
import secrets
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from pretrain.chain import commit_reveal, ledger, weight_calls
from pretrain.chain.calls import U16_MAX, CommitWeights, RevealWeights, SetWeights
from pretrain.chain.chain_file import ChainFile
from pretrain.errors import ChainUnavailable, Refused
from pretrain.types import Block, Hotkey
from pretrain.wallet import Keypair

log = logging.getLogger("pretrain.chain")

_SALT = 8  # u16 values, as the ecosystem's client salts a row
_ROWS = TypeAdapter(tuple[RevealWeights, ...])


def place(chain: Path, hotkey: Hotkey) -> Path:
    """Return where a hotkey's rows are kept."""
    return chain.with_name(f"{chain.name}.{hotkey}.rows")


def commit(database: sqlite3.Connection, file: ChainFile, hotkey: Hotkey, row: SetWeights) -> CommitWeights:
    """Remember a row with a salt that nobody can guess, and return the commit of it that is to be sent."""
    salt = tuple(secrets.randbelow(U16_MAX + 1) for _ in range(_SALT))
    made = RevealWeights(row.uids, row.values, salt, row.version_key, row.mechanism)
    waiting = {commit.row_hash for commit in weight_calls.waiting(database, hotkey)}
    rows, netuid = place(file.path, hotkey), file.genesis.netuid
    kept = [known for known in read(rows) if commit_reveal.row_hash(hotkey, netuid, known) in waiting]
    write(rows, [*kept, made])
    return CommitWeights(commit_reveal.row_hash(hotkey, netuid, made))


def reveal(file: ChainFile, keypair: Keypair) -> None:
    """Reveal the row of a hotkey that is due; one that is refused is told, and forgotten."""
    hotkey = Hotkey(keypair.ss58_address)
    head = file.catch_up()
    with ledger.reading(file.path) as database:
        row = None if head.paused else due(database, file, hotkey, head.open)
    if row is None:
        return
    try:
        file.send(keypair, lambda _database, _block: row)
    except Refused as refused:
        rows = place(file.path, hotkey)
        with ledger.writing(file.path) as database:  # as a commit does, so that neither undoes the other
            if due(database, file, hotkey, head.open) == row:  # else another look at the head was faster
                log.warning("the committed row of weights is not revealed: %s", refused)
                write(rows, [known for known in read(rows) if known != row])


def due(database: sqlite3.Connection, file: ChainFile, hotkey: Hotkey, block: Block) -> RevealWeights | None:
    """Return the newest row that can be revealed in a block; it takes the place of the earlier ones."""
    genesis = file.genesis
    known = {commit_reveal.row_hash(hotkey, genesis.netuid, row): row for row in read(place(file.path, hotkey))}
    ready = []
    for made in weight_calls.waiting(database, hotkey) if known else ():
        first, last = commit_reveal.reveal_blocks(genesis, made.block)
        if first <= block <= last and made.row_hash in known:
            ready.append(known[made.row_hash])
    return ready[-1] if ready else None


def read(path: Path) -> tuple[RevealWeights, ...]:
    """Return the rows in a file; none when there is no file."""
    try:
        return _ROWS.validate_json(path.read_bytes())
    except FileNotFoundError:
        return ()
    except ValidationError as error:
        raise ChainUnavailable(f"{path} holds no rows of weights: remove it, and the rows it held are lost") from error
    except OSError as error:
        raise ChainUnavailable(f"{path} cannot be read: {error.strerror}") from error


def write(path: Path, rows: Sequence[RevealWeights]) -> None:
    """Replace a file's rows as a whole; only its owner can read them."""
    unfinished = path.with_name(f"{path.name}.tmp")
    try:
        unfinished.unlink(missing_ok=True)
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump([asdict(row) for row in rows], file)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        raise ChainUnavailable(f"{path} cannot be written: {error.strerror}") from error

"""Rows that a validator has committed and not revealed yet, kept in a file beside the chain for this hotkey alone.

The chain holds hashes only, so whoever committed a row must still know it one epoch later, also after a kill. The file
is written before the commit is, so a row that the chain knows of is never lost; one that it does not know of does no
harm, for only rows whose hash waits on the chain are ever revealed, and the others are forgotten at the next write.
"""

import json
import os
import secrets
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from pretrain.chain import commit_reveal, weight_calls
from pretrain.chain.calls import U16_MAX, CommitWeights, RevealWeights, SetWeights
from pretrain.chain.genesis import Genesis
from pretrain.errors import ChainUnavailable
from pretrain.types import Block, Hotkey

_SALT = 8  # u16 values, as the ecosystem's client salts a row
_ROWS = TypeAdapter(tuple[RevealWeights, ...])


def place(chain: Path, hotkey: Hotkey) -> Path:
    """Return where a hotkey's rows are kept."""
    return chain.with_name(f"{chain.name}.{hotkey}.rows")


def commit(
    database: sqlite3.Connection, genesis: Genesis, path: Path, hotkey: Hotkey, row: SetWeights
) -> CommitWeights:
    """Remember a row with a salt that nobody can guess, and return the commit of it that is to be sent."""
    salt = tuple(secrets.randbelow(U16_MAX + 1) for _ in range(_SALT))
    made = RevealWeights(row.uids, row.values, salt, row.version_key, row.mechanism)
    waiting = {commit.row_hash for commit in weight_calls.waiting(database, hotkey)}
    kept = [known for known in read(path) if commit_reveal.row_hash(hotkey, genesis.netuid, known) in waiting]
    write(path, [*kept, made])
    return CommitWeights(commit_reveal.row_hash(hotkey, genesis.netuid, made))


def due(
    database: sqlite3.Connection, genesis: Genesis, path: Path, hotkey: Hotkey, block: Block
) -> RevealWeights | None:
    """Return the newest row that can be revealed in a block; it takes the place of the earlier ones."""
    known = {commit_reveal.row_hash(hotkey, genesis.netuid, row): row for row in read(path)}
    ready = []
    for made in weight_calls.waiting(database, hotkey) if known else ():
        first, last = commit_reveal.reveal_blocks(genesis, made.block)
        if first <= block <= last and made.row_hash in known:
            ready.append(known[made.row_hash])
    return ready[-1] if ready else None


def forget(path: Path, row: RevealWeights) -> None:
    """Drop a row that can not be revealed after all."""
    write(path, [known for known in read(path) if known != row])


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

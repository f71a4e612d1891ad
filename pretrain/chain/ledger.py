"""The file of an embedded chain: its tables, and the two ways to open it.

One SQLite file in WAL mode, shared by many processes without a server. Readers see one frozen state and wait for
nobody; a writer holds the file from its first look to its commit, so what it decides on is what it changes; a process
killed at any moment leaves the last committed state.

State is history: a row says what holds *since* its block, and only rows of the open block are ever replaced. The state
at any finished block is read by taking the last rows up to it. Only ``head``, the accounts (balances, owners, space)
and the commits of weights hold a present value alone; no snapshot reads those.
"""

import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pretrain.chain import genesis as genesis_form
from pretrain.chain.genesis import Genesis
from pretrain.errors import ChainUnavailable
from pretrain.types import Block, Hotkey

VERSION = 4
"""Of the tables below, kept in ``PRAGMA user_version``."""
BUSY_SECONDS = 20.0
"""How long a writer waits for another one."""
_BUGS = (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.InterfaceError, sqlite3.NotSupportedError)

_SCHEMA = """
CREATE TABLE genesis (one INTEGER PRIMARY KEY CHECK (one = 1), text TEXT NOT NULL) STRICT;
CREATE TABLE head (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    open INTEGER NOT NULL,            -- the block that calls go into; the newest finished one is open - 1
    anchor_block INTEGER NOT NULL,    -- finished at anchor_time, seconds since the epoch
    anchor_time REAL NOT NULL,
    paused INTEGER NOT NULL,
    pending INTEGER NOT NULL,         -- rao accrued for the next epoch
    pending_owner INTEGER NOT NULL,   -- rao of the owner's cut
    recycled INTEGER NOT NULL         -- rao taken out of circulation: burns, and what the owner earned as a miner
) STRICT;
CREATE TABLE blocks (
    number INTEGER PRIMARY KEY, hash BLOB NOT NULL,
    made REAL NOT NULL                -- when it was finished, seconds since the epoch
) STRICT;
CREATE TABLE calls (
    block INTEGER NOT NULL, position INTEGER NOT NULL, signer TEXT NOT NULL, nonce INTEGER NOT NULL,
    name TEXT NOT NULL, payload BLOB NOT NULL, signature BLOB NOT NULL,
    outcome TEXT NOT NULL,            -- '' when it was applied, else the runtime's name of the error
    PRIMARY KEY (block, position), UNIQUE (signer, nonce)
) STRICT, WITHOUT ROWID;
CREATE TABLE balances (coldkey TEXT PRIMARY KEY, rao INTEGER NOT NULL CHECK (rao >= 0)) STRICT;
CREATE TABLE owners (hotkey TEXT PRIMARY KEY, coldkey TEXT NOT NULL) STRICT;
CREATE TABLE space (hotkey TEXT PRIMARY KEY, epoch INTEGER NOT NULL, used INTEGER NOT NULL) STRICT;
CREATE TABLE registrations (
    uid INTEGER NOT NULL, block INTEGER NOT NULL, hotkey TEXT NOT NULL, PRIMARY KEY (uid, block)
) STRICT, WITHOUT ROWID;
CREATE TABLE stakes (
    hotkey TEXT NOT NULL, block INTEGER NOT NULL, rao INTEGER NOT NULL CHECK (rao >= 0), PRIMARY KEY (hotkey, block)
) STRICT, WITHOUT ROWID;
CREATE TABLE commitments (
    hotkey TEXT NOT NULL, block INTEGER NOT NULL,
    fields TEXT NOT NULL,             -- JSON [{"data": hex, "kind": ..., "reveal_round": ...}, ...]
    PRIMARY KEY (hotkey, block)
) STRICT, WITHOUT ROWID;
CREATE TABLE weights (
    uid INTEGER NOT NULL, block INTEGER NOT NULL, hotkey TEXT NOT NULL, version_key TEXT NOT NULL,
    made INTEGER NOT NULL,            -- the block that fixed the row: its own, or that of the commit it reveals
    row TEXT NOT NULL,                -- JSON [[uid, u16], ...] in the order it was set
    PRIMARY KEY (uid, block)
) STRICT, WITHOUT ROWID;
CREATE TABLE updates (                -- a slot's last update: rows in the clear and commits, not what reveals them
    uid INTEGER NOT NULL, block INTEGER NOT NULL, PRIMARY KEY (uid, block)
) STRICT, WITHOUT ROWID;
CREATE TABLE weight_commits (
    number INTEGER PRIMARY KEY, hotkey TEXT NOT NULL, block INTEGER NOT NULL, hash TEXT NOT NULL
) STRICT;
CREATE INDEX weight_commits_of ON weight_commits (hotkey, number);
CREATE TABLE timelocked_weights (
    number INTEGER PRIMARY KEY, hotkey TEXT NOT NULL, block INTEGER NOT NULL, "commit" TEXT NOT NULL,
    reveal_round TEXT NOT NULL,       -- u64
    version INTEGER NOT NULL
) STRICT;
CREATE INDEX timelocked_weights_of ON timelocked_weights (hotkey, number);
CREATE TABLE epochs (
    block INTEGER NOT NULL, uid INTEGER NOT NULL, hotkey TEXT NOT NULL, stake INTEGER NOT NULL,
    incentive INTEGER NOT NULL, dividends INTEGER NOT NULL, consensus INTEGER NOT NULL, trust INTEGER NOT NULL,
    validator_trust INTEGER NOT NULL, pruning_score INTEGER NOT NULL, emission INTEGER NOT NULL,
    permit INTEGER NOT NULL, active INTEGER NOT NULL,
    bonds TEXT NOT NULL,              -- JSON [[uid, u16], ...]
    PRIMARY KEY (block, uid)
) STRICT, WITHOUT ROWID;
CREATE TABLE resets (                 -- of the bonds in a miner, after the epoch of that block if there was one
    uid INTEGER NOT NULL, block INTEGER NOT NULL, PRIMARY KEY (uid, block)
) STRICT, WITHOUT ROWID;
"""


@dataclass(frozen=True)
class HeadRow:
    """Where the chain stands."""

    open: Block
    anchor_block: Block
    anchor_time: float
    paused: bool
    pending: int
    pending_owner: int
    recycled: int

    @property
    def newest(self) -> Block:
        """The newest finished block."""
        return Block(self.open - 1)


def create(path: Path, genesis: Genesis) -> Genesis:
    """Make a chain of block 0 and return its genesis as stored; raises ChainUnavailable if the file is there already.

    Raises ConfigError for a genesis that names no accounts. The file appears whole or not at all: it is written beside
    its place and then linked there.
    """
    genesis = genesis_form.decode(genesis.encode())
    genesis_form.check_accounts(genesis)
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")  # two may make it at once: one is told so
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with translated(path), closing(sqlite3.connect(unfinished, isolation_level=None)) as database:
            _fill(database, genesis)
        path.hardlink_to(unfinished)
    except FileExistsError as error:
        raise ChainUnavailable(f"a chain cannot be made at {path}: the file exists; open or remove it") from error
    except OSError as error:
        raise ChainUnavailable(f"a chain cannot be made at {path}: {error.strerror}") from error
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
    return genesis


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the chain at one frozen state."""
    with translated(path), closing(_connect(path)) as database:
        database.execute("BEGIN")
        yield database


@contextmanager
def writing(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the chain as its only writer; what is changed lands as a whole at the end, or not at all."""
    with translated(path), closing(_connect(path)) as database:
        database.execute("BEGIN IMMEDIATE")
        yield database
        database.execute("COMMIT")


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn what SQLite says of the file, the disk or a lock into ChainUnavailable; our own bugs stay what they are."""
    try:
        yield
    except _BUGS:
        raise
    except sqlite3.DatabaseError as error:
        raise ChainUnavailable(f"the chain in {path} cannot be used: {error}") from error


def read_genesis(database: sqlite3.Connection) -> Genesis:
    """Return what the chain started from."""
    return genesis_form.decode(database.execute("SELECT text FROM genesis").fetchone()[0])


def read_head(database: sqlite3.Connection) -> HeadRow:
    """Return where the chain stands; the present clock is not asked."""
    row = database.execute(
        "SELECT open, anchor_block, anchor_time, paused, pending, pending_owner, recycled FROM head"
    ).fetchone()
    return HeadRow(Block(row[0]), Block(row[1]), row[2], bool(row[3]), *row[4:])


def write_head(database: sqlite3.Connection, head: HeadRow) -> None:
    """Replace the row."""
    database.execute(
        "UPDATE head SET open = ?, anchor_block = ?, anchor_time = ?, paused = ?, pending = ?, pending_owner = ?,"
        " recycled = ?",
        (
            head.open, head.anchor_block, head.anchor_time, int(head.paused), head.pending, head.pending_owner,
            head.recycled,
        ),
    )  # fmt: skip


def stake_of(database: sqlite3.Connection, hotkey: Hotkey, block: Block) -> int:
    """Return a hotkey's stake at the end of a block, in rao; it stays the hotkey's when its neuron is replaced."""
    row = database.execute(
        "SELECT rao FROM stakes WHERE hotkey = ? AND block <= ? ORDER BY block DESC LIMIT 1", (hotkey, block)
    ).fetchone()
    return int(row[0]) if row else 0


def add_stake(database: sqlite3.Connection, hotkey: Hotkey, block: Block, rao: int) -> None:
    """Credit a hotkey's stake in the open block."""
    stake = stake_of(database, hotkey, block) + rao
    database.execute("INSERT OR REPLACE INTO stakes VALUES (?, ?, ?)", (hotkey, block, stake))


def owner_of(database: sqlite3.Connection, hotkey: Hotkey) -> str | None:
    """Return the coldkey that owns a hotkey; None when it was never registered."""
    row = database.execute("SELECT coldkey FROM owners WHERE hotkey = ?", (hotkey,)).fetchone()
    return row[0] if row else None


def balance_of(database: sqlite3.Connection, coldkey: str) -> int:
    """Return what a coldkey may spend, in rao."""
    row = database.execute("SELECT rao FROM balances WHERE coldkey = ?", (coldkey,)).fetchone()
    return int(row[0]) if row else 0


def add_balance(database: sqlite3.Connection, coldkey: str, rao: int) -> None:
    """Credit, or with a negative sum debit, a coldkey; the caller has checked that it can pay."""
    balance = balance_of(database, coldkey) + rao
    database.execute("INSERT OR REPLACE INTO balances VALUES (?, ?)", (coldkey, balance))


def _connect(path: Path) -> sqlite3.Connection:
    if not path.is_file():
        raise ChainUnavailable(f"there is no chain at {path}: expected the file of an embedded chain")
    database = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None, timeout=BUSY_SECONDS
    )
    try:
        database.execute("PRAGMA synchronous = NORMAL")
        version = database.execute("PRAGMA user_version").fetchone()[0]
    except sqlite3.DatabaseError:
        database.close()
        raise
    if version != VERSION:
        database.close()
        raise ChainUnavailable(f"{path} {_strange(version)}")
    return database


def _strange(version: int) -> str:
    if version == 0:  # SQLite's own, for a file that says nothing
        return "is no embedded chain"
    return (
        f"was made by another version of this software ({version}; this one reads {VERSION}):"
        " remove it and start a new run"
    )


def _fill(database: sqlite3.Connection, genesis: Genesis) -> None:
    database.execute("PRAGMA journal_mode = WAL")
    database.executescript(f"BEGIN; {_SCHEMA}")
    database.execute("INSERT INTO genesis VALUES (1, ?)", (genesis.encode(),))
    database.execute("INSERT INTO head VALUES (1, 1, 0, ?, 0, ?, ?, 0)", (genesis.time, *genesis.emission))
    database.execute("INSERT INTO blocks VALUES (0, ?, ?)", (genesis.hash, genesis.time))
    neurons = list(enumerate(genesis.neurons))
    database.executemany(
        "INSERT INTO registrations VALUES (?, 0, ?)", [(uid, neuron.hotkey) for uid, neuron in neurons]
    )
    database.executemany("INSERT INTO owners VALUES (?, ?)", [(neuron.hotkey, neuron.coldkey) for _, neuron in neurons])
    database.executemany(
        "INSERT INTO stakes VALUES (?, 0, ?)", [(neuron.hotkey, neuron.stake) for _, neuron in neurons]
    )
    database.executemany("INSERT INTO balances VALUES (?, ?)", genesis.balances)
    database.execute(f"PRAGMA user_version = {VERSION}")
    database.execute("COMMIT")

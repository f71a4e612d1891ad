"""Where a validator's memory lies: one SQLite file, one transaction a step. It is of one hotkey on one subnet."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from pretrain.errors import ConfigError
from pretrain.ownership import Owner
from pretrain.report import Report, from_json, to_json
from pretrain.state import Record, Standings, State
from pretrain.types import Block, CompetitionId, Digest, Hotkey

STATE = "state.sqlite"
"""The file's name in a validator's folder."""
VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS state (
    id INTEGER PRIMARY KEY CHECK (id = 1), version INTEGER NOT NULL, document TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS reports (
    block INTEGER NOT NULL, competition INTEGER NOT NULL, document TEXT NOT NULL, PRIMARY KEY (block, competition));
CREATE TABLE IF NOT EXISTS identity (
    id INTEGER PRIMARY KEY CHECK (id = 1), genesis TEXT NOT NULL, netuid INTEGER NOT NULL, hotkey TEXT NOT NULL);
"""
_WAY_OUT = "restore the file from a backup, or move it away to begin without memory"


@dataclass(frozen=True)
class Identity:
    """Whose memory it is."""

    genesis: str
    """Of the chain: two chains are told apart by it, whatever they are called."""
    netuid: int
    hotkey: Hotkey

    def __str__(self) -> str:
        """Return it as a person reads it."""
        return f"hotkey {self.hotkey} on subnet {self.netuid} of the chain with genesis {self.genesis[:16]}"


@dataclass(frozen=True)
class _Stored:
    """The state in a form that JSON has: mappings with long keys are lists."""

    step: Block | None
    records: tuple[Record, ...]
    owners: tuple[tuple[Digest, Owner], ...]
    standings: tuple[tuple[CompetitionId, Standings], ...]


_ADAPTER = TypeAdapter(_Stored)


class Memory:
    """A validator's SQLite file: the present state, and the reports of all steps.

    Raises ConfigError when the file cannot be used, is damaged, or is of another version. A ``still`` one is for a look
    that changes nothing: the file is there, and what it lacks stays lacking.
    """

    def __init__(self, path: Path, *, still: bool = False) -> None:
        self._path = path
        self._still = still
        if still:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}; expected a folder that can be written") from error
        with self._open() as database:
            database.executescript(_SCHEMA)

    def bind(self, here: Identity, head: Block) -> None:
        """Keep the memory to one identity for good; raises ConfigError when it is another's.

        Averages of one chain must not become weights on another. A memory from before this was noted is taken for the
        present one's, unless it has judged beyond the chain's newest block.
        """
        self.check(here, head)
        with self._open() as database:
            values = (here.genesis, here.netuid, here.hotkey)
            database.execute("INSERT OR IGNORE INTO identity VALUES (1, ?, ?, ?)", values)

    def check(self, here: Identity, head: Block) -> None:
        """Raise ConfigError when the memory is another's than this identity's, as ``bind`` does; nothing is noted."""
        step = self.load().step
        with self._open() as database:
            row = _first(database, "identity", "SELECT genesis, netuid, hotkey FROM identity")
        if row is None and step is not None and step > head:
            was = f"of a chain that has passed block {step}, where the one asked for, at block {head}, is not yet"
        elif row is not None and Identity(*row) != here:
            was = f"of {Identity(*row)}, and {here} is asked for"
        else:
            return
        raise ConfigError(f"{self._path} is {was}; use another --dir, or remove {self._path.parent} to begin anew")

    def load(self) -> State:
        """Return the state after the last whole step; an empty one at first."""
        with self._open() as database:
            row = _first(database, "state", "SELECT version, document FROM state")
        if row is None:
            return State()
        version, document = row
        if version != VERSION:
            raise ConfigError(f"{self._path}: state of version {version}; this software reads version {VERSION}")
        try:
            stored = _ADAPTER.validate_json(document)
        except ValidationError as error:
            raise self._damaged("state", error) from error
        return State(
            step=stored.step,
            records={record.entry: record for record in stored.records},
            owners=dict(stored.owners),
            standings=dict(stored.standings),
        )

    def save(self, state: State, report: Report | None) -> None:
        """Keep a step: the state after it and its report, both or neither."""
        stored = _Stored(
            step=state.step,
            records=tuple(state.records.values()),
            owners=tuple(state.owners.items()),
            standings=tuple(state.standings.items()),
        )
        document = _ADAPTER.dump_json(stored).decode()
        with self._open() as database:
            database.execute("INSERT OR REPLACE INTO state VALUES (1, ?, ?)", (VERSION, document))
            if report:
                row = (report.block, report.competition, to_json(report))
                database.execute("INSERT OR REPLACE INTO reports VALUES (?, ?, ?)", row)

    def reports(self) -> Iterator[Report]:
        """Yield every report, oldest first."""
        with self._open() as database:
            rows = database.execute("SELECT block, document FROM reports ORDER BY block, competition").fetchall()
        for block, document in rows:
            try:
                yield from_json(document)
            except ValidationError as error:
                raise self._damaged(f"report of block {block}", error) from error

    def _damaged(self, what: str, error: ValidationError) -> ConfigError:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "document"
        return ConfigError(f"{self._path}: {what}: {where}: {first['msg']}; {_WAY_OUT}")

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(self._connect()) as database, database:
                yield database
        except sqlite3.OperationalError as error:
            raise ConfigError(f"{self._path}: {error}; is the disk full, or another validator using it?") from error
        except sqlite3.DatabaseError as error:
            raise ConfigError(f"{self._path}: {error}; {_WAY_OUT}") from error

    def _connect(self) -> sqlite3.Connection:
        if self._still:
            unused = not self._path.with_name(f"{self._path.name}-wal").exists()  # else a look would leave one behind
            uri = f"{self._path.absolute().as_uri()}?mode=ro{'&immutable=1' if unused else ''}"
            return sqlite3.connect(uri, timeout=5, uri=True)
        database = sqlite3.connect(self._path, timeout=30)
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        return database


def _first(database: sqlite3.Connection, table: str, query: str) -> tuple[Any, ...] | None:
    """Return the first row of a query of a table; None when either is not there."""
    there = database.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    row: tuple[Any, ...] | None = database.execute(query).fetchone() if there else None
    return row

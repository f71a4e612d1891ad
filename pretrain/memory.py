"""Where a validator's memory lies: one SQLite file, one transaction a step. It is of one hotkey on one subnet."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from pretrain.errors import ConfigError
from pretrain.ownership import Owner
from pretrain.report import Report, from_json, to_json
from pretrain.state import Record, Standings, State
from pretrain.types import Block, CompetitionId, Digest, Hotkey

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

    Raises ConfigError when the file cannot be used, is damaged, or is of another version.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
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
        step = self.load().step
        with self._open() as database:
            row = database.execute("SELECT genesis, netuid, hotkey FROM identity").fetchone()
            if row is None and (step is None or step <= head):
                database.execute("INSERT INTO identity VALUES (1, ?, ?, ?)", (here.genesis, here.netuid, here.hotkey))
                return
        if row is None:
            was = f"of a chain that has passed block {step}, where the one asked for, at block {head}, is not yet"
        elif Identity(*row) != here:
            was = f"of {Identity(*row)}, and {here} is asked for"
        else:
            return
        raise ConfigError(f"{self._path} is {was}; use another --dir, or remove {self._path.parent} to begin anew")

    def load(self) -> State:
        """Return the state after the last whole step; an empty one at first."""
        with self._open() as database:
            row = database.execute("SELECT version, document FROM state").fetchone()
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
            with closing(sqlite3.connect(self._path, timeout=30)) as database:
                database.execute("PRAGMA journal_mode=WAL")
                database.execute("PRAGMA synchronous=FULL")
                with database:
                    yield database
        except sqlite3.OperationalError as error:
            raise ConfigError(f"{self._path}: {error}; is the disk full, or another validator using it?") from error
        except sqlite3.DatabaseError as error:
            raise ConfigError(f"{self._path}: {error}; {_WAY_OUT}") from error

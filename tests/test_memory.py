import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from fakes import World, one_competition
from hypothesis import given, settings
from hypothesis import strategies as st

from pretrain.commitment import Commitment, Entry
from pretrain.errors import Cause, ConfigError, Reason
from pretrain.memory import VERSION, Identity, Memory
from pretrain.ownership import Owner
from pretrain.report import from_json, to_json
from pretrain.state import Record, Reign, Standings, State
from pretrain.types import Block, CompetitionId, Digest, Hotkey, Revision

texts = st.text(max_size=8)
hotkeys = st.sampled_from(["A", "B", "C", "D"]).map(Hotkey)
blocks = st.integers(0, 2**40).map(Block)
floats = st.floats(allow_nan=False, allow_infinity=False)
digests = texts.map(Digest)
competitions = st.integers(0, 99).map(CompetitionId)
commitments = st.builds(Commitment, texts, texts, texts.map(Revision), digests, competitions)
entries = st.builds(Entry, hotkeys, blocks, commitments)
records = st.builds(
    Record,
    entries,
    content=st.none() | digests,
    weights=st.none() | digests,
    rejected=st.none() | st.sampled_from(Reason),
    undecided=st.none() | st.sampled_from(Cause),
    detail=texts,
    score=st.none() | floats,
    ratio=st.none() | floats,
    win_rate=floats,
    gain=st.none() | floats,
    judged=st.none() | blocks,
    tries=st.lists(blocks, max_size=3).map(tuple),
    crashes=st.integers(0, 3),
)
standings = st.builds(
    Standings,
    averages=st.dictionaries(hotkeys, floats, max_size=3),
    updated=st.none() | blocks,
    reigns=st.lists(st.builds(Reign, entries, digests, blocks), max_size=3).map(tuple),
    ready=st.booleans(),
    waited=st.lists(blocks, max_size=3).map(tuple),
)
states = st.builds(
    State,
    step=st.none() | blocks,
    records=st.lists(records, max_size=4).map(lambda found: {record.entry: record for record in found}),
    owners=st.dictionaries(digests, st.builds(Owner, entries, entries), max_size=3),
    standings=st.dictionaries(competitions, standings, max_size=2),
)


@settings(deadline=None, max_examples=50)
@given(states)
def test_what_is_saved_is_loaded_bit_for_bit(state: State) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "state.sqlite"
        Memory(path).save(state, None)

        assert Memory(path).load() == state


def test_a_memory_begins_empty_and_makes_its_folder(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "new" / "state.sqlite")

    assert (memory.load(), list(memory.reports())) == (State(), [])


def test_a_step_and_its_report_are_kept_and_the_last_state_counts(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    world = World(tmp_path / "models", one_competition())
    world.commit("A", 10, 2.0)
    memory = Memory(tmp_path / "state.sqlite")
    state, steps = State(), []
    for block in (100, 110, 120):
        state, report = world.step(block, state)
        steps.append((state, report))
    for saved in (steps[1], steps[0], steps[2]):
        memory.save(*saved)

    assert memory.load() == state
    assert list(memory.reports()) == [report for _, report in steps]


def test_a_step_done_again_replaces_its_report(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    world = World(tmp_path / "models", one_competition())
    state, report = world.step(100)
    memory = Memory(tmp_path / "state.sqlite")
    memory.save(state, report)
    memory.save(state, replace(report, abandoned="again"))

    assert [kept.abandoned for kept in memory.reports()] == ["again"]


def test_a_report_reads_back_from_its_line_of_json(tmp_path: Path) -> None:
    world = World(tmp_path, one_competition())
    world.commit("A", 10, 2.0)
    world.commit("B", 20, 2.5)
    world.hub.private.add("B/model")

    report = world.step(100)[1]

    assert from_json(to_json(report)) == report
    assert "\n" not in to_json(report)


def test_a_validator_that_remembers_nothing_but_its_file_goes_on_as_if_never_stopped(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    world = World(tmp_path / "models", one_competition())
    world.commit("A", 10, 2.0)
    world.commit("B", 20, 1.5)
    straight, _ = world.step(110, world.step(100)[0])

    memory = Memory(tmp_path / "state.sqlite")
    memory.save(world.step(100)[0], None)

    assert world.step(110, Memory(tmp_path / "state.sqlite").load())[0] == straight


HERE = Identity("ab" * 32, 9, Hotkey("5Alice"))


def test_a_memory_that_is_bound_is_found_again_by_whom_it_is_of(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    Memory(path).bind(HERE, Block(3))
    Memory(path).save(State(step=Block(100)), None)
    Memory(path).bind(HERE, Block(3))  # an endpoint that is far behind is no other chain

    assert Memory(path).load() == State(step=Block(100))


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (replace(HERE, genesis="cd" * 32), "chain with genesis cdcdcdcdcdcdcdcd is asked for"),
        (replace(HERE, netuid=3), "subnet 3"),
        (replace(HERE, hotkey=Hotkey("5Bob")), "hotkey 5Bob"),
    ],
)
def test_a_memory_is_of_one_chain_one_subnet_and_one_hotkey(tmp_path: Path, other: Identity, named: str) -> None:
    path = tmp_path / "state.sqlite"
    Memory(path).bind(HERE, Block(3))

    with pytest.raises(ConfigError, match="another --dir") as error:
        Memory(path).bind(other, Block(3))
    assert one_clear_line(error, path, "is of")
    assert named in str(error.value)
    assert str(HERE) in str(error.value)
    Memory(path).bind(HERE, Block(3))


@pytest.mark.parametrize("step", [None, 99, 100])
def test_a_memory_from_before_is_adopted_when_the_chain_has_passed_its_last_step(
    tmp_path: Path, step: int | None
) -> None:
    path = tmp_path / "state.sqlite"
    Memory(path).save(State(step=None if step is None else Block(step)), None)
    with sqlite3.connect(path) as database:
        database.execute("DROP TABLE identity")
    database.close()
    Memory(path).bind(HERE, Block(100))

    with pytest.raises(ConfigError, match="another --dir"):
        Memory(path).bind(replace(HERE, netuid=3), Block(100))


def test_a_memory_from_before_that_has_judged_beyond_the_head_is_of_another_chain(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    Memory(path).save(State(step=Block(101)), None)

    with pytest.raises(ConfigError, match=r"passed block 101, .* at block 100, .* use another --dir") as error:
        Memory(path).bind(HERE, Block(100))
    assert one_clear_line(error, path, "is of")
    Memory(path).bind(replace(HERE, netuid=3), Block(101))


SAVING = """
import sys
from dataclasses import replace
from pathlib import Path
from pretrain.commitment import Commitment, Entry
from pretrain.memory import Memory
from pretrain.state import Record, State

memory, step = Memory(Path(sys.argv[1])), 0
while True:
    step += 1
    entries = [Entry(f"hotkey{n}", step, Commitment("a", "b", "c", "d", 0)) for n in range(200)]
    memory.save(State(step=step, records={e: Record(e, score=float(step)) for e in entries}), None)
    print(step, flush=True)
"""


@pytest.mark.parametrize("saves", [1, 7, 20])
def test_a_kill_in_the_middle_of_saving_leaves_the_last_whole_state(tmp_path: Path, saves: int) -> None:
    path = tmp_path / "state.sqlite"
    root = str(Path(__file__).parents[1])
    with subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-c", SAVING, str(path)], stdout=subprocess.PIPE, cwd=root, text=True
    ) as child:
        assert child.stdout
        said = [int(child.stdout.readline()) for _ in range(saves)]
        child.send_signal(signal.SIGKILL)

    state = Memory(path).load()

    assert state.step is not None
    assert state.step >= said[-1] == saves
    assert len(state.records) == 200
    assert {(record.entry.block, record.score) for record in state.records.values()} == {(state.step, state.step)}


def spoilt(path: Path, change: Callable[[sqlite3.Connection], object]) -> None:
    Memory(path).save(State(step=Block(7)), None)
    with sqlite3.connect(path) as database:
        change(database)
    database.close()


def one_clear_line(error: pytest.ExceptionInfo[ConfigError], path: Path, then: str = "") -> bool:
    text = str(error.value)
    return text.startswith(f"{path} {then} " if then else f"{path}: ") and "\n" not in text


def test_a_report_that_cannot_be_kept_keeps_the_state_of_the_step_before(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    refuse = "CREATE TRIGGER full BEFORE INSERT ON reports BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"
    spoilt(path, lambda database: database.execute(refuse))
    (tmp_path / "models").mkdir()
    state, report = World(tmp_path / "models", one_competition()).step(100)

    with pytest.raises(ConfigError, match="the disk is full"):
        Memory(path).save(state, report)
    assert Memory(path).load() == State(step=Block(7))


def test_a_state_of_another_version_is_named(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    spoilt(path, lambda database: database.execute("UPDATE state SET version = 99"))

    with pytest.raises(ConfigError, match=rf"state of version 99; this software reads version {VERSION}") as error:
        Memory(path).load()
    assert one_clear_line(error, path)


@pytest.mark.parametrize("document", ["", "{", "[]", '{"step": "x"}', '{"step": 1, "records": 3}'])
def test_a_document_that_is_no_state_is_named_with_the_way_out(tmp_path: Path, document: str) -> None:
    path = tmp_path / "state.sqlite"
    spoilt(path, lambda database: database.execute("UPDATE state SET document = ?", (document,)))

    with pytest.raises(ConfigError, match=r"restore the file from a backup, or move it away") as error:
        Memory(path).load()
    assert one_clear_line(error, path)


def test_a_report_that_is_none_is_named_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    spoilt(path, lambda database: database.execute("INSERT INTO reports VALUES (1, 0, '{}')"))

    with pytest.raises(ConfigError, match=r"report of block 1: .*; restore the file from a backup") as error:
        list(Memory(path).reports())
    assert one_clear_line(error, path)


def test_a_torn_file_is_named_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    spoilt(path, lambda database: database.execute("PRAGMA wal_checkpoint(TRUNCATE)"))
    path.write_bytes(path.read_bytes()[:100] + b"\xff" * 4000)

    with pytest.raises(ConfigError, match=r"restore the file from a backup, or move it away") as error:
        Memory(path).load()
    assert one_clear_line(error, path)


def test_a_file_that_is_no_database_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    path.write_text("precious notes, and not a database at all, of some length")

    with pytest.raises(ConfigError, match=r"not a database; restore the file from a backup"):
        Memory(path)
    assert path.read_text().startswith("precious notes")


def test_a_folder_in_place_of_the_file_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unable to open database file"):
        Memory(tmp_path)


def test_a_file_in_place_of_the_folder_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigError, match=r"file/state\.sqlite: .*; expected a folder that can be written"):
        Memory(tmp_path / "file" / "state.sqlite")

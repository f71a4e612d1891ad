"""The validator as its operator meets it: a real process on an embedded chain and hub."""

import asyncio
import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pretrain.chain import ledger, local
from pretrain.errors import ConfigError
from pretrain.localnet import commands, prepare
from pretrain.localnet.prepare import Options, Run
from pretrain.memory import Memory
from pretrain.report import from_json
from pretrain.state import State
from pretrain.status import read_status
from pretrain.types import Block

NAME = "validator-1"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    prepared = prepare.prepare(Options(tmp_path_factory.mktemp("validator") / "run", 2, 1, 0, 2048, {}))
    local.resume(prepared.chain)
    yield prepared
    commands.validator(prepared, NAME).end_leftover()
    local.pause(prepared.chain)


def start(run: Run, *flags: str) -> subprocess.Popen[str]:
    command = [sys.executable, *commands.validator(run, NAME).command, *flags]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(  # noqa: S603 - our own program
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, start_new_session=True
    )
    folder = run.out / NAME
    folder.mkdir(exist_ok=True)
    (folder / "pid").write_text(str(process.pid))
    return process


def wait_for(told: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not told():
        assert time.monotonic() < deadline, "it did not come about within 2 minutes"
        time.sleep(0.1)


def steps(run: Run) -> list[int]:
    return steps_in(run.out / NAME)


def steps_in(folder: Path) -> list[int]:
    lines = folder / "steps.jsonl"
    return [from_json(line).block for line in lines.read_text().splitlines()] if lines.exists() else []


def test_killed_it_goes_on_from_its_last_whole_step_and_asked_to_stop_it_leaves_with_0(run: Run) -> None:
    first = start(run)
    wait_for(lambda: len(steps(run)) == 1)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    known = Memory(run.out / NAME / "state.sqlite").load()
    assert known.step == steps(run)[-1]

    second = start(run)
    wait_for(lambda: len(steps(run)) == 2)
    third = start(run)
    told, _ = third.communicate(timeout=60)
    assert (third.returncode, "is in use by another process" in told, "Traceback" in told) == (2, True, False)

    second.send_signal(signal.SIGTERM)
    told, _ = second.communicate(timeout=60)
    assert (second.returncode, "finishing the duty in hand" in told) == (0, True)
    assert steps(run)[0] < steps(run)[1]


def test_the_step_that_a_kill_interrupted_is_not_judged_twice(run: Run) -> None:
    blocks = [report.block for report in Memory(run.out / NAME / "state.sqlite").reports()]
    assert sorted(set(blocks)) == blocks == steps(run)


def test_a_folder_that_served_one_chain_serves_no_other(run: Run) -> None:
    """The other chain is the same in all but the moment of its genesis, and has not come as far."""
    other, kept = run.out / "other.sqlite", Memory(run.out / NAME / "state.sqlite").load()
    with ledger.reading(run.chain) as database:
        genesis = ledger.read_genesis(database)
    local.create(other, replace(genesis, time=time.time()))
    told, _ = (refused := start(run, "--subtensor.network", f"file:{other}")).communicate(timeout=60)
    last = told.splitlines()[-1]
    assert (refused.returncode, "Traceback" in told, told.count("error:")) == (2, False, 1)
    assert last.startswith(f"error: {run.out / NAME / 'state.sqlite'} is of hotkey {run.hotkeys[NAME]} on subnet ")
    assert last.endswith(f"is asked for; use another --dir, or remove {run.out / NAME} to begin anew")
    assert Memory(run.out / NAME / "state.sqlite").load() == kept


def test_a_folder_from_before_that_is_ahead_of_the_chain_is_refused(run: Run) -> None:
    folder = run.out / "from-before"
    Memory(folder / "state.sqlite").save(State(step=Block(1_000_000)), None)
    told, _ = (refused := start(run, "--dir", str(folder))).communicate(timeout=60)
    assert (refused.returncode, "Traceback" in told) == (2, False)
    assert "has passed block 1000000" in told.splitlines()[-1]


def catches_sigterm(process: subprocess.Popen[str]) -> bool:
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = int(status.partition("SigCgt:")[2].split()[0], 16)
    return bool(caught >> (signal.SIGTERM - 1) & 1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop_while_it_still_imports_it_leaves_with_0(run: Run, number: signal.Signals) -> None:
    early = start(run, "--dir", str(run.out / f"early-{number}"))
    wait_for(lambda: catches_sigterm(early))
    early.send_signal(number)
    told, _ = early.communicate(timeout=60)
    assert (early.returncode, "Traceback" in told) == (0, False)


def test_asked_to_stop_while_it_builds_its_judge_it_leaves_with_0(run: Run) -> None:
    folder = run.out / "building"
    building = start(run, "--dir", str(folder))
    wait_for((folder / "lock").exists)
    building.send_signal(signal.SIGTERM)
    told, _ = building.communicate(timeout=60)
    assert (building.returncode, "Traceback" in told, "finishing the duty in hand" in told) == (0, False, True)


def test_a_second_signal_ends_it_at_once_also_while_a_thread_is_at_work() -> None:
    script = """
import asyncio, os, signal, time
import validator
async def main():
    stop = validator._stop_on_signals()
    asyncio.get_running_loop().run_in_executor(None, time.sleep, 60)
    os.kill(os.getpid(), signal.SIGTERM)
    await stop.wait()
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.sleep(60)
asyncio.run(main())
"""
    neurons = Path(__file__).parents[1] / "neurons"
    ended = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": str(neurons)}, capture_output=True, timeout=50,
        check=False, text=True,
    )  # fmt: skip
    assert (ended.returncode, "Traceback" in ended.stderr) == (130, False)


def test_a_wrong_flag_is_one_line_that_says_what_would_be_right(run: Run) -> None:
    wrong = start(run, "--judge.thread", "2")
    told, _ = wrong.communicate(timeout=60)
    assert wrong.returncode == 2
    assert told.strip() == (
        "error: --judge.thread: no such flag; did you mean --judge.threads? (see neurons/validator.py --help)"
    )


def test_help_teaches_with_examples(run: Run) -> None:
    told, _ = (asked := start(run, "--help")).communicate(timeout=60)
    assert (asked.returncode, "--subtensor.network" in told, "examples:" in told) == (0, True, True)


def test_without_a_chain_it_waits_says_so_and_leaves_at_once_when_asked(run: Run) -> None:
    folder = run.out / "waiting"
    waiting = start(run, "--subtensor.network", "ws://127.0.0.1:1", "--dir", str(folder))
    wait_for(lambda: str(read_status(folder).get("doing", "")).startswith("waiting for the chain: ws://127.0.0.1:1"))
    status = read_status(folder)
    assert (status["weights"], status["age_of_averages"], "since" in status) == ("those on chain stay", None, True)
    asked = time.monotonic()
    waiting.send_signal(signal.SIGTERM)
    told, _ = waiting.communicate(timeout=60)
    assert (waiting.returncode, "Traceback" in told, told.count("waiting for the chain: ws://")) == (0, False, 1)
    assert time.monotonic() - asked < 10


def test_a_chain_that_comes_later_is_taken_up(run: Run) -> None:
    folder, link = run.out / "later", run.out / "later.sqlite"
    process = start(run, "--subtensor.network", f"file:{link}", "--dir", str(folder))
    wait_for(lambda: str(read_status(folder).get("doing", "")).startswith("waiting for the chain: there is no chain"))
    link.symlink_to(run.chain)
    wait_for(lambda: read_status(folder).get("doing") == "waiting for the next sync block" or bool(steps_in(folder)))
    process.send_signal(signal.SIGTERM)
    told, _ = process.communicate(timeout=60)
    assert (process.returncode, "the chain is back after" in told, "genesis" in told) == (0, True, True)


def test_the_wrong_chain_ends_it_with_one_line(run: Run) -> None:
    wrong = start(run, "--netuid", "3", "--dir", str(run.out / "wrong"))
    told, _ = wrong.communicate(timeout=60)
    line = f"error: --netuid 3: the chain in {run.chain} holds subnet {run.schedule.netuid}"
    assert (wrong.returncode, told.splitlines()[-1]) == (2, line)


def test_what_a_loop_finds_wrong_with_the_chain_later_is_one_error_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "neurons"))
    validator = importlib.import_module("validator")

    async def fails(error: Exception) -> None:
        raise error

    async def judges() -> None:
        await asyncio.Event().wait()

    with pytest.raises(ConfigError, match="another chain"):
        asyncio.run(validator.until_stopped(judges(), fails(ConfigError("another chain"))))
    with pytest.raises(ExceptionGroup):
        asyncio.run(validator.until_stopped(judges(), fails(ZeroDivisionError())))

"""The validator as its operator meets it: a real process on an embedded chain and hub."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from pretrain.chain import local
from pretrain.localnet import commands, prepare
from pretrain.localnet.prepare import Options, Run
from pretrain.memory import Memory
from pretrain.report import from_json

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
    lines = run.out / NAME / "steps.jsonl"
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

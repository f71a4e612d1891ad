import logging
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from reports import MINERS, VALIDATORS, report

from pretrain.settings import Wandb
from pretrain.tracking import Tracker, metrics

ROOT = Path(__file__).parents[1]
STEP = report(VALIDATORS[0], 105, 1)


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")


def in_another_process(code: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def kept(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def test_an_offline_run_keeps_every_number_of_a_step(tmp_path: Path) -> None:
    with Tracker(Wandb(), tmp_path, VALIDATORS[0]) as tracker:
        tracker.log(STEP)
    content = kept(tmp_path / "wandb")
    assert [key for key in metrics(STEP) if key.encode() not in content] == []
    assert repr(STEP.entries[0].score).encode() in content


def test_nothing_secret_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_SECRETENVIRONMENT")
    monkeypatch.setenv("WANDB_API_KEY", "SECRETKEY" * 5)
    monkeypatch.setattr(sys, "argv", ["validator.py", "--token", "SECRETFLAG"])
    with Tracker(Wandb(), tmp_path, VALIDATORS[0]) as tracker:
        tracker.log(STEP)
        print("SECRETOUTPUT")  # noqa: T201 - the console is not recorded either
    content = kept(tmp_path / "wandb")
    assert content
    assert b"SECRET" not in content


def test_a_folder_that_cannot_be_written_is_one_line_of_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "wandb").write_text("in the way")
    with caplog.at_level(logging.WARNING, "pretrain.tracking"), Tracker(Wandb(), tmp_path, VALIDATORS[0]) as tracker:
        tracker.log(STEP)
    assert [record.getMessage() for record in caplog.records] == [
        f"wandb: [Errno 17] File exists: '{tmp_path / 'wandb'}'; off for this run"
    ]


def test_what_wandb_refuses_is_one_line_of_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Tracker(Wandb(project="a/b"), tmp_path, VALIDATORS[0]) as tracker:
        tracker.log(STEP)
    (line,) = [record.getMessage() for record in caplog.records if record.name == "pretrain.tracking"]
    assert line.startswith("wandb: Invalid project name 'a/b'")
    assert line.endswith("; off for this run")


def test_a_wrong_variable_of_wandbs_own_is_one_line_of_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "sometimes")
    code = f"""
from pathlib import Path
from reports import VALIDATORS
from pretrain.settings import Wandb
from pretrain.tracking import Tracker
Tracker(Wandb(), Path({str(tmp_path)!r}), VALIDATORS[0]).finish()
"""
    ended = in_another_process(code)  # wandb reads its variables once in a process
    assert (ended.returncode, ended.stderr.count("\n")) == (0, 1)
    assert "Input should be 'online', 'offline'" in ended.stderr


def test_the_validator_outlives_the_death_of_wandbs_service(tmp_path: Path) -> None:
    code = f"""
import logging, os, signal
from pathlib import Path
from reports import VALIDATORS, report
from pretrain.settings import Wandb
from pretrain.tracking import Tracker
logging.basicConfig()
with Tracker(Wandb(), Path({str(tmp_path)!r}), VALIDATORS[0]) as tracker:
    tracker.log(report(VALIDATORS[0], 105, 1))
    (child,) = [
        int(status.parent.name)
        for status in Path("/proc").glob("[0-9]*/status")
        if f"PPid:\\t{{os.getpid()}}\\n" in status.read_text()
    ]
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    for block in (120, 135, 150):
        tracker.log(report(VALIDATORS[0], block, 0))
print("alive")
"""
    ended = in_another_process(code)
    assert (ended.returncode, ended.stdout) == (0, "alive\n"), ended.stderr
    assert "this step is not there" in ended.stderr


def test_off_does_not_even_import_wandb(tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from reports import VALIDATORS, report
from pretrain.settings import Wandb
from pretrain.tracking import Tracker
with Tracker(Wandb(off=True), Path({str(tmp_path)!r}), VALIDATORS[0]) as tracker:
    tracker.log(report(VALIDATORS[0], 105, 1))
print("wandb" in sys.modules, list(Path({str(tmp_path)!r}).iterdir()))
"""
    ended = in_another_process(code)
    assert (ended.stdout, ended.stderr) == ("False []\n", "")


def test_a_steps_numbers_are_flat_and_finite() -> None:
    entry = replace(STEP.entries[0], score=4.5, tasks={}, average=float("nan"))
    step = replace(STEP, entries=(entry, *STEP.entries[3:]), samples=None)
    letters = MINERS[2][:8]
    assert metrics(step) == {
        "block": 105,
        "mixed/champion": MINERS[2],
        "mixed/samples": "",
        "mixed/abandoned": 0.0,
        "mixed/canary": 1e-7,
        "mixed/seconds": 9.5,
        "mixed/scored": 1.0,
        "mixed/rejected": 1.0,
        "mixed/undecided": 1.0,
        "mixed/queued": 0.0,
        f"mixed/{letters}/score": 4.5,
        f"mixed/{letters}/win_rate": 1.0,
        f"mixed/{letters}/epsilon": 0.0035,
    }

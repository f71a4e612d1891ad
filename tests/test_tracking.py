import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from reports import MINERS, VALIDATORS, report

from pretrain.tracking import metrics

ROOT = Path(__file__).parents[1]
STEP = report(VALIDATORS[0], 105, 1)
BEGIN = """
import contextlib, logging, os, signal, sys
from pathlib import Path
from reports import VALIDATORS, report
from pretrain.settings import Wandb
from pretrain.tracking import Tracker

logging.basicConfig()
folder = Path(sys.argv[1])
"""
ONE_STEP = """
with Tracker(Wandb(), folder, VALIDATORS[0]) as tracker:
    tracker.log(report(VALIDATORS[0], 105, 1))
print("alive")
"""


def validator(
    code: str, folder: Path, *flags: str, mode: str = "offline", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a validator's part in a process of its own: wandb keeps its service and its settings for a whole process."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("WANDB")}
    return subprocess.run(  # noqa: S603 - this very interpreter, on code that stands here
        [sys.executable, "-W", "error", "-c", BEGIN + code, str(folder), *flags],
        env=inherited | {"PYTHONPATH": paths, "WANDB_MODE": mode} | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def kept(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def test_an_offline_run_keeps_every_number_of_a_step_and_nothing_secret(tmp_path: Path) -> None:
    secrets = {"HF_TOKEN": "hf_SECRETENVIRONMENT", "WANDB_API_KEY": "SECRETKEY" * 5}
    code = ONE_STEP.replace("alive", "SECRETOUTPUT")
    ended = validator(code, tmp_path, "--token", "SECRETFLAG", **secrets)
    content = kept(tmp_path / "wandb")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "SECRETOUTPUT\n", "")
    assert [key for key in metrics(STEP) if key.encode() not in content] == []
    assert repr(STEP.entries[0].score).encode() in content
    assert b"SECRET" not in content


@pytest.mark.parametrize(
    ("code", "mode", "complaint"),
    [
        (ONE_STEP.replace("Wandb()", "Wandb(project='a/b')"), "offline", "Invalid project name 'a/b'"),
        (ONE_STEP, "sometimes", "Input should be 'online', 'offline'"),
        (ONE_STEP, "online", "No API key configured"),
    ],
    ids=["project", "mode", "key"],
)
def test_what_wandb_refuses_is_one_line_of_the_log(code: str, mode: str, complaint: str, tmp_path: Path) -> None:
    ended = validator(code, tmp_path, mode=mode, HOME=str(tmp_path))
    assert (ended.returncode, ended.stdout) == (0, "alive\n")
    assert complaint in ended.stderr
    assert ended.stderr.startswith("WARNING:pretrain.tracking:wandb: ")
    assert ended.stderr.endswith("; off for this run\n")
    assert ended.stderr.count("\n") == 1


def test_a_folder_that_cannot_be_written_is_one_line_of_the_log(tmp_path: Path) -> None:
    (tmp_path / "wandb").write_text("in the way")
    ended = validator(ONE_STEP, tmp_path)
    assert (ended.returncode, ended.stdout, ended.stderr) == (
        0,
        "alive\n",
        f"WARNING:pretrain.tracking:wandb: [Errno 17] File exists: '{tmp_path / 'wandb'}'; off for this run\n",
    )


def test_the_validator_outlives_the_death_of_wandbs_service(tmp_path: Path) -> None:
    code = """
with Tracker(Wandb(), folder, VALIDATORS[0]) as tracker:
    tracker.log(report(VALIDATORS[0], 105, 1))
    children = []
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):  # others come and go
            if f"PPid:\\t{os.getpid()}\\n" in status.read_text():
                children.append(int(status.parent.name))
    (child,) = children
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    for block in (120, 135, 150):
        tracker.log(report(VALIDATORS[0], block, 0))
print("alive")
"""
    ended = validator(code, tmp_path)
    assert (ended.returncode, ended.stdout) == (0, "alive\n")
    assert "this step is not there" in ended.stderr


def test_off_does_not_even_import_wandb(tmp_path: Path) -> None:
    code = ONE_STEP.replace("Wandb()", "Wandb(off=True)") + "print('wandb' in sys.modules, list(folder.iterdir()))\n"
    ended = validator(code, tmp_path)
    assert (ended.stdout, ended.stderr) == ("alive\nFalse []\n", "")


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

"""Starting, watching and ending the processes of a localnet, as a supervisor such as pm2 would."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pretrain.errors import PretrainError

RESTARTS = 5
"""How often a process that dies is started again."""
GRACE = 60.0
"""Seconds that a process has to finish its duty and leave."""
_TETHER = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""
"""Asks the kernel to end it when its starter dies (PR_SET_PDEATHSIG, which exec keeps), then becomes the program."""


@dataclass
class Daemon:
    """One of the neurons, as a process of its own with a log."""

    name: str
    command: Sequence[str]
    folder: Path
    """Everything it keeps."""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Variables of its own; secrets among them."""
    mark: str = ""
    """A word of its command that no other program has; empty: its folder."""
    may_end: bool = True
    """Whether it ends well some time, as a miner does; a node that leaves is missed however it left."""
    deaths: int = 0
    """How often it died and was started again."""
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def log(self) -> Path:
        """Where its output goes."""
        return self.folder / "log.txt"

    @property
    def done(self) -> bool:
        """Whether it ended well."""
        return self.process is not None and self.process.poll() == 0

    @property
    def running(self) -> bool:
        """Whether it is at work."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start it, its output appended to its log."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.end_leftover()
        threads = {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 - our own programs
                [sys.executable, "-c", _TETHER, str(os.getpid()), *self.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **threads, **self.environment},
                start_new_session=True,
            )
        (self.folder / "pid").write_text(f"{self.process.pid}\n")

    def end_leftover(self) -> None:
        """Kill what an earlier run left of it, when that run was killed itself; nothing else that has the number."""
        try:
            pid = int((self.folder / "pid").read_text())
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return
        if (self.mark or str(self.folder)).encode() in words:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)

    def keep_alive(self) -> None:
        """Start it again if it died; raises PretrainError with the end of its log when it dies again and again."""
        if self.process is None or self.running or (self.done and self.may_end):
            return
        status = self.process.returncode
        if self.deaths >= RESTARTS or status == 2:  # noqa: PLR2004 - exit 2: asked wrongly, and so for ever
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-5:])
            raise PretrainError(f"{self.name} ended with status {status} after {self.deaths} restarts:\n{tail}")
        self.deaths += 1
        self.start()


def end(daemons: Iterable[Daemon]) -> None:
    """Ask all of them to finish their duty in hand; kill who has not left when the grace is over."""
    running = [daemon.process for daemon in daemons if daemon.process and daemon.running]
    for process in running:
        process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + GRACE
    for process in running:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

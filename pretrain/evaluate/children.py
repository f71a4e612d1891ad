"""The other end of the fork server: start it, send it orders, and hold its children by their leashes."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pretrain.evaluate import forkserver

_GRACE = 10.0  # seconds that a fork server may take to end its children, or itself
_TAIL_BYTES = 4096
_KEPT = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "CUDA_HOME")
_SET = {
    "HOME": "/nonexistent",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "OPENBLAS_NUM_THREADS": "1",  # it would start its threads before the fork
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    "PYTHONSAFEPATH": "1",
}


class ServerError(Exception):
    """The fork server cannot be started, or is gone: no child can be had or watched."""


class ChildError(Exception):
    """A child ended without an answer, or said too much."""


def environment(starter: Mapping[str, str], threads: int) -> dict[str, str]:
    """Return what the fork server may know of its starter's environment: no token, no wallet, no home."""
    kept = {name: starter[name] for name in _KEPT if name in starter}
    path = os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path)  # it starts in another folder
    return kept | _SET | {"PYTHONPATH": path, "OMP_NUM_THREADS": str(threads)}


@dataclass(frozen=True)
class Child:
    """A process that judges one model; closing its leash kills it with its whole group."""

    leash: socket.socket
    answer: socket.socket

    async def started(self) -> str:
        """Wait until it runs and return the report of its isolation; raises ServerError."""
        word, value = await self._news()
        if word != "started":
            raise ServerError(f"the fork server could not start a child: {word} {value}")
        return value

    async def result(self, most: int) -> bytes:
        """Return its answer, of at most ``most`` bytes, once it has ended well; raises ChildError, ServerError."""
        loop = asyncio.get_running_loop()
        received = bytearray()
        while block := await loop.sock_recv(self.answer, 1 << 16):
            received += block
            if len(received) > most:
                raise ChildError(f"a child answered more than {most} bytes")
        _, status = await self._news()
        if status.startswith("-"):
            raise ChildError(f"a child was killed by signal {status[1:]}")
        if status != "0":
            raise ChildError(f"a child ended with status {status}")
        return bytes(received)

    async def end(self) -> None:
        """Kill it, if it still runs, and wait until the fork server has seen it end; raises ServerError."""
        self.answer.close()
        with contextlib.suppress(OSError):
            self.leash.shutdown(socket.SHUT_WR)
        try:
            async with asyncio.timeout(_GRACE):
                while await asyncio.get_running_loop().sock_recv(self.leash, 1024):
                    pass
        except TimeoutError:
            raise ServerError(f"the fork server did not end a child within {_GRACE:.0f} s") from None
        finally:
            self.leash.close()

    async def _news(self) -> tuple[str, str]:
        message = await asyncio.get_running_loop().sock_recv(self.leash, 1024)
        if not message:
            raise ServerError("the fork server is gone")
        word, _, value = message.decode(errors="replace").partition(" ")
        return word, value


class ForkServer:
    """A running fork server."""

    def __init__(self, target: str, variables: Mapping[str, str], *, isolated: bool = True) -> None:
        """Start the process and return at once; it takes some seconds to import what its children need.

        Unless they are ``isolated``, they keep every right of this user (``pretrain.evaluate.isolation``).
        """
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.settimeout(0)
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        command = [sys.executable, "-m", forkserver.__name__, str(theirs.fileno()), target]
        command.append(forkserver.ISOLATED if isolated else forkserver.OPEN)
        with theirs:
            self.process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                command,
                env=dict(variables),
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._output,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                cwd="/",
            )

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process.poll() is None

    def launch(self, request: bytes, model: Path, samples: BinaryIO, output: BinaryIO) -> Child:
        """Ask for a child that works on a request, a model's folder and a file of samples, and writes to another file.

        Raises ServerError, and OSError when the folder cannot be opened.
        """
        if len(request) > forkserver.MAX_ORDER_BYTES:
            raise ServerError(f"an order of {len(request)} bytes; at most {forkserver.MAX_ORDER_BYTES} can be sent")
        folder = os.open(model, os.O_RDONLY | os.O_DIRECTORY)
        leash, leash_theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        answer, answer_theirs = socket.socketpair()
        with leash_theirs, answer_theirs:
            leash.settimeout(0)
            answer.settimeout(0)
            try:
                passed = (leash_theirs.fileno(), answer_theirs.fileno(), folder, samples.fileno(), output.fileno())
                socket.send_fds(self._control, [request], passed)
            except OSError as error:
                leash.close()
                answer.close()
                raise ServerError(f"the fork server takes no orders: {error}; {self.last_words()}") from error
            finally:
                os.close(folder)
        return Child(leash, answer)

    def last_words(self) -> str:
        """Return the last line that the server itself wrote."""
        return last_line(self._output)

    def close(self) -> None:
        """End it with all its children, and wait until it is gone."""
        self._control.close()
        try:
            self.process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._output.close()


def last_line(output: BinaryIO) -> str:
    """Return the last line of a file that is not blank, in plain characters, at most 200 of them."""
    size = os.fstat(output.fileno()).st_size
    raw = os.pread(output.fileno(), _TAIL_BYTES, max(0, size - _TAIL_BYTES))
    lines = [line.strip() for line in raw.decode(errors="replace").splitlines() if line.strip()]
    text = lines[-1] if lines else "it wrote nothing"
    return "".join(char if char.isprintable() else "?" for char in text)[:200]

"""A process that has imported torch and the families once, and forks a child for each model.

It is started by ``exec`` with an environment of its own, before its starter knows any secret, and gets its orders over
a socket. ``multiprocessing`` has a fork server too; that one imports the program's ``__main__`` again in every child,
sends pickles, and inherits the environment of its starter.

Each order is one packet with five descriptors: a leash, the socket for the answer, the folder of the model, the file of
samples, and a file for output; the last two have no name, so nothing is left of them however the starter ends. When the
other end of the leash closes, for whatever reason, the child's process group is killed; when the child ends, its status
is written to the leash. So a starter that dies takes every child with it, and no process is ever signalled by a number
that may have become another's: only the server, which has not yet reaped it, signals it.

Before a child runs anything it gives up what ``pretrain.evaluate.isolation`` says, and tells on its leash what is in
force. Run as ``python -m pretrain.evaluate.forkserver CONTROL_DESCRIPTOR MODULE:FUNCTION isolated|open``.
"""

import contextlib
import ctypes
import gc
import importlib
import os
import resource
import selectors
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pretrain.evaluate import isolation

ISOLATED, OPEN = "isolated", "open"
"""Whether children give up what they do not need, as the last argument says it."""

MAX_ORDER_BYTES = 64_000
"""The longest order; longer ones are cut and then fail to parse."""

_MAX_OUTPUT_BYTES = 16 << 20  # what a child may write to any file
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass(frozen=True)
class Order:
    """What a fresh child is to do."""

    request: bytes
    leash: socket.socket
    answer: socket.socket
    model: int
    """The descriptor of its folder: the only one of the machine's that the child may read."""
    samples: BinaryIO
    output: BinaryIO
    """Takes stdout and stderr."""


def main(arguments: list[str]) -> None:
    """Serve until the control socket closes; in a forked child: run the target once and end."""
    control = socket.socket(fileno=int(arguments[0]))
    module, _, function = arguments[1].partition(":")
    target: Callable[[bytes, BinaryIO, socket.socket], None] = getattr(importlib.import_module(module), function)
    for number in (signal.SIGINT, signal.SIGTERM):  # a supervisor may signal everybody; the starter decides when to end
        signal.signal(number, signal.SIG_IGN)
    gc.collect()
    gc.freeze()  # what is imported stays shared with the children
    server = os.getpid()
    order = _Server(control).serve()
    if order is not None:
        _settle(order, server, isolated=arguments[2] == ISOLATED)
        target(order.request, order.samples, order.answer)
        order.answer.close()
        os._exit(0)  # the libraries' own clean-up takes longer than a small model


class _Server:
    """The children that are alive, each by its leash, and the loop that watches over them."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._leashes: dict[int, socket.socket] = {}
        self._ended, self._wake = socket.socketpair()
        self._ended.settimeout(0)
        self._wake.settimeout(0)
        self._selector = selectors.PollSelector()  # unlike epoll's, its state is not shared across a fork
        self._selector.register(self._control, selectors.EVENT_READ)
        self._selector.register(self._ended, selectors.EVENT_READ)

    def serve(self) -> Order | None:
        """Fork for every order; returns it in the child, and None in the server when the control socket closes."""
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._control:
                    order = _receive(self._control)
                    if order is None:
                        for pid in self._leashes:
                            _kill(pid)
                        return None
                    if self._fork(order) == 0:
                        self._forget_all()
                        return order
                elif key.fileobj is self._ended:
                    self._reap()
                elif self._leashes.get(key.data) is key.fileobj:
                    self._selector.unregister(key.fileobj)
                    _kill(key.data)

    def _fork(self, order: Order) -> int:
        try:
            pid = os.fork()
        except OSError as error:
            _tell(order.leash, f"failed {error}")
            pid = -1
        if pid > 0:
            self._leashes[pid] = order.leash
            self._selector.register(order.leash, selectors.EVENT_READ, pid)
        if pid != 0:
            order.answer.close()
            order.samples.close()
            order.output.close()
            os.close(order.model)
        return pid

    def _reap(self) -> None:
        """Report every child that ended, after killing what is left of its group."""
        with contextlib.suppress(BlockingIOError):
            self._ended.recv(4096)
        for pid in list(self._leashes):
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                continue
            _kill(pid)  # not reaped yet, so the group's number is still its own
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            leash = self._leashes.pop(pid)
            with contextlib.suppress(KeyError):
                self._selector.unregister(leash)
            _tell(leash, f"exit {status}")
            leash.close()

    def _forget_all(self) -> None:
        """Let go, in a child, of everything that is the server's."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._selector.close()
        for mine in (self._control, self._ended, self._wake, *self._leashes.values()):
            mine.close()


def _settle(order: Order, server: int, *, isolated: bool) -> None:
    """Make a fresh child a group of its own that dies with the server, writes only where told, and is isolated."""
    os.setsid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        with contextlib.suppress(OSError):  # short of memory, the kernel ends a judge before anything else of ours
            Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")
    if os.getppid() != server:
        raise SystemExit("the fork server is gone")
    _redirect(order)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_MAX_OUTPUT_BYTES, _MAX_OUTPUT_BYTES))
    _tell(order.leash, f"started {isolation.isolate(order.model) if isolated else isolation.OFF}")
    order.leash.close()
    os.close(order.model)


def _redirect(order: Order) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(order.output.fileno(), 1)
    os.dup2(order.output.fileno(), 2)
    os.close(null)
    order.output.close()


def _receive(control: socket.socket) -> Order | None:
    request, descriptors, _, _ = socket.recv_fds(control, MAX_ORDER_BYTES, 5)
    if not request:
        return None
    leash, answer = (socket.socket(fileno=descriptor) for descriptor in descriptors[:2])
    samples, output = open(descriptors[3], "rb"), open(descriptors[4], "wb")  # noqa: PTH123, SIM115 - already open
    return Order(request, leash, answer, descriptors[2], samples, output)


def _tell(leash: socket.socket, message: str) -> None:
    with contextlib.suppress(OSError):  # the starter has lost interest
        leash.send(message.encode())


def _kill(pid: int) -> None:
    for kill in (os.killpg, os.kill):  # the group, and the child in case it has none yet
        with contextlib.suppress(ProcessLookupError):
            kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1:])

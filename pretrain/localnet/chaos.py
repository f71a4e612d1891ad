"""Trouble for a localnet: a node that loses answers, and a chain that stands still or goes slowly, at random.

Everybody then talks to the chain through the real SDK, over a websocket to a node that drops, hangs, garbles and delays
(``pretrain.chain.node``). What happens when follows from the seed and a counter; only its place in time does not.
"""

import hashlib
import socket
import time
from dataclasses import dataclass, replace
from pathlib import Path

from pretrain.chain import local
from pretrain.errors import ChainUnavailable, PretrainError
from pretrain.localnet.prepare import Run
from pretrain.localnet.processes import Daemon, end

HOST = "127.0.0.1"
TIMEOUT = 4.0
"""Seconds that a neuron of a run with trouble waits for an answer of the node, which lives on the same machine."""
_STARTS = 60.0  # seconds for the node to listen


@dataclass
class Stalls:
    """When the chain stands still: of a hundred looks a few begin a stall, and some a pause of one look."""

    path: Path
    seed: int
    looks: int = 0
    left: int = 0
    """Looks until time goes on."""
    begun: int = 0
    """How many there were."""

    def look(self) -> None:
        """Stop the chain's time, or let it go on."""
        self.looks += 1
        if self.left:
            self.left -= 1
            if not self.left:
                local.resume(self.path)
            return
        drawn = hashlib.sha256(f"stall {self.seed} {self.looks}".encode()).digest()[0]
        length = 5 if drawn < 6 else 1 if drawn < 40 else 0  # noqa: PLR2004 - of 256: 10 s now and then, 2 s often
        if length:
            local.pause(self.path)
            self.left, self.begun = length, self.begun + 1

    def end(self) -> None:
        """Let time go on, however it stands."""
        if self.left:
            local.resume(self.path)
            self.left = 0


def _free_port() -> int:
    """Return a port that nobody listens on just now."""
    with socket.socket() as listening:
        listening.bind((HOST, 0))
        port: int = listening.getsockname()[1]
    return port


def start_node(run: Run) -> tuple[Run, Daemon]:
    """Start a node in front of the run's chain, and return the run as one that talks to it."""
    port = _free_port()
    daemon = _node(run, port)
    daemon.start()
    try:
        _wait_until_it_listens(daemon, port)
    except PretrainError:
        end([daemon])
        raise
    return replace(run, endpoint=f"ws://{HOST}:{port}"), daemon


def _node(run: Run, port: int) -> Daemon:
    """Return the node in front of the run's chain, which has yet to be started."""
    serve = ["chain", "serve", "--subtensor.network", f"file:{run.chain}", "--host", HOST, "--port", str(port)]
    program = ["-c", "from pretrain.cli import main; main()"]
    return Daemon(
        "node", [*program, *serve, "--chaos", str(run.seed)], run.out / "node", mark=f"file:{run.chain}", may_end=False
    )


def _wait_until_it_listens(daemon: Daemon, port: int) -> None:
    """Return when the node takes connections; raises ChainUnavailable when it does not in due time."""
    deadline = time.monotonic() + _STARTS
    while time.monotonic() < deadline:
        daemon.keep_alive()
        try:
            socket.create_connection((HOST, port), timeout=1.0).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise ChainUnavailable(f"the node does not listen on {HOST}:{port} after {_STARTS:.0f} s; its log: {daemon.log}")

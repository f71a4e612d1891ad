"""Running a prepared localnet to its end: start, watch, restart what dies, end, report."""

import asyncio
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType

from rich.console import Console
from rich.live import Live

from pretrain.chain import local
from pretrain.chain.local import LocalChain
from pretrain.errors import ChainUnavailable, PretrainError
from pretrain.hub.folder import FolderHub
from pretrain.localnet import commands
from pretrain.localnet.chaos import Stalls, start_node
from pretrain.localnet.display import progress
from pretrain.localnet.prepare import Run
from pretrain.localnet.processes import Daemon, end
from pretrain.localnet.roles import Miner
from pretrain.localnet.view import View, look

LOOK = 2.0  # seconds between two looks
LINE = 15.0  # seconds between two lines where there is no terminal


@dataclass
class Stop:
    """Why the run is to end; empty while it goes on."""

    why: str = ""
    failed: bool = False
    """Whether a process could not be kept alive."""


def run_to_the_end(run: Run, minutes: float, console: Console, *, trouble: bool = False) -> Stop:
    """Run every process until all is decided and paid, the minutes are over, or Ctrl-C; return which it was.

    With ``trouble`` the chain stalls and its node loses answers, at random.
    """
    stalls = Stalls(run.chain, run.seed) if trouble else None
    deadline = time.monotonic() + 60 * minutes
    daemons: dict[str, Daemon] = {}
    nodes: list[Daemon] = []
    with _stopping() as stop:
        try:
            if trouble:
                run, node = start_node(run)
                nodes.append(node)
            daemons |= {name: commands.validator(run, name) for name in run.validators}
            daemons |= {part.name: commands.miner(run, part) for part in run.miners if not part.copies}
            for daemon in daemons.values():
                daemon.start()
            _watch(Watched(run, daemons, nodes, stalls), deadline, stop, console)
        except PretrainError as error:
            stop.why, stop.failed = str(error), True
        finally:
            console.print("ending: every process finishes the duty in hand")
            if stalls:
                with suppress(ChainUnavailable):  # whatever its file is like, the processes are to end
                    stalls.end()
                console.print(f"the chain stood still {stalls.begun} times")
            for node in nodes:
                console.print(f"what its node did: {node.log}")
            end(daemons.values())
            end(nodes)
            local.pause(run.chain)
    return stop


@dataclass(frozen=True)
class Watched:
    """What is watched."""

    run: Run
    daemons: dict[str, Daemon]
    """The neurons; a copier joins them when there is something to copy."""
    nodes: list[Daemon]
    stalls: Stalls | None


def _watch(watched: Watched, deadline: float, stop: Stop, console: Console) -> None:
    run, daemons = watched.run, watched.daemons
    chain = LocalChain(run.chain, run.schedule.netuid)
    next_line = 0.0
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while not stop.why:
            if watched.stalls:
                watched.stalls.look()
            view = look(run, asyncio.run(chain.head()).block)
            _start_copiers(run, daemons, view)
            for daemon in [*watched.nodes, *daemons.values()]:
                daemon.keep_alive()
            if complete(run, view, daemons):
                stop.why = "everything is decided and paid"
            elif time.monotonic() > deadline:
                stop.why = "the time is over"
            if console.is_terminal:
                live.update(progress(run, view, daemons), refresh=True)
            elif time.monotonic() >= next_line:
                console.print(progress(run, view, daemons))
                next_line = time.monotonic() + LINE
            time.sleep(LOOK)


def _start_copiers(run: Run, daemons: dict[str, Daemon], view: View) -> None:
    """Start every copier whose victim has published."""
    for part in run.miners:
        start = _published(run, part, view) if part.copies and part.name not in daemons else None
        if start:
            daemons[part.name] = commands.miner(run, part, start)
            daemons[part.name].start()


def complete(run: Run, view: View, daemons: dict[str, Daemon]) -> bool:
    """Whether every miner has published, every validator has judged all of it, and an epoch has paid for that."""
    committed = {entry.hotkey for entry in view.entries}
    miners_done = all(
        run.hotkeys[part.name] in committed and part.name in daemons and daemons[part.name].done for part in run.miners
    )
    decided = len(view.states) == len(run.validators) and all(map(view.decided, view.states))
    settled = [view.settled(competition.competition_id) for competition in run.schedule.at(view.block)]
    if not (miners_done and decided):
        return False
    return all(block is not None and view.paid_since(block) for block in settled)


def _published(run: Run, copier: Miner, view: View) -> str | None:
    """Return REPO@REVISION of the model that a copier waits for, once anybody can read it."""
    victim = run.hotkeys[copier.copies or ""]
    found = next((entry.commitment for entry in view.entries if entry.hotkey == victim), None)
    if found and asyncio.run(FolderHub(run.hub, None).is_public(found.repo)):
        return f"{found.repo}@{found.revision}"
    return None


@contextmanager
def _stopping() -> Iterator[Stop]:
    """Turn Ctrl-C and SIGTERM into a reason to end; a second one is what it always is."""
    stop = Stop()

    def ask(number: int, _frame: FrameType | None) -> None:
        stop.why = signal.Signals(number).name
        for name, handler in before.items():
            signal.signal(name, handler)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

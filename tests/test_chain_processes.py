"""Real processes over one chain's file: at once, and killed."""

import asyncio
import multiprocessing
import os
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from subnet import NETUID, START, Subnet, commitment, subnet

from pretrain.chain import Snapshot, history
from pretrain.chain.local import LocalChain
from pretrain.errors import Refused
from pretrain.types import Block

FORK = multiprocessing.get_context("fork")
ROUNDS = 12


@pytest.fixture
def net(tmp_path: Path) -> Subnet:
    return subnet(tmp_path)


class SharedClock:
    """One clock for all processes, as a machine has one; each look is a tenth of a block later."""

    def __init__(self, block: int) -> None:
        self.value: Synchronized[float] = FORK.Value("d", START + block / 64)

    def __call__(self) -> float:
        with self.value.get_lock():
            self.value.value += 1 / 640
            return self.value.value


def _start(work: Callable[..., None], *arguments: object) -> tuple[ForkProcess, Connection]:
    ours, theirs = FORK.Pipe()
    process = FORK.Process(target=work, args=(theirs, *arguments), daemon=True)
    process.start()
    theirs.close()
    return process, ours


@pytest.fixture
def shared(net: Subnet) -> list[LocalChain]:
    clock = SharedClock(12)
    return [LocalChain(net.path, NETUID, keys, clock=clock) for keys in net.pairs]


def _write_much(answers: Connection, chain: LocalChain, net: Subnet, index: int, together: Barrier) -> None:
    """Validators set weights and miners commit, all over the same blocks; then all read the same window."""
    applied = 0
    for turn in range(ROUNDS):
        try:
            if index < 2:
                asyncio.run(chain.set_weights({net.pairs[2].address: 1.0, net.pairs[3].address: turn + 1.0}, 0))
            else:
                asyncio.run(chain.commit(commitment(net.pairs[index].address, f"m{turn}")))
        except Refused:
            continue
        applied += 1
    together.wait()
    answers.send((applied, asyncio.run(chain.snapshot(1000)), asyncio.run(chain.snapshot(20))))


def test_four_processes_write_at_once_and_every_accepted_call_is_kept(net: Subnet, shared: list[LocalChain]) -> None:
    together = FORK.Barrier(4, timeout=60)
    started = [_start(_write_much, shared[index], net, index, together) for index in range(4)]
    answers: list[tuple[int, Snapshot, Snapshot]] = [connection.recv() for _, connection in started]
    for process, connection in started:
        process.join()
        connection.close()
        assert process.exitcode == 0
    by_block = {snapshot.block: snapshot for _, *both in answers for snapshot in both}
    assert all(snapshot == by_block[snapshot.block] for _, *both in answers for snapshot in both)
    with closing(sqlite3.connect(net.path)) as database:
        kept = dict(database.execute("SELECT signer, COUNT(*) FROM calls GROUP BY signer").fetchall())
        numbers = [row[0] for row in database.execute("SELECT number FROM blocks ORDER BY number")]
    assert kept == {net.pairs[index].address: applied for index, (applied, _, _) in enumerate(answers)}
    assert sum(kept.values()) >= 2 * ROUNDS, "each miner's every turn"
    assert numbers == list(range(len(numbers)))


def _commit_for_ever(answers: Connection, chain: LocalChain, address: str) -> None:
    turn = 0
    while True:
        turn += 1
        try:
            answers.send(asyncio.run(chain.commit(commitment(address, f"m{turn}"))))
        except Refused:
            answers.send(None)


def test_a_process_killed_while_it_writes_leaves_a_whole_chain(net: Subnet, shared: list[LocalChain]) -> None:
    reported = []
    for turn in range(6):
        index = 2 + turn % 3
        process, answers = _start(_commit_for_ever, shared[index], net.pairs[index].address)
        reported += [(net.pairs[index].address, answers.recv()) for _ in range(2)]
        process.join(timeout=0.003 * turn)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        answers.close()
    with closing(sqlite3.connect(net.path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        numbers = [row[0] for row in database.execute("SELECT number FROM blocks ORDER BY number")]
        newest = database.execute("SELECT open - 1 FROM head").fetchone()[0]
        nonces = database.execute("SELECT MAX(nonce) + 1 = COUNT(*) FROM calls GROUP BY signer").fetchall()
        epochs = {row[0] for row in database.execute("SELECT DISTINCT block FROM epochs")}
    assert numbers == list(range(newest + 1))
    assert set(nonces) == {(1,)}
    assert epochs == {block for block in range(1, newest + 2) if (block + NETUID + 1) % 21 == 20}
    kept = {(made.hotkey, made.block) for made in history.commitments(net.path)}
    assert {(hotkey, block) for hotkey, block in reported if block is not None} <= kept, "what was reported is there"
    assert max(block for _, block in kept) <= Block(newest + 1)

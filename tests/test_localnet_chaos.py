"""A localnet with trouble: what strikes follows from the seed, and everybody talks to the chain through its node."""

import asyncio
import dataclasses
import time
from pathlib import Path
from typing import Any

import pytest
from subnet import NETUID, Subnet

from pretrain.chain import blocks, history, ledger, local
from pretrain.chain.bittensor import BittensorChain
from pretrain.chain.genesis import Genesis, Parameters
from pretrain.localnet import chaos, commands
from pretrain.localnet.chaos import Stalls
from pretrain.localnet.prepare import Run
from pretrain.localnet.processes import Daemon, end
from pretrain.localnet.roles import Miner
from pretrain.types import CompetitionId, Hotkey


def paused(path: Path) -> bool:
    with ledger.reading(path) as database:
        return ledger.read_head(database).paused


def run_in(folder: Path) -> Run:
    miner = Miner("miner-1", CompetitionId(1), (("prose", 1.0),), 2048, 0)
    return Run(folder, 3, (miner,), ("validator-1",), {"validator-1": Hotkey("v"), "miner-1": Hotkey("m")})


def test_a_chain_stands_still_at_the_same_looks_for_the_same_seed_and_goes_on_each_time(tmp_path: Path) -> None:
    path = tmp_path / "chain.sqlite"
    local.create(path, Genesis(NETUID, time.time(), Parameters(block_time=60.0)))

    def stopped(seed: int) -> list[bool]:
        stalls = Stalls(path, seed)
        found = []
        for _ in range(60):
            stalls.look()
            found.append(paused(path))
        stalls.end()
        assert not paused(path)
        return found

    first = stopped(1)

    assert first == stopped(1) != stopped(2)
    assert 3 <= sum(first) <= 40


def test_no_block_is_made_while_the_chain_stands_still_and_none_is_made_up_for(net: Subnet) -> None:
    net.at(20)
    asyncio.run(net.chains[0].head())
    local.pause(net.path, net.clock)
    net.clock.now += 100.0
    assert history.newest(net.path) == blocks.catch_up(net.path, net.chains[0].genesis, net.clock).newest == 20
    local.resume(net.path, net.clock)
    net.clock.now += 3 / 64
    assert asyncio.run(net.chains[0].head()).block == 23


def test_a_neuron_of_such_a_run_talks_to_the_node_in_front_of_the_chain(tmp_path: Path) -> None:
    run = run_in(tmp_path)
    local.create(run.chain, Genesis(NETUID, time.time(), Parameters(block_time=0.2)))
    told, node = chaos.start_node(run)

    async def heads() -> int:
        chain = BittensorChain(told.network, NETUID)
        try:
            return (await chain.head()).block
        finally:
            await chain.close()

    try:
        assert told.endpoint is not None
        assert asyncio.run(heads()) >= 0
    finally:
        end([node])
    assert node.process is not None
    assert node.process.returncode == 0


def test_without_trouble_everybody_opens_the_file_and_with_it_everybody_talks_to_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Run, "schedule", type("Rules", (), {"netuid": NETUID}))
    run = run_in(tmp_path)
    quiet, troubled = (
        commands.validator(each, "validator-1") for each in (run, dataclasses.replace(run, endpoint="ws://x:1"))
    )

    assert f"file:{run.chain}" in quiet.command
    assert "ws://x:1" in troubled.command
    assert "--subtensor.timeout" in troubled.command


def daemon(folder: Path, program: str, **more: Any) -> Daemon:  # noqa: ANN401 - fields of a daemon
    return Daemon("x", ["-c", program, str(folder), more.get("mark", "")], folder, **more)


def test_a_node_that_leaves_is_started_again_however_it_left_and_a_miner_that_is_done_is_not(tmp_path: Path) -> None:
    miner, node = daemon(tmp_path / "miner", "pass"), daemon(tmp_path / "node", "pass", may_end=False)
    for each in (miner, node):
        each.start()
        assert each.process is not None
        each.process.wait(20)
        each.keep_alive()
    end([node])

    assert (miner.deaths, node.deaths) == (0, 1)


def test_a_program_that_has_the_number_by_chance_is_left_alone(tmp_path: Path) -> None:
    other = daemon(tmp_path / "other", "import time; time.sleep(60)", mark="file:one")
    other.start()
    assert other.process is not None
    same_number = daemon(tmp_path / "mine", "pass", mark="file:on")
    same_number.folder.mkdir()
    (same_number.folder / "pid").write_text(f"{other.process.pid}\n")
    same_number.end_leftover()
    try:
        assert other.running
    finally:
        end([other])

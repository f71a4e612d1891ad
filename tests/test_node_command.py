"""``pretrain chain serve``: a chain's file, served until somebody ends it."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from subnet import subnet
from test_node_server import ask
from websockets.asyncio.client import connect

from pretrain import cli
from pretrain.chain.genesis import Genesis, Parameters
from pretrain.chain.local import create
from pretrain.chain.node.server import serve

ROOT = Path(__file__).parents[1]
PROGRAM = [sys.executable, "-c", "from pretrain.cli import main; main()", "chain", "serve"]


@pytest.fixture
def network(tmp_path: Path) -> str:
    create(tmp_path / "chain.sqlite", Genesis(9, time.time() - 1, Parameters(block_time=0.2)))
    return f"file:{tmp_path / 'chain.sqlite'}"


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_a_chain_is_served_at_the_address_that_is_told_until_it_is_ended(network: str, end: signal.Signals) -> None:
    async def name(url: str) -> object:
        async with connect(url) as client:
            return await ask(client, "system_chain")

    arguments = ["--subtensor.network", network, "--port", "0", "--json"]
    with subprocess.Popen([*PROGRAM, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True) as program:  # noqa: S603
        assert program.stdout is not None
        url = json.loads("".join(program.stdout.readline() for _ in range(3)))["url"]
        served = asyncio.run(name(url))
        program.send_signal(end)
        code = program.wait(20)

    assert (served, code) == ("pretrain subnet 9", 0)


def test_a_port_that_is_taken_and_a_chain_that_is_missing_are_told_in_one_line(
    network: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code = cli.run(["chain", "serve", "--subtensor.network", network, "--port", str(port)])
    missing = cli.run(["chain", "serve", "--subtensor.network", f"file:{tmp_path / 'none'}"])
    first, second = capsys.readouterr().err.splitlines()

    assert (code, missing) == (2, 2)
    assert first.startswith(f"--host 127.0.0.1 --port {port}: ")
    assert first.endswith("; take another port")
    assert second.endswith("does not exist; `pretrain localnet` makes one")


def test_a_host_that_is_none_of_this_machines_is_told_to_be_one(
    network: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = cli.run(["chain", "serve", "--subtensor.network", network, "--port", "0", "--host", "192.0.2.1"])

    assert code == 2
    assert capsys.readouterr().err.rstrip().endswith("; take an address of this machine, such as 127.0.0.1")


def test_an_address_with_colons_is_told_in_brackets(tmp_path: Path) -> None:
    async def served() -> object:
        net = subnet(tmp_path)
        async with serve(net.path, host="::1", clock=net.clock) as url, connect(url) as client:
            assert url.startswith("ws://[::1]:")
            return await ask(client, "system_chain")

    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    assert asyncio.run(served()) == "pretrain subnet 9"

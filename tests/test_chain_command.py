"""``pretrain chain``: an embedded chain goes on, stops, and takes a newcomer."""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pretrain import cli
from pretrain.chain import history
from pretrain.chain.genesis import Genesis, Parameters
from pretrain.chain.local import LocalChain, create, pause
from pretrain.errors import ChainUnavailable
from pretrain.wallet import create_wallet

Ask = Callable[..., tuple[int, str, str]]
NETUID = 9


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    def call(*arguments: str) -> tuple[int, str, str]:
        code = cli.run(["chain", *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def chain(folder: Path, faucet: str | None = None) -> Path:
    path = folder / "chain.sqlite"
    create(path, Genesis(NETUID, time.time() - 1, Parameters(block_time=60.0), faucet=faucet))
    return path


def register(path: Path) -> list[str]:
    wallets = str(path.parent / "wallets")
    network = f"file:{path}"
    return ["register", "--wallet.name", "alice", "--wallet.path", wallets, "--subtensor.network", network]


def test_a_newcomer_is_registered_with_what_the_faucet_gives(ask: Ask, tmp_path: Path) -> None:
    faucet = create_wallet("faucet", "default", tmp_path / "wallets")
    path = chain(tmp_path, faucet.coldkey.ss58_address)
    code, out, _ = ask(*register(path), "--json")
    address = create_wallet("alice", "default", tmp_path / "wallets").hotkey.ss58_address

    assert (code, json.loads(out)) == (0, {"uid": 0, "hotkey": address})


def test_without_a_faucet_a_coldkey_that_owns_nothing_is_told_so(ask: Ask, tmp_path: Path) -> None:
    path = chain(tmp_path)
    code, out, err = ask(*register(path))

    assert (code, out) == (2, "")
    assert err.endswith(f" lacks 100000000 rao to register, and {path} has no faucet\n")


def test_a_chain_that_was_paused_takes_calls_again_when_resumed(ask: Ask, tmp_path: Path) -> None:
    wallet = create_wallet("faucet", "default", tmp_path / "wallets")
    path = chain(tmp_path, wallet.coldkey.ss58_address)
    network = ["--subtensor.network", f"file:{path}"]
    assert ask("pause", *network) == (0, f"{path} stands at block {history.newest(path)}\n", "")
    access = LocalChain(path, NETUID, wallet)
    with pytest.raises(ChainUnavailable, match="paused"):
        asyncio.run(access.fund(wallet.coldkey, wallet.coldkey.ss58_address, 1))

    code, out, _ = ask("resume", *network, "--json")

    assert (code, json.loads(out)) == (0, {"block": history.newest(path)})
    asyncio.run(access.fund(wallet.coldkey, wallet.coldkey.ss58_address, 1))


@pytest.mark.parametrize("command", ["resume", "pause"])
@pytest.mark.parametrize(
    ("network", "line"),
    [
        ("finney", "--subtensor.network 'finney': only an embedded chain, file:PATH\n"),
        ("file:gone", "--subtensor.network 'file:gone': gone does not exist; `pretrain localnet` makes one\n"),
    ],
)
def test_what_is_no_embedded_chain_is_one_line(ask: Ask, command: str, network: str, line: str) -> None:
    assert ask(command, "--subtensor.network", network) == (2, "", line)


def test_another_subnet_is_told_before_a_wallet_is_made(ask: Ask, tmp_path: Path) -> None:
    path = chain(tmp_path)
    pause(path)
    code, _, err = ask(*register(path), "--netuid", "3")

    assert (code, err) == (2, f"--netuid 3: the chain in {path} holds subnet {NETUID}\n")
    assert not (tmp_path / "wallets").exists()

"""``pretrain doctor`` on an embedded subnet that is in order, and on ones that are not."""

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from competition_texts import SMALL, changed

from pretrain import cli
from pretrain.chain.genesis import RAO, Genesis, GenesisNeuron, Parameters
from pretrain.chain.hyperparameters import Hyperparameters
from pretrain.chain.local import create
from pretrain.commands import gathering
from pretrain.hub.folder import create as create_hub
from pretrain.types import Hotkey
from pretrain.wallet import Wallet, create_wallet

Ask = Callable[..., tuple[int, str, str]]
WORLD = ("--subtensor.network", "file:chain.sqlite", "--hub", "folder:hub", "--competitions", "small.yaml")
KEYS = ("--wallet.name", "alice", "--wallet.path", "wallets")
TOKEN = "hf_very_secret"  # noqa: S105 - of this test


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    def call(*arguments: str) -> tuple[int, str, str]:
        code = cli.run(["doctor", *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture(autouse=True)
def _in_a_subnet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a subnet in which alice is registered with stake and, an epoch ago, got her permit."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    Path("small.yaml").write_text(SMALL)
    create_hub(Path("hub"))
    alice = create_wallet("alice", "default", "wallets")
    create_wallet("bob", "default", "wallets")
    hotkey, coldkey = Hotkey(alice.hotkey.ss58_address), alice.coldkey.ss58_address
    rules = Parameters(Hyperparameters(tempo=4), block_time=60.0)
    neurons = (GenesisNeuron(hotkey, coldkey, 100 * RAO),)
    create(Path("chain.sqlite"), Genesis(9, time.time() - 30.5 * 60, rules, neurons, ((coldkey, RAO),)))


def levels(told: str) -> dict[str, str]:
    """Return the level of each check of the JSON answer."""
    return {check["name"]: check["level"] for check in json.loads(told)["checks"]}


def wrong(told: str) -> dict[str, str]:
    return {name: level for name, level in levels(told).items() if level != "green"}


@pytest.mark.parametrize("role", ["miner", "validator"])
def test_a_subnet_in_order_is_green_throughout(ask: Ask, role: str) -> None:
    code, out, err = ask(role, *WORLD, *KEYS)
    lines = out.splitlines()
    assert (code, err, lines[-1]) == (0, "", f"{role}: everything is in place")
    assert {line.split()[0] for line in lines[:-1]} == {"green"}
    assert TOKEN not in out
    code, out, _ = ask(role, *WORLD, *KEYS, "--json")
    facts = json.loads(out)
    assert (code, facts["role"], facts["in_place"], wrong(out)) == (0, role, True, {})
    assert set(facts["checks"][0]) == {"name", "level", "found", "todo"}


def test_flags_may_stand_in_the_environment_or_the_file_as_for_the_daemons(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRETRAIN_WALLET__NAME", "alice")
    monkeypatch.setenv("PRETRAIN_WALLET__PATH", "wallets")
    Path(".env").write_text("PRETRAIN_COMPETITIONS=small.yaml\nPRETRAIN_HUB=folder:hub\n")
    code, out, _ = ask("validator", "--subtensor.network=file:chain.sqlite", "--json")
    assert (code, wrong(out)) == (0, {})


@pytest.mark.parametrize(
    ("flags", "red", "told"),
    [
        (("--wallet.name", "carol"), {"wallet"}, "wallets/carol/hotkeys/default does not exist: make it with"),
        (("--subtensor.network", "file:gone.sqlite"), {"network"}, "there is no chain at gone.sqlite"),
        (("--subtensor.network", "ws://127.0.0.1:1"), {"network"}, "127.0.0.1"),
        (("--netuid", "3"), {"network"}, "--netuid 3: the chain in chain.sqlite holds subnet 9"),
        (("--wallet.name", "bob"), {"registration"}, "`pretrain chain register --wallet.name bob --wallet.hotkey"),
        (("--competitions", "gone.yaml", "--netuid", "9"), {"competition file"}, "gone.yaml"),
        (("--hub", "folder:nowhere"), {"hub"}, "--hub folder:nowhere: nowhere does not exist"),
        (("--dir", "small.yaml/x"), {"disk"}, "--dir small.yaml/x"),
        (("--competition", "7"), {"competition file"}, "give --competition: 0 (prose), 1 (mixed)"),
    ],
)
def test_what_is_broken_is_red_and_says_what_to_do(ask: Ask, flags: tuple[str, ...], red: set[str], told: str) -> None:
    code, out, err = ask("miner", *WORLD, *KEYS, *flags, "--json")
    assert (code, err) == (1, "")
    assert {name for name, level in levels(out).items() if level == "red"} == red
    assert told in out


def test_no_token_is_red_for_a_miner(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    code, out, _ = ask("miner", *WORLD, *KEYS, "--json")
    assert (code, wrong(out)) == (1, {"token": "red"})


def test_a_competition_file_that_is_not_right_is_red(ask: Ask) -> None:
    Path("small.yaml").write_text(changed("windows: 100", "windows: 0"))
    code, out, _ = ask("validator", *WORLD, *KEYS, "--netuid", "9")
    (line,) = [line for line in out.splitlines() if line.startswith("red")]
    assert (code, "windows" in line, "pretrain competitions check small.yaml" in line) == (1, True, True)


def test_an_encrypted_hotkey_is_told_with_the_variable_that_opens_it(ask: Ask) -> None:
    wallet = Wallet("dora", "default", "wallets")
    wallet.create_new_hotkey(use_password=True, hotkey_password="right", suppress=True)  # noqa: S106
    code, out, _ = ask("validator", *WORLD, *KEYS, "--wallet.name", "dora")
    (line,) = [line for line in out.splitlines() if line.startswith("red")]
    assert (code, "is encrypted: give its password" in line) == (1, True)


def test_a_gpu_that_is_not_there_is_red(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    code, out, _ = ask("validator", *WORLD, *KEYS, "--device", "cuda", "--json")
    assert (code, wrong(out)) == (1, {"device": "red"})


@pytest.fixture
def silent() -> Iterator[str]:
    """Take connections and never answer."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"ws://127.0.0.1:{listening.getsockname()[1]}"


def test_a_node_that_never_answers_is_not_waited_for_longer_than_said(
    ask: Ask, silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "CHAIN", 1.0)
    began = time.monotonic()
    code, out, _ = ask("validator", *WORLD, *KEYS, "--subtensor.network", silent, "--json")
    assert (code, levels(out)["network"], time.monotonic() - began < 20) == (1, "red", True)


@pytest.mark.parametrize("role", ["miner", "validator"])
def test_a_wrong_flag_is_one_line_and_exit_code_2(ask: Ask, role: str) -> None:
    code, out, err = ask(role, *WORLD, "--wallet.nam", "x")
    assert (code, out) == (2, "")
    assert err.startswith("--wallet.nam: no such flag; did you mean --wallet.name?")
    assert len(err.splitlines()) == 1


def test_help_names_the_flags_of_the_daemon(ask: Ask, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        ask("miner", "--help")
    text = " ".join(capsys.readouterr().out.split())
    assert (left.value.code, "--wallet.name" in text, "--json" in text, "examples:" in text) == (0, True, True, True)


def test_on_a_terminal_it_is_a_table(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    assert cli.run(["doctor", "validator", *WORLD, *KEYS]) == 0
    out = capsys.readouterr().out
    assert ("\x1b[32mgreen\x1b[0m" in out, max(map(len, out.splitlines())) < 140) == (True, True)
    assert os.environ["HF_TOKEN"] not in out

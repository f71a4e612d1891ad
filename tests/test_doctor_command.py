"""``pretrain doctor`` on an embedded subnet that is in order, and on ones that are not."""

import asyncio
import gc
import json
import os
import re
import shutil
import socket
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import hub_server
import pytest
from competition_texts import changed
from serving import served

from pretrain import cli
from pretrain.chain import history
from pretrain.chain.connection import Deadlines
from pretrain.chain.genesis import RAO, Genesis, GenesisNeuron, Parameters
from pretrain.chain.hyperparameters import Hyperparameters
from pretrain.chain.local import LocalChain, create, pause
from pretrain.commands import device, gathering
from pretrain.data.tokenizer import train
from pretrain.errors import ConfigError
from pretrain.folder_lock import alone
from pretrain.hub.folder import create as create_hub
from pretrain.memory import STATE, Identity, Memory
from pretrain.publish import JOURNAL, Journal
from pretrain.state import State
from pretrain.types import Block, CompetitionId, Digest, Hotkey
from pretrain.wallet import Wallet, create_wallet

Ask = Callable[..., tuple[int, str, str]]
WORLD = ("--subtensor.network", "file:chain.sqlite", "--hub", "folder:hub", "--competitions", "small.yaml")
KEYS = ("--wallet.name", "alice", "--wallet.path", "wallets")
TOKEN = "hf_very_secret"  # noqa: S105 - of this test
COMPETITIONS = changed("vocabulary: 2048", "vocabulary: 260", changed("start: 100", "start: 0"))
HALF_A_MINUTE = 30


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    train(["one and two and three"], 260, path, "<|endoftext|>")
    return path


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    def call(*arguments: str) -> tuple[int, str, str]:
        code = cli.run(["doctor", *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture(autouse=True)
def _in_a_subnet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tokenizer: Path) -> None:
    """Make a subnet in which alice is registered with stake and, an epoch ago, got her permit."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    Path("small.yaml").write_text(COMPETITIONS)
    shutil.copy(tokenizer, "tokenizer.json")
    create_hub(Path("hub"))
    alice = create_wallet("alice", "default", "wallets")
    create_wallet("bob", "default", "wallets")
    hotkey, coldkey = Hotkey(alice.hotkey.ss58_address), alice.coldkey.ss58_address
    rules = Parameters(Hyperparameters(tempo=4), block_time=60.0)
    neurons = (GenesisNeuron(hotkey, coldkey, 100 * RAO),)
    create(Path("chain.sqlite"), Genesis(9, time.time() - 30.5 * 60, rules, neurons, ((coldkey, RAO),)))
    asyncio.run(LocalChain(Path("chain.sqlite"), 9).head())


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
        (("--wallet.path", "~nobody-of-that-name/x"), {"wallet"}, "there is no home of that name on this machine"),
        (("--subtensor.network", "file:gone.sqlite"), {"network"}, "there is no chain at gone.sqlite"),
        (("--subtensor.network", "ws://127.0.0.1:1"), {"network"}, "127.0.0.1"),
        (("--netuid", "3"), {"network"}, "--netuid 3: the chain in chain.sqlite holds subnet 9"),
        (("--wallet.name", "bob"), {"registration"}, "`pretrain chain register --wallet.name bob --wallet.hotkey"),
        (("--competitions", "gone.yaml", "--netuid", "9"), {"competition file"}, "gone.yaml"),
        (("--hub", "folder:nowhere"), {"hub"}, "--hub folder:nowhere: nowhere does not exist"),
        (("--dir", "small.yaml/x"), {"disk"}, "--dir small.yaml/x"),
        (("--competition", "7"), {"competition file"}, "give --competition: 0 (prose), 1 (mixed)"),
        (("--netuid", "3"), {"network"}, "give --subtensor.network and --netuid that belong together"),
        (("--wallet.name", "carol"), {"wallet"}, "new-hotkey -w carol -H default --wallet-path wallets`"),
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


def test_the_public_hub_is_asked_as_a_stranger_and_is_red_when_it_does_not_answer(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hub_server.running({TOKEN: "alice"}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        code, out, _ = ask("miner", *WORLD, *KEYS, "--hub", "huggingface", "--json")
    assert (code, wrong(out)) == (0, {})
    assert {request.token for request in hub.requests} == {None}
    for endpoint in (hub.endpoint, "no-address"):
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        code, out, _ = ask("miner", *WORLD, *KEYS, "--hub", "huggingface", "--json")
        assert (code, wrong(out)) == (1, {"hub": "red"})


def test_a_competition_file_that_is_not_right_is_red(ask: Ask) -> None:
    Path("small.yaml").write_text(changed("windows: 100", "windows: 0", COMPETITIONS))
    code, out, _ = ask("validator", *WORLD, *KEYS, "--netuid", "9")
    (line,) = [line for line in out.splitlines() if line.startswith("red")]
    assert (code, "windows" in line, "pretrain competitions check small.yaml" in line) == (1, True, True)


def test_an_encrypted_hotkey_is_told_with_the_variable_that_opens_it(ask: Ask) -> None:
    wallet = Wallet("dora", "default", "wallets")
    wallet.create_new_hotkey(use_password=True, hotkey_password="right", suppress=True)  # noqa: S106
    code, out, _ = ask("validator", *WORLD, *KEYS, "--wallet.name", "dora")
    (line,) = [line for line in out.splitlines() if line.startswith("red")]
    assert (code, "is encrypted: give its password" in line) == (1, True)


def test_a_file_with_which_no_daemon_starts_is_red(ask: Ask) -> None:
    Path("tokenizer.json").unlink()
    code, out, _ = ask("miner", *WORLD, *KEYS, "--json")
    assert (code, wrong(out), "tokenizer.json cannot be read" in out) == (1, {"texts": "red"}, True)
    Path("small.yaml").write_text(changed("{kind: stdlib-code}", "{kind: parquet, repo: a/b}", COMPETITIONS))
    code, out, _ = ask("validator", *WORLD, *KEYS, "--json")
    assert (code, wrong(out), "source code: kind parquet" in out) == (1, {"texts": "red"}, True)


def test_a_competition_that_is_not_in_force_yet_is_told(ask: Ask) -> None:
    code, out, _ = ask("miner", *WORLD, *KEYS, "--competition", "1", "--json")
    assert (code, wrong(out)) == (0, {"competition file": "yellow"})
    assert "wait for block 200, or give --competition: 0 (prose)" in out


def test_a_chain_that_stands_still_is_red_and_stays_as_it_is(ask: Ask) -> None:
    rules = Parameters(block_time=1.0)
    create(Path("old.sqlite"), Genesis(9, time.time() - 7 * 86_400, rules))
    code, out, _ = ask("miner", *WORLD, *KEYS, "--subtensor.network", "file:old.sqlite", "--json")
    assert (code, levels(out)["endpoint"], history.newest(Path("old.sqlite"))) == (1, "red", 0)
    assert "pretrain chain resume --subtensor.network file:old.sqlite" in out


def test_a_version_key_that_the_chain_refuses_is_red_on_either_kind_of_chain(ask: Ask) -> None:
    create(Path("strict.sqlite"), Genesis(9, time.time(), Parameters(weights_version_key=2)))
    code, out, _ = ask("validator", *WORLD, *KEYS, "--subtensor.network", "file:strict.sqlite", "--json")
    assert (code, levels(out)["weights"], "takes no row below 2" in out) == (1, "red", True)
    with served(Path("strict.sqlite"), time.time) as url:
        code, out, _ = ask("validator", *WORLD, *KEYS, "--subtensor.network", url, "--json")
    assert (code, levels(out)["weights"], "takes no row below 2" in out) == (1, "red", True)


def test_a_paused_chain_is_red(ask: Ask) -> None:
    pause(Path("chain.sqlite"))
    code, out, _ = ask("miner", *WORLD, *KEYS, "--json")
    assert (code, wrong(out)) == (1, {"endpoint": "red"})


def test_without_a_hotkey_the_chain_is_asked_all_the_same(ask: Ask) -> None:
    shutil.rmtree("wallets/bob/hotkeys")
    _, out, _ = ask("validator", *WORLD, *KEYS, "--wallet.name", "bob", "--json")
    told = levels(out)
    assert (told["wallet"], told["network"], told["endpoint"]) == ("red", "green", "green")
    assert "0 TAO, free, on coldkey 5" in out


def test_over_a_websocket_it_is_the_same_and_nothing_is_left_at_home(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache")))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv(gathering.CLIENT_CACHE)
    with served(Path("chain.sqlite"), time.time) as url:
        code, out, err = ask("validator", *WORLD, *KEYS, "--subtensor.network", url, "--json")
        assert (code, err, wrong(out)) == (0, "", {})
        keys = ("--subtensor.network", f"{url}/KEY", "--subtensor.fallback", "ws://127.0.0.1:1/KEY")
        code, out, err = ask("validator", *WORLD, *KEYS, *keys, "--wallet.name", "bob", "--json")
        assert (code, levels(out)["registration"], "KEY" in out + err) == (1, "red", False)
        code, out, _ = ask("validator", *WORLD, *KEYS, "--subtensor.network", url, "--netuid", "7", "--json")
    assert (code, levels(out)["network"], "no such subnet" in out) == (1, "red", True)
    assert (list((tmp_path / "home").iterdir()), gathering.CLIENT_CACHE in os.environ) == ([], False)


def identity(name: str = "alice") -> Identity:
    hotkey = Hotkey(create_wallet(name, "default", "wallets").hotkey.ss58_address)
    return Identity(LocalChain(Path("chain.sqlite"), 9).genesis.hash.hex(), 9, hotkey)


def remembered(here: Identity, step: int | None = 20) -> None:
    """Leave a memory as a validator does."""
    memory = Memory(Path("validator", STATE))
    memory.bind(here, Block(25))
    memory.save(State(step=None if step is None else Block(step)), None)


def published(here: Identity) -> None:
    """Leave a journal as a miner does."""
    Path("miner").mkdir()
    journal = Journal(
        network="test",
        genesis=here.genesis,
        netuid=here.netuid,
        hotkey=here.hotkey,
        repo="alice/model",
        competition=CompetitionId(0),
        content=Digest("A" * 43 + "="),
    )
    Path("miner", JOURNAL).write_text(journal.model_dump_json())


@pytest.mark.parametrize(
    ("role", "leave", "told"),
    [
        ("validator", remembered, "validator/state.sqlite is whole, judged up to block 20"),
        ("miner", published, "miner/publication.json is of alice/model in competition 0"),
    ],
)
def test_a_folder_to_go_on_with_is_green_and_stays_as_it_is(
    ask: Ask, role: str, leave: Callable[[Identity], None], told: str
) -> None:
    leave(identity())
    before = {path.name: path.read_bytes() for path in Path(role).iterdir()}
    code, out, _ = ask(role, *WORLD, *KEYS, "--json")
    assert (code, wrong(out), told in out) == (0, {}, True)
    assert {path.name: path.read_bytes() for path in Path(role).iterdir()} == before


@pytest.mark.parametrize(("role", "leave"), [("validator", remembered), ("miner", published)])
@pytest.mark.parametrize(
    ("change", "told"),
    [({"genesis": "ab" * 32}, "genesis abababab"), ({"netuid": 7}, "7"), ({"hotkey": "5Somebody"}, "5Somebody")],
)
def test_a_folder_of_another_chain_subnet_or_hotkey_is_red(
    ask: Ask, role: str, leave: Callable[[Identity], None], change: dict[str, Any], told: str
) -> None:
    leave(replace(identity(), **change))
    code, out, _ = ask(role, *WORLD, *KEYS, "--json")
    assert (code, wrong(out)) == (1, {"folder": "red"})
    assert re.search(rf"is of .*{told}.* is asked for; use another --dir", out)


@pytest.mark.parametrize(
    ("role", "file", "content", "told"),
    [
        ("validator", STATE, b"no database at all" * 100, "file is not a database"),
        ("miner", JOURNAL, b"{", "is not a publication's journal"),
    ],
)
def test_a_folder_with_which_no_daemon_starts_is_red(ask: Ask, role: str, file: str, content: bytes, told: str) -> None:
    Path(role).mkdir()
    Path(role, file).write_bytes(content)
    code, out, _ = ask(role, *WORLD, *KEYS, "--json")
    assert (code, wrong(out), told in out) == (1, {"folder": "red"}, True)


def test_a_memory_of_a_chain_that_was_made_anew_is_red_and_one_of_an_older_software_is_not(ask: Ask) -> None:
    remembered(identity(), step=20)
    with closing(sqlite3.connect(Path("validator", STATE))) as database, database:
        database.execute("DROP TABLE identity")
    code, out, _ = ask("validator", *WORLD, *KEYS, "--json")
    assert (code, wrong(out)) == (0, {})
    Memory(Path("validator", STATE)).save(State(step=Block(10**6)), None)
    code, out, _ = ask("validator", *WORLD, *KEYS, "--json")
    assert (code, wrong(out), "has passed block 1000000" in out) == (1, {"folder": "red"}, True)


@pytest.mark.parametrize("role", ["validator", "miner"])
def test_a_folder_that_a_process_has_is_worth_a_look(ask: Ask, role: str) -> None:
    with alone(Path(role), "--dir"):
        code, out, _ = ask(role, *WORLD, *KEYS, "--json")
        assert (code, wrong(out), "a process has it now" in out) == (0, {"folder": "yellow"}, True)
    code, out, _ = ask(role, *WORLD, *KEYS, "--json")
    assert (code, wrong(out)) == (0, {})


def test_a_folder_that_cannot_be_written_is_red(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    ask_the_system = os.access
    monkeypatch.setattr("os.access", lambda path, mode: path != Path.cwd() and ask_the_system(path, mode))
    code, out, _ = ask("validator", *WORLD, *KEYS, "--json")
    assert (code, wrong(out), "cannot be written" in out) == (1, {"disk": "red"}, True)


def test_a_gpu_that_is_not_there_is_red(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    code, out, _ = ask("validator", *WORLD, *KEYS, "--device", "cuda", "--json")
    assert (code, wrong(out)) == (1, {"device": "red"})


def test_a_gpu_is_told_with_its_memory_and_one_beyond_the_last_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda index: (index * 10**9, 80 * 10**9))
    monkeypatch.setattr("torch.cuda.get_device_name", lambda index: f"GPU {index}")
    assert [device.look(name) for name in ("cuda", "cuda:1")] == [
        "GPU 0, 0 of 80 GB free",
        "GPU 1, 1 of 80 GB free",
    ]
    with pytest.raises(ConfigError, match="there are 2 GPUs, numbered from 0"):
        device.look("cuda:2")


def test_a_device_that_hangs_holds_nobody(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    hang = "import os, time; open('child', 'w').write(str(os.getpid())); time.sleep(600)"
    monkeypatch.setattr(device, "PROBE", (sys.executable, "-c", hang))
    monkeypatch.setattr(gathering, "DEADLINE", 4.0)
    began = time.monotonic()
    code, out, _ = ask("validator", *WORLD, *KEYS, "--device", "cuda", "--json")
    assert (code, levels(out)["device"], time.monotonic() - began < HALF_A_MINUTE) == (1, "red", True)
    assert "--device cuda: no answer within 4 s" in out
    with pytest.raises(ProcessLookupError):
        os.kill(int(Path("child").read_text()), 0)


def test_a_device_that_ends_the_process_is_told_with_its_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "PROBE", (sys.executable, "-c", "import os; os.abort()"))
    with pytest.raises(ConfigError, match="--device cuda: ended with code -6"):
        device.ask("cuda", 20)


def test_a_thread_that_hangs_holds_nobody(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "build_sampler", lambda *_: time.sleep(60))
    monkeypatch.setattr(gathering, "DEADLINE", 4.0)
    began = time.monotonic()
    _, out, _ = ask("validator", *WORLD, *KEYS, "--json")
    assert (levels(out)["texts"], time.monotonic() - began < HALF_A_MINUTE) == ("yellow", True)


def test_it_answers_within_half_a_minute_also_when_a_connection_is_to_be_closed() -> None:
    assert gathering.DEADLINE + Deadlines().closing < HALF_A_MINUTE


@pytest.fixture
def silent() -> Iterator[str]:
    """Take connections and never answer."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"ws://127.0.0.1:{listening.getsockname()[1]}"


def test_a_node_that_never_answers_is_not_waited_for_longer_than_said(
    ask: Ask, silent: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(gathering, "DEADLINE", 6.0)
    began = time.monotonic()
    code, out, err = ask("validator", *WORLD, *KEYS, "--subtensor.network", f"{silent}/KEY", "--json")
    gc.collect()  # what nobody asked about an error is told when its task goes
    assert (code, levels(out)["network"], time.monotonic() - began < HALF_A_MINUTE) == (1, "red", True)
    assert re.search(rf"{silent} (did not answer|could not be opened) within 1(\.2)? s", out)
    assert (err, caplog.records, "KEY" in out) == ("", [], False)


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

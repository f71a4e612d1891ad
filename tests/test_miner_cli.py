import asyncio
import errno
import hashlib
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import hub_server
import pytest
import yaml

from pretrain.chain.genesis import Genesis, GenesisNeuron, Parameters
from pretrain.chain.hyperparameters import Hyperparameters
from pretrain.chain.local import LocalChain
from pretrain.chain.local import create as create_chain
from pretrain.commitment import Entry, content_digest, secure_hash
from pretrain.data import tokenizer
from pretrain.errors import HubUnavailable
from pretrain.hub.folder import create as create_hub
from pretrain.models.files import local_files
from pretrain.settings import ScoreSettings, Store
from pretrain.status import read_status
from pretrain.types import Hotkey
from pretrain.wallet import create_wallet

ROOT = Path(__file__).parents[1]
COMMANDS = ("train", "score", "publish", "run")


@dataclass(frozen=True)
class Finished:
    """How a program ended."""

    code: int
    out: str
    err: str


def start(*arguments: str, token: str | None = None) -> subprocess.Popen[str]:
    names = ("PATH", "HOME", "VIRTUAL_ENV", "COVERAGE_PROCESS_START")
    environment = {name: os.environ[name] for name in names if name in os.environ} | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, str(ROOT / "neurons" / "miner.py"), *arguments],
        env=environment | ({"HF_TOKEN": token} if token else {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> Finished:
    out, err = process.communicate(timeout=240)
    return Finished(process.returncode, out, err)


def ask(capsys: pytest.CaptureFixture[str], *arguments: str) -> Finished:
    """Run the program's main in this process, which has torch already."""
    try:
        code = importlib.import_module("miner").main(arguments)
    except SystemExit as left:
        code = int(left.code or 0)
    text = capsys.readouterr()
    return Finished(code, text.out, text.err)


def words(count: int) -> str:
    """Documents of words that follow each other in a way that can be learnt."""
    kinds = [hashlib.sha256(f"kind {k}".encode()).hexdigest()[:4] for k in range(40)]
    turns = hashlib.shake_256(b"text").digest(count)
    return "\n\n".join(
        f"{n} " + " ".join(kinds[(turn + 7 * k) % 40] for k in range(25)) for n, turn in enumerate(turns)
    )


@pytest.fixture(scope="module")
def subnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chain, a hub, a wallet and a competition on a small text of its own, in one folder."""
    folder = tmp_path_factory.mktemp("subnet")
    text = words(1500)
    (folder / "text.txt").write_text(text)
    tokenizer.train([text], 300, folder / "tokenizer.json", "<eos>")
    (folder / "competition.yaml").write_text(yaml.safe_dump(rules()))
    hotkey = Hotkey(create_wallet("alice", "default", folder / "wallets").hotkey.ss58_address)
    parameters = Parameters(hyperparameters=Hyperparameters(), block_time=0.2)
    neurons = (GenesisNeuron(hotkey, hotkey, 0),)
    create_chain(folder / "chain.sqlite", Genesis(9, time.time() - 10, parameters, neurons))
    create_hub(folder / "hub")
    return folder


@pytest.fixture(autouse=True)
def _in_the_subnet(subnet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(subnet)
    monkeypatch.syspath_prepend(str(ROOT / "neurons"))


def rules() -> dict[str, object]:
    return {
        "name": "tiny",
        "netuid": 9,
        "version_key": 1,
        "timing": {"sync_cadence": 5, "eval_block_delay": 6, "weights_interval": 10, "max_weights_age": 100},
        "selection": {
            "top_stake": 1,
            "top_weight": 0.1,
            "pool": 5,
            "max_new": 4,
            "max_returns": 2,
            "fairness_blocks": 600,
            "champion_patience": 3,
        },
        "weights": {"min_weight": 0.001},
        "tokenizers": {"small": {"path": "tokenizer.json", "vocabulary": 300, "eos": "<eos>"}},
        "sources": {"words": {"kind": "files", "path": "text.txt"}},
        "models": {
            "pico": {
                "families": ["llama"],
                "tokenizer": "small",
                "sequence_length": 32,
                "min_parameters": 1000,
                "max_parameters": 100_000,
                "max_bytes": 1_000_000,
            }
        },
        "mixes": {"all": {"words": {"source": "words", "weight": 1.0}}},
        "competitions": {
            "words": {
                "id": 0,
                "model": "pico",
                "mix": "all",
                "windows": 8,
                "max_document_tokens": 64,
                "epsilon": {"kind": "fixed", "end": 0.01},
                "reward": {"kind": "softmax"},
                "noise": {"paired_sd": 0.02, "below_noise": "accepted"},
            }
        },
        "phases": [{"start": 0, "competitions": [{"competition": "words", "share": 1.0}]}],
    }


def training(folder: str, tokens: int = 60_000) -> list[str]:
    model = ["--model.hidden_size", "32", "--model.layers", "1", "--model.intermediate_size", "64"]
    train = ["--train.tokens", str(tokens), "--train.batch", "4", "--train.checkpoint_tokens", "4000"]
    return [*place(folder), *model, *train]


def place(folder: str) -> list[str]:
    return ["--competitions", "competition.yaml", "--dir", folder]


def network(*, keys: bool = True) -> list[str]:
    wallet = ["--wallet.name", "alice", "--wallet.path", "wallets"] if keys else []
    return [*wallet, "--subtensor.network", "file:chain.sqlite", "--hub", "folder:hub"]


def weights(folder: Path) -> bytes:
    return (folder / "model" / "model.safetensors").read_bytes()


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    """Return when a process has made a file; a process that ends before it fails the test."""
    while not path.exists():
        try:
            process.wait(timeout=0.02)
        except subprocess.TimeoutExpired:
            continue
        pytest.fail(f"ended with {process.returncode}: {process.communicate()[1]}")


def test_every_command_explains_itself_with_examples(capsys: pytest.CaptureFixture[str]) -> None:
    whole = ask(capsys, "--help")
    assert (whole.code, whole.err) == (0, "")
    assert all(f"\n  {command} " in whole.out for command in COMMANDS)
    for command in COMMANDS:
        one = ask(capsys, command, "--help")
        assert (one.code, one.err) == (0, "")
        assert f"usage: neurons/miner.py {command}" in one.out
        assert "examples:\n" in one.out


def test_explaining_loads_neither_torch_nor_keys() -> None:
    program = (
        f"import runpy, sys; sys.argv = ['miner.py', 'run', '--help']\n"
        f"try: runpy.run_path({str(ROOT / 'neurons' / 'miner.py')!r}, run_name='__main__')\n"
        "except SystemExit as left: print(left.code, {'torch', 'transformers', 'bittensor'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)  # noqa: S603 - our own program
    assert done.stdout.splitlines()[-1] == "0 set()"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["mine"], "error: mine: no such command; expected train, score, publish, run"),
        (["train", "--train.lr", "0"], "error: --train.lr '0': expected greater than 0"),
        (["publish"], "error: --repo is missing"),
        (["train", "--competitions", "nowhere.yaml"], "error: nowhere.yaml"),
        (["score", "--competitions", "competition.yaml"], "error: --dir miner: no finished model in miner/model"),
        (["run", *network(), "--repo", "alice/m"], "error: HF_TOKEN is not set: put the hub's token that owns"),
        (
            ["train", *training("x"), "--model.heads", "5"],
            "error: --model.*: hidden_size 32 is not a multiple of num_attention_heads 5",
        ),
        (
            ["train", *training("x"), "--train.mix", "prose=1"],
            "error: --train.mix names 'prose'; the competition file defines words",
        ),
        (["train", *training("x"), "--competition", "7"], "error: --competition 7: the competition file has 0 (words)"),
    ],
)
def test_a_wrong_question_gets_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], line: str
) -> None:
    done = ask(capsys, *arguments)
    errors = [text for text in done.err.splitlines() if text.startswith("error: ")]
    assert (done.code, len(errors)) == (2, 1)
    assert errors[0].startswith(line)


def test_killed_at_any_moment_training_goes_on_to_the_very_bits_of_a_straight_run(
    subnet: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(capsys, "train", *training("straight")).code == 0
    killed = start("train", *training("killed"))
    wait_for(subnet / "killed" / "checkpoint.safetensors", killed)
    killed.send_signal(signal.SIGKILL)
    assert ended(killed).code == -signal.SIGKILL
    assert not (subnet / "killed" / "model").exists()
    resumed = ask(capsys, "train", *training("killed"))
    assert (resumed.code, "training: 0 of" in resumed.err) == (0, False)
    assert weights(subnet / "killed") == weights(subnet / "straight")
    assert read_status(subnet / "killed")["tokens"] == 60_000


def test_asked_to_stop_it_saves_and_leaves_with_0(subnet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stopped = start("train", *training("stopped", tokens=3_000_000))
    wait_for(subnet / "stopped" / "checkpoint.safetensors", stopped)
    stopped.send_signal(signal.SIGTERM)
    done = ended(stopped)
    assert (done.code, "stopped; the same command goes on" in done.err, "Traceback" in done.err) == (0, True, False)
    other = ask(capsys, "train", *training("stopped", tokens=1_000_000))
    assert other.code == 2
    assert "train.tokens 3000000 (now 1000000)" in other.err


def test_run_trains_scores_and_publishes_and_run_again_finds_it_done(
    subnet: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = [*training("alice", tokens=6_000), *network(), "--repo", "alice/model-1"]
    first = ended(start("run", *flags, token="secret-of-alice"))  # noqa: S106 - of this test
    assert first.code == 0, first.err
    assert "would beat the champion: yes, there is none" in first.err
    assert "secret-of-alice" not in first.out + first.err
    (entry,) = entries(subnet)
    committed = secure_hash(content_digest(local_files(subnet / "alice" / "model")), entry.hotkey)
    assert (entry.commitment.repo, entry.commitment.secure_hash) == ("alice/model-1", committed)
    assert read_status(subnet / "alice") == {"doing": "published", "block": entry.block}
    curve = [json.loads(line) for line in (subnet / "alice" / "training.jsonl").read_text().splitlines()]
    assert (set(curve[-1]), curve[-1]["tokens"]) == ({"tokens", "loss"}, 6_016)

    monkeypatch.setenv("HF_TOKEN", "secret-of-alice")
    assert ask(capsys, "run", *flags).code == 0
    again = ask(capsys, "publish", *place("alice"), *network(), "--repo", "alice/other")
    assert (again.code, "holds this very model in competition 0" in again.err) == (1, True)
    assert entries(subnet) == (entry,)

    pinned = f"alice/model-1@{entry.commitment.revision}"
    copied = ask(capsys, "train", *training("copy", tokens=0), "--hub", "folder:hub", "--train.from", pinned)
    assert copied.code == 0
    assert weights(subnet / "copy") == weights(subnet / "alice")


@pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")  # huggingface_hub's upload
def test_a_model_is_published_to_the_public_hub_and_begun_with_from_there(
    subnet: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    public = [*network()[:-1], "huggingface"]
    with hub_server.running({"hf_secret-of-alice": "alice"}) as hub:
        monkeypatch.setenv("HF_TOKEN", "hf_secret-of-alice")
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        assert ask(capsys, "train", *training("public", tokens=0)).code == 0
        published = ask(capsys, "publish", *place("public"), *public, "--repo", "alice/public")
        assert published.code == 0, published.err
        monkeypatch.delenv("HF_TOKEN")
        journal = json.loads((subnet / "public" / "publication.json").read_text())
        assert journal["block"]
        pinned = f"alice/public@{journal['revision']}"
        begun = ask(capsys, "train", *training("begun", tokens=0), "--hub", "huggingface", "--train.from", pinned)
    assert begun.code == 0, begun.err
    assert weights(subnet / "begun") == weights(subnet / "public")
    assert "hf_secret" not in published.out + published.err


@pytest.mark.parametrize("command", ["score", "publish", "run"])
@pytest.mark.parametrize("wrong", ["hub", "chain", "node"])
def test_who_is_told_a_wrong_hub_or_chain_hears_of_it_at_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str, wrong: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    places = {
        "hub": ["--hub", "folder:typo-hub"],
        "chain": ["--subtensor.network", "file:typo.sqlite"],
        "node": ["--subtensor.network", "ws://typo.localhost:1"],
    }
    asked = [*(training("unasked") if command == "run" else place("alice")), *network(keys=command != "score")]
    asked += [] if command == "score" else ["--repo", "alice/unasked"]
    if command != "run":
        assert ask(capsys, "train", *training("alice", tokens=6_000)).code == 0

    done = ask(capsys, command, *asked, *places[wrong])

    assert (done.code, "typo" in done.err.splitlines()[-1], "trying again" in done.err) == (1, True, False)
    assert not Path("unasked", "checkpoint.safetensors").exists()


def test_a_miner_that_has_trained_waits_for_hub_and_chain(
    subnet: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are away when the training ends, and come back one after the other while it waits."""
    mining = importlib.import_module("mining")
    monkeypatch.setenv("HF_TOKEN", "secret-of-alice")
    assert (
        ask(
            capsys, "run", *training("patient", tokens=6_000), *network(), "--repo", "alice/patient", "--publish.anyway"
        ).code
        == 0
    )

    async def moved_away(*_: object) -> None:
        for name, seconds in (("chain.sqlite", 1.0), ("hub", 8.0)):
            (subnet / name).rename(subnet / f"{name}.away")
            threading.Timer(seconds, (subnet / f"{name}.away").rename, [subnet / name]).start()

    monkeypatch.setattr(mining, "_train", moved_away)
    done = ask(capsys, "run", *training("patient", tokens=6_000), *network(), "--repo", "alice/patient")

    assert (done.code, read_status(subnet / "patient")["doing"]) == (0, "published")
    waits = [record.getMessage() for record in caplog.records if "trying again" in record.getMessage()]
    assert ["chain" in waits[0], "hub" in waits[-1]] == [True, True]


def test_a_full_disk_does_not_end_a_miner_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    mining = importlib.import_module("mining")
    failures = [HubUnavailable("503")]

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    async def question() -> str:
        if failures:
            raise failures.pop()
        return "answered"

    monkeypatch.setattr(mining, "write_status", full)
    assert asyncio.run(mining._patiently(question, ScoreSettings())) == "answered"  # noqa: SLF001 - the wait itself


def test_downloads_take_no_more_of_the_line_than_the_store_is_told() -> None:
    collaborators = importlib.import_module("collaborators")
    hub = collaborators.open_hub("huggingface", Store(parallel=2, mb_per_second=1.5))
    assert (hub._limits.parallel, hub._limits.bandwidth) == (2, 1.5e6)  # noqa: SLF001 - what it was built with


def catches_sigterm(process: subprocess.Popen[str]) -> bool:
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = int(status.partition("SigCgt:")[2].split()[0], 16)
    return bool(caught >> (signal.SIGTERM - 1) & 1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop_while_it_still_imports_it_leaves_with_0(number: signal.Signals) -> None:
    process = start("train", *training("early"))
    while not catches_sigterm(process):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    done = ended(process)
    assert (done.code, "Traceback" in done.err) == (0, False)


def entries(folder: Path) -> tuple[Entry, ...]:
    return asyncio.run(LocalChain(folder / "chain.sqlite", 9).snapshot(1)).entries

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pretrain.command_line import Program, read
from pretrain.errors import ConfigError
from pretrain.settings import (
    RunSettings,
    Secrets,
    Settings,
    Subtensor,
    TrainSettings,
    ValidatorSettings,
    at_home,
    hub_folder,
    shares,
)

PROGRAM = Program("neurons/miner.py run", "Trains, scores and publishes.", "  neurons/miner.py run --repo a/b")
REVISION = "0123456789" * 4


@pytest.fixture(autouse=True)
def _empty_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def told(*arguments: str, kind: type[Settings] = RunSettings) -> str:
    """The message for a wrong command line."""
    with pytest.raises(ConfigError) as caught:
        read(kind, arguments, PROGRAM)
    return str(caught.value)


def test_flags_are_those_of_the_ecosystem() -> None:
    settings = read(
        RunSettings,
        [
            *("--wallet.name", "alice", "--wallet.hotkey", "h1", "--wallet.path", "/wallets"),
            *("--subtensor.network", "file:/tmp/chain.sqlite", "--netuid", "3", "--hub", "folder:/tmp/hub"),
            *("--repo", "alice/model", "--competition", "1", "--publish.anyway", "--model.layers", "3"),
            *("--train.tokens", "5", "--train.mix", "prose=0.85,code=0.15", "--train.from", f"bob/model@{REVISION}"),
        ],
        PROGRAM,
    )
    assert (settings.wallet.name, settings.wallet.hotkey, settings.wallet.path) == ("alice", "h1", Path("/wallets"))
    assert (settings.subtensor.file, settings.netuid) == (Path("/tmp/chain.sqlite"), 3)  # noqa: S108 - only a name
    assert (hub_folder(settings.hub), settings.repo, settings.competition) == (Path("/tmp/hub"), "alice/model", 1)  # noqa: S108
    assert (settings.publish.anyway, settings.model.layers, settings.train.tokens) == (True, 3, 5)
    assert (settings.train.mix, settings.train.start) == ("prose=0.85,code=0.15", f"bob/model@{REVISION}")


def test_a_flag_goes_before_the_environment_and_that_before_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text(
        "PRETRAIN_TRAIN__SEED=1\nPRETRAIN_TRAIN__LR=0.5\nPRETRAIN_TRAIN__BATCH=7\n"
        "PRETRAIN_WANDB__OFF=true\nOTHER=1\nHF_TOKEN=x\n"
    )
    monkeypatch.setenv("PRETRAIN_TRAIN__LR", "0.25")
    monkeypatch.setenv("PRETRAIN_TRAIN__SEED", "2")
    train = read(TrainSettings, ["--train.seed", "3"], PROGRAM).train
    assert (train.seed, train.lr, train.batch) == (3, 0.25, 7)
    assert read(ValidatorSettings, [], PROGRAM).wandb.off


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--train.tokens", "many"], "--train.tokens 'many': expected a valid integer"),
        (["--train.batch", "0"], "--train.batch '0': expected greater than 0"),
        (["--train.lr", "nan"], "--train.lr 'nan': expected a finite number"),
        (["--train.warmup", "2"], "--train.warmup '2': expected less than or equal to 1"),
        (["--train.form", "step"], "--train.form 'step': expected 'linear', '1-sqrt' or 'cosine'"),
        (["--train.mix", "prose=0.8,code=0.1"], "--train.mix 'prose=0.8,code=0.1': the shares sum to 0.9; they must"),
        (["--train.mix", "prose"], "--train.mix 'prose': expected SOURCE=SHARE,..., each once and above 0, such as"),
        (["--train.mix", "a=.5,a=.5"], "--train.mix 'a=.5,a=.5': expected SOURCE=SHARE,..., each once"),
        (["--train.mix", "a=nan"], "--train.mix 'a=nan': expected SOURCE=SHARE"),
        (["--train.from", "bob/model"], "--train.from 'bob/model': expected NAMESPACE/NAME@REVISION, 40 lower-case"),
        (["--device", "gpu"], "--device 'gpu': expected cpu, cuda or cuda:N"),
        (
            ["--subtensor.network", "main"],
            "--subtensor.network 'main': expected finney, test, local, ws://HOST:PORT, wss://HOST or file:PATH",
        ),
        (["--subtensor.network", "ws://"], "--subtensor.network 'ws://': expected finney, test"),
        (["--subtensor.network", "ws://a:99999"], "--subtensor.network 'ws://a:99999': expected finney, test"),
        (["--subtensor.network", "ws://[::1"], "--subtensor.network 'ws://[::1': expected finney, test"),
        (["--subtensor.network", "http://a"], "--subtensor.network 'http://a': expected finney, test"),
        (
            ["--subtensor.fallback", "wss://a,b"],
            "--subtensor.fallback 'wss://a,b': expected ws://HOST:PORT or wss://HOST",
        ),
        (
            ["--subtensor.network", "file:x", "--subtensor.fallback", "ws://a:1"],
            "--subtensor.fallback 'ws://a:1': an embedded chain has no other address; leave it out with",
        ),
        (["--subtensor.timeout", "0"], "--subtensor.timeout '0': expected greater than 0"),
        (["--store.max_gb", "0"], "--store.max_gb '0': expected greater than 0"),
        (["--store.min_free_gb", "-1"], "--store.min_free_gb '-1': expected greater than or equal to 0"),
        (["--netuid", "70000"], "--netuid '70000': expected less than or equal to 65535"),
        (["--hub", "/hub"], "--hub '/hub': expected huggingface or folder:PATH"),
        (["--competition", "100"], "--competition '100': expected less than or equal to 99"),
        (["--walet.name", "x"], "--walet.name: no such flag; did you mean --wallet.name? (see neurons/miner.py"),
        (["--wallet.nam", "x"], "--wallet.nam: no such flag; did you mean --wallet.name?"),
        (["--wallet.name"], "--wallet.name: expected one argument"),
    ],
)
def test_a_wrong_flag_gets_one_line_with_its_value_and_what_would_be_right(arguments: list[str], message: str) -> None:
    line = told("--repo", "a/b", *arguments)
    assert line.startswith(message)
    assert "\n" not in line


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://node.example/v1/SECRET", "'https://node.example...'"),
        ("wss://node.example:1/?key=SECRET x", "'wss://node.example:1...'"),
        ("wss://user:SECRET@node.example:99999", "'wss://...'"),
        ("node.example/SECRET@x", "'...'"),
        ("ws:/node.example/SECRET", "'ws:...'"),
    ],
)
@pytest.mark.parametrize("flag", ["--subtensor.network", "--subtensor.fallback"])
def test_a_mistyped_address_is_told_without_the_key_in_it(flag: str, address: str, shown: str) -> None:
    assert told("--repo", "a/b", flag, address).startswith(f"{flag} {shown}: expected")
    assert "SECRET" not in told("--repo", "a/b", flag, f"ws://a:1,{address}")
    assert "SECRET" not in told("--repo", "a/b", f"{flag}s={address}")
    assert "SECRET" not in told("--repo", "a/b", flag, "ws://a:1", address)


def test_every_wrong_flag_is_told_at_once() -> None:
    assert told("--train.seed", "x", "--judge.batch", "-1").splitlines() == [
        "--train.seed 'x': expected a valid integer",
        "--judge.batch '-1': expected greater than 0",
        "--repo is missing",
    ]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("PRETRAIN_WALET__NAME", "PRETRAIN_WALET__NAME: no such setting; did you mean PRETRAIN_WALLET__NAME?"),
        ("PRETRAIN_WALLET__NAMEE", "PRETRAIN_WALLET__NAMEE: no such setting; did you mean PRETRAIN_WALLET__NAME?"),
        ("PRETRAIN_SEED", "PRETRAIN_SEED: no such setting"),
        ("pretrain_wallet__name", "pretrain_wallet__name: no such setting; did you mean PRETRAIN_WALLET__NAME?"),
    ],
)
@pytest.mark.parametrize("in_file", [False, True])
def test_a_misspelt_variable_is_told_and_not_ignored(
    monkeypatch: pytest.MonkeyPatch, name: str, message: str, *, in_file: bool
) -> None:
    if in_file:
        Path(".env").write_text(f"{name}=x\n")
    else:
        monkeypatch.setenv(name, "x")
    assert told("--repo", "a/b").startswith(message)


@pytest.mark.parametrize("flag", ["--subtensor.network", "--netuid", "--wallet.name", "--hub"])
@pytest.mark.parametrize("form", ["flag", "flag=", "environment", "file"])
def test_what_is_empty_is_told_and_not_taken_for_the_default(
    monkeypatch: pytest.MonkeyPatch, flag: str, form: str
) -> None:
    """A script whose variable is not set must not reach the main network."""
    variable = "PRETRAIN_" + flag.removeprefix("--").replace(".", "__").upper()
    arguments = {"flag": [flag, ""], "flag=": [f"{flag}="]}.get(form, [])
    if form == "environment":
        monkeypatch.setenv(variable, "")
    if form == "file":
        Path(".env").write_text(f"{variable}=\n")
    assert told("--repo", "a/b", *arguments) == (
        f"{flag if arguments else variable} is empty: give it a value, or leave it out to have the default"
    )


def test_a_secret_may_be_left_empty() -> None:
    Path(".env").write_text("HF_TOKEN=\nPRETRAIN_WALLET__NAME=alice\n")
    assert read(RunSettings, ["--repo", "a/b"], PROGRAM).wallet.name == "alice"
    assert Secrets().hf_token is None


def test_a_file_of_variables_that_is_no_text_is_told() -> None:
    Path(".env").write_bytes(b"HF_TOKEN=\xff\n")
    assert told("--repo", "a/b").startswith(".env cannot be read: 'utf-8' codec can't decode")


@pytest.mark.parametrize(
    "place",
    [
        lambda: Subtensor(network="file:~nobody-of-that-name/x").file,
        lambda: hub_folder("folder:~nobody-of-that-name/x"),
        lambda: at_home(Path("~nobody-of-that-name/x")),
    ],
)
def test_a_home_that_is_none_is_told(place: Callable[[], Path]) -> None:
    with pytest.raises(ConfigError, match="~nobody-of-that-name/x: there is no home of that name on this machine"):
        place()


def test_without_a_word_the_hub_is_the_public_one() -> None:
    settings = read(RunSettings, ["--repo", "a/b"], PROGRAM)
    assert (settings.hub, hub_folder(settings.hub)) == ("huggingface", None)


def test_without_a_word_the_network_is_the_main_one() -> None:
    subtensor = read(RunSettings, ["--repo", "a/b"], PROGRAM).subtensor
    assert (subtensor.network, subtensor.fallback, subtensor.file) == ("finney", (), None)


@pytest.mark.parametrize("network", ["finney", "test", "local", "ws://127.0.0.1:9944", "wss://node.example/ws"])
@pytest.mark.parametrize("kind", [RunSettings, ValidatorSettings])
def test_every_way_to_name_a_real_chain_is_read(network: str, kind: type[RunSettings | ValidatorSettings]) -> None:
    repo = ["--repo", "a/b"] if kind is RunSettings else []
    subtensor = read(kind, ["--subtensor.network", network, *repo], PROGRAM).subtensor
    assert (subtensor.network, subtensor.file) == (network, None)


@pytest.mark.parametrize(
    "flags",
    [
        ["--subtensor.fallback", "ws://a:1", "--subtensor.fallback", "wss://b"],
        ["--subtensor.fallback", "ws://a:1,wss://b"],
        ["--subtensor.fallback=ws://a:1, wss://b"],
    ],
)
def test_fallbacks_are_repeated_or_separated_by_commas(flags: list[str]) -> None:
    assert read(ValidatorSettings, flags, PROGRAM).subtensor.fallback == ("ws://a:1", "wss://b")


@pytest.mark.parametrize("in_file", [False, True])
def test_the_chain_can_stand_in_the_environment(monkeypatch: pytest.MonkeyPatch, *, in_file: bool) -> None:
    variables = {
        "PRETRAIN_SUBTENSOR__NETWORK": "test",
        "PRETRAIN_SUBTENSOR__FALLBACK": "ws://a:1,wss://b",
        "PRETRAIN_NETUID": "4",
    }
    if in_file:
        Path(".env").write_text("".join(f"{name}={value}\n" for name, value in variables.items()))
    else:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
    settings = read(ValidatorSettings, [], PROGRAM)
    found = (settings.subtensor.network, settings.subtensor.fallback, settings.netuid)
    assert found == ("test", ("ws://a:1", "wss://b"), 4)


def test_a_secret_has_no_flag_and_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_very_secret")
    secrets = Secrets()
    assert secrets.hf_token is not None
    assert secrets.hf_token.get_secret_value() == "hf_very_secret"
    assert "very_secret" not in f"{secrets} {secrets!r}"
    assert told("--repo", "a/b", "--hf_token", "x").startswith("--hf_token: no such flag")


def test_help_names_every_flag_with_its_default_and_its_variable(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        read(RunSettings, ["--help"], PROGRAM)
    text = " ".join(capsys.readouterr().out.split())
    assert left.value.code == 0
    assert "--train.tokens int tokens to train on in all; 0: none (default:" in text
    assert "[env: PRETRAIN_TRAIN__TOKENS]" in text
    assert "examples: neurons/miner.py run --repo a/b" in text
    assert "HF_TOKEN" not in text


def test_no_number_of_the_protocol_is_a_flag(capsys: pytest.CaptureFixture[str]) -> None:
    for kind in (RunSettings, ValidatorSettings):
        with pytest.raises(SystemExit):
            read(kind, ["--help"], PROGRAM)
    text = capsys.readouterr().out
    for name in ("epsilon", "alpha", "cadence", "temperature", "sequence_length", "windows_per", "burn", "min_weight"):
        assert name not in text


NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True)


@given(st.dictionaries(NAMES, st.integers(1, 100), min_size=1, max_size=5))
def test_a_mix_reads_back_as_it_was_written(parts: dict[str, int]) -> None:
    total = sum(parts.values())
    mix = {name: part / total for name, part in parts.items()}
    assert shares(",".join(f"{name}={share!r}" for name, share in mix.items())) == mix

"""``pretrain check``: what a validator would refuse is refused here first, with what to do."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from small_competition import write_competition
from tiny import tiny_llama

from pretrain import cli
from pretrain.commands.check_run import TO_DO
from pretrain.commitment import content_digest
from pretrain.errors import Reason
from pretrain.hub import folder as folder_hub
from pretrain.models.files import CONFIG, WEIGHTS, local_files

GATES = ["files", "config and headers", "weights", "probes and losses"]

Ask = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str], world: Path, monkeypatch: pytest.MonkeyPatch) -> Ask:
    monkeypatch.chdir(world)

    def call(*arguments: str) -> tuple[int, str, str]:
        code = cli.run(["check", "--competitions", "competition.yaml", "--hub", "folder:hub", *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A competition file with its text and tokenizer, a model, and an embedded hub."""
    folder = tmp_path_factory.mktemp("world")
    write_competition(folder)
    tiny_llama(folder / "one", vocab=512)
    folder_hub.create(folder / "hub")
    return folder


def gates(out: str) -> list[str]:
    return [line.removeprefix("pass  ").partition(":")[0] for line in out.splitlines() if line.startswith("pass  ")]


def test_a_folder_passes_every_gate(ask: Ask, world: Path) -> None:
    code, out, _ = ask("one")

    assert (code, gates(out)) == (0, GATES)
    assert content_digest(local_files(world / "one")) in out
    assert out.endswith("a validator would judge this model\n")


def test_a_public_revision_passes_every_gate_by_what_strangers_read(ask: Ask, world: Path) -> None:
    owner = folder_hub.FolderHub(world / "hub", "token")
    revision = asyncio.run(owner.publish(world / "one", "alice/one"))
    code, out, _ = ask(f"alice/one@{revision}")
    assert (code, gates(out)) == (1, [])
    assert "refused  unavailable: alice/one" in out
    assert "; to do: open the repository" in out

    asyncio.run(owner.open("alice/one"))
    code, out, _ = ask(f"alice/one@{revision}")
    assert (code, gates(out)) == (0, ["readable", *GATES])


def spoil(world: Path, name: str, file: str, change: Callable[[bytes], bytes]) -> str:
    place = world / name
    place.mkdir()
    for path in (world / "one").iterdir():
        content = path.read_bytes()
        (place / path.name).write_bytes(change(content) if path.name == file else content)
    return name


@pytest.mark.parametrize(
    ("file", "change", "passed", "reason"),
    [
        (CONFIG, lambda raw: raw.replace(b'"llama"', b'"opt"'), 1, "architecture"),
        (CONFIG, lambda raw: raw.replace(b"{", b'{"is_causal": false,', 1), 1, "architecture"),
        (WEIGHTS, lambda raw: b"\xff" * 8 + raw[8:], 1, "header"),
        (WEIGHTS, lambda raw: raw[:-4] + b"\x00\x00\xc0\x7f", 3, "not_finite"),
    ],
    ids=["family", "answers", "header", "nan"],
)
def test_the_first_gate_that_refuses_a_model_says_why_and_what_to_do(
    ask: Ask, world: Path, file: str, change: Callable[[bytes], bytes], passed: int, reason: str
) -> None:
    code, out, _ = ask(spoil(world, f"{file}-{len(list(world.iterdir()))}", file, change), "--json")

    facts = json.loads(out)
    assert (code, [one["gate"] for one in facts["passed"]]) == (1, GATES[:passed])
    assert (facts["refused"]["reason"], facts["refused"]["to_do"]) == (reason, TO_DO[Reason(reason)])


def test_more_bytes_than_allowed_are_refused(ask: Ask, world: Path) -> None:
    name = spoil(world, "large", WEIGHTS, lambda raw: raw + bytes(1_000_000))
    code, out, _ = ask(name)
    assert (code, gates(out), "the competition allows 1000000" in out) == (1, [], True)


@pytest.mark.parametrize("model", ["gone", "alice/one", "alice/one@main", "alice/one@" + "A" * 40])
def test_what_is_no_model_is_one_line(ask: Ask, model: str) -> None:
    code, out, err = ask(model)
    assert (code, out) == (2, "")
    assert err == f"{model}: no such folder, nor NAMESPACE/NAME@REVISION with 40 lower-case hex digits\n"


def test_links_into_a_cache_are_told_and_not_met_by_a_child(ask: Ask, world: Path) -> None:
    (world / "linked").mkdir()
    for path in (world / "one").iterdir():
        (world / "linked" / path.name).symlink_to(path)
    code, out, _ = ask("linked")
    assert (code, gates(out)) == (1, [])
    assert out.startswith("refused  files: config.json is a link: only plain files are a model")


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--device", "tpu"], "--device 'tpu': expected cpu, cuda or cuda:N\n"),
        (["--hub", "somewhere"], "--hub 'somewhere': expected huggingface or folder:PATH\n"),
    ],
)
def test_a_wrong_flag_is_one_line(ask: Ask, flags: list[str], line: str) -> None:
    code, out, err = ask("one", *flags)
    assert (code, out, err) == (2, "", line)


def test_there_is_something_to_do_about_every_reason() -> None:
    assert set(TO_DO) == set(Reason)

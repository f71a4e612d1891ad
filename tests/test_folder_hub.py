"""What only the embedded hub has to guard: names on a disk, bytes on a disk, and processes that are killed."""

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from pretrain.errors import HubUnavailable, Refused
from pretrain.hub import folder, names, objects
from pretrain.hub.folder import FolderHub
from pretrain.types import Revision

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder.create(tmp_path / "hub")
    return tmp_path / "hub"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    place = tmp_path / "model"
    place.mkdir()
    (place / "config.json").write_bytes(b"{}")
    (place / "model.safetensors").write_bytes(os.urandom(3_000_000))
    return place


def _link(model: Path) -> None:
    (model / "link").symlink_to(model / "config.json")


def _pipe(model: Path) -> None:
    os.mkfifo(model / "pipe")


def _case(model: Path) -> None:
    (model / "CONFIG.json").write_bytes(b"{}")


def _odd(model: Path) -> None:
    (model / "new\nline").write_bytes(b"")


def _nothing(model: Path) -> None:
    for path in model.iterdir():
        path.unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_link, "is a link"),
        (_pipe, "not a plain file"),
        (_case, "case alone"),
        (_odd, "file name"),
        (_nothing, "no file"),
    ],
)
def test_a_folder_that_cannot_be_kept_on_every_disk_is_refused(
    root: Path, model: Path, spoil: Callable[[Path], None], message: str
) -> None:
    spoil(model)
    with pytest.raises(Refused, match=message):
        asyncio.run(FolderHub(root, "token").publish(model, "a/b"))
    assert not list((root / "names").iterdir()), "and no namespace is claimed"


@pytest.mark.parametrize(
    "repo", ["a", "a/", "/b", "a/b/c", "../b", "a/..", "a/.b", "a b/c", "ä/b", "-a/b", "a/b-", "a" * 200 + "/b"]
)
def test_a_repository_that_no_commitment_can_name_is_refused(root: Path, model: Path, repo: str) -> None:
    with pytest.raises(Refused, match="expected namespace/name"):
        asyncio.run(FolderHub(root, "token").publish(model, repo))


@pytest.mark.parametrize("repo", ["Alice/model", "alice/Model"])
def test_two_spellings_are_never_two_repositories(root: Path, model: Path, repo: str) -> None:
    hub = FolderHub(root, "token")
    asyncio.run(hub.publish(model, "alice/model"))
    with pytest.raises(Refused, match="not so spelt"):
        asyncio.run(hub.publish(model, repo))


@pytest.mark.parametrize("name", ["..", ".", "a/../b", "/a", "a//b", "a/", "", "a\\b", "a\x00", "a" * 201])
def test_a_name_that_leaves_its_folder_is_no_file_name(name: str) -> None:
    assert not names.is_file_name(name)


def test_the_token_is_nowhere_in_the_folder(root: Path, model: Path) -> None:
    asyncio.run(FolderHub(root, "a secret").publish(model, "a/b"))
    assert not [path for path in root.rglob("*") if path.is_file() and b"a secret" in path.read_bytes()]


def test_opening_claims_nothing(root: Path) -> None:
    with pytest.raises(Refused):
        asyncio.run(FolderHub(root, "token").open("a/b"))
    assert not list((root / "names").iterdir())


def test_equal_contents_are_stored_once(root: Path, model: Path) -> None:
    hub = FolderHub(root, "token")
    asyncio.run(hub.publish(model, "a/one"))
    asyncio.run(hub.publish(model, "a/two"))
    assert len([path for path in (root / "objects").rglob("*") if path.is_file()]) == 2


@pytest.mark.parametrize(
    "spoil", [lambda content: content[:-1] + b"!", lambda content: content + b"!", lambda _content: b""]
)
def test_bytes_that_changed_on_the_disk_are_never_handed_out(
    root: Path, model: Path, tmp_path: Path, spoil: Callable[[bytes], bytes]
) -> None:
    hub = FolderHub(root, "token")
    revision = asyncio.run(hub.publish(model, "a/b"))
    asyncio.run(hub.open("a/b"))
    file = asyncio.run(hub.describe("a/b", revision))[1]
    stored = objects.path_of(root, file.sha256)
    stored.chmod(0o644)
    stored.write_bytes(spoil(stored.read_bytes()))
    with pytest.raises(HubUnavailable, match=r"model\.safetensors"):
        asyncio.run(hub.read("a/b", revision, file))
    with pytest.raises(HubUnavailable, match=r"model\.safetensors"):
        asyncio.run(hub.fetch("a/b", revision, [file], tmp_path / "into"))
    assert list((tmp_path / "into").iterdir()) == []


def test_a_listing_that_cannot_be_read_is_the_hubs_fault(root: Path, model: Path) -> None:
    hub = FolderHub(root, "token")
    revision = asyncio.run(hub.publish(model, "a/b"))
    asyncio.run(hub.open("a/b"))
    (root / "repos" / "a" / "b" / "revisions" / f"{revision}.json").write_bytes(b"[[1]]")
    with pytest.raises(HubUnavailable, match="listing"):
        asyncio.run(hub.describe("a/b", revision))


def _publish_many(answers: Connection, root: Path, model: Path, token: str) -> None:
    hub = FolderHub(root, token)
    while True:
        for name in range(20):
            (model / "config.json").write_bytes(b"%d" % name)
            answers.send(asyncio.run(hub.publish(model, f"a/model{name}")))


def _run(work: Callable[..., None], *arguments: object) -> tuple[multiprocessing.process.BaseProcess, Connection]:
    ours, theirs = FORK.Pipe()
    process = FORK.Process(target=work, args=(theirs, *arguments), daemon=True)
    process.start()
    theirs.close()
    return process, ours


def test_a_process_killed_while_it_publishes_leaves_only_whole_revisions(
    root: Path, model: Path, tmp_path: Path
) -> None:
    for turn in range(6):
        process, answers = _run(_publish_many, root, model, "token")
        published = [answers.recv() for _ in range(2)]
        process.join(timeout=0.007 * turn)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    hub = FolderHub(root, "token")
    assert set(published) <= {path.stem for path in root.rglob("revisions/*.json")}
    for name in {path.parent.name for path in root.rglob("latest")}:
        asyncio.run(hub.open(f"a/{name}"))
        for listing in (root / "repos" / "a" / name / "revisions").glob("*.json"):
            revision = Revision(listing.stem)
            files = asyncio.run(hub.describe(f"a/{name}", revision))
            asyncio.run(hub.fetch(f"a/{name}", revision, files, tmp_path / "into" / revision))
    asyncio.run(hub.publish(model, "a/last"))
    assert list((root / "unfinished").iterdir()) == [], "what the dead left is swept"


def _claim(answers: Connection, root: Path, model: Path, token: str) -> None:
    answers.recv()
    try:
        asyncio.run(FolderHub(root, token).publish(model, "a/b"))
    except Refused:
        answers.send(None)
    else:
        answers.send(token)


def test_of_many_that_claim_a_namespace_at_once_one_gets_it(root: Path, model: Path) -> None:
    started = [_run(_claim, root, model, f"token {i}") for i in range(4)]
    for _, connection in started:
        connection.send("go")
    winners = [token for _, connection in started if (token := connection.recv())]
    for process, _ in started:
        process.join()
    assert len(winners) == 1
    asyncio.run(FolderHub(root, winners[0]).open("a/b"))

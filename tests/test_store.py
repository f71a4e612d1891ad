import asyncio
import errno
import hashlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from pretrain.commitment import content_digest
from pretrain.errors import EvaluatorUnavailable, HubUnavailable, ModelRejected, Reason
from pretrain.hub import RemoteFile, folder, store
from pretrain.hub.folder import FolderHub
from pretrain.hub.store import ModelStore
from pretrain.types import Digest, Revision

FORK = multiprocessing.get_context("fork")
FILES = {"config.json": b"{}", "model.safetensors": bytes(range(256)) * 5000}
REMOTE = tuple(RemoteFile(name, len(content), hashlib.sha256(content).hexdigest()) for name, content in FILES.items())
DIGEST = content_digest(REMOTE)
REPO = "a/model"


class SpoiltHub(FolderHub):
    """A hub whose client does not check what it writes."""

    def __init__(self, content: dict[str, bytes]) -> None:
        super().__init__(Path("/nowhere"))
        self.content = content
        self.asked = 0

    async def fetch(self, repo: str, revision: Revision, files: Sequence[RemoteFile], into: Path) -> None:  # noqa: ARG002
        self.asked += 1
        for name, content in self.content.items():
            (into / name).write_bytes(content)


@pytest.fixture
def hub(tmp_path: Path) -> tuple[FolderHub, Revision]:
    model = tmp_path / "model"
    model.mkdir()
    for name, content in FILES.items():
        (model / name).write_bytes(content)
    folder.create(tmp_path / "hub")
    made = FolderHub(tmp_path / "hub", "token")
    revision = asyncio.run(made.publish(model, REPO))
    asyncio.run(made.open(REPO))
    return made, revision


def _leftovers(store: Path) -> list[str]:
    return sorted(path.name for path in store.iterdir() if path.name.startswith(".tmp-"))


def test_a_model_is_kept_under_its_digest_and_read_only(tmp_path: Path, hub: tuple[FolderHub, Revision]) -> None:
    store = ModelStore(tmp_path / "store")
    assert store.path(DIGEST) is None
    place = asyncio.run(store.fetch(hub[0], REPO, hub[1], REMOTE, DIGEST))
    assert {path.name: path.read_bytes() for path in place.iterdir()} == FILES
    assert {path.stat().st_mode & 0o777 for path in place.iterdir()} == {0o444}
    assert store.path(DIGEST) == place
    assert place.parent == tmp_path / "store"
    assert _leftovers(tmp_path / "store") == []


def test_a_model_that_is_here_costs_nothing_not_even_a_question(tmp_path: Path) -> None:
    store, hub = ModelStore(tmp_path / "store"), SpoiltHub(FILES)
    first = asyncio.run(store.fetch(hub, REPO, Revision("0" * 40), REMOTE, DIGEST))
    again = asyncio.run(ModelStore(tmp_path / "store").fetch(hub, "other/repo", Revision("1" * 40), REMOTE, DIGEST))
    assert (again, hub.asked) == (first, 1)


@pytest.mark.parametrize(
    "content",
    [
        FILES | {"model.safetensors": FILES["model.safetensors"][:-1] + b"!"},
        FILES | {"model.safetensors": FILES["model.safetensors"] + b"!"},
        FILES | {"extra.bin": b""},
        {"config.json": b"{}"},
    ],
    ids=["another byte", "longer", "another file", "a file missing"],
)
def test_bytes_that_are_not_the_models_never_become_one(tmp_path: Path, content: dict[str, bytes]) -> None:
    store = ModelStore(tmp_path / "store")
    with pytest.raises(HubUnavailable):
        asyncio.run(store.fetch(SpoiltHub(content), REPO, Revision("0" * 40), REMOTE, DIGEST))
    assert store.path(DIGEST) is None
    assert _leftovers(tmp_path / "store") == []


def test_files_of_another_digest_are_the_miners_fault_and_are_not_downloaded(tmp_path: Path) -> None:
    hub = SpoiltHub(FILES)
    with pytest.raises(ModelRejected) as rejected:
        asyncio.run(ModelStore(tmp_path / "store").fetch(hub, REPO, Revision("0" * 40), REMOTE[:1], DIGEST))
    assert (rejected.value.reason, hub.asked) == (Reason.DIGEST, 0)


@pytest.mark.parametrize("name", ["../model.safetensors", "/tmp/x", "a/../../b"])  # noqa: S108
def test_a_file_that_would_leave_the_folder_is_not_downloaded(tmp_path: Path, name: str) -> None:
    hub, files = SpoiltHub(FILES), (REMOTE[0], replace(REMOTE[1], name=name))
    with pytest.raises(ModelRejected) as rejected:
        asyncio.run(ModelStore(tmp_path / "store").fetch(hub, REPO, Revision("0" * 40), files, content_digest(files)))
    assert (rejected.value.reason, hub.asked) == (Reason.FILES, 0)


@pytest.mark.parametrize("digest", ["", "..", "../store", "x" * 44, "QUJD"])
def test_what_is_no_digest_is_a_bug_and_never_a_path(tmp_path: Path, digest: str) -> None:
    with pytest.raises(ValueError, match="no content digest"):
        ModelStore(tmp_path / "store").path(Digest(digest))


def test_a_failed_download_leaves_nothing(tmp_path: Path, hub: tuple[FolderHub, Revision]) -> None:
    with pytest.raises(ModelRejected):
        asyncio.run(ModelStore(tmp_path / "store").fetch(hub[0], "a/other", hub[1], REMOTE, DIGEST))
    assert _leftovers(tmp_path / "store") == []


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOENT, errno.EBADMSG])
def test_a_model_that_the_disk_cannot_read_is_removed_and_downloaded_again(
    tmp_path: Path, hub: tuple[FolderHub, Revision], monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    model_store = ModelStore(tmp_path / "store")
    place = asyncio.run(model_store.fetch(hub[0], REPO, hub[1], REMOTE, DIGEST))
    monkeypatch.setattr(store, "digest_of", _failing(code))
    assert asyncio.run(model_store.sound(DIGEST)) is None
    assert not place.exists()
    assert asyncio.run(model_store.fetch(hub[0], REPO, hub[1], REMOTE, DIGEST)) == place
    assert {path.name: path.read_bytes() for path in place.iterdir()} == FILES


def test_a_machine_that_cannot_open_a_model_for_now_does_not_remove_it(
    tmp_path: Path, hub: tuple[FolderHub, Revision], monkeypatch: pytest.MonkeyPatch
) -> None:
    model_store = ModelStore(tmp_path / "store")
    place = asyncio.run(model_store.fetch(hub[0], REPO, hub[1], REMOTE, DIGEST))
    monkeypatch.setattr(store, "digest_of", _failing(errno.EMFILE))
    with pytest.raises(EvaluatorUnavailable):
        asyncio.run(model_store.sound(DIGEST))
    assert place.exists()


def _failing(code: int) -> Callable[[Path], Digest]:
    def digest_of(folder: Path) -> Digest:
        raise OSError(code, os.strerror(code), str(folder))

    return digest_of


def test_a_disk_that_refuses_is_this_machines_fault(tmp_path: Path) -> None:
    (tmp_path / "store").write_bytes(b"a file where the folder should be")
    with pytest.raises(EvaluatorUnavailable, match="model store"):
        ModelStore(tmp_path / "store")


class EndlessHub(SpoiltHub):
    """Begins a download, says so, and never ends it."""

    def __init__(self, answers: Connection) -> None:
        super().__init__({})
        self.answers = answers

    async def fetch(self, repo: str, revision: Revision, files: Sequence[RemoteFile], into: Path) -> None:  # noqa: ARG002
        (into / "model.safetensors").write_bytes(b"half")
        self.answers.send(into.name)
        await asyncio.Event().wait()


def _download_for_ever(answers: Connection, root: Path) -> None:
    asyncio.run(ModelStore(root).fetch(EndlessHub(answers), REPO, Revision("0" * 40), REMOTE, DIGEST))


def test_only_the_dead_are_swept(tmp_path: Path) -> None:
    root, started = tmp_path / "store", []
    for _ in range(2):
        ours, theirs = FORK.Pipe()
        process = FORK.Process(target=_download_for_ever, args=(theirs, root), daemon=True)
        process.start()
        theirs.close()
        started.append((process, ours, ours.recv()))
    (dead, dead_end, dead_folder), (living, living_end, living_folder) = started
    _kill(dead.pid)
    dead.join()
    (root / ".tmp-without-a-lock").mkdir()
    ModelStore(root)
    assert _leftovers(root) == [living_folder, f"{living_folder}.lock"]
    assert dead_folder != living_folder
    _kill(living.pid)
    living.join()
    ModelStore(root)
    assert _leftovers(root) == []
    dead_end.close()
    living_end.close()


def _kill(pid: int | None) -> None:
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


def _fetch(answers: Connection, root: Path, hub: FolderHub, revision: Revision) -> None:
    answers.recv()
    answers.send(asyncio.run(ModelStore(root).fetch(hub, REPO, revision, REMOTE, DIGEST)))


def test_processes_that_fetch_one_model_at_once_share_it(tmp_path: Path, hub: tuple[FolderHub, Revision]) -> None:
    started = []
    for _ in range(4):
        ours, theirs = FORK.Pipe()
        process = FORK.Process(target=_fetch, args=(theirs, tmp_path / "store", *hub), daemon=True)
        process.start()
        theirs.close()
        started.append((process, ours))
    for _, end in started:
        end.send("go")
    places = {end.recv() for _, end in started}
    for process, end in started:
        process.join()
        end.close()
    (place,) = places
    assert {path.name: path.read_bytes() for path in place.iterdir()} == FILES
    assert _leftovers(tmp_path / "store") == []

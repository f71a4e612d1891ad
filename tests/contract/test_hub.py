"""What every ``Hub`` does, whatever stands behind it: the same cases over each implementation."""

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import hub_server
import pytest

from pretrain.errors import HubUnavailable, ModelRejected, Reason, Refused
from pretrain.hub import Hub, RemoteFile, folder
from pretrain.hub.huggingface import HuggingFaceHub, Limits
from pretrain.types import Revision

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")  # huggingface_hub's upload
FILES = {"config.json": b'{"hidden_size": 8}', "empty.safetensors": b"", "model.safetensors": bytes(range(256)) * 9000}
OTHERS = {"README.md": b"---\n---\n", "vocab.json": b"{}", "old/model.safetensors": b"old"}
"""What lies in a repository and can belong to no model."""
REPO = "alice/model"
NOWHERE = Revision("0" * 40)


@dataclass(frozen=True)
class Site:
    owner: Hub
    """May write to the namespace ``alice``."""
    other: Hub
    """Another writer."""
    reader: Hub
    """Nobody in particular."""
    broken: Hub
    """A hub that does not answer."""


@contextmanager
def _embedded(root: Path) -> Iterator[Site]:
    folder.create(root / "hub")
    yield Site(
        owner=folder.FolderHub(root / "hub", "alice's token"),
        other=folder.FolderHub(root / "hub", "bob's token"),
        reader=folder.FolderHub(root / "hub"),
        broken=folder.FolderHub(root / "nowhere", "alice's token"),
    )


@contextmanager
def _real(_: Path) -> Iterator[Site]:
    """The hub's own client, and a hub on this machine that speaks its HTTP."""
    with hub_server.running({"alice's-token": "alice", "bob's-token": "bob"}) as hub:
        yield Site(
            owner=HuggingFaceHub("alice's-token", hub.endpoint),
            other=HuggingFaceHub("bob's-token", hub.endpoint),
            reader=HuggingFaceHub(endpoint=hub.endpoint),
            broken=HuggingFaceHub("alice's-token", "http://127.0.0.1:1", Limits(pause=0.001)),
        )


@pytest.fixture(params=[_embedded, _real], ids=["embedded", "real client"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    with request.param(tmp_path) as made:
        yield made


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return _write(tmp_path / "model", {**FILES, **OTHERS})


def _write(place: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(content)
    return place


def _remote(files: dict[str, bytes]) -> tuple[RemoteFile, ...]:
    return tuple(sorted(RemoteFile(name, len(c), hashlib.sha256(c).hexdigest()) for name, c in files.items()))


def _published(site: Site, model: Path, repo: str = REPO) -> Revision:
    revision = asyncio.run(site.owner.publish(model, repo))
    asyncio.run(site.owner.open(repo))
    return revision


def test_an_opened_revision_is_described_read_and_fetched_by_anybody(site: Site, model: Path, tmp_path: Path) -> None:
    revision = _published(site, model)
    assert len(revision) == 40
    assert set(revision) <= set("0123456789abcdef")
    assert asyncio.run(site.reader.is_public(REPO))
    described = asyncio.run(site.reader.describe(REPO, revision))
    assert described == _remote(FILES)
    assert {f.name: asyncio.run(site.reader.read(REPO, revision, f)) for f in described} == FILES
    wanted = [file for file in described if file.name != "empty.safetensors"]
    asyncio.run(site.reader.fetch(REPO, revision, wanted, tmp_path / "into"))
    found = {path.name: path.read_bytes() for path in (tmp_path / "into").iterdir()}
    assert found == {name: content for name, content in FILES.items() if name != "empty.safetensors"}


@pytest.mark.parametrize(
    "ask",
    [
        lambda hub, revision, _into: hub.describe(REPO, revision),
        lambda hub, revision, _into: hub.read(REPO, revision, _remote(FILES)[0]),
        lambda hub, revision, _into: hub.read_part(REPO, revision, _remote(FILES)[0], 0, 8),
        lambda hub, revision, into: hub.fetch(REPO, revision, _remote(FILES), into),
    ],
    ids=["describe", "read", "read_part", "fetch"],
)
def test_a_private_repository_answers_as_a_missing_one_does(
    site: Site, model: Path, tmp_path: Path, ask: Callable[..., object]
) -> None:
    answers = []
    for revision in (NOWHERE, asyncio.run(site.owner.publish(model, REPO))):
        with pytest.raises(ModelRejected) as rejected:
            asyncio.run(ask(site.reader, revision, tmp_path / "into"))  # type: ignore[arg-type]
        answers.append((rejected.value.reason, rejected.value.detail.replace(revision, "")))
    assert answers == [answers[0], answers[0]]
    assert answers[0][0] is Reason.UNAVAILABLE
    assert not asyncio.run(site.reader.is_public(REPO))
    assert not (tmp_path / "into").exists()


@pytest.mark.parametrize(("start", "stop"), [(0, 8), (8, 300), (9000 * 256 - 3, 9000 * 256 + 5), (5, 5)])
def test_a_part_of_a_file_is_just_those_bytes(site: Site, model: Path, start: int, stop: int) -> None:
    revision = _published(site, model)
    file = next(file for file in _remote(FILES) if file.name == "model.safetensors")
    assert asyncio.run(site.reader.read_part(REPO, revision, file, start, stop)) == FILES[file.name][start:stop]


def test_its_owner_too_reads_a_private_repository_only_once_it_is_open(site: Site, model: Path) -> None:
    revision = asyncio.run(site.owner.publish(model, REPO))
    with pytest.raises(ModelRejected):
        asyncio.run(site.owner.describe(REPO, revision))


@pytest.mark.parametrize("repo", ["alice/other", "bob/model", "Alice/model", "alice/Model", "alice", "../x/y", "a/b/c"])
def test_any_other_name_is_unavailable(site: Site, model: Path, repo: str) -> None:
    revision = _published(site, model)
    with pytest.raises(ModelRejected) as rejected:
        asyncio.run(site.reader.describe(repo, revision))
    assert rejected.value.reason is Reason.UNAVAILABLE
    assert not asyncio.run(site.reader.is_public(repo))


@pytest.mark.parametrize("revision", [NOWHERE, "main", "", "../latest", "A" * 40])
def test_any_other_revision_is_unavailable(site: Site, model: Path, revision: str) -> None:
    _published(site, model)
    with pytest.raises(ModelRejected) as rejected:
        asyncio.run(site.reader.describe(REPO, Revision(revision)))
    assert rejected.value.reason is Reason.UNAVAILABLE


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../config.json"},
        {"size": 1},
        {"sha256": "0" * 64},
        {"name": "tokenizer.json"},
        {"name": "README.md", "size": 8, "sha256": hashlib.sha256(OTHERS["README.md"]).hexdigest()},
        {"name": "other.safetensors"},
    ],
)
def test_a_file_that_the_revision_does_not_hold_is_unavailable(
    site: Site, model: Path, tmp_path: Path, change: dict[str, str]
) -> None:
    revision = _published(site, model)
    file = replace(_remote(FILES)[0], **change)  # type: ignore[arg-type]
    with pytest.raises(ModelRejected):
        asyncio.run(site.reader.read(REPO, revision, file))
    with pytest.raises(ModelRejected):
        asyncio.run(site.reader.fetch(REPO, revision, [file], tmp_path / "into"))


def test_publishing_the_same_again_gives_the_same_revision(site: Site, model: Path) -> None:
    revision = asyncio.run(site.owner.publish(model, REPO))
    assert asyncio.run(site.owner.publish(model, REPO)) == revision
    asyncio.run(site.owner.open(REPO))
    asyncio.run(site.owner.open(REPO))
    assert asyncio.run(site.owner.publish(model, REPO)) == revision


def test_a_revision_never_changes_when_another_follows(site: Site, model: Path) -> None:
    first = asyncio.run(site.owner.publish(model, REPO))
    _write(model, {"config.json": b"{}"})
    second = asyncio.run(site.owner.publish(model, REPO))
    asyncio.run(site.owner.open(REPO))
    assert first != second
    assert asyncio.run(site.reader.describe(REPO, first)) == _remote(FILES)
    assert asyncio.run(site.reader.describe(REPO, second)) == _remote({**FILES, "config.json": b"{}"})


def test_nothing_new_is_published_where_all_can_read_it(site: Site, model: Path) -> None:
    revision = _published(site, model)
    _write(model, {"config.json": b"{}"})
    with pytest.raises(Refused, match="readable by all"):
        asyncio.run(site.owner.publish(model, REPO))
    assert asyncio.run(site.reader.describe(REPO, revision)) == _remote(FILES)


@pytest.mark.parametrize("repo", [REPO, "alice/another", "alice/nothing-yet"])
def test_another_token_can_write_nothing_into_a_namespace(site: Site, model: Path, repo: str) -> None:
    asyncio.run(site.owner.publish(model, REPO))
    for stranger in (site.other, site.reader):
        with pytest.raises(Refused):
            asyncio.run(stranger.publish(model, repo))
        with pytest.raises(Refused):
            asyncio.run(stranger.open(repo))
    assert not asyncio.run(site.reader.is_public(repo))


def test_opening_what_does_not_exist_is_refused(site: Site) -> None:
    with pytest.raises(Refused):
        asyncio.run(site.owner.open(REPO))


def test_a_hub_that_does_not_answer_is_unavailable_and_nobodys_fault(site: Site, model: Path, tmp_path: Path) -> None:
    hub, files = site.broken, _remote(FILES)
    for ask in (
        hub.describe(REPO, NOWHERE),
        hub.read(REPO, NOWHERE, files[0]),
        hub.read_part(REPO, NOWHERE, files[0], 0, 1),
        hub.fetch(REPO, NOWHERE, files, tmp_path / "into"),
        hub.publish(model, REPO),
        hub.is_public(REPO),
        hub.open(REPO),
    ):
        with pytest.raises(HubUnavailable):
            asyncio.run(ask)

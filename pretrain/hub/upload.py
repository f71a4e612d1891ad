"""Publishing with the hub's own client: each function blocks, and looks at what is there before it changes anything.

Large files go up by the hub's LFS route, not by Xet: it works at every endpoint, and what is tested is what runs. A
file that is up already is not sent again; one that was cut off is.
"""

import hashlib
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import httpx2
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, constants, set_client_factory
from huggingface_hub.errors import RepositoryNotFoundError
from huggingface_hub.hf_api import ModelInfo, RepoFile
from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]
from huggingface_hub.utils._http import default_client_factory

from pretrain.errors import HubUnavailable, Refused
from pretrain.hub.asking import Limits
from pretrain.hub.hub_errors import Abandoned, Again, wait_of
from pretrain.hub.names import is_revision, list_folder, may_be_of_a_model
from pretrain.hub.redirects import origin
from pretrain.types import Revision

_BLOCK = 1 << 20
_TURN = threading.Lock()
_LOOK = 0.1
"""Seconds between two looks whether somebody still waits."""

constants.HF_HUB_DISABLE_XET = True


@dataclass(frozen=True)
class Local:
    """A file to publish."""

    name: str
    path: Path
    sha256: str
    git: str
    """Git's name for the content: what the hub knows a small file by."""

    def is_it(self, there: RepoFile) -> bool:
        """Whether the hub holds this content."""
        return there.lfs.sha256 == self.sha256 if there.lfs else there.blob_id == self.git


class Waited:
    """Whether somebody still waits for a publication: a thread cannot be ended, but its requests can."""

    def __init__(self) -> None:
        self.given_up = False
        self.client: httpx2.Client | None = None
        """The HTTP client that was made for it last."""

    def give_up(self) -> None:
        """End its requests: the one under way with its client, every later one before it is sent."""
        self.given_up = True
        if self.client is not None:
            self.client.close()


def guarded_client(endpoint: str, limits: Limits, waited: Waited) -> httpx2.Client:
    """Return an HTTP client that never stalls for ever, and sends no token to another host than the hub."""
    timeout = httpx2.Timeout(limits.stall, connect=limits.connect)

    def before(request: httpx2.Request) -> None:
        if waited.given_up:
            raise Abandoned("nobody waits for this publication any more")
        if origin(str(request.url)) != origin(endpoint):
            request.headers.pop("authorization", None)
        request.extensions["timeout"] = timeout.as_dict()  # some of the client's functions ask for none

    def after(response: httpx2.Response) -> None:
        seconds = wait_of(response.status_code, response.headers)
        if seconds > limits.longest_pause:  # the client would sleep as long as it is told
            raise Again(f"the hub answered HTTP {response.status_code}", seconds)

    waited.client = httpx2.Client(
        event_hooks={"request": [before], "response": [after]},
        follow_redirects=True,
        timeout=timeout,
    )
    return waited.client


@contextmanager
def turn(endpoint: str, limits: Limits, waited: Waited) -> Iterator[None]:
    """Have the hub's client alone, with an HTTP client of ours: it has one for all threads of a process.

    A thread that is left behind keeps its turn to its end, so that it never wakes on the HTTP client of the next one.
    Raises Again when an earlier turn does not end in the time that one silent request may take, Abandoned.
    """
    for _ in range(round((limits.stall + limits.longest_pause) / _LOOK) + 1):
        if waited.given_up:
            raise Abandoned("nobody waits for this publication any more")
        if _TURN.acquire(timeout=_LOOK):
            break
    else:
        raise Again("an earlier write of this process has not ended yet")
    try:
        set_client_factory(lambda: guarded_client(endpoint, limits, waited))
        yield
    finally:
        set_client_factory(default_client_factory)
        _TURN.release()


def local_files(folder: Path) -> tuple[Local, ...]:
    """Return every file of a folder with its hashes; raises Refused for what cannot be published."""
    return tuple(_local(name, path) for name, path in list_folder(folder))


def publish(api: HfApi, repo: str, files: Sequence[Local], limits: Limits) -> Revision:
    """Make the head of a private repository hold these files, and return it; called again it does what is left to do.

    Raises Refused, Again, and what the hub's client raises.
    """
    info = _private(api, repo, files)
    head = _sha(info)
    there = _tree(api, repo, head)
    if not _holds(there, files):
        message = "Publish a model"
        operations = _changes(there, files)
        with _progress():
            made = api.create_commit(
                repo, operations, commit_message=message, parent_commit=head, num_threads=limits.parallel
            )
        head = made.oid
        if not _holds(_tree(api, repo, head), files):
            raise Refused(f"{repo} leaves out some of the files: remove its .gitignore", code="InvalidFile")
    return Revision(head)


def open_to_all(api: HfApi, repo: str) -> None:
    """Make a repository readable without a token, neither private nor gated; raises as ``publish`` does."""
    info = _look(api, repo)
    if info is None or not any(map(may_be_of_a_model, _tree(api, repo, _sha(info)))):
        raise Refused(f"{repo} holds no model of this token yet: publish first", code="NothingPublished")
    api.update_repo_settings(repo, private=False, gated=False)


def _progress() -> AbstractContextManager[object]:
    """Let the client show how far its large files are, where a person looks; elsewhere its bars fill a log."""
    shown = sys.stderr.isatty() or constants.HF_HUB_DISABLE_PROGRESS_BARS is not None
    return nullcontext() if shown else disable_progress_bars()


def _private(api: HfApi, repo: str, files: Sequence[Local]) -> ModelInfo:
    """Return the repository, made if it is not there; raises Refused when others can read it."""
    info = _look(api, repo)
    if info is None:
        api.create_repo(repo, private=True, exist_ok=True)
        info = _look(api, repo)
    if info is None:
        raise Again(f"{repo} was made and is not there")
    if info.private is False and not _holds(_tree(api, repo, _sha(info)), files):
        raise Refused(
            f"{repo} is readable by all: publish a new model into a repository that is not, and open it after the"
            " commitment",
            code="AlreadyPublic",
        )
    return info


def _look(api: HfApi, repo: str) -> ModelInfo | None:
    """Return the repository as the token sees it, or None; raises Refused when it has another name."""
    try:
        info = api.model_info(repo, expand=["private", "gated", "disabled", "sha"])
    except RepositoryNotFoundError:
        return None
    if info.id != repo:
        raise Refused(f"no repository {repo!r} of this token, at least not so spelt: {info.id!r}", code="Unauthorized")
    return info


def _sha(info: ModelInfo) -> str:
    if info.sha is None or not is_revision(info.sha):
        raise HubUnavailable(f"the hub gives no head of {info.id}")
    return info.sha


def _tree(api: HfApi, repo: str, revision: str) -> Mapping[str, RepoFile]:
    listed = api.list_repo_tree(repo, recursive=True, revision=revision)
    return {entry.path: entry for entry in listed if isinstance(entry, RepoFile)}


def _holds(there: Mapping[str, RepoFile], files: Sequence[Local]) -> bool:
    """Whether a tree holds all these files, and no other that could belong to a model."""
    same = all(file.name in there and file.is_it(there[file.name]) for file in files)
    return same and not _strangers(there, files)


def _strangers(there: Iterable[str], files: Sequence[Local]) -> list[str]:
    ours = {file.name for file in files}
    return sorted(name for name in there if may_be_of_a_model(name) and name not in ours)


def _changes(there: Mapping[str, RepoFile], files: Sequence[Local]) -> list[CommitOperationAdd | CommitOperationDelete]:
    missing = [file for file in files if file.name not in there or not file.is_it(there[file.name])]
    return [
        *(CommitOperationAdd(file.name, file.path) for file in missing),
        *(CommitOperationDelete(name, is_folder=False) for name in _strangers(there, files)),
    ]


def _local(name: str, path: Path) -> Local:
    sha256, git = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as reader:
        while block := reader.read(_BLOCK):
            sha256.update(block)
            git.update(block)
    return Local(name, path, sha256.hexdigest(), git.hexdigest())

"""The embedded hub: repositories in a folder, shared by any number of processes.

::

    root/objects/ab/<sha256>                 contents, each once, read-only
         names/<namespace in lower case>     whose it is: its spelling and the sha256 of the owner's token
         repos/<namespace>/<name>/           lower case; `name` has the spelling
             revisions/<40 hex>.json         what a revision holds; never rewritten
             latest, public                  the newest revision; there when readable by all
         unfinished/                         writes in progress

A revision is the hash of what it holds and of the one before it, so the same content published again after an
interruption is the same revision. Every file appears whole by a rename, after all that it refers to.

Who may read is enforced here, not by the file system: processes of one user can always look into the folder.
"""

import asyncio
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from pretrain.errors import HubUnavailable, ModelRejected, Reason, Refused
from pretrain.hub import RemoteFile, names, objects
from pretrain.hub.unfinished import alone
from pretrain.types import Revision

__all__ = ["FolderHub", "create"]

_DEADLINE = 600.0  # seconds for one call

T = TypeVar("T")


def create(root: Path) -> None:
    """Make an empty hub; one that is there stays as it is. Raises HubUnavailable when the folder cannot be made."""
    try:
        for folder in ("objects", "names", "repos"):
            (root / folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HubUnavailable(f"a hub cannot be made in {root}: {error.strerror}") from error


class FolderHub:
    """Access to an embedded hub; implements ``Hub``. The token is who publishes; without one it reads only."""

    def __init__(self, root: Path, token: str | None = None) -> None:
        self._root = root
        self._owner = None if token is None else hashlib.sha256(token.encode()).hexdigest()

    async def describe(self, repo: str, revision: Revision) -> tuple[RemoteFile, ...]:
        """List the files of a revision that may belong to a model, ordered by name, without a token."""
        return await self._in_thread(lambda: self._describe(repo, revision))

    async def read(self, repo: str, revision: Revision, file: RemoteFile) -> bytes:
        """Return a small file's bytes, without a token; its sha256 is checked."""
        return await self._in_thread(lambda: self._read(repo, revision, file))

    async def read_part(self, repo: str, revision: Revision, file: RemoteFile, start: int, stop: int) -> bytes:
        """Return bytes ``start`` to ``stop`` of a file, without a token; fewer only where the file ends."""
        return await self._in_thread(lambda: self._read_part(repo, revision, file, (start, stop)))

    async def fetch(self, repo: str, revision: Revision, files: Sequence[RemoteFile], into: Path) -> None:
        """Copy just these files into a folder, each checked against its sha256 while it is written."""
        return await self._in_thread(lambda: self._fetch(repo, revision, files, into))

    async def publish(self, folder: Path, repo: str) -> Revision:
        """Store a folder's files as the next revision of a private repository and return it.

        The first to publish into a namespace owns it. A repository that is open takes nothing new, for its content
        would be readable before it is committed; publishing what it holds already returns that revision.
        """
        return await self._in_thread(lambda: self._publish(folder, repo))

    async def is_public(self, repo: str) -> bool:
        """Whether the repository exists and is readable without a token."""
        return await self._in_thread(lambda: self._public(repo) is not None)

    async def open(self, repo: str) -> None:
        """Make the repository readable without a token."""
        return await self._in_thread(lambda: self._open(repo))

    def _describe(self, repo: str, revision: Revision) -> tuple[RemoteFile, ...]:
        """One answer for all that is not readable: nobody learns whether a private repository exists."""
        place = self._public(repo)
        listing = place / "revisions" / f"{revision}.json" if place and names.is_revision(revision) else None
        if listing is None or not listing.is_file():
            raise ModelRejected(Reason.UNAVAILABLE, f"{repo} at {revision} is not readable without a token")
        return tuple(file for file in _load(listing) if names.may_be_of_a_model(file.name))

    def _read(self, repo: str, revision: Revision, file: RemoteFile) -> bytes:
        self._check_listed(repo, revision, [file])
        return objects.read(self._root, file)

    def _read_part(self, repo: str, revision: Revision, file: RemoteFile, span: tuple[int, int]) -> bytes:
        self._check_listed(repo, revision, [file])
        return objects.read_part(self._root, file, *span)

    def _fetch(self, repo: str, revision: Revision, files: Sequence[RemoteFile], into: Path) -> None:
        self._check_listed(repo, revision, files)
        for file in files:
            place = into / file.name
            place.parent.mkdir(parents=True, exist_ok=True)
            objects.get(self._root, file, place)

    def _publish(self, folder: Path, repo: str) -> Revision:
        listed = names.list_folder(folder)
        place = self._own(repo, claim=True)
        objects.clean(self._root)
        files = tuple(objects.put(self._root, name, path) for name, path in listed)
        with alone(place):
            latest = _latest(place)
            if latest and _load(place / "revisions" / f"{latest}.json") == files:
                return latest
            if (place / "public").exists():
                raise Refused(
                    f"{repo} is readable by all: publish a new model into a repository that is not, and open it after "
                    "the commitment",
                    code="AlreadyPublic",
                )
            revision = names.as_revision(hashlib.sha256(_dump(files) + (latest or "").encode()).hexdigest())
            objects.write_whole(self._root, place / "revisions" / f"{revision}.json", _dump(files))
            objects.write_whole(self._root, place / "latest", revision.encode())
        return revision

    def _open(self, repo: str) -> None:
        place = self._own(repo, claim=False)
        with alone(place):
            if _latest(place) is None:
                raise Refused(f"{repo} holds no revision yet: publish first", code="NothingPublished")
            if not (place / "public").exists():
                objects.write_whole(self._root, place / "public", b"")

    def _check_listed(self, repo: str, revision: Revision, files: Sequence[RemoteFile]) -> None:
        listed = set(self._describe(repo, revision))
        missing = [file.name for file in files if file not in listed]
        if missing:
            raise ModelRejected(Reason.UNAVAILABLE, f"{repo} at {revision} holds no such file: {missing[0]!r}")

    def _public(self, repo: str) -> Path | None:
        """Return the repository's place if anybody may read it under this very spelling."""
        place = self._place(repo)
        return place if place and (place / "public").exists() and _present(place / "name") == repo else None

    def _place(self, repo: str) -> Path | None:
        """Return where a repository would be, or None for a name that none can have."""
        try:
            namespace, name = names.split_repository(repo)
        except ValueError:
            return None
        return self._root / "repos" / namespace.lower() / name.lower()

    def _own(self, repo: str, *, claim: bool) -> Path:
        """Return the place of a repository that this token may write; a first publication claims its namespace."""
        place = self._place(repo)
        if place is None:
            raise Refused(f"repository {repo!r}: expected namespace/name of a commitment's form", code="InvalidName")
        if self._owner is None:
            raise Refused(f"writing to {repo} needs a token", code="Unauthorized")
        namespace = repo.partition("/")[0]
        mine = f"{namespace} {self._owner}"
        for path, text in ((self._root / "names" / namespace.lower(), mine), (place / "name", repo)):
            if claim:
                self._write_first(path, text)
            if _present(path) != text:
                raise Refused(f"no repository {repo!r} of this token, at least not so spelt", code="Unauthorized")
        return place

    def _write_first(self, path: Path, text: str) -> None:
        """Write a text unless somebody has before: of many at once, one is first."""
        if not path.exists():
            with alone(path.parent):
                if not path.exists():
                    objects.write_whole(self._root, path, text.encode())

    async def _in_thread(self, work: Callable[[], T]) -> T:
        def guarded() -> T:
            if not self._root.is_dir():
                raise HubUnavailable(f"the hub's folder {self._root} does not exist or cannot be read")
            try:
                return work()
            except OSError as error:
                raise HubUnavailable(f"the hub in {self._root} cannot be used: {error}") from error

        try:
            async with asyncio.timeout(_DEADLINE):
                return await asyncio.to_thread(guarded)
        except TimeoutError as error:
            raise HubUnavailable(f"the hub did not answer within {_DEADLINE:.0f} s") from error


def _present(path: Path) -> str | None:
    return path.read_text() if path.exists() else None


def _latest(place: Path) -> Revision | None:
    path = place / "latest"
    return Revision(path.read_text()) if path.exists() else None


def _dump(files: Sequence[RemoteFile]) -> bytes:
    """Return the canonical listing, one file a line."""
    return json.dumps([[file.name, file.size, file.sha256] for file in files], indent=0).encode()


def _load(path: Path) -> tuple[RemoteFile, ...]:
    try:
        return tuple(RemoteFile(*row) for row in json.loads(path.read_bytes()))
    except (ValueError, TypeError) as error:
        raise HubUnavailable(f"the hub's listing {path} cannot be read: {error}") from error

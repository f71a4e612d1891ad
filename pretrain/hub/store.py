"""Models on this machine's disk, found by their content digest, so that no content is downloaded twice.

A download goes into a folder of its own and becomes a model by one rename, after size and sha256 of every byte have
been checked here, whatever the hub's client did. Two processes may share a store: the first to finish wins and the
other takes what is there. What a killed process left unfinished is swept at the next start.
"""

import asyncio
import base64
import binascii
import fcntl
import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TypeVar

from pretrain.commitment import content_digest
from pretrain.errors import EvaluatorUnavailable, HubUnavailable, ModelRejected, Reason
from pretrain.hub import Hub, RemoteFile
from pretrain.hub.objects import sync_folder
from pretrain.types import Digest, Revision

_UNFINISHED = ".tmp-"
_LOCK = ".lock"
_SHA256_BYTES = 32

T = TypeVar("T")


class ModelStore:
    """A folder of models. Opening sweeps what dead processes left; raises EvaluatorUnavailable when the disk refuses."""

    def __init__(self, root: Path) -> None:
        self._root = root
        _translated(root, self._prepare)

    def path(self, digest: Digest) -> Path | None:
        """Return the folder of a model that is here, complete and checked; None when it is not."""
        place = self._place(digest)
        return place if place.is_dir() else None

    async def fetch(self, hub: Hub, repo: str, revision: Revision, files: Sequence[RemoteFile], digest: Digest) -> Path:
        """Return the folder of a model, downloaded unless it is here.

        Raises ModelRejected(DIGEST) when the files are not those of the digest, HubUnavailable when the bytes that came
        are not those of the files, and what the hub raises. A cancelled download leaves nothing.
        """
        if content_digest(files) != digest:
            raise ModelRejected(Reason.DIGEST, f"the files of {repo} at {revision} are not those of {digest}")
        present = self.path(digest)
        if present is not None:
            return present
        with self._unfinished() as folder:
            await hub.fetch(repo, revision, files, folder)
            return await asyncio.to_thread(_translated, self._root, lambda: self._keep(folder, files, digest))

    def _prepare(self) -> None:
        self._root.mkdir(parents=True, exist_ok=True)
        for lock in sorted(self._root.glob(f"{_UNFINISHED}*{_LOCK}")):
            _sweep(lock)

    def _place(self, digest: Digest) -> Path:
        """Return where a model lies; a digest that is none is our mistake, and raises ValueError."""
        try:
            raw = base64.b64decode(digest, validate=True)
        except binascii.Error as error:
            raise ValueError(f"{digest!r} is no content digest") from error
        if len(raw) != _SHA256_BYTES:
            raise ValueError(f"{digest!r} is no content digest")
        return self._root / base64.urlsafe_b64encode(raw).decode("ascii").rstrip("=")

    @contextmanager
    def _unfinished(self) -> Iterator[Path]:
        """Give a new folder that nobody sweeps while this process lives, and take it away at the end."""
        folder = self._root / f"{_UNFINISHED}{secrets.token_hex(8)}"
        lock = _translated(self._root, lambda: _take(folder.with_name(folder.name + _LOCK)))
        try:
            _translated(self._root, folder.mkdir)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            Path(lock.name).unlink(missing_ok=True)
            lock.close()

    def _keep(self, folder: Path, files: Sequence[RemoteFile], digest: Digest) -> Path:
        """Check every byte and make the folder a model."""
        for file in files:
            _seal(folder / file.name, file)
        found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
        if found != {file.name for file in files}:
            raise HubUnavailable(f"the hub brought other files than were asked for: {sorted(found)}")
        sync_folder(folder)
        place = self._place(digest)
        try:
            folder.rename(place)
        except OSError:
            if not place.is_dir():  # else another process was first, with the same content
                raise
        sync_folder(self._root)
        return place


def _seal(path: Path, file: RemoteFile) -> None:
    """Check a downloaded file, bring it to the disk, and make it read-only."""
    if path.is_symlink() or not path.is_file():
        raise HubUnavailable(f"the hub did not bring {file.name} as a plain file")
    with path.open("rb") as reader:
        size = os.fstat(reader.fileno()).st_size
        sha256 = hashlib.file_digest(reader, "sha256").hexdigest() if size == file.size else ""
        if sha256 != file.sha256:
            raise HubUnavailable(f"the hub's bytes of {file.name} ({size}) are not the {file.size} of its sha256")
        os.fsync(reader.fileno())
    path.chmod(0o444)


def _take(path: Path) -> IO[bytes]:
    """Make and hold a lock file; again if a sweeper took it away between the two."""
    while True:
        lock = path.open("ab")
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists() and path.stat().st_ino == os.fstat(lock.fileno()).st_ino:
            return lock
        lock.close()


def _sweep(path: Path) -> None:
    """Remove an unfinished download whose process is dead: its lock can be had."""
    try:
        lock = path.open("rb")
    except FileNotFoundError:
        return
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        shutil.rmtree(path.with_name(path.name.removesuffix(_LOCK)), ignore_errors=True)
        path.unlink(missing_ok=True)


def _translated(root: Path, work: Callable[[], T]) -> T:
    """Do something with this machine's disk: that it fails is neither the hub's nor the miner's fault."""
    try:
        return work()
    except OSError as error:
        raise EvaluatorUnavailable(f"the model store in {root} cannot be used: {error}") from error

"""Models on this machine's disk, found by their content digest, so that no content is downloaded twice.

A download goes into a folder of its own and becomes a model by one rename, after size and sha256 of every byte have
been checked here, whatever the hub's client did. Two processes may share a store: the first to finish wins and the
other takes what is there. What a killed process left unfinished is swept at the next start.
"""

import asyncio
import base64
import binascii
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from pretrain.commitment import content_digest
from pretrain.errors import EvaluatorUnavailable, HubUnavailable, ModelRejected, Reason
from pretrain.hub import Hub, RemoteFile
from pretrain.hub.names import is_file_name
from pretrain.hub.unfinished import held, sweep, sync_folder
from pretrain.types import Digest, Revision

_UNFINISHED = ".tmp-"
_LOCK = ".lock"
_SHA256_BYTES = 32


class ModelStore:
    """A folder of models; opening it sweeps what dead processes left.

    Raises EvaluatorUnavailable when this machine's disk refuses.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        with _disk(root):
            self._prepare()

    def path(self, digest: Digest) -> Path | None:
        """Return the folder of a model that is here, complete and checked; None when it is not."""
        place = self._place(digest)
        return place if place.is_dir() else None

    def discard(self, digest: Digest) -> None:
        """Remove a model; nobody finds a part of it meanwhile. Raises EvaluatorUnavailable."""
        with _disk(self._root), self._unfinished() as folder, suppress(FileNotFoundError):
            self._place(digest).rename(folder / "discarded")

    async def fetch(self, hub: Hub, repo: str, revision: Revision, files: Sequence[RemoteFile], digest: Digest) -> Path:
        """Return the folder of a model, downloaded unless it is here.

        Raises ModelRejected (FILES: a name that could leave the folder; DIGEST: the files are not those of the digest),
        HubUnavailable when the bytes that came are not those of the files, and what the hub raises. A download that
        fails or is cancelled leaves nothing.
        """
        wrong = [file.name for file in files if not is_file_name(file.name)]
        if wrong:
            raise ModelRejected(Reason.FILES, f"{repo} at {revision} names a file {wrong[0]!r}")
        if content_digest(files) != digest:
            raise ModelRejected(Reason.DIGEST, f"the files of {repo} at {revision} are not those of {digest}")
        present = self.path(digest)
        if present is not None:
            return present
        with _disk(self._root), self._unfinished() as folder:
            await hub.fetch(repo, revision, files, folder)
            return await asyncio.to_thread(self._keep, folder, files, digest)

    def _prepare(self) -> None:
        self._root.mkdir(parents=True, exist_ok=True)
        for lock in sorted(self._root.glob(f"{_UNFINISHED}*{_LOCK}")):
            sweep(lock)
        for folder in sorted(self._root.glob(f"{_UNFINISHED}*")):  # a lock is made before its folder and outlives it
            if folder.is_dir() and not folder.with_name(folder.name + _LOCK).exists():
                shutil.rmtree(folder, ignore_errors=True)

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
        with held(folder.with_name(folder.name + _LOCK)):
            try:
                folder.mkdir()
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)

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


@contextmanager
def _disk(root: Path) -> Iterator[None]:
    """Say of a failing disk of ours that it is neither the hub's nor the miner's fault."""
    try:
        yield
    except OSError as error:
        raise EvaluatorUnavailable(f"the model store in {root} cannot be used: {error}") from error

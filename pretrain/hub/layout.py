"""What lies in the folder of a model store: models under their digests, and what is on its way in or out."""

import base64
import binascii
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pretrain.hub.unfinished import held, sweep
from pretrain.types import Digest

NEED = ".need"
"""Ends the name of the file beside a model that says who needs it, and when it was needed last."""
_UNFINISHED = ".tmp-"
_LOCK = ".lock"
_SHA256_BYTES = 32
_MODEL = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)


def model_name(digest: Digest) -> str:
    """Return the name of a model's folder; a digest that is none is our mistake, and raises ValueError."""
    try:
        raw = base64.b64decode(digest, validate=True)
    except binascii.Error as error:
        raise ValueError(f"{digest!r} is no content digest") from error
    if len(raw) != _SHA256_BYTES:
        raise ValueError(f"{digest!r} is no content digest")
    return base64.urlsafe_b64encode(raw).decode("ascii").rstrip("=")


def is_model(path: Path) -> bool:
    """Whether it is the folder of a model; a link is none, whatever it leads to."""
    return _MODEL.fullmatch(path.name) is not None and path.is_dir() and not path.is_symlink()


def models(root: Path) -> dict[str, int]:
    """Return the name of each model that is here, with the bytes of its files."""
    return {path.name: bytes_in(path) for path in sorted(root.iterdir()) if is_model(path)}


def bytes_in(folder: Path) -> int:
    """Return the sizes of a folder's files together, without those that go away meanwhile."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += Path(place, name).lstat().st_size
    return total


def strangers(root: Path) -> list[str]:
    """Return the names of what no store has put here."""
    named = [path for path in sorted(root.iterdir()) if not _is_ours(path)]
    return [path.name for path in named if os.path.lexists(path)]  # a model may be dropped while one looks


def _is_ours(path: Path) -> bool:
    if path.name == _LOCK or path.name.startswith(_UNFINISHED):
        return True
    return _MODEL.fullmatch(path.name.removesuffix(NEED)) is not None if path.name.endswith(NEED) else is_model(path)


@contextmanager
def unfinished(root: Path) -> Iterator[tuple[Path, IO[bytes]]]:
    """Give a new folder that nobody sweeps while this process lives, with its lock file, and take both away at the end.

    What is written into the lock file by ``reserve`` says what the folder will hold.
    """
    folder = root / f"{_UNFINISHED}{secrets.token_hex(8)}"
    with held(folder.with_name(folder.name + _LOCK)) as lock:
        try:
            folder.mkdir()
            yield folder, lock
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def sweep_dead(root: Path) -> None:
    """Remove what processes that are dead left unfinished."""
    for lock in sorted(root.glob(f"{_UNFINISHED}*{_LOCK}")):
        sweep(lock)
    for folder in sorted(root.glob(f"{_UNFINISHED}*")):  # a lock is made before its folder and outlives it
        if folder.is_dir() and not folder.with_name(folder.name + _LOCK).exists():
            shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Coming:
    """A download on its way, of this process or another."""

    name: str
    """Of the model that it will be."""
    size: int
    """In bytes, when it is whole."""
    folder: Path

    @property
    def missing(self) -> int:
        """Return the bytes still to come."""
        return max(0, self.size - bytes_in(self.folder))


def reserve(lock: IO[bytes], name: str, size: int) -> None:
    """Note in the lock file of an unfinished folder what it will hold."""
    lock.write(f"{size} {name}".encode())
    lock.flush()


def coming(root: Path) -> list[Coming]:
    """Return the downloads that have room reserved."""
    found = []
    for lock in sorted(root.glob(f"{_UNFINISHED}*{_LOCK}")):
        try:
            size, _, name = lock.read_text("ascii", "replace").partition(" ")
        except FileNotFoundError:
            continue
        if size.isdecimal():
            found.append(Coming(name, int(size), lock.with_suffix("")))
    return found

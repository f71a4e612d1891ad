"""Files stored once under the sha256 of their content, and read only with it checked."""

import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from pretrain.errors import HubUnavailable
from pretrain.hub import RemoteFile

_CHUNK = 1 << 20


def put(root: Path, name: str, source: Path) -> RemoteFile:
    """Copy a file into the store and return it as the store has it: its size and digest are those of the bytes copied."""
    unfinished = root / "unfinished" / secrets.token_hex(8)
    unfinished.parent.mkdir(parents=True, exist_ok=True)
    try:
        with source.open("rb") as reader, unfinished.open("xb") as writer:
            size, sha256 = _copy(reader, writer)
        place = path_of(root, sha256)
        place.parent.mkdir(parents=True, exist_ok=True)
        unfinished.chmod(0o444)
        unfinished.replace(place)
        sync_folder(place.parent)
    finally:
        unfinished.unlink(missing_ok=True)
    return RemoteFile(name, size, sha256)


def get(root: Path, file: RemoteFile, into: Path) -> None:
    """Copy a stored file to a new place that appears whole or not at all; raises HubUnavailable if its bytes are wrong."""
    unfinished = into.with_name(f".{into.name}.{secrets.token_hex(4)}.tmp")
    try:
        with path_of(root, file.sha256).open("rb") as reader, unfinished.open("xb") as writer:
            _check(file, *_copy(reader, writer))
        unfinished.replace(into)
    finally:
        unfinished.unlink(missing_ok=True)


def read(root: Path, file: RemoteFile) -> bytes:
    """Return a stored file's bytes; raises HubUnavailable if they are wrong, having read one byte too many at most."""
    with path_of(root, file.sha256).open("rb") as reader:
        content = reader.read(file.size + 1)
    _check(file, len(content), hashlib.sha256(content).hexdigest())
    return content


def path_of(root: Path, sha256: str) -> Path:
    """Return where a content lies."""
    return root / "objects" / sha256[:2] / sha256


def write_whole(path: Path, content: bytes) -> None:
    """Write a small file so that it is there as a whole or not at all, also after a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with unfinished.open("xb") as writer:
            writer.write(content)
            _sync(writer)
        unfinished.replace(path)
        sync_folder(path.parent)
    finally:
        unfinished.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Bring a folder's names to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _copy(reader: IO[bytes], writer: IO[bytes]) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    for chunk in _chunks(reader):
        digest.update(chunk)
        size += writer.write(chunk)
    _sync(writer)
    return size, digest.hexdigest()


def _chunks(reader: IO[bytes]) -> Iterator[bytes]:
    while chunk := reader.read(_CHUNK):
        yield chunk


def _check(file: RemoteFile, size: int, sha256: str) -> None:
    if (size, sha256) != (file.size, file.sha256):
        raise HubUnavailable(f"the hub's bytes of {file.name} are {size} with sha256 {sha256}, not those of the revision")


def _sync(writer: IO[bytes]) -> None:
    writer.flush()
    os.fsync(writer.fileno())

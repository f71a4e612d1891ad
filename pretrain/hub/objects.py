"""Files of the embedded hub, stored once under the sha256 of their content and read only with it checked.

Whatever is written is first written under ``unfinished`` and then renamed into its place: it is there as a whole or
not at all, after a kill and after a power cut.
"""

import hashlib
import os
import secrets
from pathlib import Path
from typing import IO

from pretrain.errors import HubUnavailable
from pretrain.hub import RemoteFile
from pretrain.hub.unfinished import held, sweep, sync_folder

_CHUNK = 1 << 20


def put(root: Path, name: str, source: Path) -> RemoteFile:
    """Copy a file into the store and return it as the store has it: size and digest are those of the bytes copied."""
    with source.open("rb") as reader, held(_unfinished(root)) as writer:
        size, sha256 = _copy(reader, writer)
        os.fchmod(writer.fileno(), 0o444)
        _move(Path(writer.name), path_of(root, sha256))
    return RemoteFile(name, size, sha256)


def write_whole(root: Path, path: Path, content: bytes) -> None:
    """Write a small file at its place under the root."""
    with held(_unfinished(root)) as writer:
        writer.write(content)
        _sync(writer)
        _move(Path(writer.name), path)


def get(root: Path, file: RemoteFile, into: Path) -> None:
    """Copy a stored file out, so that it appears whole or not at all; raises HubUnavailable if its bytes are wrong."""
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


def read_part(root: Path, file: RemoteFile, start: int, stop: int) -> bytes:
    """Return bytes ``start`` to ``stop`` of a stored file, unchecked; fewer where it ends."""
    with path_of(root, file.sha256).open("rb") as reader:
        reader.seek(start)
        return reader.read(max(0, stop - start))


def path_of(root: Path, sha256: str) -> Path:
    """Return where a content lies."""
    return root / "objects" / sha256[:2] / sha256


def clean(root: Path) -> None:
    """Remove what killed processes left."""
    for path in sorted((root / "unfinished").glob("*.part")):
        sweep(path)


def _unfinished(root: Path) -> Path:
    folder = root / "unfinished"
    folder.mkdir(exist_ok=True)
    return folder / f"{secrets.token_hex(8)}.part"


def _move(unfinished: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    unfinished.replace(place)
    sync_folder(place.parent)


def _copy(reader: IO[bytes], writer: IO[bytes]) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    while chunk := reader.read(_CHUNK):
        digest.update(chunk)
        size += writer.write(chunk)
    _sync(writer)
    return size, digest.hexdigest()


def _check(file: RemoteFile, size: int, sha256: str) -> None:
    if (size, sha256) != (file.size, file.sha256):
        raise HubUnavailable(f"the hub's bytes of {file.name} ({size}) are not the {file.size} of its sha256")


def _sync(writer: IO[bytes]) -> None:
    writer.flush()
    os.fsync(writer.fileno())

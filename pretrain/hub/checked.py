"""Every byte of a model on this machine's disk: when it comes, whatever the hub's client checked, and later."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from pretrain.commitment import content_digest
from pretrain.errors import HubUnavailable
from pretrain.hub import RemoteFile
from pretrain.hub.unfinished import sync_folder
from pretrain.types import Digest


def check(folder: Path, files: Sequence[RemoteFile]) -> None:
    """Check that a download is just these files, bring it to the disk, and make it read-only; raises HubUnavailable."""
    for file in files:
        _seal(folder / file.name, file)
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    if found != {file.name for file in files}:
        raise HubUnavailable(f"the hub brought other files than were asked for: {sorted(found)}")
    sync_folder(folder)


def digest_of(folder: Path) -> Digest:
    """Return the content digest of all that is in a folder, which no model has when a link or a folder is in it."""
    described = []
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_file():
            described.append(RemoteFile(path.name, 0, ""))
            continue
        with path.open("rb") as reader:
            size = os.fstat(reader.fileno()).st_size
            sha256 = hashlib.file_digest(reader, "sha256").hexdigest()
        described.append(RemoteFile(path.name, size, sha256))
    return content_digest(described)


def _seal(path: Path, file: RemoteFile) -> None:
    if path.is_symlink() or not path.is_file():
        raise HubUnavailable(f"the hub did not bring {file.name} as a plain file")
    with path.open("rb") as reader:
        size = os.fstat(reader.fileno()).st_size
        sha256 = hashlib.file_digest(reader, "sha256").hexdigest() if size == file.size else ""
        if sha256 != file.sha256:
            raise HubUnavailable(f"the hub's bytes of {file.name} ({size}) are not the {file.size} of its sha256")
        os.fsync(reader.fileno())
    path.chmod(0o444)

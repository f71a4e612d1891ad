"""Texts that took seconds to make, kept in the user's cache folder for the next process."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

Texts = Mapping[str, Mapping[str, list[str]]]
"""Documents, by their kind and then by what they were taken from."""


def cached(key: str, make: Callable[[], Texts]) -> Texts:
    """Return what was kept under a key, else make and keep it.

    The key must cover everything that the texts follow from. What is read back is checked against its own sha256, so
    that a file cut short by a full disk is made again; a folder that cannot be written only costs the time.
    """
    path = _folder() / f"{key}.json"
    kept = _read(path)
    if kept is None:
        kept = make()
        _write(path, kept)
    return kept


def _folder() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "pretrain"


def _read(path: Path) -> Texts | None:
    try:
        digest, _, content = path.read_bytes().partition(b"\n")
    except OSError:
        return None
    if digest != hashlib.sha256(content).hexdigest().encode():
        return None
    texts: dict[str, dict[str, list[str]]] = json.loads(content)
    return texts


def _write(path: Path, texts: Texts) -> None:
    content = json.dumps(texts, separators=(",", ":")).encode()
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(hashlib.sha256(content).hexdigest().encode() + b"\n" + content)
        temporary.replace(path)
    except OSError:
        return

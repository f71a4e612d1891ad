"""Who needs which model of a store, told to every process by locks, which die with the process that holds them.

Beside each model lies a file. Who needs the model holds a shared lock on it, who drops the model an exclusive one. Its
content is the count of when the model was needed last: every need gets the next number, so no clock is asked, and a
restart changes nothing.
"""

import fcntl
import os
import weakref
from collections.abc import Collection
from pathlib import Path

from pretrain.hub.layout import NEED

_DIGITS = 20


class Leases:
    """What this process needs of a store; given back when this object goes, or its process dies."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._held: dict[str, int] = {}
        """Name of a model -> descriptor of its lock."""
        self._users: dict[str, int] = {}
        """Name -> how many use it just now."""
        self._kept: set[str] = set()
        weakref.finalize(self, _close_all, self._held)

    def take(self, name: str) -> None:
        """Need a model, which may be on its way, until as many calls of ``give``."""
        self._hold(name)
        self._users[name] = self._users.get(name, 0) + 1

    def give(self, name: str) -> None:
        """Need a model once less; nothing happens to one that ``keep`` named."""
        users = self._users.pop(name, 0)
        if users > 1:
            self._users[name] = users - 1
        elif name not in self._kept:
            self._let_go(name)

    def keep(self, names: Collection[str]) -> None:
        """Need just these until the next call, and nothing of what was needed before."""
        for name in names:
            self._hold(name)
        self._users.clear()
        self._kept = set(names)
        for name in set(self._held) - self._kept:
            self._let_go(name)

    def _hold(self, name: str) -> None:
        if name not in self._held:
            self._held[name] = _locked(_file(self._root, name), fcntl.LOCK_SH)

    def _let_go(self, name: str) -> None:
        if name in self._held:
            os.close(self._held.pop(name))


def mark(root: Path, names: Collection[str]) -> None:
    """Note that these were needed just now, all at once."""
    number = 1 + max((_count(path) for path in root.glob(f"*{NEED}")), default=0)
    for name in sorted(names):
        descriptor = _locked(_file(root, name), fcntl.LOCK_SH)
        try:
            os.pwrite(descriptor, f"{number:0{_DIGITS}d}".encode(), 0)
        finally:
            os.close(descriptor)


def last_needed(root: Path, name: str) -> int:
    """Return the count of when a model was needed last; 0 when nothing is known of it."""
    return _count(_file(root, name))


def claim(root: Path, name: str) -> int | None:
    """Return a descriptor that keeps everybody from needing a model until it is closed; None when somebody does."""
    try:
        return _locked(_file(root, name), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return None


def forget(root: Path, name: str) -> None:
    """Remove what is noted of a model that was claimed."""
    _file(root, name).unlink(missing_ok=True)


def forget_absent(root: Path, present: Collection[str]) -> None:
    """Remove what is noted of models that are neither here nor needed."""
    for path in sorted(root.glob(f"*{NEED}")):
        name = path.name.removesuffix(NEED)
        descriptor = None if name in present else claim(root, name)
        if descriptor is not None:
            forget(root, name)
            os.close(descriptor)


def _file(root: Path, name: str) -> Path:
    return root / f"{name}{NEED}"


def _count(path: Path) -> int:
    """Return the number in a file; 0 when it is gone, new, or torn by a power cut."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return 0
    return int(text) if len(text) == _DIGITS and text.isdigit() else 0


def _locked(path: Path, how: int) -> int:
    """Open and lock a file, made if need be; again if it was removed between the two. Raises BlockingIOError."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, how)
            if path.exists() and path.stat().st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        except OSError:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _close_all(held: dict[str, int]) -> None:
    while held:
        os.close(held.popitem()[1])

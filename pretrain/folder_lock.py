"""A folder that belongs to one process while it runs."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pretrain.errors import ConfigError

_FILE = "lock"


@contextmanager
def alone(folder: Path, flag: str) -> Iterator[None]:
    """Make a folder if need be, and keep it to this process until the end or its death, however it dies.

    Raises ConfigError, naming the flag that gave the folder, when another process has it or it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / _FILE).open("a")
    except OSError as error:
        raise ConfigError(f"{flag} {folder}: {error.strerror}; give a folder that can be written") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                f"{flag} {folder} is in use by another process; stop it, or give another folder"
            ) from error
        yield


def in_use(folder: Path) -> bool:
    """Whether a process has the folder now; raises OSError when that cannot be seen."""
    try:
        lock = (folder / _FILE).open()
    except FileNotFoundError:
        return False
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False

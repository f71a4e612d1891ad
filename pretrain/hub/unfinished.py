"""Telling a write in progress from what a killed process left: the living one holds a lock, which dies with it."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def held(path: Path) -> Iterator[IO[bytes]]:
    """Make a file that ``sweep`` leaves alone, and remove it at the end unless it was moved away."""
    lock = _take(path)
    try:
        yield lock
    finally:
        path.unlink(missing_ok=True)
        lock.close()


def sweep(path: Path) -> bool:
    """Remove an abandoned file, and the folder of the same name without its suffix; return whether it was abandoned."""
    try:
        lock = path.open("rb")
    except FileNotFoundError:
        return False
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        shutil.rmtree(path.with_suffix(""), ignore_errors=True)
        path.unlink(missing_ok=True)
    return True


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Be the only process in a folder, waiting for the others."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def sync_folder(folder: Path) -> None:
    """Bring a folder's names to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _take(path: Path) -> IO[bytes]:
    """Make and lock a file; again if a sweeper took it away between the two."""
    while True:
        lock = path.open("ab")
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists() and path.stat().st_ino == os.fstat(lock.fileno()).st_ino:
            return lock
        lock.close()

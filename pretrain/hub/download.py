"""Files from the hub onto the disk: whole, checked while they are written, and gone on with where they broke off."""

import asyncio
import hashlib
import os
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import IO

from pretrain.errors import ModelRejected, Reason
from pretrain.hub import RemoteFile
from pretrain.hub.anonymous import Content, Place, Reader
from pretrain.hub.asking import Limits, Throttle, pause
from pretrain.hub.hub_errors import Again
from pretrain.together import together

_BLOCK = 1 << 20
"""Bytes hashed and written at a time, in a thread."""
_SHA256_HEX, _GIT_HEX = 64, 40


class WrongBytes(Again):
    """A whole file came and is not the one of its sha256."""


class Checked:
    """Bytes of a file as they come, and what they must be in the end."""

    def __init__(self, file: RemoteFile, place: Place) -> None:
        self._file = file
        self._place = place
        self._begin()

    def _begin(self) -> None:
        self.size = 0
        self._sha256 = hashlib.sha256()
        self._git = hashlib.sha1(b"blob %d\0" % self._file.size, usedforsecurity=False)  # git's name for a content
        self._etag = ""

    def expect(self, content: Content) -> None:
        """Raise ModelRejected(UNAVAILABLE) when the hub itself says that the revision holds another file, or Again."""
        other = len(content.etag) == _SHA256_HEX and content.etag != self._file.sha256
        if other or content.size not in {None, self._file.size}:
            raise self._no_such_file()
        if content.response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and self._file.size:
            raise Again(f"the hub gives no such part of {self._file.name}")
        self._etag = content.etag

    def add(self, block: bytes) -> None:
        """Take the next bytes; raises Again when there are more than the file has."""
        self.size += len(block)
        if self.size > self._file.size:
            raise Again(f"the hub sends more than the {self._file.size} bytes of {self._file.name}")
        self._sha256.update(block)
        if len(self._etag) == _GIT_HEX:
            self._git.update(block)

    def finish(self) -> None:
        """Raise Again when bytes are missing or wrong, ModelRejected when they are right but not those asked for."""
        if self.size < self._file.size:
            raise Again(f"the hub sent {self.size} of the {self._file.size} bytes of {self._file.name}")
        if self._sha256.hexdigest() == self._file.sha256:
            return
        if self._git.hexdigest() == self._etag:
            raise self._no_such_file()
        raise WrongBytes(f"the hub's bytes of {self._file.name} are not those of its sha256")

    def _no_such_file(self) -> ModelRejected:
        where = f"{self._place.repo} at {self._place.revision}"
        return ModelRejected(Reason.UNAVAILABLE, f"{where} holds no such file: {self._file.name!r}")


async def read(reader: Reader, place: Place, file: RemoteFile) -> bytes:
    """Return a small file's bytes, checked; raises Again when they are wrong."""
    checked, raw = Checked(file, place), bytearray()
    async with reader.content(place, file.name) as content:
        checked.expect(content)
        async for chunk in reader.chunks(content, place):
            checked.add(chunk)
            raw += chunk
    checked.finish()
    return bytes(raw)


async def read_part(reader: Reader, place: Place, file: RemoteFile, start: int, stop: int) -> bytes:
    """Return bytes ``start`` to ``stop`` of a file, fewer where it ends; raises Again when some are missing."""
    wanted = max(0, min(stop, file.size) - start)
    if not wanted:
        start, stop = 0, 1  # asks all the same whether the file is there
    raw = bytearray()
    async with reader.content(place, file.name, start, start + wanted if wanted else stop) as content:
        Checked(file, place).expect(content)
        if content.start != start:
            raise Again(f"the hub gives {file.name} from byte {content.start}, not from {start}")
        async for chunk in reader.chunks(content, place):
            if len(raw) >= wanted:
                break
            raw += chunk
    if len(raw) < wanted:
        raise Again(f"the hub sent {len(raw)} of {wanted} bytes of {file.name}")
    return bytes(raw[:wanted])


async def fetch(reader: Reader, place: Place, files: Sequence[RemoteFile], into: Path, limits: Limits) -> None:
    """Download files side by side; the first that cannot be had ends the others, and its error is raised."""
    gate, throttle = asyncio.Semaphore(limits.parallel), Throttle(limits.bandwidth)

    async def one(file: RemoteFile) -> None:
        async with gate:
            await _Download(reader, place, file, into, throttle).run(limits)

    await together(one(file) for file in files)


class _Download:
    """One file on its way: ``NAME.tmp`` holds what is there, also of an earlier call that was cut off."""

    def __init__(self, reader: Reader, place: Place, file: RemoteFile, into: Path, throttle: Throttle) -> None:
        self._reader, self._place, self._file, self._throttle = reader, place, file, throttle
        self._target = into / file.name
        self._draft = self._target.with_name(f"{self._target.name}.tmp")

    async def run(self, limits: Limits) -> None:
        """Try until the file is there; only tries without any progress count, and a second whole one is the last."""
        tries, reached, wrong = 1, self._present(), 0
        while True:
            try:
                await self._attempt()
            except WrongBytes as error:
                wrong += 1
                if wrong > 1:
                    raise
                await pause(error, f"{self._place.repo} {self._file.name}", tries, limits)
                reached = 0
            except Again as error:
                tries, reached = (1, self._present()) if self._present() > reached else (tries, reached)
                await pause(error, f"{self._place.repo} {self._file.name}", tries, limits)
                tries += 1
            else:
                return

    async def _attempt(self) -> None:
        """Go on from what is there; what turns out wrong in the end is thrown away."""
        checked = Checked(self._file, self._place)
        start = self._present()
        async with self._reader.content(self._place, self._file.name, start) as content:
            checked.expect(content)
            await asyncio.to_thread(self._target.parent.mkdir, parents=True, exist_ok=True)
            start = content.start if content.response.status_code == HTTPStatus.PARTIAL_CONTENT else 0
            with self._draft.open("r+b" if self._draft.exists() else "w+b") as draft:
                await asyncio.to_thread(_rewind, draft, start, checked)
                await self._receive(content, draft, checked)
        try:
            checked.finish()
        except (Again, ModelRejected):
            if checked.size >= self._file.size:
                self._draft.unlink()
            raise
        self._draft.replace(self._target)

    async def _receive(self, content: Content, draft: IO[bytes], checked: Checked) -> None:
        """Write what comes, block by block; a stream that breaks leaves on the disk what came before."""
        waiting = bytearray()

        async def write() -> None:
            block = bytes(waiting)
            waiting.clear()
            await asyncio.to_thread(_write, draft, block, checked)

        try:
            async for chunk in self._reader.chunks(content, self._place):
                waiting += chunk
                if len(waiting) >= _BLOCK:
                    await write()
                await self._throttle.spend(len(chunk))
        finally:
            await write()
            await asyncio.to_thread(_sync, draft)

    def _present(self) -> int:
        """Return the bytes to go on from: none when all or too many are there, for those were not right."""
        size = self._draft.stat().st_size if self._draft.exists() else 0
        return size if size < self._file.size else 0


def _rewind(draft: IO[bytes], start: int, checked: Checked) -> None:
    """Cut a draft to its first ``start`` bytes and take them as received."""
    draft.truncate(start)
    draft.seek(0)
    while block := draft.read(_BLOCK):
        checked.add(block)


def _write(draft: IO[bytes], block: bytes, checked: Checked) -> None:
    checked.add(block)
    draft.write(block)


def _sync(draft: IO[bytes]) -> None:
    draft.flush()
    os.fsync(draft.fileno())

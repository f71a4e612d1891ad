"""What the first kilobytes of a model say, before its weights are downloaded: its config, and each file's header."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pretrain.errors import HubUnavailable, ModelRejected, Reason
from pretrain.hub import Hub, RemoteFile
from pretrain.models.files import CONFIG, local_files
from pretrain.models.header import LENGTH_BYTES, header_bytes
from pretrain.together import together
from pretrain.types import Revision

MAX_HEADERS_BYTES = 16_000_000
"""Of all headers of a model together."""

AT_ONCE = 8
"""Parts of one model asked for at the same time."""

_SUFFIX = ".safetensors"


@dataclass(frozen=True)
class RawHeader:
    """The header of one safetensors file, as its miner wrote it."""

    raw: bytes
    """JSON, perhaps."""
    data_bytes: int
    """How many bytes follow it in the file."""


@dataclass(frozen=True)
class Preview:
    """A model without its weights."""

    config: bytes
    """config.json."""
    headers: Mapping[str, RawHeader]
    """By name of the file."""


async def preview(hub: Hub, repo: str, revision: Revision, files: Sequence[RemoteFile]) -> Preview:
    """Read the kilobytes of a model, whose ``files`` are those of ``describe.listing``.

    No digest covers a header alone: it is read once more when the file is here, and only then does it decide what is
    loaded. Raises ModelRejected(HEADER) for a length that its file can not have, or all that are too long together;
    HubUnavailable.
    """
    by_name = {file.name: file for file in files}
    config = await hub.read(repo, revision, by_name[CONFIG])
    weights = [file for file in files if file.name.endswith(_SUFFIX)]
    gate = asyncio.Semaphore(AT_ONCE)

    async def part(file: RemoteFile, start: int, stop: int) -> bytes:
        async with gate:
            return await _part(hub, (repo, revision), file, start, stop)

    prefixes = await together(part(file, 0, LENGTH_BYTES) for file in weights)
    lengths = [header_bytes(prefix, file.size, file.name) for file, prefix in zip(weights, prefixes, strict=True)]
    _check_sum(lengths)
    ends = [LENGTH_BYTES + length for length in lengths]
    raws = await together(part(file, LENGTH_BYTES, end) for file, end in zip(weights, ends, strict=True))
    return Preview(
        config,
        {file.name: RawHeader(raw, file.size - end) for file, raw, end in zip(weights, raws, ends, strict=True)},
    )


def local_preview(folder: Path) -> Preview:
    """Read the kilobytes of a model in a folder; raises ModelRejected (FILES, HEADER)."""
    headers = {}
    for file in local_files(folder):
        if file.name.endswith(_SUFFIX):
            with (folder / file.name).open("rb") as reader:
                length = header_bytes(reader.read(LENGTH_BYTES), file.size, file.name)
                headers[file.name] = RawHeader(reader.read(length), file.size - LENGTH_BYTES - length)
    _check_sum([len(header.raw) for header in headers.values()])
    return Preview((folder / CONFIG).read_bytes(), headers)


def _check_sum(lengths: Sequence[int]) -> None:
    if sum(lengths) > MAX_HEADERS_BYTES:
        raise ModelRejected(Reason.HEADER, f"headers of {sum(lengths)} bytes together; at most {MAX_HEADERS_BYTES} fit")


async def _part(hub: Hub, place: tuple[str, Revision], file: RemoteFile, start: int, stop: int) -> bytes:
    if file.size < stop:
        raise ModelRejected(Reason.HEADER, f"{file.name} has {file.size} bytes; no header fits")
    part = await hub.read_part(*place, file, start, stop)
    if len(part) != stop - start:
        raise HubUnavailable(f"the hub gave {len(part)} bytes of {file.name}; {stop - start} were asked for")
    return part

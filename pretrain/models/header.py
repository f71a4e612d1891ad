"""The header of a safetensors file, read as a stranger's, and the digest of the weights behind it.

Layout (https://github.com/huggingface/safetensors#format): 8 bytes little-endian N, N bytes of JSON, then the data.
"""

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pretrain.errors import ModelRejected, Reason
from pretrain.models.files import shard_paths
from pretrain.models.hostile_json import parse_object
from pretrain.types import Digest

MAX_HEADER_BYTES = 4_000_000
"""Enough for some 30,000 tensors, and little enough to be read in the validator's own process."""

MAX_TENSORS = 100_000
"""In all headers of a model together; 512 layers, the most of any family, have some 13,000."""

ITEM_BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "I64": 8, "I32": 4, "I16": 2, "I8": 1,
    "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1,
}  # fmt: skip
"""Bytes of one element by dtype, as the format names it."""

LENGTH_BYTES = 8
"""At the start of a file: how long its header is, little-endian."""

_MAX_RANK = 8
_MAX_NAME = 512
_MAX_NUMBER = 1 << 48  # bytes and elements; far beyond any disk
_BLOCK = 1 << 20  # bytes hashed at a time


@dataclass(frozen=True)
class StoredTensor:
    """One tensor of a file."""

    name: str
    dtype: str
    """As in the header: F32, BF16, ..."""
    shape: tuple[int, ...]
    start: int
    """Offset of its first byte in the file."""
    size: int
    """In bytes."""


def header_bytes(prefix: bytes, total: int, where: str) -> int:
    """Return how long the header is that the first 8 bytes of a file of ``total`` bytes announce.

    Raises ModelRejected(HEADER) when it does not fit into the file, or is longer than ``MAX_HEADER_BYTES``.
    """
    length, most = int.from_bytes(prefix, "little"), min(MAX_HEADER_BYTES, max(0, total - LENGTH_BYTES))
    if len(prefix) < LENGTH_BYTES or length > most:
        raise _rejected(where, f"a header of {length} bytes in a file of {total}; at most {most} fit")
    return length


def read_header(path: Path) -> tuple[StoredTensor, ...]:
    """Return the tensors of a safetensors file in the order of their data; raises ModelRejected(HEADER)."""
    total = path.stat().st_size
    with path.open("rb") as file:
        length = header_bytes(file.read(LENGTH_BYTES), total, path.name)
        raw = file.read(length)
    return parse_header(raw, total - LENGTH_BYTES - length, path.name)


def parse_header(raw: bytes, data_bytes: int, where: str) -> tuple[StoredTensor, ...]:
    """Read a header's JSON, given how many bytes of data follow it; ``where`` names the file in messages.

    The tensors must fill the data exactly, in one piece from its first byte to its last: no gap can hide bytes that no
    digest covers, and no two tensors share any. Raises ModelRejected(HEADER).
    """
    if not raw.startswith(b"{"):
        raise _rejected(where, "the header does not start with '{'")
    entries = parse_object(raw, limit=MAX_HEADER_BYTES, what=f"{where}: the header", reason=Reason.HEADER)
    _check_metadata(entries.pop("__metadata__", {}), where)
    data_start = LENGTH_BYTES + len(raw)
    tensors = sorted((_tensor(name, entry, data_start, where) for name, entry in entries.items()), key=_position)
    end = data_start
    for tensor in tensors:
        if tensor.start != end:
            raise _rejected(where, f"{tensor.name} starts at byte {tensor.start}; the data before it ends at {end}")
        end += tensor.size
    if end != data_start + data_bytes:
        raise _rejected(where, f"the tensors end at byte {end} of {data_start + data_bytes}; they must fill the file")
    return tuple(tensors)


def weights_digest(folder: Path) -> Digest:
    """Return the weights digest of a model folder (protocol.md section 3), reading each shard once in constant memory.

    No sharding, metadata or config changes it. Raises ModelRejected(HEADER), also for a tensor that is in two shards.
    """
    return digest_of_tensors(
        (tensor, _data_sha256(path, tensor)) for path in shard_paths(folder) for tensor in read_header(path)
    )


def digest_of_tensors(tensors: Iterable[tuple[StoredTensor, str]]) -> Digest:
    """Combine tensors, each with the lower-case hex sha256 of its data, into a weights digest; names must be unique."""
    lines: dict[bytes, bytes] = {}
    for tensor, sha256 in tensors:
        name = tensor.name.encode()
        if name in lines:
            raise ModelRejected(Reason.HEADER, f"{tensor.name} is in two shards; each tensor may stand once")
        shape = ",".join(map(str, tensor.shape))
        lines[name] = b"\0".join((name, tensor.dtype.encode(), shape.encode(), sha256.encode())) + b"\n"
    return Digest(hashlib.sha256(b"".join(lines[name] for name in sorted(lines))).hexdigest())


def _data_sha256(path: Path, tensor: StoredTensor) -> str:
    sha256, left = hashlib.sha256(), tensor.size
    with path.open("rb") as file:
        file.seek(tensor.start)
        while left and (block := file.read(min(left, _BLOCK))):
            sha256.update(block)
            left -= len(block)
    if left:
        raise _rejected(path.name, f"ends {left} bytes before the data of {tensor.name} does")
    return sha256.hexdigest()


def _tensor(name: str, entry: object, data_start: int, where: str) -> StoredTensor:
    if not 0 < len(name) <= _MAX_NAME or not name.isprintable():
        raise _rejected(where, f"the tensor name {name!a:.80} is empty, too long or not printable")
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise _rejected(where, f"{name} must have exactly dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], _counts(entry["shape"]), _counts(entry["data_offsets"])
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise _rejected(where, f"{name} has dtype {dtype!a:.40}; known are {', '.join(ITEM_BYTES)}")
    if shape is None or len(shape) > _MAX_RANK:
        raise _rejected(where, f"{name} has a shape that is not up to {_MAX_RANK} whole numbers from 0")
    if offsets is None or len(offsets) != 2:  # noqa: PLR2004 - begin and end
        raise _rejected(where, f"{name} has data_offsets that are not two whole numbers from 0")
    begin, end = offsets
    size = math.prod(shape) * ITEM_BYTES[dtype]
    if end - begin != size:
        raise _rejected(where, f"{name} has {end - begin} bytes of data; {dtype} of shape {shape} has {size}")
    return StoredTensor(name, dtype, shape, data_start + begin, size)


def _counts(value: object) -> tuple[int, ...] | None:
    if not isinstance(value, list):
        return None
    counts = [number for number in value if type(number) is int and 0 <= number <= _MAX_NUMBER]
    return tuple(counts) if len(counts) == len(value) else None


def _position(tensor: StoredTensor) -> tuple[int, int]:
    return tensor.start, tensor.size  # an empty tensor comes before the one that starts where it stands


def _check_metadata(metadata: object, where: str) -> None:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _rejected(where, "__metadata__ must be an object of strings")


def _rejected(where: str, detail: str) -> ModelRejected:
    return ModelRejected(Reason.HEADER, f"{where}: {detail}")

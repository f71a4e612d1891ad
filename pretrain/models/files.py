"""Which files of a repository are the model (protocol.md section 2); nothing else in it is ever read."""

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from pretrain.errors import ModelRejected, Reason
from pretrain.hub import RemoteFile
from pretrain.models.hostile_json import parse_object

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
MAX_CONFIG_BYTES = 1 << 20
MAX_INDEX_BYTES = 16 << 20
MAX_SHARDS = 256
"""Each is asked for on its own; the largest models that are published have fewer."""
_SHARD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,240}\.safetensors", re.ASCII)
_BLOCK = 1 << 20  # bytes hashed at a time


def index_file(described: Sequence[RemoteFile]) -> RemoteFile | None:
    """Return the index that must be read before ``model_files`` can tell, or None when the weights are one file.

    Raises ModelRejected(FILES) when it is larger than 16 MB, so that its reader needs no bound of its own.
    """
    found = [file for file in described if file.name == INDEX]
    if not found:
        return None
    _at_most(found[0], MAX_INDEX_BYTES)
    return found[0]


def model_files(
    described: Sequence[RemoteFile], index: bytes | None, *, max_bytes: int | None = None
) -> tuple[RemoteFile, ...]:
    """Return the files of the model, ordered by name as bytes.

    They are config.json and either model.safetensors or model.safetensors.index.json with every file that its
    ``weight_map`` names. ``index`` is the content of ``index_file(described)``; ``max_bytes`` bounds all
    together.
    Raises ModelRejected(FILES) for anything else: a file named twice, both forms together, neither, a shard that is
    missing, in a folder, or not called ``*.safetensors`` in plain letters.
    """
    counts = Counter(file.name for file in described)
    by_name = {file.name: file for file in described}
    names = _model_names(counts, index)
    twice = [name for name in names if counts[name] > 1]
    if twice:
        raise ModelRejected(Reason.FILES, f"{twice[0]!a} is listed {counts[twice[0]]} times; expected once")
    chosen = tuple(by_name[name] for name in names)
    _at_most(by_name[CONFIG], MAX_CONFIG_BYTES)
    total = sum(file.size for file in chosen)
    if max_bytes is not None and total > max_bytes:
        raise ModelRejected(Reason.FILES, f"the files have {total} bytes together; the competition allows {max_bytes}")
    return chosen


def local_files(folder: Path, max_bytes: int | None = None) -> tuple[RemoteFile, ...]:
    """Describe the model in a folder by the same rule, with sizes and hashes read from its bytes.

    A miner learns its content digest from it; a validator checks what it downloaded. Raises ModelRejected(FILES), also
    when the files together are larger than ``max_bytes``.
    """
    names = [path.name for path in model_paths(folder)]
    return model_files([_describe(folder / name) for name in names], _local_index(folder), max_bytes=max_bytes)


def model_paths(folder: Path) -> tuple[Path, ...]:
    """Return the paths of the model in a folder, in order of name; raises ModelRejected(FILES)."""
    names = Counter(path.name for path in folder.iterdir() if path.is_file()) if folder.is_dir() else Counter()
    paths = tuple(folder / name for name in _model_names(names, _local_index(folder)))
    if links := [path.name for path in paths if path.is_symlink()]:  # as in a cache of the hub's client
        raise ModelRejected(Reason.FILES, f"{links[0]} is a link: only plain files are a model; `cp -rL` makes them so")
    return paths


def shard_paths(folder: Path) -> tuple[Path, ...]:
    """Return the paths of the model's safetensors files in a folder, in order of name; raises ModelRejected(FILES)."""
    return tuple(path for path in model_paths(folder) if path.suffix == ".safetensors")


def _model_names(present: Mapping[str, int], index: bytes | None) -> tuple[str, ...]:
    if CONFIG not in present:
        raise ModelRejected(Reason.FILES, f"{CONFIG} is missing")
    if WEIGHTS in present and INDEX in present:
        raise ModelRejected(Reason.FILES, f"both {WEIGHTS} and {INDEX} are there; a model has one of them")
    if INDEX in present:
        if index is None:
            raise ModelRejected(Reason.FILES, f"{INDEX} is there but cannot be read")
        names = {CONFIG, INDEX, *_shards(index)}
    elif WEIGHTS in present:
        names = {CONFIG, WEIGHTS}
    else:
        raise ModelRejected(Reason.FILES, f"neither {WEIGHTS} nor {INDEX} is there")
    missing = sorted(names - set(present))
    if missing:
        raise ModelRejected(Reason.FILES, f"{missing[0]} is named by {INDEX} but is missing")
    return tuple(sorted(names, key=str.encode))


def _shards(index: bytes) -> set[str]:
    parsed = parse_object(index, limit=MAX_INDEX_BYTES, what=INDEX, reason=Reason.FILES)
    weight_map = parsed.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ModelRejected(Reason.FILES, f"{INDEX}: weight_map must be an object that names a file for each tensor")
    shards: set[str] = set()
    for shard in weight_map.values():
        if not isinstance(shard, str) or not _SHARD.fullmatch(shard):
            raise ModelRejected(
                Reason.FILES,
                f"{INDEX}: weight_map names {shard!a:.80};"
                " expected a *.safetensors at the top level, of letters, digits, '.', '_' and '-'",
            )
        shards.add(shard)
    if len(shards) > MAX_SHARDS:
        raise ModelRejected(Reason.FILES, f"{INDEX} names {len(shards)} files; at most {MAX_SHARDS} are read")
    if len({shard.lower() for shard in shards}) < len(shards):
        raise ModelRejected(Reason.FILES, f"{INDEX} names two files that differ in case alone")
    return shards


def _local_index(folder: Path) -> bytes | None:
    path = folder / INDEX
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return file.read(MAX_INDEX_BYTES + 1)


def _describe(path: Path) -> RemoteFile:
    sha256, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            sha256.update(block)
            size += len(block)
    return RemoteFile(path.name, size, sha256.hexdigest())


def _at_most(file: RemoteFile, limit: int) -> None:
    if file.size > limit:
        raise ModelRejected(Reason.FILES, f"{file.name} has {file.size} bytes; at most {limit} are read")

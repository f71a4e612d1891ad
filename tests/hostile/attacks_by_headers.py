"""Attacks by the bytes of a safetensors file."""

import functools
import json
import pickle
from collections.abc import Callable
from typing import Any

import gates
import take_out
import torch
from attack import Attack
from crafted import FIRST, SECOND, configured, digest, file, header, honest, index, sharded, tensors, weighed
from gates import Files
from safetensors.torch import save
from take_out import all_of, constant, entry

from pretrain import describe, preview
from pretrain.errors import HubUnavailable, Reason
from pretrain.evaluate import child
from pretrain.hub import Hub, RemoteFile
from pretrain.models import header as headers
from pretrain.models.architectures import DTYPES
from pretrain.models.files import CONFIG, INDEX, WEIGHTS
from pretrain.preview import Preview
from pretrain.types import Digest, Revision

_NORM, _KEY, _VALUE = "model.norm.weight", *(f"model.layers.0.self_attn.{part}_proj.weight" for part in "kv")
_HIDDEN = bytes(1000)

ran: list[str] = []
"""What a pickle did."""


def run_code(text: str) -> None:
    """Be what a pickle calls."""
    ran.append(text)


class _Payload:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return run_code, ("code of a miner",)


def _pickled() -> Files:
    return {**honest(), WEIGHTS: pickle.dumps(_Payload())}


def _announcing(length: int) -> Callable[[], Files]:
    """Say another length of the header."""
    return lambda: {**honest(), WEIGHTS: length.to_bytes(8, "little") + honest()[WEIGHTS][8:]}


def _long(size: int) -> bytes:
    head, data = header(honest()[WEIGHTS])
    return file({**head, "__metadata__": {"padding": "x" * size}}, data)


def _long_together() -> Files:
    shards = {f"{number}.safetensors": file(b" " * 3_900_000, b"") for number in range(5)}
    return {CONFIG: honest()[CONFIG], INDEX: index({name: name for name in shards}), **shards}


@functools.cache
def _million() -> Files:
    entries = (f'"{number}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}' for number in range(1_000_000))
    return {**honest(), WEIGHTS: file(f"{{{','.join(entries)}}}".encode(), b"")}


def _moved(head: dict[str, Any], start: int, distance: int) -> dict[str, Any]:
    """Return a header whose tensors from an offset on stand elsewhere."""
    moved = {}
    for name, stored in head.items():
        if name == "__metadata__":
            continue
        begin, end = stored["data_offsets"]
        offsets = [begin + distance, end + distance] if begin >= start else [begin, end]
        moved[name] = {**stored, "data_offsets": offsets}
    return moved


def _overlapping() -> Files:
    head, data = header(honest()[WEIGHTS])
    begin, end = head[_VALUE]["data_offsets"]
    moved = _moved(head, end, begin - end)
    moved[_VALUE]["data_offsets"] = moved[_KEY]["data_offsets"]
    return {**honest(), WEIGHTS: file(moved, data[:begin] + data[end:])}


def _with_gap() -> Files:
    head, data = header(honest()[WEIGHTS])
    begin, _ = head[_NORM]["data_offsets"]
    return {**honest(), WEIGHTS: file(_moved(head, begin, len(_HIDDEN)), data[:begin] + _HIDDEN + data[begin:])}


def _with_more(name: str, entry_: dict[str, object], data: bytes = b"") -> Files:
    """Write one more entry at the end of the header, whatever stands there already."""
    repository = weighed(honest(), {name: tensor.bfloat16() for name, tensor in tensors(honest()).items()})
    head, stored = header(repository[WEIGHTS])
    raw = json.dumps(head).removesuffix("}") + f', "{name}": {json.dumps(entry_)}}}'
    return {**repository, WEIGHTS: file(raw.encode(), stored + data)}


def _twice_in_header() -> Files:
    repository = weighed(honest(), {name: tensor.bfloat16() for name, tensor in tensors(honest()).items()})
    return _with_more(_NORM, {**header(repository[WEIGHTS])[0][_NORM], "dtype": "F16"})


def _surrogate() -> Files:
    end = sum(tensor.numel() * 2 for tensor in tensors(honest()).values())
    return _with_more("\\ud800", {"dtype": "BF16", "shape": [1], "data_offsets": [end, end + 2]}, bytes(2))


def _twice_in_shards() -> Files:
    repository, shared = sharded(honest()), tensors(honest())
    name = min(shared)
    second = {other: shared[other] for other in sorted(shared)[1::2]} | {name: shared[name] + 1}
    return {**repository, INDEX: index({"x": FIRST, "y": SECOND}), SECOND: save(second)}


def _as_dtype(dtype: torch.dtype) -> Callable[[], Files]:
    return lambda: weighed(honest(), {name: tensor.to(dtype) for name, tensor in tensors(honest()).items()})


async def _any_part(hub: Hub, place: tuple[str, Revision], remote: RemoteFile, start: int, stop: int) -> bytes:
    part = await hub.read_part(*place, remote, start, stop)
    if len(part) != stop - start:
        raise HubUnavailable(f"the hub gave {len(part)} bytes of {remote.name}; {stop - start} were asked for")
    return part


async def _no_preview(*_: object) -> Preview:
    return Preview(b"", {})


def _unpickle(folder: Any, *_: object) -> object:  # noqa: ANN401
    return pickle.loads((folder / WEIGHTS).read_bytes())  # noqa: S301 - that is the attack


_any_length = all_of(
    constant(preview, "header_bytes", lambda prefix, *_: int.from_bytes(prefix, "little")),
    constant(preview, "_part", _any_part),
    constant(preview, "MAX_HEADERS_BYTES", 1 << 64),
)


def _header(name: str, build: Callable[[], Files], most: int, guard: str, out: take_out.TakeOut, **more: Any) -> Attack:  # noqa: ANN401
    """Refused as ``HEADER`` by the first kilobytes."""
    return Attack(name, build, "config and headers", Reason.HEADER, most, guard, out, **more)


def _length(name: str, build: Callable[[], Files], guard: str, out: take_out.TakeOut, **more: Any) -> Attack:  # noqa: ANN401
    """Refused as ``HEADER`` by the length of a header."""
    return Attack(name, build, "first kilobytes", Reason.HEADER, 700, guard, out, **more)


_FILLED = "`header.parse_header`: the tensors fill the data"

ATTACKS = (
    _length(
        "a pickle named `model.safetensors`",
        _pickled,
        "nothing unpickles: the length, the header and our own reader",
        all_of(
            constant(describe, "preview", _no_preview),
            constant(child, "inspect", take_out.nothing),
            constant(gates, "weights_digest", lambda _: Digest("")),
            constant(child, "load_with_digest", _unpickle),
        ),
        succeeds=lambda _: bool(ran),
    ),
    _length(
        "a header of 2^63 bytes",
        _announcing(1 << 63),
        "`header.header_bytes` and `preview.MAX_HEADERS_BYTES` and `preview._part`",
        _any_length,
        succeeds=lambda tried: tried.outcome == "undecided: the hub's",
    ),
    _length(
        "a header longer than its file",
        _announcing(200_000),
        "`header.header_bytes` and `preview._part`",
        _any_length,
        succeeds=lambda tried: tried.outcome == "undecided: the hub's",
    ),
    _length(
        "a header of 5 MB",
        lambda: {**honest(), WEIGHTS: _long(5_000_000)},
        "`header.MAX_HEADER_BYTES`",
        constant(headers, "MAX_HEADER_BYTES", 1 << 40),
    ),
    _length(
        "five headers of 3.9 MB",
        _long_together,
        "`preview.MAX_HEADERS_BYTES`",
        constant(preview, "MAX_HEADERS_BYTES", 1 << 40),
        succeeds=lambda tried: tried.hub.read_bytes > 17_000_000,
        enough=17_000_000,
    ),
    _length(
        "a header of a million tensors",
        _million,
        "`header.MAX_HEADER_BYTES` and `preview.MAX_HEADERS_BYTES`",
        all_of(
            constant(headers, "MAX_HEADER_BYTES", 1 << 40),
            constant(preview, "MAX_HEADERS_BYTES", 1 << 40),
        ),
        succeeds=lambda tried: tried.hub.read_bytes > 50_000_000,
        enough=50_000_000,
    ),
    _header("two tensors of the same bytes", _overlapping, 3_000, _FILLED, take_out.header_must_be_filled),
    _header(
        "bytes hidden between two tensors",
        _with_gap,
        3_000,
        _FILLED,
        take_out.header_must_be_filled,
        succeeds=lambda tried: tried.weights == digest(honest()),
    ),
    _header(
        "bytes hidden behind the last tensor",
        lambda: {**honest(), WEIGHTS: honest()[WEIGHTS] + _HIDDEN},
        3_000,
        _FILLED,
        take_out.header_must_be_filled,
        succeeds=lambda tried: tried.weights == digest(honest()),
    ),
    _header(
        "a tensor twice in one header, as BF16 and as F16",
        _twice_in_header,
        3_000,
        "`hostile_json._unique`",
        take_out.names_are_unique,
    ),
    _header(
        "a tensor in two shards, with other values",
        _twice_in_shards,
        3_000,
        "`architectures.check_header` and `header.digest_of_tensors`",
        all_of(take_out.header_must_fit, take_out.tensor_once),
    ),
    _header(
        "a tensor named by half a surrogate pair",
        _surrogate,
        3_000,
        "`header._tensor` and `architectures.check_header`",
        all_of(take_out.header_must_fit, take_out.tensor_entry_is_sane),
        succeeds=lambda tried: tried.outcome == "crash: UnicodeEncodeError",
    ),
    _header(
        "weights in F64",
        _as_dtype(torch.float64),
        3_000,
        "`architectures.DTYPES`",
        entry(DTYPES, "F64", torch.float64),
    ),
    _header(
        "weights in I32",
        _as_dtype(torch.int32),
        3_000,
        "`architectures.DTYPES`",
        entry(DTYPES, "I32", torch.int32),
        succeeds=lambda tried: tried.outcome.startswith("crash"),
    ),
    _header(
        "weights in F8_E4M3",
        _as_dtype(torch.float8_e4m3fn),
        3_000,
        "`architectures.DTYPES`",
        entry(DTYPES, "F8_E4M3", torch.float8_e4m3fn),
        succeeds=lambda tried: tried.outcome.startswith("crash"),
    ),
    _header(
        "a head in the file of a model whose config ties it: bytes that are never loaded",
        lambda: configured(honest(), tie_word_embeddings=True),
        3_000,
        "`architectures.check_header`",
        take_out.header_must_fit,
    ),
    _header(
        "no head in the file of a model whose config does not tie it",
        lambda: weighed(honest(), {name: part for name, part in tensors(honest()).items() if name != "lm_head.weight"}),
        3_000,
        "`architectures.check_header` and `load._assemble`",
        all_of(take_out.header_must_fit, take_out.all_must_be_given),
        succeeds=lambda tried: tried.outcome.startswith("crash"),
    ),
)

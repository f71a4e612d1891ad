"""Attacks by the bytes of a safetensors file."""

import pickle
from collections.abc import Callable
from typing import Any

import gates
import take_out
import torch
from attack import Attack, happened
from counting_hub import Files
from crafted import configured, digest, honest, tensors, weighed
from crafted_headers import (
    HIDDEN,
    announcing,
    as_dtype,
    long,
    long_together,
    million,
    overlapping,
    shadowing,
    surrogate,
    twice_in_header,
    twice_in_shards,
    with_gap,
)
from take_out import all_of, constant, entry

from pretrain import describe, preview
from pretrain.errors import HubUnavailable, Reason
from pretrain.evaluate import child
from pretrain.hub import Hub, RemoteFile
from pretrain.models import header as headers
from pretrain.models.architectures import DTYPES
from pretrain.models.files import WEIGHTS
from pretrain.preview import Preview
from pretrain.types import Digest, Revision

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
        succeeds=lambda _: happened(ran),
    ),
    _length(
        "a header of 2^63 bytes",
        announcing(1 << 63),
        "`header.header_bytes` and `preview.MAX_HEADERS_BYTES` and `preview._part`",
        all_of(_any_length, constant(preview, "MAX_HEADERS_BYTES", 1 << 64)),
        succeeds=lambda tried: tried.outcome == "undecided: the hub's",
    ),
    _length(
        "a header longer than its file",
        announcing(200_000),
        "`header.header_bytes` and `preview._part`",
        _any_length,
        succeeds=lambda tried: tried.outcome == "undecided: the hub's",
    ),
    _length(
        "a header of 5 MB",
        lambda: {**honest(), WEIGHTS: long(5_000_000)},
        "`header.MAX_HEADER_BYTES`",
        constant(headers, "MAX_HEADER_BYTES", 1 << 40),
    ),
    _length(
        "five headers of 3.9 MB",
        long_together,
        "`preview.MAX_HEADERS_BYTES`",
        constant(preview, "MAX_HEADERS_BYTES", 1 << 40),
        succeeds=lambda tried: tried.hub.read_bytes > 17_000_000,
        enough=17_000_000,
    ),
    _length(
        "a header of a million tensors",
        million,
        "`header.MAX_HEADER_BYTES` and `preview.MAX_HEADERS_BYTES`",
        all_of(
            constant(headers, "MAX_HEADER_BYTES", 1 << 40),
            constant(preview, "MAX_HEADERS_BYTES", 1 << 40),
        ),
        succeeds=lambda tried: tried.hub.read_bytes > 50_000_000,
        enough=50_000_000,
    ),
    _header("two tensors of the same bytes", overlapping, 3_000, _FILLED, take_out.header_must_be_filled),
    _header(
        "two tensors of the same bytes, and as many bytes hidden: the sum is right",
        shadowing,
        3_000,
        _FILLED,
        take_out.header_must_be_filled,
    ),
    _header(
        "bytes hidden between two tensors",
        with_gap,
        3_000,
        _FILLED,
        take_out.header_must_be_filled,
        succeeds=lambda tried: tried.weights == digest(honest()),
    ),
    _header(
        "bytes hidden behind the last tensor",
        lambda: {**honest(), WEIGHTS: honest()[WEIGHTS] + HIDDEN},
        3_000,
        _FILLED,
        take_out.header_must_be_filled,
        succeeds=lambda tried: tried.weights == digest(honest()),
    ),
    _header(
        "a tensor twice in one header, as BF16 and as F16",
        twice_in_header,
        3_000,
        "`hostile_json._unique`",
        take_out.names_are_unique,
    ),
    _header(
        "a tensor in two shards, with other values",
        twice_in_shards,
        3_000,
        "`architectures.check_header` and `header.digest_of_tensors`",
        all_of(take_out.header_must_fit, take_out.tensor_once),
    ),
    _header(
        "a tensor named by half a surrogate pair",
        surrogate,
        3_000,
        "`header._tensor` and `architectures.check_header`",
        all_of(take_out.header_must_fit, take_out.tensor_entry_is_sane),
        succeeds=lambda tried: tried.outcome == "crash: UnicodeEncodeError",
    ),
    _header(
        "weights in F64",
        as_dtype(torch.float64),
        3_000,
        "`architectures.DTYPES`",
        entry(DTYPES, "F64", torch.float64),
    ),
    _header(
        "weights in a dtype that is not known",
        lambda: {**honest(), WEIGHTS: honest()[WEIGHTS].replace(b'"F32"', b'"F99"')},
        3_000,
        "`header._tensor` and `architectures.check_header`",
        all_of(take_out.header_must_fit, take_out.tensor_entry_is_sane),
        succeeds=lambda tried: tried.outcome == "crash: KeyError",
    ),
    _header(
        "weights in I32",
        as_dtype(torch.int32),
        3_000,
        "`architectures.DTYPES`",
        entry(DTYPES, "I32", torch.int32),
        succeeds=lambda tried: tried.outcome.startswith("crash"),
    ),
    _header(
        "weights in F8_E4M3",
        as_dtype(torch.float8_e4m3fn),
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

"""Safetensors files that are not what they say.

Each function returns a repository; ``crafted`` has the honest one.
"""

import functools
import json
from collections.abc import Callable
from typing import Any

import torch
from counting_hub import Files
from crafted import FIRST, SECOND, file, header, honest, index, sharded, tensors, weighed
from safetensors.torch import save

from pretrain.models.files import CONFIG, INDEX, WEIGHTS

_NORM, _KEY, _VALUE = "model.norm.weight", *(f"model.layers.0.self_attn.{part}_proj.weight" for part in "kv")
HIDDEN = bytes(1000)


def announcing(length: int) -> Callable[[], Files]:
    """Say another length of the header."""
    return lambda: {**honest(), WEIGHTS: length.to_bytes(8, "little") + honest()[WEIGHTS][8:]}


def long(size: int) -> bytes:
    head, data = header(honest()[WEIGHTS])
    return file({**head, "__metadata__": {"padding": "x" * size}}, data)


def long_together() -> Files:
    shards = {f"{number}.safetensors": file(b" " * 3_900_000, b"") for number in range(5)}
    return {CONFIG: honest()[CONFIG], INDEX: index({name: name for name in shards}), **shards}


@functools.cache
def million() -> Files:
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


def overlapping() -> Files:
    head, data = header(honest()[WEIGHTS])
    begin, end = head[_VALUE]["data_offsets"]
    moved = _moved(head, end, begin - end)
    moved[_VALUE]["data_offsets"] = moved[_KEY]["data_offsets"]
    return {**honest(), WEIGHTS: file(moved, data[:begin] + data[end:])}


def shadowing() -> Files:
    head, data = header(honest()[WEIGHTS])
    head[_VALUE]["data_offsets"] = head[_KEY]["data_offsets"]
    return {**honest(), WEIGHTS: file(head, data)}


def with_gap() -> Files:
    head, data = header(honest()[WEIGHTS])
    begin, _ = head[_NORM]["data_offsets"]
    return {**honest(), WEIGHTS: file(_moved(head, begin, len(HIDDEN)), data[:begin] + HIDDEN + data[begin:])}


def _with_more(name: str, entry_: dict[str, object], data: bytes = b"") -> Files:
    """Write one more entry at the end of the header, whatever stands there already."""
    repository = weighed(honest(), {name: tensor.bfloat16() for name, tensor in tensors(honest()).items()})
    head, stored = header(repository[WEIGHTS])
    raw = json.dumps(head).removesuffix("}") + f', "{name}": {json.dumps(entry_)}}}'
    return {**repository, WEIGHTS: file(raw.encode(), stored + data)}


def twice_in_header() -> Files:
    repository = weighed(honest(), {name: tensor.bfloat16() for name, tensor in tensors(honest()).items()})
    return _with_more(_NORM, {**header(repository[WEIGHTS])[0][_NORM], "dtype": "F16"})


def surrogate() -> Files:
    end = sum(tensor.numel() * 2 for tensor in tensors(honest()).values())
    return _with_more("\\ud800", {"dtype": "BF16", "shape": [1], "data_offsets": [end, end + 2]}, bytes(2))


def twice_in_shards() -> Files:
    repository, shared = sharded(honest()), tensors(honest())
    name = min(shared)
    second = {other: shared[other] for other in sorted(shared)[1::2]} | {name: shared[name] + 1}
    return {**repository, INDEX: index({"x": FIRST, "y": SECOND}), SECOND: save(second)}


def as_dtype(dtype: torch.dtype) -> Callable[[], Files]:
    return lambda: weighed(honest(), {name: tensor.to(dtype) for name, tensor in tensors(honest()).items()})

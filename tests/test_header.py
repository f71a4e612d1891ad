import contextlib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from pretrain.errors import ModelRejected, Reason
from pretrain.models.header import StoredTensor, parse_header, read_header, weights_digest


def entry(dtype: str = "F32", shape: tuple[int, ...] = (2,), begin: int = 0, end: int = 8) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


def refused(header: object, data_bytes: int = 8) -> str:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    with pytest.raises(ModelRejected) as caught:
        parse_header(raw, data_bytes, "w.safetensors")
    assert caught.value.reason is Reason.HEADER
    assert "\n" not in caught.value.detail
    return caught.value.detail


def write(path: Path, header: Mapping[str, object] | bytes, data: bytes) -> None:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(raw).to_bytes(8, "little") + raw + data)


def test_a_header_is_read_in_the_order_of_its_data() -> None:
    header = {"__metadata__": {"format": "pt"}, "b": entry(begin=2, end=10), "a": entry("BF16", (1,), 0, 2)}
    raw = json.dumps(header).encode()
    start = 8 + len(raw)
    assert parse_header(raw, 10, "w") == (
        StoredTensor("a", "BF16", (1,), start, 2),
        StoredTensor("b", "F32", (2,), start + 2, 8),
    )


def test_scalars_and_empty_tensors_take_the_bytes_that_their_shape_says() -> None:
    raw = json.dumps({"s": entry("F64", (), 0, 8), "none": entry("F32", (3, 0), 8, 8)}).encode()
    assert [tensor.size for tensor in parse_header(raw, 8, "w")] == [8, 0]


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ({"a": entry(end=4, shape=(1,))}, "must fill"),
        ({"a": entry(shape=(1,), begin=4)}, "starts at byte"),
        ({"a": entry(), "b": entry()}, "starts at byte"),
        ({"a": entry(shape=(1,), end=4), "b": entry(shape=(1,), begin=0, end=4)}, "starts at byte"),
        ({"a": entry(end=7)}, "7 bytes of data; F32 of shape (2,) has 8"),
        ({"a": entry(begin=8, end=0)}, "-8 bytes"),
        ({"a": entry("F99")}, "dtype 'F99'"),
        ({"a": {**entry(), "dtype": ["F32"]}}, "dtype"),
        ({"a": entry(shape=(-2,))}, "whole numbers"),
        ({"a": {**entry(), "shape": [2.0]}}, "whole numbers"),
        ({"a": {**entry(), "shape": [True, 2]}}, "whole numbers"),
        ({"a": {**entry(), "shape": "2"}}, "whole numbers"),
        ({"a": entry(shape=(1,) * 9 + (2,))}, "up to 8"),
        ({"a": entry(shape=(1 << 60,))}, "whole numbers"),
        ({"a": {**entry(), "data_offsets": [0]}}, "data_offsets"),
        ({"a": {**entry(), "data_offsets": [0, 8, 8]}}, "data_offsets"),
        ({"a": {**entry(), "extra": 1}}, "exactly dtype"),
        ({"a": {"dtype": "F32", "shape": [2]}}, "exactly dtype"),
        ({"a": [1]}, "exactly dtype"),
        ({"": entry()}, "tensor name"),
        ({"a\0b": entry()}, "tensor name"),
        ({"a\nb": entry()}, "tensor name"),
        ({"\ud800": entry()}, "tensor name"),
        ({"a" * 600: entry()}, "tensor name"),
        ({"a": entry(), "__metadata__": {"x": 1}}, "__metadata__"),
        ({"a": entry(), "__metadata__": "x"}, "__metadata__"),
        (b" " + json.dumps({"a": entry()}).encode(), "start with"),
        (b'{"a": 1, "a": 2}', "twice"),
        (b'{"a":' * 200_000, "nested"),
        (b"{", "not strict JSON"),
    ],
)
def test_a_malformed_header_is_refused(header: object, says: str) -> None:
    assert says in refused(header)


@given(st.binary(max_size=64).map(lambda tail: b"{" + tail), st.integers(0, 100))
def test_no_bytes_as_a_header_raise_anything_but_a_rejection(raw: bytes, data_bytes: int) -> None:
    with contextlib.suppress(ModelRejected):
        parse_header(raw, data_bytes, "w")


@pytest.mark.parametrize("content", [b"", b"\0" * 7, b"\xff" * 7 + b"\x3f", (9).to_bytes(8, "little") + b"{}"])
def test_a_length_beyond_the_file_is_refused_before_anything_is_allocated(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(ModelRejected, match="header of"):
        read_header(tmp_path / "w.safetensors")


def test_a_header_beyond_the_bound_of_the_format_is_refused_without_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    with path.open("wb") as file:
        file.write((4_000_001).to_bytes(8, "little"))
        file.truncate(200_000_000)
    with pytest.raises(ModelRejected, match="at most 4000000 fit"):
        read_header(path)


def test_the_library_and_this_reader_see_the_same_tensors(tmp_path: Path) -> None:
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    arrays: dict[str, npt.NDArray[Any]] = {"x": x, "h": np.ones(4, np.float16), "i": np.ones((), np.int64)}
    save_file(arrays, tmp_path / "w.safetensors", metadata={"format": "pt"})
    content = (tmp_path / "w.safetensors").read_bytes()
    found = {t.name: (t.shape, content[t.start : t.start + t.size]) for t in read_header(tmp_path / "w.safetensors")}
    assert found == {name: (array.shape, array.tobytes()) for name, array in arrays.items()}


def sharded(folder: Path, shards: list[dict[str, npt.NDArray[Any]]], metadata: dict[str, str] | None = None) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    named = {f"model-{k}.safetensors": shard for k, shard in enumerate(shards)}
    for name, shard in named.items():
        save_file(shard, folder / name, metadata=metadata)
    index = {"weight_map": {tensor: name for name, shard in named.items() for tensor in shard}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def test_the_weights_digest_is_the_one_of_the_protocol(tmp_path: Path) -> None:
    b, a = np.array([[1.0, 2.0]], np.float32), np.array(3.0, np.float16)
    lines = b"a\0F16\0\0" + hashlib.sha256(a.tobytes()).hexdigest().encode() + b"\n"
    lines += b"b\0F32\x001,2\0" + hashlib.sha256(b.tobytes()).hexdigest().encode() + b"\n"
    folder = sharded(tmp_path / "m", [{"b": b, "a": a}])
    assert weights_digest(folder) == hashlib.sha256(lines).hexdigest()


@given(st.lists(st.integers(0, 2), min_size=4, max_size=4), st.sampled_from([None, {"made": "elsewhere"}]))
def test_no_sharding_and_no_metadata_changes_the_weights_digest(
    tmp_path_factory: pytest.TempPathFactory, places: list[int], metadata: dict[str, str] | None
) -> None:
    tensors = {f"t{k}": np.arange(k + 1, dtype=np.float32) for k in range(4)}
    shards = [{f"t{k}": tensors[f"t{k}"] for k in range(4) if places[k] == shard} for shard in range(3)]
    root = tmp_path_factory.mktemp("digest")
    whole = sharded(root / "whole", [tensors])
    split = sharded(root / "split", [shard for shard in shards if shard], metadata)
    assert weights_digest(split) == weights_digest(whole)


def test_one_changed_bit_or_dtype_or_shape_or_name_changes_the_weights_digest(tmp_path: Path) -> None:
    x = np.arange(4, dtype=np.float32)
    flipped = x.copy()
    flipped.view(np.uint8)[0] ^= 1
    variants: list[dict[str, npt.NDArray[Any]]]
    variants = [{"x": x}, {"x": flipped}, {"x": x.reshape(2, 2)}, {"y": x}, {"x": x.view(np.int32)}]
    digests = {weights_digest(sharded(tmp_path / str(k), [variant])) for k, variant in enumerate(variants)}
    assert len(digests) == len(variants)


def test_a_tensor_in_two_shards_is_refused(tmp_path: Path) -> None:
    x = np.ones(2, np.float32)
    with pytest.raises(ModelRejected, match="x is in two shards"):
        weights_digest(sharded(tmp_path / "m", [{"x": x, "z": x}, {"x": x, "y": x}]))

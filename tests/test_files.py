import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pretrain.commitment import content_digest
from pretrain.errors import ModelRejected, Reason
from pretrain.hub import RemoteFile
from pretrain.models.files import index_file, local_files, model_files, shard_paths

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
A, B = "model-1-of-2.safetensors", "model-2-of-2.safetensors"


def remote(*names: str, size: int = 10) -> list[RemoteFile]:
    return [RemoteFile(name, size, hashlib.sha256(name.encode()).hexdigest()) for name in names]


def index(*shards: str) -> bytes:
    return json.dumps({"metadata": {}, "weight_map": {f"t{k}": shard for k, shard in enumerate(shards)}}).encode()


def names(described: list[RemoteFile], raw: bytes | None) -> list[str]:
    return [file.name for file in model_files(described, raw)]


def refused(described: list[RemoteFile], raw: bytes | None) -> str:
    with pytest.raises(ModelRejected) as caught:
        model_files(described, raw)
    assert caught.value.reason is Reason.FILES
    return caught.value.detail


def test_one_file_of_weights_and_the_config_are_the_model_and_nothing_else_is() -> None:
    described = remote("README.md", WEIGHTS, "generation_config.json", CONFIG, "tokenizer.json", "run.py")
    assert names(described, None) == [CONFIG, WEIGHTS]


def test_sharded_weights_are_the_index_and_every_file_that_it_names() -> None:
    described = remote(B, "other.safetensors", INDEX, CONFIG, A)
    assert names(described, index(A, B, A)) == [CONFIG, A, B, INDEX]


@given(st.permutations(remote(A, B, CONFIG, INDEX, "README.md")))
def test_the_order_of_a_listing_does_not_matter(described: list[RemoteFile]) -> None:
    assert names(described, index(A, B)) == [CONFIG, A, B, INDEX]


@pytest.mark.parametrize(
    ("listed", "raw", "says"),
    [
        ((WEIGHTS,), None, "config.json is missing"),
        ((CONFIG,), None, "neither"),
        ((CONFIG, WEIGHTS, INDEX), index(WEIGHTS), "both"),
        ((CONFIG, A, INDEX), index(A, B), "is missing"),
        ((CONFIG, A, INDEX), None, "cannot be read"),
        ((CONFIG, WEIGHTS, CONFIG), None, "2 times"),
        ((CONFIG, A, A, INDEX), index(A), "2 times"),
    ],
)
def test_a_set_of_files_of_another_form_is_refused(listed: tuple[str, ...], raw: bytes | None, says: str) -> None:
    assert says in refused(remote(*listed), raw)


@pytest.mark.parametrize(
    "shard",
    ["../model.safetensors", "sub/a.safetensors", "/a.safetensors", "a.bin", ".safetensors", "a\n.safetensors",
     "é.safetensors", "a\0.safetensors", 7, None, ["a.safetensors"]],
)  # fmt: skip
def test_a_shard_that_is_not_a_plain_top_level_safetensors_is_refused(shard: object) -> None:
    raw = json.dumps({"weight_map": {"t": shard}}).encode()
    listed = remote(CONFIG, INDEX) + (remote(shard) if isinstance(shard, str) else [])
    assert "weight_map names" in refused(listed, raw)


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "not strict JSON"),
        (b"[]", "holds a JSON list"),
        (b'{"weight_map": {}}', "weight_map must be"),
        (b'{"weight_map": ["a.safetensors"]}', "weight_map must be"),
        (b'{"weight_map": {"t": "a.safetensors", "t": "b.safetensors"}}', "twice"),
        (b'{"weight_map": {"t": "a.safetensors"}, "x": NaN}', "not a JSON number"),
        (b'{"weight_map": {"t": "a.safetensors"}, "x": 1e999}', "too large"),
        (b'{"x":' * 100_000, "nested too deeply"),
        (b"\xff\xfe{}", "not strict JSON"),
        (b'{"x": ' + b"9" * 5000 + b"}", "not strict JSON"),
        (b'{"weight_map": {"t": "a.safetensors", "u": "A.safetensors"}}', "two files that differ in case alone"),
        (json.dumps({"weight_map": {f"t{at}": f"{at}.safetensors" for at in range(257)}}).encode(), "at most 256 are"),
    ],
)
def test_a_hostile_index_is_refused_in_one_line(raw: bytes, says: str) -> None:
    detail = refused(remote(CONFIG, INDEX, "a.safetensors"), raw)
    assert says in detail
    assert "\n" not in detail


@given(st.binary(max_size=200))
def test_no_bytes_as_an_index_raise_anything_but_a_rejection(raw: bytes) -> None:
    with pytest.raises(ModelRejected):
        model_files(remote(CONFIG, INDEX), raw)


def test_small_files_are_bounded_before_they_are_read() -> None:
    described = remote(CONFIG) + remote(INDEX, size=(16 << 20) + 1)
    with pytest.raises(ModelRejected, match="at most 16777216"):
        index_file(described)
    assert index_file(remote(CONFIG, WEIGHTS)) is None
    assert index_file(remote(CONFIG, INDEX)) == remote(INDEX)[0]
    assert "at most 1048576" in refused(remote(CONFIG, size=(1 << 20) + 1) + remote(WEIGHTS), None)
    assert "at most 16777216" in refused(remote(CONFIG, INDEX, A), b" " * ((16 << 20) + 1))


def test_all_files_together_may_have_no_more_than_the_competition_allows() -> None:
    described = remote(CONFIG, WEIGHTS, "README.md")
    assert len(model_files(described, None, max_bytes=20)) == 2
    with pytest.raises(ModelRejected, match="20 bytes together; the competition allows 19"):
        model_files(described, None, max_bytes=19)


def test_a_folder_is_described_as_its_repository_would_be(tmp_path: Path) -> None:
    contents = {CONFIG: b"{}", A: b"a" * 3_000_000, B: b"", INDEX: index(A, B), "README.md": b"hello"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "checkpoints").mkdir()
    described = [RemoteFile(n, len(c), hashlib.sha256(c).hexdigest()) for n, c in contents.items()]
    assert local_files(tmp_path) == model_files(described, contents[INDEX])
    assert content_digest(local_files(tmp_path)) == content_digest(model_files(described, contents[INDEX]))
    assert shard_paths(tmp_path) == (tmp_path / A, tmp_path / B)


def test_a_folder_that_is_no_model_or_not_there_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ModelRejected, match=r"config\.json is missing"):
            local_files(folder)

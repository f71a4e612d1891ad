"""The kilobytes that are looked at before the weights are downloaded."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from fakes import FakeHub, described, revision_of
from tiny import tiny_llama

from pretrain.errors import HubUnavailable, ModelRejected, Reason
from pretrain.hub import RemoteFile
from pretrain.models.files import CONFIG, INDEX, WEIGHTS, model_files
from pretrain.models.header import MAX_HEADER_BYTES, parse_header, read_header
from pretrain.preview import MAX_HEADERS_BYTES, Preview, RawHeader, local_preview, preview
from pretrain.types import Revision

REPO = "A/model"


class CountingHub(FakeHub):
    """Counts the bytes that were read, and can give too few."""

    short: bool = False
    count: int = 0
    most_at_once: int = 0
    _now: int = 0

    async def read(self, repo: str, revision: Revision, file: RemoteFile) -> bytes:
        content = await super().read(repo, revision, file)
        self.count += len(content)
        return content

    async def read_part(self, repo: str, revision: Revision, file: RemoteFile, start: int, stop: int) -> bytes:
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        await asyncio.sleep(0)
        part = await super().read_part(repo, revision, file, start, stop)
        self.count += len(part)
        self._now -= 1
        return part[:-1] if self.short else part


def hub_of(files: dict[str, bytes]) -> CountingHub:
    hub = CountingHub()
    hub.repos[REPO] = {revision_of(files): files}
    return hub


def look(hub: CountingHub, files: dict[str, bytes]) -> Preview:
    return asyncio.run(preview(hub, REPO, revision_of(files), _chosen(files)))


def _chosen(files: dict[str, bytes]) -> Sequence[RemoteFile]:
    return model_files(described(files), files.get(INDEX))


def shard(names: Sequence[str], data: int = 4) -> bytes:
    header = {
        name: {"dtype": "F32", "shape": [data // 4], "data_offsets": [data * at, data * (at + 1)]}
        for at, name in enumerate(names)
    }
    raw = json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + bytes(data * len(names))


def test_a_preview_is_what_the_whole_file_says_in_kilobytes(tmp_path: Path) -> None:
    folder = tiny_llama(tmp_path / "model")
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    hub = hub_of(files)

    seen = look(hub, files)

    assert seen == local_preview(folder)
    assert seen.config == files[CONFIG]
    header = seen.headers[WEIGHTS]
    assert parse_header(header.raw, header.data_bytes, WEIGHTS) == read_header(folder / WEIGHTS)
    assert hub.count == len(files[CONFIG]) + 8 + len(header.raw)
    assert hub.fetched == []


def test_the_header_of_every_shard_is_read_a_few_at_a_time() -> None:
    shards = {f"part-{at}.safetensors": shard([f"w{at}"], 4 * at) for at in range(30)}
    index = json.dumps({"weight_map": {f"w{at}": f"part-{at}.safetensors" for at in range(30)}}).encode()
    files = {CONFIG: b"{}", INDEX: index} | shards
    hub = hub_of(files)

    seen = look(hub, files)

    assert {name: header.data_bytes for name, header in seen.headers.items()} == {
        f"part-{at}.safetensors": 4 * at for at in range(30)
    }
    assert 1 < hub.most_at_once <= 8


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        ((1 << 40).to_bytes(8, "little") + bytes(100), "a header of 1099511627776 bytes in a file of 108"),
        (b"\xff" * 8 + bytes(100), "at most 100 fit"),
        ((MAX_HEADER_BYTES + 1).to_bytes(8, "little") + bytes(MAX_HEADER_BYTES + 9), "at most 4000000 fit"),
        (b"PK\3\4", "has 4 bytes; no header fits"),
        (b"", "has 0 bytes; no header fits"),
    ],
)
def test_a_length_that_cannot_be_is_refused_with_eight_bytes_read(weights: bytes, says: str) -> None:
    files = {CONFIG: b"{}", WEIGHTS: weights}
    hub = hub_of(files)

    with pytest.raises(ModelRejected, match=says) as rejected:
        look(hub, files)

    assert rejected.value.reason is Reason.HEADER
    assert hub.count <= len(files[CONFIG]) + 8


def test_headers_that_are_too_long_together_are_refused_before_they_are_read() -> None:
    bomb = (MAX_HEADER_BYTES - 100).to_bytes(8, "little") + bytes(MAX_HEADER_BYTES)
    count = MAX_HEADERS_BYTES // MAX_HEADER_BYTES + 1
    names = [f"part-{at}.safetensors" for at in range(count)]
    files = {CONFIG: b"{}", INDEX: json.dumps({"weight_map": dict(enumerate(names))}).encode()}
    files |= dict.fromkeys(names, bomb)
    hub = hub_of(files)

    with pytest.raises(ModelRejected, match="bytes together; at most 16000000 fit"):
        look(hub, files)

    assert hub.count == len(files[CONFIG]) + 8 * count


def test_nothing_of_a_refused_model_is_read_any_further() -> None:
    names = [f"part-{at:03}.safetensors" for at in range(200)]
    files = {CONFIG: b"{}", INDEX: json.dumps({"weight_map": dict(enumerate(names))}).encode()}
    files |= dict.fromkeys(names, shard(["w"])) | {names[0]: b"tiny"}
    hub = hub_of(files)

    async def refused() -> int:
        with pytest.raises(ModelRejected, match="no header fits"):
            await preview(hub, REPO, revision_of(files), _chosen(files))
        return len(asyncio.all_tasks())

    assert asyncio.run(refused()) == 1
    assert hub.count < len(names)


def test_a_local_folder_may_have_no_longer_headers_than_a_published_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_llama(tmp_path / "model")
    monkeypatch.setattr("pretrain.preview.MAX_HEADERS_BYTES", 100)
    with pytest.raises(ModelRejected, match="bytes together; at most 100 fit"):
        local_preview(folder)


def test_a_hub_that_gives_too_little_is_at_fault_and_not_the_miner(tmp_path: Path) -> None:
    files = {path.name: path.read_bytes() for path in tiny_llama(tmp_path / "model").iterdir()}
    hub = hub_of(files)
    hub.short = True

    with pytest.raises(HubUnavailable, match=r"the hub gave 7 bytes of model.safetensors; 8 were asked for"):
        look(hub, files)


def test_a_local_folder_is_refused_for_the_same_reasons(tmp_path: Path) -> None:
    (tmp_path / CONFIG).write_bytes(b"{}")
    (tmp_path / WEIGHTS).write_bytes(b"\xff" * 8 + b"{}")

    with pytest.raises(ModelRejected, match="at most 2 fit"):
        local_preview(tmp_path)


def test_an_empty_header_is_a_preview_too() -> None:
    files = {CONFIG: b"{}", WEIGHTS: (2).to_bytes(8, "little") + b"{}"}

    assert look(hub_of(files), files).headers == {WEIGHTS: RawHeader(b"{}", 0)}

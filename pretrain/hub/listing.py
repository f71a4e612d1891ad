"""What a revision holds, as far as it may belong to a model: names, sizes, and the sha256 of each file."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pretrain.errors import HubUnavailable, ModelRejected, Reason
from pretrain.hub import RemoteFile
from pretrain.hub.anonymous import Place, Reader
from pretrain.hub.hub_errors import Again, unreadable
from pretrain.hub.names import is_revision, may_be_of_a_model
from pretrain.models.files import MAX_CONFIG_BYTES, MAX_INDEX_BYTES

_PAGES = 20
"""Of 1000 files each, all of them at the top level; a model has 258 at most."""
_MAX_PLAIN_BYTES = MAX_CONFIG_BYTES + MAX_INDEX_BYTES
"""Of the two files together that the hub may not know the sha256 of, and that must be read for it."""
_EXPAND = {"expand": ["private", "gated", "disabled", "sha"]}


class _Info(BaseModel):
    """A repository as the hub describes it; only what is read here."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    id: str
    sha: str
    private: bool
    gated: bool | str = False
    disabled: bool = False


class _Large(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    oid: str = Field(pattern="^[0-9a-f]{64}$")
    size: int = Field(ge=0)


class _Item(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    type: str
    path: str
    size: int = Field(ge=0, default=0)
    oid: str = Field(pattern="^[0-9a-f]{40}$")
    lfs: _Large | None = None


async def look(reader: Reader, place: Place) -> None:
    """Raise ModelRejected(UNAVAILABLE) unless anybody may read this repository, and revision, under this very name."""
    revision = f"/revision/{place.revision}" if is_revision(place.revision) else ""
    answer, _ = await reader.json(place, revision, _EXPAND)
    try:
        info = _Info.model_validate(answer)
    except ValidationError as error:
        raise HubUnavailable(f"the hub's answer for {place.repo} cannot be read: {error.errors()[0]['loc']}") from error
    elsewhere = info.id != place.repo or (revision and info.sha != place.revision)
    if elsewhere or info.private or info.gated or info.disabled:
        raise unreadable(place.repo, place.revision)


async def describe(reader: Reader, place: Place) -> tuple[RemoteFile, ...]:
    """Return the files of a revision that may belong to a model, ordered by name.

    Raises ModelRejected: UNAVAILABLE as ``look`` does; FILES when there are too many files, weights that are not stored
    as large files, or too much else whose sha256 the hub does not know. HubUnavailable when the hub does not answer.
    """
    await look(reader, place)
    items = await _items(reader, place)
    _refuse_plain(place, [item for item in items if item.lfs is None and item.size])
    return tuple(sorted([await _described(reader, place, item) for item in items]))


def _refuse_plain(place: Place, plain: Sequence[_Item]) -> None:
    """Raise ModelRejected(FILES) unless what must be read for its sha256 is a config and an index, neither too large.

    A hub stores ``*.safetensors`` with LFS by itself, however small they are.
    """
    where = f"{place.repo} at {place.revision}"
    weights = [item.path for item in plain if item.path.endswith(".safetensors")]
    if weights:
        told = f"{weights[0]!r} ({len(weights)} such files) without LFS, so that the hub does not know the sha256"
        raise ModelRejected(Reason.FILES, f"{where} stores {told}: store it with LFS, as the hub's own client does")
    size = sum(item.size for item in plain)
    if size > _MAX_PLAIN_BYTES:
        told = f"{size} bytes of {sorted(item.path for item in plain)}; at most {_MAX_PLAIN_BYTES} are read"
        raise ModelRejected(Reason.FILES, f"{where} has {told}")


async def _items(reader: Reader, place: Place) -> list[_Item]:
    """Return what lies at the top level and may belong to a model: folders of strangers cost nothing."""
    found: list[_Item] = []
    following: str | None = f"/tree/{place.revision}"
    params: Mapping[str, Any] = {"recursive": "false", "expand": "false"}
    for _ in range(_PAGES):
        if following is None:
            return found
        answer, following = await reader.json(place, following, params)
        params = {}
        try:
            page = [_Item.model_validate(item) for item in answer]
        except (ValidationError, TypeError) as error:
            raise HubUnavailable(f"the hub's listing of {place.repo} cannot be read") from error
        found += [item for item in page if item.type == "file" and may_be_of_a_model(item.path)]
    if following is None:
        return found
    raise ModelRejected(Reason.FILES, f"{place.repo} at {place.revision} has over {_PAGES} pages of files")


async def _described(reader: Reader, place: Place, item: _Item) -> RemoteFile:
    """Return a file with its sha256, from the hub or from its bytes."""
    if item.lfs is not None:
        return RemoteFile(item.path, item.lfs.size, item.lfs.oid)
    if not item.size:
        return RemoteFile(item.path, 0, hashlib.sha256().hexdigest())
    return RemoteFile(item.path, item.size, await reader.again(place, lambda: _hashed(reader, place, item)))


async def _hashed(reader: Reader, place: Place, item: _Item) -> str:
    """Return the sha256 of a file's bytes, which git's name for them proves to be right; raises Again."""
    raw = bytearray()
    async with reader.content(place, item.path) as content:
        async for chunk in reader.chunks(content, place):
            raw += chunk
            if len(raw) > item.size:
                break
    git = hashlib.sha1(b"blob %d\0" % item.size + raw, usedforsecurity=False).hexdigest()
    if git != item.oid:
        raise Again(f"the hub's bytes of {item.path} of {place.repo} are not those that it lists")
    return hashlib.sha256(raw).hexdigest()

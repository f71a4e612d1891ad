"""The public hub, over huggingface_hub: reads without a token, writes by its own client.

What is read here was written by strangers, and what the hub says is believed of names, sizes and hashes alone: bytes
are checked against them. Every call has a deadline that fires.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import httpx2
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import EntryNotFoundError, HFValidationError, OfflineModeIsEnabled
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from pretrain.errors import ConfigError, ModelRejected, PretrainError, Refused
from pretrain.hub import RemoteFile, download, names, upload
from pretrain.hub.anonymous import Place, Reader
from pretrain.hub.asking import Limits, Silence, again, deadline
from pretrain.hub.hub_errors import Again, of_write, unreadable
from pretrain.hub.listing import describe, look
from pretrain.types import Revision

__all__ = ["HuggingFaceHub", "Limits", "stored_token"]

_TOKEN = re.compile(r"[\x21-\x7e]{1,1000}", re.ASCII)
_NO_REVISION = "its head"

_FOREIGN = (
    httpx2.HTTPError, httpx2.InvalidURL, EntryNotFoundError, HFValidationError, OfflineModeIsEnabled, RuntimeError,
)  # fmt: skip
"""What the client raises by itself; of files that go up side by side a RuntimeError from the cause."""

T = TypeVar("T")


class HuggingFaceHub:
    """Access to a hub that speaks as huggingface.co does; implements ``Hub``. Without a token it reads only.

    Raises ConfigError for an address or a token that can be none. In one process one call at a time writes.
    """

    def __init__(self, token: str | None = None, endpoint: str | None = None, limits: Limits | None = None) -> None:
        self._endpoint = (endpoint or constants.ENDPOINT).rstrip("/")
        self._limits = limits or Limits()
        self._token = token
        self._silence = Silence()
        if not re.fullmatch(r"https?://[^\s/?#@]+", self._endpoint):
            raise ConfigError(f"HF_ENDPOINT {self._endpoint!r}: expected https://HOST, as in https://huggingface.co")
        if token is not None and not _TOKEN.fullmatch(token):  # else the client would print it in its complaint
            raise ConfigError("HF_TOKEN holds a space, a line's end or another character that no token has")

    def __repr__(self) -> str:
        return f"HuggingFaceHub({self._endpoint!r}, {'with' if self._token else 'without'} a token)"

    async def describe(self, repo: str, revision: Revision) -> tuple[RemoteFile, ...]:
        """List the files of a revision that may belong to a model, ordered by name, without a token."""
        place = _place(repo, revision)
        async with self._reader(place, self._limits.answer) as reader:
            return await describe(reader, place)

    async def read(self, repo: str, revision: Revision, file: RemoteFile) -> bytes:
        """Return a small file's bytes, without a token; its sha256 is checked."""
        place = _place(repo, revision, [file])
        async with self._reader(place, self._limits.answer) as reader:
            return await reader.again(place, lambda: download.read(reader, place, file))

    async def read_part(self, repo: str, revision: Revision, file: RemoteFile, start: int, stop: int) -> bytes:
        """Return bytes ``start`` to ``stop`` of a file, without a token; fewer only where the file ends."""
        place = _place(repo, revision, [file])
        async with self._reader(place, self._limits.answer) as reader:
            return await reader.again(place, lambda: download.read_part(reader, place, file, start, stop))

    async def fetch(self, repo: str, revision: Revision, files: Sequence[RemoteFile], into: Path) -> None:
        """Download just these files into a folder, each checked against its sha256 while it is written.

        A file that broke off is gone on with, also by a later call: ``NAME.tmp`` lies in the folder until it is whole.
        Raises OSError when the disk refuses.
        """
        place = _place(repo, revision, files)
        async with self._reader(place, self._limits.fetch) as reader:
            await download.fetch(reader, place, files, into, self._limits)

    async def publish(self, folder: Path, repo: str) -> Revision:
        """Make a private repository's head hold a folder's files and return it.

        Called again after an interruption it goes on, and makes no second revision. A repository that is open takes
        nothing new; publishing what its head holds already returns that.
        """
        api = self._api(repo)
        files = await asyncio.to_thread(self._translated, repo, lambda: upload.local_files(folder))
        return await self._writing(repo, self._limits.publish, lambda: upload.publish(api, repo, files, self._limits))

    async def is_public(self, repo: str) -> bool:
        """Whether the repository exists and is readable without a token, under this very spelling."""
        try:
            place = _place(repo)
            async with self._reader(place, self._limits.answer) as reader:
                await look(reader, place)
        except ModelRejected:
            return False
        return True

    async def open(self, repo: str) -> None:
        """Make the repository readable without a token."""
        api = self._api(repo)
        await self._writing(repo, self._limits.answer, lambda: upload.open_to_all(api, repo))

    @asynccontextmanager
    async def _reader(self, place: Place, seconds: float) -> AsyncIterator[Reader]:
        asking = Reader(self._endpoint, self._limits, self._silence)
        async with deadline(seconds, f"reading {place.repo}"), asking as reader:
            yield reader

    def _api(self, repo: str) -> HfApi:
        """Return the client that writes; raises Refused without a token, or for a name that none can have."""
        try:
            _place(repo)
        except ModelRejected as error:
            raise Refused(
                f"repository {repo!r}: expected namespace/name of a commitment's form", code="InvalidName"
            ) from error
        if self._token is None:
            raise Refused(f"writing to {repo} needs a token", code="Unauthorized")
        return HfApi(self._endpoint, token=self._token, library_name="pretrain")

    async def _writing(self, repo: str, seconds: float, work: Callable[[], T]) -> T:
        """Do blocking work of the hub's client in a thread whose requests end when nobody waits for them."""
        waited = upload.Waited()

        def guarded() -> T:
            with upload.turn(self._endpoint, self._limits, waited):
                return work()

        async def attempt() -> T:
            return await asyncio.to_thread(self._translated, repo, guarded)

        try:
            async with deadline(seconds, f"writing to {repo}"):
                return await again(attempt, repo, self._limits)
        finally:
            waited.give_up()

    def _translated(self, repo: str, work: Callable[[], T]) -> T:
        """Say whose fault it is that the hub's client raises; what it cannot read it tells by any error of Python's."""
        try:
            return work()
        except _FOREIGN as error:
            inner = _inner(error)
            known = inner if isinstance(inner, PretrainError) else of_write(inner, repo)
            if known is None:
                raise
            raise known from error
        except OSError as error:
            raise Refused(f"what is to be published cannot be read: {error}", code="InvalidFile") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Again(f"the hub's answer for {repo} cannot be read: {type(error).__name__}") from error


def stored_token() -> str | None:
    """Return the token that ``hf auth login`` keeps, in the file that ``HF_TOKEN_PATH`` names; None without one."""
    path = Path(constants.HF_TOKEN_PATH)
    try:
        return path.read_text().strip() or None
    except FileNotFoundError:
        return None
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"the token in {path} cannot be read: {error}") from error


def _place(repo: str, revision: str | None = None, files: Sequence[RemoteFile] = ()) -> Place:
    """Return a place that can be; raises ModelRejected(UNAVAILABLE) for names that no repository or file there has."""
    told = _NO_REVISION if revision is None else revision
    try:
        names.split_repository(repo)
        validate_repo_id(repo)
    except ValueError as error:
        raise unreadable(repo, told) from error
    if revision is not None and not names.is_revision(revision):
        raise unreadable(repo, revision)
    for file in files:
        if not names.may_be_of_a_model(file.name):
            raise unreadable(repo, f"{told} ({file.name!r})")
    return Place(repo, told)


def _inner(error: BaseException) -> BaseException:
    """Return what the client wrapped: of files that go up side by side it raises RuntimeError from the cause."""
    return error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ is not None else error

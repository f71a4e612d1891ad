"""Reading from the hub as anybody may: no token, bounded answers, and no redirect to another repository.

The addresses, headers and error classes are those of huggingface_hub; the requests are made here, on its asynchronous
client, because its own functions have no bound on an answer's size, block a thread that no deadline ends, and follow
a renamed repository to its new name.
"""

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Self, TypeVar
from urllib.parse import quote

import httpx2
from huggingface_hub import get_async_session, hf_raise_for_status
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

from pretrain.errors import HubUnavailable
from pretrain.hub import redirects
from pretrain.hub.asking import Limits, Silence, again
from pretrain.hub.hub_errors import FOREIGN, Again, of_read, unreadable, wait_of
from pretrain.hub.redirects import origin

_LARGEST_ANSWER = 8 << 20
"""Bytes of one JSON answer; a page of 1000 files has some 300 kB."""
_HOPS = 5
_RANGE = re.compile(r"bytes (\d{1,15})-(\d{1,15})/(\d{1,15})", re.ASCII)
_ETAG = re.compile(r'(?:W/)?"([^"]*)"|([0-9a-f]+)')
_SIZE = re.compile(r"[0-9]{1,15}")
_PARTIAL = HTTPStatus.PARTIAL_CONTENT

T = TypeVar("T")


@dataclass(frozen=True)
class Place:
    """A revision of a repository."""

    repo: str
    revision: str


@dataclass(frozen=True)
class Content:
    """The answer to a request for a file's bytes, its head read and its body not."""

    response: httpx2.Response
    start: int
    """Of the first byte of the body, in the file."""
    etag: str
    """What the hub says that the file is: the sha256 of a large one, the git object of a small one; or empty."""
    size: int | None
    """Of the whole file, in bytes, when the hub says it beside the bytes."""


class Reader:
    """Asks one hub without a token; made anew for each call, and closed by leaving it."""

    def __init__(self, endpoint: str, limits: Limits, silence: Silence) -> None:
        self._endpoint = endpoint
        self._limits = limits
        self._silence = silence
        self._client = get_async_session()
        self._timeout = httpx2.Timeout(limits.stall, connect=limits.connect)
        self._headers = {**build_hf_headers(token=False), "accept-encoding": "identity"}

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def again(self, place: Place, attempt: Callable[[], Awaitable[T]]) -> T:
        """Make attempts until one is answered; each request has tries of its own, so that one of many costs little."""
        return await again(attempt, f"{place.repo} {place.revision}", self._limits)

    async def json(self, place: Place, path: str, params: Mapping[str, Any]) -> tuple[Any, str | None]:
        """Return an answer of the hub's API, with the address of the next page if there is one.

        ``path`` follows ``/api/models/NAMESPACE/NAME``; so does that of the next page.
        Raises ModelRejected(UNAVAILABLE) when the hub says no, or sends to another repository; HubUnavailable.
        """
        return await self.again(place, lambda: self._json(place, path, params))

    async def _json(self, place: Place, path: str, params: Mapping[str, Any]) -> tuple[Any, str | None]:
        here = f"/api/models/{place.repo}"
        options = {"params": params} if params else {}  # empty ones would take away those of a next page
        async with self._get(place, f"{self._endpoint}{here}{path}", **options) as response:
            if response.has_redirect_location:
                raise redirects.of_api(response, self._endpoint, place.repo, place.revision)
            raw = b""
            async for chunk in _chunks(response, place):
                raw += chunk
                if len(raw) > _LARGEST_ANSWER:
                    raise HubUnavailable(f"the hub's answer for {place.repo} has more than {_LARGEST_ANSWER} bytes")
            following = redirects.next_page(response, place.repo)
        if following is not None and not following.startswith(f"{here}/"):
            raise HubUnavailable(f"the hub's listing of {place.repo} goes on at another place")
        try:
            return json.loads(raw), following and following.removeprefix(here)
        except (ValueError, RecursionError) as error:
            raise Again(f"the hub's answer for {place.repo} is not JSON") from error

    @asynccontextmanager
    async def content(self, place: Place, name: str, start: int = 0, stop: int | None = None) -> AsyncIterator[Content]:
        """Ask for a file's bytes from ``start`` to ``stop``, following it into the storage where large ones lie.

        Raises ModelRejected(UNAVAILABLE) when the hub says no, HubUnavailable when it or the storage does not answer.
        """
        url = f"{self._endpoint}/{place.repo}/resolve/{place.revision}/{quote(name, safe='')}"
        last = "" if stop is None else str(stop - 1)
        headers = {"range": f"bytes={start}-{last}"} if start or stop is not None else {}
        facts: dict[str, str] = {}
        for _ in range(_HOPS):
            async with self._get(place, url, headers=headers) as response:
                if self._is_hub(str(response.url)):
                    facts = _facts(response, facts)
                if not response.has_redirect_location:
                    if facts.get("commit", place.revision) != place.revision:
                        raise unreadable(place.repo, place.revision)
                    yield _content(response, facts, place)
                    return
                url = redirects.next_hop(response, self._endpoint, place.repo, place.revision)
        raise HubUnavailable(f"the hub sends from address to address for {name} of {place.repo}")

    async def chunks(self, content: Content, place: Place) -> AsyncIterator[bytes]:
        """Yield a body as it comes; raises HubUnavailable when it breaks off."""
        async for chunk in _chunks(content.response, place):
            yield chunk

    @asynccontextmanager
    async def _get(self, place: Place, url: str, **options: Any) -> AsyncIterator[httpx2.Response]:  # noqa: ANN401 - the client's
        """Make one request, follow nothing, and translate what the client raises before its body is read."""
        headers = {**self._headers, **options.pop("headers", {})}
        if self._is_hub(url):
            await self._silence.keep(self._limits.longest_pause)
        with _translated(place), redirects.parsing(place.repo):
            request = self._client.build_request("GET", url, headers=headers, timeout=self._timeout, **options)
            response = await self._client.send(request, stream=True, follow_redirects=False)
        try:
            await self._refuse(response, place)
            yield response
        finally:
            await response.aclose()

    async def _refuse(self, response: httpx2.Response, place: Place) -> None:
        """Raise for an answer that is none; an error of the storage is never a verdict on the repository."""
        status = response.status_code
        if status < HTTPStatus.BAD_REQUEST or status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return
        if not self._is_hub(str(response.url)):
            message = f"the storage behind {place.repo} answered HTTP {status}"
            raise Again(message, wait_of(status, response.headers))
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            self._silence.begin(wait_of(status, response.headers))
        with _translated(place), redirects.parsing(place.repo):
            await response.aread()
            hf_raise_for_status(response)

    def _is_hub(self, url: str) -> bool:
        return origin(url) == origin(self._endpoint)


def _facts(response: httpx2.Response, before: Mapping[str, str]) -> dict[str, str]:
    """Return what the hub says of a file beside its bytes; the first that says something holds."""
    headers = response.headers
    etag = headers.get("x-linked-etag") or headers.get("etag") or ""
    matched = _ETAG.fullmatch(etag)
    found = {
        "etag": (matched.group(1) or matched.group(2) or "") if matched else "",
        "commit": headers.get("x-repo-commit", ""),
        "size": headers.get("x-linked-size", ""),
    }
    return {name: value for name, value in found.items() if value} | dict(before)


def _content(response: httpx2.Response, facts: Mapping[str, str], place: Place) -> Content:
    size = int(facts["size"]) if _SIZE.fullmatch(facts.get("size", "")) else None
    start = 0
    if response.headers.get("content-encoding", "identity") != "identity":
        raise HubUnavailable(f"the hub sends {place.repo} in an encoding that was not asked for")
    if response.status_code == _PARTIAL:
        matched = _RANGE.fullmatch(response.headers.get("content-range", ""))
        if matched is None:
            raise Again(f"the hub sends a part of a file of {place.repo} without saying which")
        start = int(matched.group(1))
    return Content(response, start, facts.get("etag", ""), size)


async def _chunks(response: httpx2.Response, place: Place) -> AsyncIterator[bytes]:
    """Yield a body's bytes undecoded."""
    with _translated(place):
        async for chunk in response.aiter_raw():
            yield chunk


@contextmanager
def _translated(place: Place) -> Iterator[None]:
    """Say whose fault it is that the client raises."""
    try:
        yield
    except FOREIGN as error:
        known = of_read(error, place.repo, place.revision)
        if known is None:
            raise
        raise known from error

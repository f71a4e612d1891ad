"""One open client at a time, of several endpoints that serve the same chain.

A client is never repaired. One that fails or does not answer in time is dropped with its socket, and the next call
opens one at the next endpoint. Every call has a deadline that fires whatever the client awaits on the one event loop.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

from pretrain.backoff import delay
from pretrain.errors import ChainUnavailable, ConfigError, Refused

_ATTEMPTS = 3
"""At a single endpoint: the first may meet an old socket, the second an endpoint that is just starting."""

ClientT = TypeVar("ClientT")
T = TypeVar("T")


class Mismatch(ChainUnavailable):
    """An endpoint serves something else than what was asked for: another chain, or no such subnet."""


def shown(endpoint: str) -> str:
    """Return an address without user, path and query: the key to somebody's account may stand there."""
    parts = urlsplit(endpoint)
    if not parts.hostname:
        return endpoint
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else "")


@dataclass(frozen=True)
class Deadlines:
    """Seconds after which an answer is no longer waited for."""

    opening: float = 30.0
    """For a socket, the runtime's metadata (2 MB once for each version) and which chain it is."""
    read: float = 60.0
    """For everything that a step reads."""
    write: float = 180.0
    """From signing until finalised; about 60 s where all goes well."""
    settling: float = 150.0
    """How long a call stays with a write whose fate is unknown, before it says so."""
    closing: float = 5.0
    first_pause: float = 0.5
    """Before the second endpoint is tried."""


@dataclass(frozen=True)
class Access(Generic[ClientT]):
    """How clients are opened and closed, and which of their errors mean that one is of no use any more."""

    open: Callable[[str], Awaitable[ClientT]]
    """Opens one at an endpoint."""
    close: Callable[[ClientT], Awaitable[None]]
    lost: tuple[type[Exception], ...]


class Connection(Generic[ClientT]):
    """A client at one of the endpoints, opened when it is first needed."""

    def __init__(self, endpoints: Sequence[str], access: Access[ClientT], deadlines: Deadlines) -> None:
        self._endpoints = tuple(endpoints)
        self._access = access
        self._deadlines = deadlines
        self._index = 0
        self._current: asyncio.Task[ClientT] | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._left: set[asyncio.Task[Any]] = set()

    @property
    def endpoint(self) -> str:
        """The endpoint in use, or the next one to be tried."""
        return self._endpoints[self._index]

    async def read(self, work: Callable[[ClientT], Awaitable[T]]) -> T:
        """Do what may be done twice, at each endpoint in turn until one answers.

        Raises ChainUnavailable with each one's reason, a Mismatch when one of them serves something else.
        """
        attempts = len(self._endpoints) + 1 if len(self._endpoints) > 1 else _ATTEMPTS
        failures: list[ChainUnavailable] = []
        while True:
            try:
                return await self.once(work, self._deadlines.read)
            except ChainUnavailable as error:
                failures.append(error)
            if len(failures) == attempts:
                why = "; ".join(dict.fromkeys(map(str, failures)))
                raise (Mismatch if any(isinstance(e, Mismatch) for e in failures) else ChainUnavailable)(why)
            await asyncio.sleep(delay(self.endpoint, len(failures), self._deadlines.first_pause, 5.0))

    async def once(self, work: Callable[[ClientT], Awaitable[T]], seconds: float) -> T:
        """Do something at the present endpoint, once; raises ChainUnavailable, and then the next one is the present.

        The work runs in a task of its own, which is left behind when its time is over: a client may well wait for an
        answer while it is being cancelled, and its socket is closed under it.
        """
        endpoint, opening = shown(self.endpoint), self._opening()
        working = asyncio.create_task(_work(opening, work))
        try:
            await asyncio.wait({working}, timeout=seconds)
        except asyncio.CancelledError:
            self._leave(working)  # the caller is to end; the client may serve others
            raise
        try:
            if not working.done():
                raise ChainUnavailable(f"{endpoint} did not answer within {seconds:g} s")
            return working.result()
        except TimeoutError as error:
            raise ChainUnavailable(f"{endpoint} could not be opened within {self._deadlines.opening:g} s") from error
        except self._access.lost as error:
            raise ChainUnavailable(f"{endpoint}: {one_line(error)}") from error
        except asyncio.CancelledError as error:  # another caller gave up the client, or the client itself broke off
            raise ChainUnavailable(f"{endpoint} was given up while it was waited for") from error
        finally:
            if not working.done() or _unsound(working):
                self._drop(opening)
                self._leave(working)

    async def close(self) -> None:
        """Close the client, and wait for what is being closed or left, though not for ever."""
        if self._current is not None:
            self._drop(self._current)
        with suppress(TimeoutError):
            async with asyncio.timeout(2 * self._deadlines.closing):
                while self._closing or self._left:
                    await asyncio.wait(self._closing | self._left)

    def _opening(self) -> asyncio.Task[ClientT]:
        """Return the task whose result is the client: the one that all callers share, or a new one."""
        if self._current is None or (self._current.done() and _failed(self._current)):
            self._current = asyncio.create_task(self._open(self.endpoint))
        return self._current

    async def _open(self, endpoint: str) -> ClientT:
        async with asyncio.timeout(self._deadlines.opening):
            return await self._access.open(endpoint)

    def _drop(self, opening: asyncio.Task[ClientT]) -> None:
        """Give up a client, unless another call did already, and go on to the next endpoint."""
        if self._current is not opening:
            return
        self._current = None
        self._index = (self._index + 1) % len(self._endpoints)
        closing = asyncio.create_task(self._close(opening))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def _close(self, opening: asyncio.Task[ClientT]) -> None:
        if not opening.done():
            opening.cancel()
        await asyncio.wait({opening})
        if _failed(opening):  # and has closed what it had opened
            return
        with suppress(TimeoutError, *self._access.lost):
            async with asyncio.timeout(self._deadlines.closing):
                await self._access.close(opening.result())

    def _leave(self, working: asyncio.Task[T]) -> None:
        """Cancel work whose end nobody waits for; ``close`` does, when all is over."""
        if not working.done():
            working.cancel()
            self._left.add(working)
            working.add_done_callback(self._left.discard)
        working.add_done_callback(_failed)  # and look at its error, which is nobody's any more


async def _work(opening: asyncio.Task[ClientT], work: Callable[[ClientT], Awaitable[T]]) -> T:
    return await work(await asyncio.shield(opening))


def _unsound(task: asyncio.Task[T]) -> bool:
    """Whether work ended so that its client is of no further use: by anything but an answer or a plain refusal."""
    return task.cancelled() or not isinstance(task.exception(), (type(None), Refused, ConfigError))


def _failed(task: asyncio.Task[T]) -> bool:
    return task.cancelled() or task.exception() is not None


def one_line(error: Exception) -> str:
    """Return an error in one line of bounded length: its text may be a node's."""
    return " ".join(str(error).split())[:200] or type(error).__name__

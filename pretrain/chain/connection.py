"""One open client at a time, of several endpoints that serve the same chain.

A client is never repaired. One that fails or does not answer in time is dropped with its socket, and the next call
opens one at the next endpoint. Every call has a deadline that fires whatever the client does, since all of them are
awaited on the one event loop and none of them blocks it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

from pretrain.backoff import delay
from pretrain.errors import ChainUnavailable

log = logging.getLogger("pretrain.chain")

_ATTEMPTS = 3
"""At a single endpoint: the first may meet an old socket, the second an endpoint that is just starting."""

ClientT = TypeVar("ClientT")
T = TypeVar("T")


@dataclass(frozen=True)
class Deadlines:
    """Seconds after which an answer is no longer waited for."""

    opening: float = 30.0
    """For a socket, the runtime's metadata (2 MB once for each version) and which chain it is."""
    read: float = 60.0
    """For everything that a step reads."""
    write: float = 180.0
    """From signing until finalised; about 60 s where all goes well."""
    settling: float = 60.0
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

    @property
    def endpoint(self) -> str:
        """The endpoint in use, or the next one to be tried."""
        return self._endpoints[self._index]

    async def read(self, work: Callable[[ClientT], Awaitable[T]]) -> T:
        """Do what may be done twice, at each endpoint in turn until one answers; raises ChainUnavailable."""
        attempts = len(self._endpoints) + 1 if len(self._endpoints) > 1 else _ATTEMPTS
        for attempt in range(1, attempts):
            with suppress(ChainUnavailable):
                return await self.once(work, self._deadlines.read)
            await asyncio.sleep(delay(self.endpoint, attempt, self._deadlines.first_pause, 5.0))
        return await self.once(work, self._deadlines.read)

    async def once(self, work: Callable[[ClientT], Awaitable[T]], seconds: float) -> T:
        """Do something at the present endpoint, once; raises ChainUnavailable, and then the next one is the present."""
        endpoint, opening = self.endpoint, self._opening()
        try:
            async with asyncio.timeout(seconds):
                return await work(await asyncio.shield(opening))
        except ChainUnavailable:
            self._drop(opening)
            raise
        except TimeoutError as error:
            self._drop(opening)
            raise ChainUnavailable(f"{endpoint} did not answer within {seconds:.0f} s") from error
        except self._access.lost as error:
            self._drop(opening)
            raise ChainUnavailable(f"{endpoint}: {_first_line(error)}") from error
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise  # the caller itself is to end
            self._drop(opening)  # another caller gave up the client that this one waited for
            raise ChainUnavailable(f"{endpoint} was given up while it was waited for") from error

    async def close(self) -> None:
        """Close the client, and wait for those that are being closed."""
        if self._current is not None:
            self._drop(self._current)
        if self._closing:
            await asyncio.wait(self._closing)

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
        with suppress(TimeoutError, asyncio.CancelledError, *self._access.lost):
            async with asyncio.timeout(self._deadlines.closing):
                await self._access.close(await opening)


def _failed(task: asyncio.Task[ClientT]) -> bool:
    return task.cancelled() or task.exception() is not None


def _first_line(error: Exception) -> str:
    """Return an error in one line of bounded length: its text may be a node's."""
    text = " ".join(str(error).split())
    return text[:200] or type(error).__name__

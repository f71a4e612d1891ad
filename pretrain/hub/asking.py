"""How the hub is asked: with deadlines that fire, again a few times, and never sooner than it asked for."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from pretrain.backoff import delay
from pretrain.errors import HubUnavailable
from pretrain.hub.hub_errors import Again

T = TypeVar("T")


@dataclass(frozen=True)
class Limits:
    """What one call may cost; times in seconds."""

    connect: float = 15.0
    """Until a connection stands."""
    stall: float = 30.0
    """Without a single byte."""
    answer: float = 300.0
    """For all of a call that reads or writes kilobytes, with every try."""
    fetch: float = 4 * 3600.0
    """For all files of a download, with every try."""
    publish: float = 24 * 3600.0
    """For a whole publication, with every try."""
    tries: int = 5
    """In a row without any progress."""
    pause: float = 1.0
    """Before the second try; doubled for each further one."""
    longest_pause: float = 60.0
    """Before any try; a hub that asks to wait longer is not asked again within the call."""
    parallel: int = 4
    """Files downloaded, and files uploaded, at a time."""
    bandwidth: float | None = None
    """Bytes a second of all files of a download together; None: no bound."""


async def again(attempt: Callable[[], Awaitable[T]], who: str, limits: Limits) -> T:
    """Make attempts until one does not raise ``Again``; the last one's is raised when there were enough."""
    tries = 1
    while True:
        try:
            return await attempt()
        except Again as error:
            await pause(error, who, tries, limits)
        tries += 1


async def pause(error: Again, who: str, tries: int, limits: Limits) -> None:
    """Wait before another try; raises the error when there were enough, or when the hub asks for too long a wait."""
    if tries >= limits.tries:
        raise error
    if error.wait > limits.longest_pause:
        raise HubUnavailable(
            f"{error}; it asks to wait {error.wait:.0f} s, more than the {limits.longest_pause:.0f} s of one call"
        ) from error
    await asyncio.sleep(max(error.wait, delay(who, tries, limits.pause, limits.longest_pause)))


class Silence:
    """Until when a hub asked not to be asked: what one call is told holds for every later one."""

    def __init__(self) -> None:
        self._until = 0.0

    def begin(self, seconds: float) -> None:
        """Ask nothing for so long from now on."""
        self._until = max(self._until, asyncio.get_running_loop().time() + seconds)

    async def keep(self, longest: float) -> None:
        """Wait until one may ask again; raises HubUnavailable at once when that is longer than ``longest`` seconds."""
        left = self._until - asyncio.get_running_loop().time()
        if left > longest:
            raise HubUnavailable(f"the hub asked not to be asked for {left:.0f} s more; a call waits {longest:.0f} s")
        if left > 0:
            await asyncio.sleep(left)


@asynccontextmanager
async def deadline(seconds: float, what: str) -> AsyncIterator[None]:
    """Raise HubUnavailable when something takes longer than allowed."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise HubUnavailable(f"{what}: not done within {seconds:.0f} s") from error


class Throttle:
    """Spends bytes no faster than a bandwidth; one for all files of a download."""

    def __init__(self, bandwidth: float | None) -> None:
        self._bandwidth = bandwidth
        self._free_at = 0.0

    async def spend(self, size: int) -> None:
        """Wait until so many bytes more may be taken."""
        if self._bandwidth is None:
            return
        now = asyncio.get_running_loop().time()
        self._free_at = max(now, self._free_at) + size / self._bandwidth
        await asyncio.sleep(self._free_at - now)

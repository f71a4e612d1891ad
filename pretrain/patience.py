"""How a daemon waits for a world that does not answer: longer each time, for hours if need be, until it is stopped."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from pretrain.backoff import delay
from pretrain.errors import Unavailable
from pretrain.outage import Outage, failed

log = logging.getLogger("pretrain.validator")
LONGEST_BACKOFF = 60.0
"""Seconds between two tries at most."""

T = TypeVar("T")


@dataclass(frozen=True)
class Pace:
    """How the loops wait."""

    poll: float
    """Seconds between two looks at the chain's head; also before the second try of something that failed."""
    stop: asyncio.Event
    """Set when the duty in hand is to be the last."""
    block_time: float = 12.0
    """Seconds between two blocks, to say how long a wait for some will be."""
    clock: Callable[[], float] = time.time

    async def wait(self, seconds: float) -> None:
        """Sleep, or return at once when asked to stop."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.stop.wait(), seconds)

    async def ask(self, question: Coroutine[Any, Any, T]) -> T | None:
        """Return the answer to a question that is no duty; None at once when asked to stop before it is there."""
        asking, stopping = asyncio.create_task(question), asyncio.create_task(self.stop.wait())
        try:
            await asyncio.wait({asking, stopping}, return_when=asyncio.FIRST_COMPLETED)
            return asking.result() if asking.done() else None
        finally:
            asking.cancel()
            stopping.cancel()
            await asyncio.wait({asking, stopping})

    def pause(self, who: str, tries: int) -> float:
        """Return the seconds before another try: doubled each time, and spread by who asks."""
        return delay(who, tries, self.poll, LONGEST_BACKOFF)


async def until_answered(
    question: Callable[[], Awaitable[T]], who: str, pace: Pace, health: Callable[[Outage | None], None]
) -> T | None:
    """Ask until there is an answer, and return it; None when asked to stop before. Each failed try is told."""
    outage: Outage | None = None

    async def once() -> T:
        return await question()

    while not pace.stop.is_set():
        try:
            answer = await pace.ask(once())
        except Unavailable as error:
            now = pace.clock()
            outage = failed(outage, error, now)
            seconds = pace.pause(who, outage.tries)
            if outage.worth_a_line:
                log.warning("waiting for %s: %s; trying again in %.0f s", outage.what, outage.told(now), seconds)
            health(outage)
            await pace.wait(seconds)
            continue
        if outage is not None and answer is not None:
            log.info("%s", outage.over(pace.clock()))
            health(None)
        return answer
    return None

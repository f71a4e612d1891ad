"""How a daemon waits for a world that does not answer: longer each time, for hours if need be, until it is stopped."""

import asyncio
import itertools
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from pretrain.backoff import delay
from pretrain.errors import ChainUnavailable, HubUnavailable, Unavailable
from pretrain.outage import CHAIN, Outage, failed, thing

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


@dataclass(frozen=True)
class Waiting:
    """One of those who wait: what it notes is shared by all of them, so that each thing is told once."""

    who: str
    """Spreads the pauses, so that not all validators come back in the same second."""
    pace: Pace
    outages: dict[str, Outage]
    """What is lacking just now, by what it is; values are replaced and never changed."""
    health: Callable[[Outage | None], None]
    """Told at each failed try what is lacking, and None when all answers again; must not raise."""
    meanwhile: Callable[[], str] = str
    """Says what holds while the chain is away."""

    async def hold_out(self, error: Unavailable, chain: str = CHAIN) -> None:
        """Note a failed try, say what is new about it, and wait before the next one.

        ``chain`` names what of the chain was asked for: its head may answer while that does not.
        """
        of_chain, now = isinstance(error, ChainUnavailable), self.pace.clock()
        what = chain if of_chain else thing(error)
        outage = self.outages[what] = failed(self.outages.get(what), what, str(error), self.who, now)
        seconds = self.pace.pause(self.who, outage.tries)
        if outage.worth_a_line:
            holds = self.meanwhile() if of_chain else ""
            why = f"{outage.told(now)}; {holds}" if holds else outage.told(now)
            log.warning("waiting for %s: %s; trying again in %.0f s", what, why, seconds)
        self.health(outage)
        await self.pace.wait(seconds)

    def answered(self, *things: str) -> None:
        """Note what has answered, and say so of each that had not."""
        back = [self.outages.pop(what) for what in things if what in self.outages]
        for outage in back:
            log.info("%s", outage.over(self.pace.clock()))
        if back:
            self.health(next(iter(self.outages.values()), None))


async def until_answered(question: Callable[[], Coroutine[Any, Any, T]], waiting: Waiting) -> T | None:
    """Ask the chain until there is an answer, and return it; None when asked to stop before."""
    while not waiting.pace.stop.is_set():
        try:
            answer = await waiting.pace.ask(question())
        except Unavailable as error:
            await waiting.hold_out(error)
            continue
        if answer is not None:
            waiting.answered(CHAIN)
        return answer
    return None


async def asked_again(
    question: Callable[[], Awaitable[T]], who: str, told: Callable[[str, float], None], first: float = 2.0
) -> T:
    """Ask what may be asked again until chain and hub answer; ``told`` hears why not, and in how many seconds again.

    Other things that are unavailable are this machine's own, and end the wait.
    """
    for attempt in itertools.count(1):
        try:
            return await question()
        except (ChainUnavailable, HubUnavailable) as error:
            pause = delay(who, attempt, first, LONGEST_BACKOFF)
            told(str(error), pause)
            await asyncio.sleep(pause)
    raise AssertionError("counting has no end")

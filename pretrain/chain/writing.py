"""Writing to a real chain, where a call can be sent and nothing heard of it again.

Trying again at once is wrong both ways: two rows of weights, or a commitment that loses its block. But every call of
ours can only land within a few blocks, its era. So the chain is read at its finalised head until the call is there, or
until that head is past the era, and nothing of the kind is sent before that.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

from pretrain.chain import IN_FLIGHT, Head
from pretrain.chain.connection import Connection, Deadlines
from pretrain.chain.verdicts import Meaning
from pretrain.errors import ChainUnavailable, Refused
from pretrain.types import Block

log = logging.getLogger("pretrain.chain")

ERA = 32
"""Blocks within which a call of ours lands or never does; a power of two."""
LONGEST_WAIT = 7_200
"""Blocks, a day: no limit of a sound chain is longer, and one node's answer must not silence anybody for good."""
_PAUSE = 1.0  # seconds between two looks

ClientT = TypeVar("ClientT")


@dataclass(frozen=True)
class Answer:
    """What the chain said to a call."""

    block: Block | None
    """The finalised block that it succeeded in."""
    meaning: Meaning = Meaning.LOOK
    """What is to be made of it when there is no such block."""
    text: str = ""
    code: str = ""
    """The chain's own name for the reason."""


def _nothing_was() -> bool:
    return False


@dataclass
class Attempt:
    """One try at sending a call."""

    sent: Callable[[], bool] = _nothing_was
    """Whether it may have left this machine until now: asked while the try may still be under way."""


@dataclass(frozen=True)
class Sight:
    """What one look at the finalised head shows."""

    finalized: Block
    landed: Block | None
    """The block of the call, when it is there."""


@dataclass(frozen=True)
class Write(Generic[ClientT]):
    """A call that is to be made."""

    kind: str
    """Of each kind one is under way at a time."""
    identity: str
    """The same when the same call is made again."""
    send: Callable[[ClientT, Attempt], Awaitable[Answer]]
    look: Callable[[], Awaitable[Sight]]
    wait: Callable[[str], Awaitable[int]]
    """Blocks until it may be accepted, after it was refused for now with a code."""
    read_back: bool = False
    """Whether it counts only once the finalised chain shows it: another call may have replaced it in its own block."""


@dataclass(frozen=True)
class _Unsettled(Generic[ClientT]):
    write: Write[ClientT]
    until: Block
    """The last block that it could get into."""
    anchored: bool
    """Whether that is certain; else it is counted from the finalised head at the first look after it was lost."""


class Writer(Generic[ClientT]):
    """Makes one call of a kind at a time, and knows of each what became of it before it makes the next."""

    def __init__(
        self, connection: Connection[ClientT], deadlines: Deadlines, head: Callable[[], Awaitable[Head]]
    ) -> None:
        self._connection = connection
        self._deadlines = deadlines
        self._head = head
        self._unsettled: dict[str, _Unsettled[ClientT]] = {}
        self._turns: dict[str, asyncio.Lock] = {}

    async def write(self, write: Write[ClientT]) -> Block:
        """Make a call and return its block.

        Raises Refused when the chain says no, ChainUnavailable when it is not known to have landed: then a later call
        of the same kind first finds out, and returns the block if it is the same one and landed.
        """
        async with self._turns.setdefault(write.kind, asyncio.Lock()):
            return await self._write(write)

    async def _write(self, write: Write[ClientT]) -> Block:
        earlier = self._unsettled.get(write.kind)
        if earlier is not None:
            landed = await self._find_out(earlier)
            if landed is not None and earlier.write.identity == write.identity:
                return landed
        attempt = Attempt()
        try:
            until = Block((await self._head()).block + IN_FLIGHT)
            answer = await self._connection.once(lambda client: write.send(client, attempt), self._deadlines.write)
        except ChainUnavailable as error:
            if not attempt.sent():
                error.not_landed = True
                raise
            answer = Answer(None, Meaning.LOOK, str(error))
        except asyncio.CancelledError:
            if attempt.sent():
                self._unsettled[write.kind] = _Unsettled(write, until, anchored=False)
            raise
        if answer.block is not None and not write.read_back:
            return answer.block
        if answer.block is not None:
            return await self._read_back(write, answer.block)
        if answer.meaning is Meaning.LOOK:
            return await self._look_for(_Unsettled(write, until, anchored=False), answer.text)
        later = answer.meaning is Meaning.LATER
        wait = min(LONGEST_WAIT, max(1, await write.wait(answer.code))) if later else 0
        raise Refused(answer.text, code=answer.code, wait_blocks=wait)

    async def _read_back(self, write: Write[ClientT], block: Block) -> Block:
        """Return the block of a call that succeeded, once the chain shows it; until then it is as if it were lost."""
        self._unsettled[write.kind] = _Unsettled(write, block, anchored=True)
        if await self._find_out(self._unsettled[write.kind]) is None:
            raise Refused(f"the {write.kind} of block {block} was replaced by another", code="Replaced")
        return block

    async def _look_for(self, unsettled: _Unsettled[ClientT], why: str) -> Block:
        self._unsettled[unsettled.write.kind] = unsettled
        log.warning("%s: %s; looking at the chain before anything is sent again", unsettled.write.kind, why)
        landed = await self._find_out(unsettled)
        if landed is None:
            raise ChainUnavailable(
                f"the {unsettled.write.kind} did not land, and can not any more: {why}", not_landed=True
            )
        log.info("the %s landed in block %d all the same", unsettled.write.kind, landed)
        return landed

    async def _find_out(self, unsettled: _Unsettled[ClientT]) -> Block | None:
        landed = await self._settle(unsettled)
        self._unsettled.pop(unsettled.write.kind, None)
        return landed

    async def _settle(self, unsettled: _Unsettled[ClientT]) -> Block | None:
        """Return the block in which a call landed; None when it did not and never will."""
        finalized: Block | None = None
        try:
            async with asyncio.timeout(self._deadlines.settling):
                while True:
                    with suppress(ChainUnavailable):
                        sight = await unsettled.write.look()
                        finalized = sight.finalized
                        unsettled = self._anchored(unsettled, finalized)
                        if sight.landed is not None or finalized >= unsettled.until:
                            return sight.landed
                    await asyncio.sleep(_PAUSE)
        except TimeoutError as error:
            where = "the chain cannot be read" if finalized is None else f"block {finalized} is finalised"
            raise ChainUnavailable(
                f"whether the {unsettled.write.kind} landed is known after block {unsettled.until} ({where});"
                " nothing of the kind is sent before"
            ) from error

    def _anchored(self, unsettled: _Unsettled[ClientT], finalized: Block) -> _Unsettled[ClientT]:
        """Return it with the last block that is possible: its era began before it was lost, so before this look."""
        if unsettled.anchored:
            return unsettled
        until = max(unsettled.until, Block(finalized + ERA))
        certain = _Unsettled(unsettled.write, until, anchored=True)
        self._unsettled[unsettled.write.kind] = certain
        return certain

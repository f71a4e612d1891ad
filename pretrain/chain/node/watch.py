"""Waiting for an embedded chain's head to move: one look at the file for all who wait."""

import asyncio
import logging
from collections.abc import AsyncIterator

from pretrain.chain import Head
from pretrain.chain.node.node import Node
from pretrain.errors import ChainUnavailable
from pretrain.types import Block

log = logging.getLogger("pretrain.chain.node")
_LOOKS_PER_BLOCK = 4
_SHORTEST, _LONGEST = 0.005, 1.0  # seconds between two looks
_BACKLOG = 256
"""Headers that a subscriber who was kept waiting is still sent; older ones are left out."""


class Watch:
    """The newest head seen, and a way to wait for another."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._moved = asyncio.Condition()
        self.head = node.head()
        """As it was at the last look."""

    async def run(self) -> None:
        """Look until cancelled; a chain that cannot be read for a moment is looked at again, and told of once."""
        pause = self._node.genesis.parameters.block_time / _LOOKS_PER_BLOCK
        away = False
        while True:
            await asyncio.sleep(min(_LONGEST, max(_SHORTEST, pause)))
            try:
                seen = await asyncio.to_thread(self._node.head)
            except ChainUnavailable as error:
                if not away:
                    log.warning("the chain cannot be read: %s", error)
                away = True
                continue
            away = False
            if seen != self.head:
                async with self._moved:
                    self.head = seen
                    self._moved.notify_all()

    async def beyond(self, head: Head) -> Head:
        """Return the head as soon as it is another one than this."""
        async with self._moved:
            await self._moved.wait_for(lambda: self.head != head)
            return self.head

    async def numbers(self, *, finalized: bool) -> AsyncIterator[Block]:
        """Yield the present newest (or finalised) block, and from then on every later one."""
        head = self.head
        last = (head.finalized if finalized else head.block) - 1
        while True:
            newest = head.finalized if finalized else head.block
            for number in range(max(last + 1, newest - _BACKLOG), newest + 1):
                yield Block(number)
            last = max(last, newest)
            head = await self.beyond(head)

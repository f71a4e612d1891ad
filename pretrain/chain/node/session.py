"""One connection: frames in, answers and notifications out."""

import asyncio
import itertools
import logging
import sqlite3
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from pretrain.chain.node import methods, rpc
from pretrain.chain.node.allowance import Rate
from pretrain.chain.node.faults import Cut, Fault, interfere
from pretrain.chain.node.node import Node
from pretrain.chain.node.parameters import at, bytes_at
from pretrain.chain.node.rpc import Json, Malformed, Request, RpcError
from pretrain.chain.node.service import Service
from pretrain.errors import ChainUnavailable

log = logging.getLogger("pretrain.chain.node")
_BUGS = (ValueError, LookupError, TypeError, ArithmeticError, RecursionError, sqlite3.Error)
"""What code that was sent something unforeseen raises; it concerns one request alone."""
_CHARACTERS_A_REQUEST = 4_096
"""Of a frame: reading so many counts as a request."""
_PENALTY = 1.0  # seconds that a frame keeps its place after its client has used up its requests


@dataclass(frozen=True)
class Reply:
    """The answer to one request."""

    document: Json = None
    """None: there will never be one."""
    subscription: str | None = None
    """What begins once the answer is on its way."""


@dataclass(frozen=True)
class Waiting:
    """A subscription that has its place, and begins once its number has been told."""

    method: str
    updates: AsyncIterator[Json]


class Session:
    """A client's connection, from its first frame to its last."""

    def __init__(self, service: Service, connection: ServerConnection) -> None:
        self._service = service
        self._connection = connection
        self._rate = Rate(service.limits.requests_per_second)
        self._free = asyncio.Semaphore(service.limits.in_flight)
        self._ids = itertools.count(1)
        self._tasks = asyncio.TaskGroup()
        self._waiting: dict[str, Waiting | None] = {}
        self._subscriptions: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Serve until the client leaves, or a fault cuts it off."""
        try:
            async with self._tasks:
                async for frame in self._connection:
                    await self._free.acquire()
                    self._tasks.create_task(self._frame(frame)).add_done_callback(lambda _: self._free.release())
                for task in self._subscriptions.values():
                    task.cancel()
        except* ConnectionClosed:
            pass
        except* Cut as cuts:
            await self._cut(next(cut.last_words for cut in _leaves(cuts) if isinstance(cut, Cut)))

    async def _frame(self, frame: str | bytes) -> None:
        """Answer everything that one frame asks for; who asks for too much waits until its next frame is looked at."""
        try:
            self._rate.take(len(frame) // _CHARACTERS_A_REQUEST)
            entries, is_batch = rpc.read_frame(frame, self._service.limits.batch)
        except RpcError as error:
            await self._send(rpc.dump(rpc.failure(error)))
        else:
            await self._answer(entries, is_batch=is_batch)
        if self._rate.is_used_up:
            await asyncio.sleep(_PENALTY)

    async def _answer(self, entries: Sequence[Request | Malformed], *, is_batch: bool) -> None:
        texts, left, held, begun = [], self._service.limits.answer_bytes, 0, []
        try:
            for entry in entries:
                reply = await self._reply(entry) if left > 0 else Reply(_refusal(entry, self._too_big()))
                text = "" if reply.document is None else rpc.dump(reply.document)
                if len(text) > self._service.limits.answer_bytes:
                    text = rpc.dump(_refusal(entry, self._too_big()))
                if reply.subscription is None and not self._service.held.take(len(text)):
                    text = rpc.dump(_refusal(entry, RpcError(rpc.TOO_MANY, "Too many answers wait to be taken")))
                elif reply.subscription is None:
                    held += len(text)
                texts.append(text)
                left -= len(text)
                begun.append(reply.subscription)
            said = list(filter(None, texts))
            if said:
                await self._send(f"[{','.join(said)}]" if is_batch else said[0])
        finally:
            self._service.held.give_back(held)
        for subscription in filter(None, begun):
            self._begin(subscription)

    async def _send(self, text: str | bytes) -> None:
        """Send a frame; raises Cut when the client does not take it."""
        try:
            async with asyncio.timeout(self._service.limits.seconds_to_take):
                await self._connection.send(text)
        except TimeoutError:
            raise Cut from None

    def _too_big(self) -> RpcError:
        return rpc.too_big(self._service.limits.answer_bytes)

    async def _reply(self, entry: Request | Malformed) -> Reply:
        """Answer one request, through the fault that has been asked for, if any."""
        if isinstance(entry, Malformed):
            return Reply(_refusal(entry, self._counted(entry.error)))
        fault = self._service.faults.next(entry.method)
        reply = await (self._disturbed(entry, fault) if fault else self._undisturbed(entry, self._service.node))
        return reply if entry.id is not None else Reply()

    def _counted(self, error: RpcError) -> RpcError:
        """Return an error, which counts as a request, or that there were too many."""
        try:
            self._rate.take()
        except RpcError as too_many:
            return too_many
        return error

    async def _disturbed(self, request: Request, fault: Fault) -> Reply:
        subscription: str | None = None

        async def handle(node: Node) -> Json:
            nonlocal subscription
            reply = await self._undisturbed(request, node)
            subscription = reply.subscription
            return reply.document

        document = await interfere(fault, request, self._service.node, handle, self._send)
        if document is None and subscription is not None:
            del self._waiting[subscription]
            subscription = None
        return Reply(document, subscription)

    async def _undisturbed(self, request: Request, node: Node) -> Reply:
        try:
            self._rate.take()
            if request.method in methods.SUBSCRIPTIONS:
                return await self._subscribe(request, node)
            if request.method in methods.SUBSCRIPTIONS.values():
                return Reply(rpc.result(request, self._unsubscribe(request)))
            value = await asyncio.to_thread(methods.answer, node, request.method, request.params)
        except RpcError as error:
            return Reply(rpc.failure(error, request.id))
        except ChainUnavailable as error:
            return Reply(rpc.failure(RpcError(rpc.SERVER_ERROR, f"Client error: {error}"), request.id))
        except _BUGS as error:
            self._tell(request.method, error)
            return Reply(rpc.failure(RpcError(rpc.INTERNAL_ERROR, "Internal error"), request.id))
        return Reply(rpc.result(request, value))

    def _tell(self, method: str, error: Exception) -> None:
        """Log what went wrong, unless something of the same method has been logged."""
        if method not in self._service.told:
            self._service.told.add(method)
            log.error("%s failed; further failures of it are not told", method, exc_info=error)

    async def _subscribe(self, request: Request, node: Node) -> Reply:
        if request.id is None:
            raise RpcError(rpc.INVALID_REQUEST, "Invalid request", "nobody could be told the subscription's number")
        if len(self._waiting) + len(self._subscriptions) >= self._service.limits.subscriptions:
            raise RpcError(rpc.TOO_MANY, "Too many subscriptions on the connection", {"policy": "subscriptions"})
        number = f"{next(self._ids):016x}"
        self._waiting[number] = None  # its place, while a chain takes the extrinsic
        try:
            self._waiting[number] = await self._asked(request, node)
        finally:
            if self._waiting[number] is None:
                del self._waiting[number]
        return Reply(rpc.result(request, number), number)

    async def _asked(self, request: Request, node: Node) -> Waiting:
        """Do what a subscription begins with, and return what it is to push."""
        if request.method == "author_submitAndWatchExtrinsic":
            taken = await asyncio.to_thread(node.submit, bytes_at(request.params, 0))
            return Waiting("author_extrinsicUpdate", self._fate(taken.block))
        finalized = request.method == "chain_subscribeFinalizedHeads"
        return Waiting("chain_finalizedHead" if finalized else "chain_newHead", self._headers(finalized=finalized))

    def _begin(self, number: str) -> None:
        waiting = self._waiting.pop(number)
        if waiting is not None:
            task = self._tasks.create_task(self._push(number, waiting))
            self._subscriptions[number] = task
            task.add_done_callback(lambda _: self._subscriptions.pop(number, None))

    def _unsubscribe(self, request: Request) -> bool:
        number = at(request.params, 0)
        task = self._subscriptions.get(number) if isinstance(number, str) else None
        return task.cancel() if task else False

    async def _push(self, number: str, waiting: Waiting) -> None:
        """Send a subscription's updates; one that cannot go on ends alone."""
        try:
            async for update in waiting.updates:
                await self._send(rpc.dump(rpc.notification(waiting.method, number, update)))
        except ChainUnavailable as error:
            log.warning("a subscription of %s ends: %s", waiting.method, error)
        except _BUGS as error:
            self._tell(waiting.method, error)

    async def _headers(self, *, finalized: bool) -> AsyncIterator[Json]:
        async for number in self._service.watch.numbers(finalized=finalized):
            yield await asyncio.to_thread(self._service.node.header, number)

    async def _fate(self, block: int) -> AsyncIterator[Json]:
        yield "ready"
        watch = self._service.watch
        for state, finalized in (("inBlock", False), ("finalized", True)):
            head = watch.head
            while (head.finalized if finalized else head.block) < block:
                head = await watch.beyond(head)
            yield {state: await asyncio.to_thread(self._service.node.hash_at, block)}

    async def _cut(self, last_words: bytes) -> None:
        """End the connection without the closing words of the protocol."""
        if last_words:
            self._connection.transport.write(last_words)
            self._connection.transport.close()
        else:
            self._connection.transport.abort()


def _refusal(entry: Request | Malformed, error: RpcError) -> Json:
    """Return an error as the answer to an entry of a frame; None for a request that wants none."""
    return None if isinstance(entry, Request) and entry.id is None else rpc.failure(error, entry.id)


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """Return the exceptions of a group that are no groups."""
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found

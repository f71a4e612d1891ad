"""One connection: frames in, answers and notifications out."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from pretrain.chain.node import methods, rpc
from pretrain.chain.node.faults import Cut, Fault, FaultSource, interfere
from pretrain.chain.node.node import Node
from pretrain.chain.node.parameters import bytes_at
from pretrain.chain.node.rpc import Json, Request, RpcError
from pretrain.chain.node.watch import Watch
from pretrain.errors import ChainUnavailable


@dataclass(frozen=True)
class Limits:
    """What one connection, and all together, may ask of a node."""

    frame_bytes: int = 1 << 20
    batch: int = 256
    """Requests in one frame."""
    requests_per_second: int = 500
    """Of one connection; as many may come at once."""
    in_flight: int = 64
    """Frames of one connection that are worked on at a time."""
    subscriptions: int = 64
    """Of one connection."""
    connections: int = 64


@dataclass(frozen=True)
class Service:
    """What all connections share."""

    node: Node
    watch: Watch
    limits: Limits
    faults: FaultSource


@dataclass(frozen=True)
class Reply:
    """The answer to one request."""

    document: Json = None
    """None: there will never be one."""
    then: Callable[[], object] | None = None
    """What begins once the answer is on its way."""


class Session:
    """A client's connection, from its first frame to its last."""

    def __init__(self, service: Service, connection: ServerConnection) -> None:
        self._service = service
        self._connection = connection
        self._rate = _Rate(service.limits.requests_per_second)
        self._free = asyncio.Semaphore(service.limits.in_flight)
        self._ids = itertools.count(1)
        self._tasks = asyncio.TaskGroup()
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
        """Answer everything that one frame asks for."""
        try:
            entries, is_batch = rpc.read_frame(frame, self._service.limits.batch)
        except RpcError as error:
            await self._connection.send(rpc.dump(rpc.failure(error)))
            return
        replies = await asyncio.gather(*map(self._reply, entries))
        documents = [reply.document for reply in replies if reply.document is not None]
        if documents:
            await self._connection.send(rpc.dump(documents if is_batch else documents[0]))
        for reply in replies:
            if reply.then:
                reply.then()

    async def _reply(self, entry: Request | RpcError) -> Reply:
        """Answer one request, through the fault that has been asked for, if any."""
        if isinstance(entry, RpcError):
            return Reply(rpc.failure(entry))
        fault = self._service.faults.next(entry.method)
        reply = await (self._disturbed(entry, fault) if fault else self._undisturbed(entry, self._service.node))
        return reply if entry.id is not None else Reply(then=reply.then)

    async def _disturbed(self, request: Request, fault: Fault) -> Reply:
        then: list[Callable[[], object] | None] = [None]

        async def handle(node: Node) -> Json:
            reply = await self._undisturbed(request, node)
            then[0] = reply.then
            return reply.document

        document = await interfere(fault, request, self._service.node, handle, self._connection.send)
        return Reply(document, then[0] if document is not None else None)

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
        return Reply(rpc.result(request, value))

    async def _subscribe(self, request: Request, node: Node) -> Reply:
        if len(self._subscriptions) >= self._service.limits.subscriptions:
            raise RpcError(rpc.TOO_MANY, "Too many subscriptions on the connection", {"policy": "subscriptions"})
        if request.method == "author_submitAndWatchExtrinsic":
            updates = await self._submitted(request, node)
            name = "author_extrinsicUpdate"
        else:
            finalized = request.method == "chain_subscribeFinalizedHeads"
            updates = self._headers(finalized=finalized)
            name = "chain_finalizedHead" if finalized else "chain_newHead"
        number = f"{next(self._ids):016x}"

        def begin() -> None:
            task = self._tasks.create_task(self._push(name, number, updates))
            self._subscriptions[number] = task
            task.add_done_callback(lambda _: self._subscriptions.pop(number, None))

        return Reply(rpc.result(request, number), begin)

    def _unsubscribe(self, request: Request) -> bool:
        task = self._subscriptions.get(str(next(iter(request.params), "")))
        return task.cancel() if task else False

    async def _push(self, method: str, subscription: str, updates: AsyncIterator[Json]) -> None:
        async for update in updates:
            await self._connection.send(rpc.dump(rpc.notification(method, subscription, update)))

    async def _headers(self, *, finalized: bool) -> AsyncIterator[Json]:
        async for number in self._service.watch.numbers(finalized=finalized):
            yield await asyncio.to_thread(self._service.node.header, number)

    async def _submitted(self, request: Request, node: Node) -> AsyncIterator[Json]:
        """Submit an extrinsic and return what happens to it until its block is finalised."""
        raw = bytes_at(request.params, 0)
        taken = await asyncio.to_thread(node.submit, raw)
        return self._fate(taken.block)

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


class _Rate:
    """So many requests a second, and as many at once after a pause."""

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._left = float(per_second)
        self._then = time.monotonic()

    def take(self) -> None:
        """Count a request; raises RpcError when it is one too many."""
        now = time.monotonic()
        self._left = min(float(self._per_second), self._left + (now - self._then) * self._per_second)
        self._then = now
        if self._left < 1:
            limit = {"policy": f"{self._per_second} requests a second", "retry_after": 1}
            raise RpcError(rpc.TOO_MANY, "Too many requests", limit)
        self._left -= 1


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """Return the exceptions of a group that are no groups."""
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found

"""Serving an embedded chain over websocket, in a program of its own or within a test."""

import asyncio
import http
import logging
import re
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path

from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as websocket
from websockets.http11 import Request, Response

from pretrain.chain.blocks import Clock
from pretrain.chain.node.allowance import Held
from pretrain.chain.node.faults import Faults, FaultSource
from pretrain.chain.node.node import open_node
from pretrain.chain.node.service import Limits, Service
from pretrain.chain.node.session import Session
from pretrain.chain.node.watch import Watch

log = logging.getLogger("pretrain.chain.node")
LOOPBACK = "127.0.0.1"
_LOOPBACK_PAGES = re.compile(r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?")
_CLOSING_SECONDS = 2.0  # for a client to say goodbye


@asynccontextmanager
async def serve(
    path: Path,
    *,
    host: str = LOOPBACK,
    port: int = 0,
    clock: Clock = time.time,
    faults: FaultSource | None = None,
    limits: Limits | None = None,
) -> AsyncIterator[str]:
    """Serve the chain in a file and yield the address; port 0 takes a free one.

    Raises ChainUnavailable when there is no chain, and OSError when nothing can listen there. Programs may connect, and
    pages that come from this machine: any other page in a browser on it is turned away.
    """
    node = await asyncio.to_thread(open_node, path, clock)
    watch = await asyncio.to_thread(Watch, node)
    limits = limits or Limits()
    service = Service(node, watch, limits, faults or Faults(), Held(limits.held))
    async with (
        _beside(watch.run()),
        websocket(
            lambda connection: Session(service, connection).run(),
            host,
            port,
            origins=[None, _LOOPBACK_PAGES],
            process_request=lambda connection, request: _admit(service, connection, request),
            max_size=service.limits.frame_bytes,
            compression=None,
            close_timeout=_CLOSING_SECONDS,
            logger=_LIBRARY,
        ) as server,
    ):
        port = next(iter(server.sockets)).getsockname()[1]
        yield f"ws://[{host}]:{port}" if ":" in host else f"ws://{host}:{port}"


@asynccontextmanager
async def _beside(work: Coroutine[object, object, None]) -> AsyncIterator[None]:
    """Let something go on beside the body; if it fails, so does the body, with the same error.

    An error of either alone comes out as it is, and not in the group that a TaskGroup makes of it.
    """
    try:
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(work)
            yield
            task.cancel()
    except BaseExceptionGroup as group:
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from None
        raise


def _admit(service: Service, connection: ServerConnection, _request: Request) -> Response | None:
    """Turn a connection away when there are too many, or when a fault says so."""
    if len(connection.server.connections) >= service.limits.connections or service.faults.refuses():
        return connection.respond(http.HTTPStatus.SERVICE_UNAVAILABLE, "no more connections\n")
    return None


_LIBRARY = logging.getLogger("pretrain.chain.node.websocket")
_LIBRARY.setLevel(logging.ERROR)
_LIBRARY.addFilter(lambda record: "handshake" not in str(record.msg))  # who knocks and leaves is no error of ours

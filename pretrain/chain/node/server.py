"""Serving an embedded chain over websocket, in a program of its own or within a test."""

import asyncio
import http
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as websocket
from websockets.http11 import Request, Response

from pretrain.chain.blocks import Clock
from pretrain.chain.node.faults import Faults, FaultSource
from pretrain.chain.node.node import open_node
from pretrain.chain.node.session import Limits, Service, Session
from pretrain.chain.node.watch import Watch

log = logging.getLogger("pretrain.chain.node")
LOOPBACK = "127.0.0.1"
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

    Raises ChainUnavailable when there is no chain, and OSError when the port is taken.
    """
    node = await asyncio.to_thread(open_node, path, clock)
    watch = await asyncio.to_thread(Watch, node)
    service = Service(node, watch, limits or Limits(), faults or Faults())
    looking = asyncio.create_task(watch.run())
    try:
        async with websocket(
            lambda connection: Session(service, connection).run(),
            host,
            port,
            process_request=lambda connection, request: _admit(service, connection, request),
            max_size=service.limits.frame_bytes,
            compression=None,
            close_timeout=_CLOSING_SECONDS,
            logger=_LIBRARY,
        ) as server:
            yield f"ws://{host}:{next(iter(server.sockets)).getsockname()[1]}"
    finally:
        looking.cancel()
        await asyncio.wait([looking])


def _admit(service: Service, connection: ServerConnection, _request: Request) -> Response | None:
    """Turn a connection away when there are too many, or when a fault says so."""
    if len(connection.server.connections) >= service.limits.connections or service.faults.refuses():
        return connection.respond(http.HTTPStatus.SERVICE_UNAVAILABLE, "no more connections\n")
    return None


_LIBRARY = logging.getLogger("pretrain.chain.node.websocket")
_LIBRARY.setLevel(logging.ERROR)
_LIBRARY.addFilter(lambda record: "handshake" not in str(record.msg))  # who knocks and leaves is no error of ours

"""A node in front of an embedded chain, in a thread of its own: whoever tests a client has another event loop."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pretrain.chain.blocks import Clock
from pretrain.chain.node.faults import Faults
from pretrain.chain.node.server import serve


@contextmanager
def served(path: Path, clock: Clock, faults: Faults | None = None) -> Iterator[str]:
    """Serve the chain in a file, and yield the address."""
    loop = asyncio.new_event_loop()
    started, stop = threading.Event(), asyncio.Event()
    address: list[str] = []

    async def run() -> None:
        async with serve(path, clock=clock, faults=faults) as url:
            address.append(url)
            started.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()), daemon=True)
    thread.start()
    try:
        assert started.wait(20)
        yield address[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(20)
        loop.close()

"""A socket to a node: text of a bounded size, and nothing else."""

import asyncio

import pytest
from websockets.asyncio.server import ServerConnection, serve

from pretrain.chain import text_socket
from pretrain.chain.text_socket import dial


def told(frame: str | bytes | None) -> str:
    """Return what a client reads of a frame that a node sends, and of one that says nothing and leaves."""

    async def node(connection: ServerConnection) -> None:
        if frame is not None:
            await connection.send(frame)
            await connection.wait_closed()

    async def scenario() -> str:
        async with serve(node, "127.0.0.1", 0) as server:
            socket = await dial(f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}")
            try:
                return await socket.recv()
            finally:
                await socket.close()

    return asyncio.run(scenario())


def test_text_is_read() -> None:
    assert told("{}") == "{}"


def test_a_binary_frame_ends_it() -> None:
    with pytest.raises(ConnectionError, match="a binary frame of 4 bytes"):
        told(b"\x00\xff{]")


def test_a_frame_over_the_bound_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_socket, "LARGEST_FRAME", 1_000)
    assert len(told("x" * 1_000)) == 1_000
    with pytest.raises(ConnectionError, match="closed the connection"):
        told("x" * 1_001)


def test_a_node_that_hangs_up_in_good_order_has_closed_it_too() -> None:
    with pytest.raises(ConnectionError, match="closed the connection"):
        told(None)

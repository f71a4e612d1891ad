"""A websocket to a node, with bounds that the SDK's own does not have."""

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

LARGEST_FRAME = 16 * 1024 * 1024
"""Bytes; metadata and the metagraph of a full subnet take under 10 MB. The SDK reads a frame in one piece."""
_HANDSHAKE = 10.0  # seconds
_GOODBYE = 1.0  # seconds for the other side to close as well


class TextSocket:
    """One open socket; a frame that is no text ends it, since no node sends any other."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    async def send(self, message: str) -> None:
        """Send a text frame."""
        await self._connection.send(message)

    async def recv(self) -> str:
        """Return the next text frame; raises ConnectionError for another one, and when the socket is closed.

        Also when it was closed in good order: the SDK takes that for the end of a session, and lets calls that come in
        the same moment wait for ever.
        """
        try:
            message = await self._connection.recv()
        except ConnectionClosed as error:
            raise ConnectionError(f"the node closed the connection: {error}") from error
        if isinstance(message, bytes):
            raise ConnectionError(f"a binary frame of {len(message)} bytes: a node speaks text")
        return message

    async def close(self) -> None:
        """Close it; closed twice it stays closed."""
        await self._connection.close()


async def dial(endpoint: str) -> TextSocket:
    """Open a socket to a ws:// or wss:// address; raises OSError or what websockets raises for a failed handshake."""
    return TextSocket(await connect(endpoint, max_size=LARGEST_FRAME, open_timeout=_HANDSHAKE, close_timeout=_GOODBYE))

"""What goes wrong between a client and a node, on demand: for tests, and for a node that is to be lived with."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from pretrain.chain.node import rpc
from pretrain.chain.node.node import Node
from pretrain.chain.node.rpc import Json, Request, RpcError


class Kind(StrEnum):
    """What happens to a request."""

    DROP = "drop"
    """The connection is cut."""
    HANG = "hang"
    """No answer ever comes; the connection stays open."""
    GARBAGE = "garbage"
    """A frame that is no JSON comes instead of the answer."""
    HALF = "half"
    """All is done; half of the answer's frame comes, then the connection is cut."""
    SLOW = "slow"
    """The answer comes ``seconds`` late."""
    REFUSE = "refuse"
    """The next connection is not taken at all; concerns no method."""
    ERROR = "error"
    """The answer is ``error``."""
    BEHIND = "behind"
    """The node's head is ``blocks`` behind what it was: as from another node of a pool that has fallen back."""
    FORK = "fork"
    """Hashes of blocks that are not finalised are those of blocks that are not in this chain: as before a
    reorganisation. With ``deep`` also those of finalised ones: as from a node of another chain."""
    PRUNED = "pruned"
    """The state asked for is said to be discarded."""


class When(StrEnum):
    """At which moment, for those that have a choice (drop, hang, garbage, slow, error)."""

    BEFORE = "before"
    """Nothing is done for the request."""
    AFTER = "after"
    """All is done: a write lands, and its answer is lost."""


@dataclass(frozen=True)
class Fault:
    """A fault for the next requests of a method."""

    kind: Kind
    method: str | None = None
    """None: of any method."""
    when: When = When.BEFORE
    times: int = 1
    seconds: float = 1.0
    blocks: int = 1
    deep: bool = False
    error: Mapping[str, Json] | None = None
    """With code and message; None: an internal error."""


class FaultSource(Protocol):
    """Says what is to go wrong next."""

    def next(self, method: str) -> Fault | None:
        """Return the fault for a request that has come in; None: it is to be answered rightly."""

    def refuses(self) -> bool:
        """Whether the connection that is being opened is to be turned away."""


class Faults:
    """Faults asked for, used up in the order in which they were added."""

    def __init__(self, *faults: Fault) -> None:
        self._left: list[Fault] = [fault for fault in faults for _ in range(fault.times)]
        self.met: list[tuple[Kind, str]] = []
        """What has happened so far: kind and method."""

    def add(self, fault: Fault) -> None:
        """Ask for another one."""
        self._left += [fault] * fault.times

    def clear(self) -> None:
        """Let nothing more go wrong."""
        self._left.clear()

    def next(self, method: str) -> Fault | None:
        """Return the fault for a request that has come in, and count it."""
        return self._take(method, lambda fault: fault.kind is not Kind.REFUSE and fault.method in {None, method})

    def refuses(self) -> bool:
        """Whether to turn away the connection that is being opened."""
        return self._take("", lambda fault: fault.kind is Kind.REFUSE) is not None

    def _take(self, method: str, fits: Callable[[Fault], bool]) -> Fault | None:
        fault = next(filter(fits, self._left), None)
        if fault is not None:
            self._left.remove(fault)
            self.met.append((fault.kind, method))
        return fault


class Cut(Exception):
    """Ends a connection without the closing words of the protocol."""

    def __init__(self, last_words: bytes = b"") -> None:
        super().__init__("the connection is to be cut")
        self.last_words = last_words
        """Bytes of a frame that never ends."""


_OF_ANSWERS = (Kind.FORK, Kind.HALF)
_INTERNAL = -32_603
HASH_METHODS = ("chain_getHead", "chain_getBlockHash")
"""Those that answer with a hash which a reorganisation can change."""
Handle = Callable[[Node], Awaitable[Json]]
"""Does a request on a node and returns the answer's document."""


async def interfere(
    fault: Fault, request: Request, node: Node, handle: Handle, send: Callable[[bytes], Awaitable[None]]
) -> Json:
    """Return the answer's document as the fault has it; None: there is none. Raises Cut."""
    document: Json = None
    if fault.kind is Kind.BEHIND:
        return await handle(node.set_back(fault.blocks))
    if fault.when is When.AFTER or fault.kind in _OF_ANSWERS:
        document = await handle(node)
    match fault.kind:
        case Kind.DROP:
            raise Cut
        case Kind.HALF:
            raise Cut(_half_a_frame(rpc.dump(document).encode()))
        case Kind.SLOW:
            await asyncio.sleep(fault.seconds)
            document = document or await handle(node)
        case Kind.GARBAGE:
            await send(b"\x00\xff{]")
            document = None
        case Kind.HANG:
            document = None
        case Kind.FORK:
            finalized = -1 if fault.deep else (await asyncio.to_thread(node.head)).finalized
            document = _forked(document, request, finalized)
        case Kind.PRUNED | Kind.ERROR:
            document = {"jsonrpc": "2.0", "id": request.id, "error": dict(_error(fault))}
    return document


def _error(fault: Fault) -> Mapping[str, Json]:
    if fault.kind is Kind.PRUNED:
        return RpcError(rpc.STATE_ERROR, "Client error: UnknownBlock: State already discarded for 0x00").body()
    return fault.error or RpcError(_INTERNAL, "Internal error").body()


def _forked(document: Json, request: Request, finalized: int) -> Json:
    """Return an answer with other hashes of the blocks above the finalised one, the same for the same block."""
    match document:
        case {"result": result, **rest}:
            if request.method in HASH_METHODS:
                return {**rest, "result": _other_hashes(result, _numbers_asked(request), finalized)}
    return document


def _numbers_asked(request: Request) -> Json:
    """Return the number, or numbers, whose hashes are asked for; None for the newest block."""
    return request.params[0] if request.method == "chain_getBlockHash" and request.params else None


def _other_hashes(hashes: Json, numbers: Json, finalized: int) -> Json:
    match hashes, numbers:
        case [*several], [*each]:
            return [_other_hashes(hash_, number, finalized) for hash_, number in zip(several, each, strict=True)]
        case str(), None:
            return f"0x{hashlib.sha256(b'fork' + hashes.encode()).hexdigest()}"
        case str(), int():
            return _other_hashes(hashes, None, finalized) if numbers > finalized else hashes
    return hashes


def _half_a_frame(text: bytes) -> bytes:
    """Return the start of a text frame that announces all of its text and holds half of it (RFC 6455, 5.2)."""
    if len(text) < 126:  # noqa: PLR2004 - longer ones say their length in more bytes
        length = bytes([len(text)])
    elif len(text) < 1 << 16:
        length = b"\x7e" + len(text).to_bytes(2, "big")
    else:
        length = b"\x7f" + len(text).to_bytes(8, "big")
    return b"\x81" + length + text[: len(text) // 2]

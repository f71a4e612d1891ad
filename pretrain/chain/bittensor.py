"""The real chain: a subnet of finney, of the test network or of any node, through the bittensor SDK.

The only file that imports the SDK's client, and none of its types leaves it. What a node answers is read by
``reading`` and ``decoded``, what it refuses is judged by ``verdicts``, what it does not answer is left to
``connection``, and a write of which nothing was heard again to ``writing``.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, cast

import bittensor as bt
from bittensor._transport import SubstrateConnection
from bittensor.result import ConnectionNotReady
from bittensor.settings import (
    FINNEY_GENESIS_HASH,
    NETWORKS,
    default_archive_endpoints,
    default_fallback_endpoints,
    resolve_endpoint,
)

from pretrain.chain import Head, Network, Snapshot, Standing, decoded, fields, reading, view
from pretrain.chain.connection import Access, Connection, Deadlines
from pretrain.chain.reading import Backend, Subnet
from pretrain.chain.text_socket import TextSocket, dial
from pretrain.chain.verdicts import Meaning, meaning
from pretrain.chain.weights import quantise
from pretrain.chain.writing import ERA, Answer, Attempt, Sight, Write, Writer
from pretrain.commitment import Entry
from pretrain.errors import ChainUnavailable, ConfigError, PretrainError, Refused
from pretrain.types import Block, Hotkey
from pretrain.wallet import Keypair, Keys

log = logging.getLogger("pretrain.chain")

MAIN = ("finney", "archive")
"""The SDK's names for the chain whose TAO is worth something."""
LOST = (bt.RpcConnectionError, ConnectionNotReady, OSError)
"""What the SDK raises when a client is of no use any more; a time-out is ours."""
NONSENSE = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, AssertionError, RecursionError)
"""What the SDK stumbles over when a node's answer does not have the form it expects: that node is of no use either."""

T = TypeVar("T")


class ReadWrite(Backend, Protocol):
    """A backend of the SDK (its ``Substrate``), with what this chain needs besides."""

    sent: int
    """How many calls were given to it to send: what was never sent needs no looking for."""

    async def connect(self) -> None:
        """Open the connection."""

    async def close(self) -> None:
        """Close it."""

    async def block_time(self) -> float:
        """Return the seconds between two blocks."""

    async def genesis_hash(self) -> str:
        """Return the hash of block 0: the very one that calls are signed for."""


class RpcBackend(bt.RpcSubstrate):
    """The SDK's websocket backend at one endpoint, which gives up when its socket is lost: ``connection`` reopens."""

    def __init__(self, endpoint: str, archives: Sequence[str]) -> None:
        super().__init__(endpoint, archive_endpoints=[*archives])
        self.sent = 0
        self._sockets: list[TextSocket] = []

    def _interface(self, endpoint: str, fallbacks: list[str]) -> SubstrateConnection:
        """Return a connection whose sockets are known here, so that none outlives a call that was cut off."""
        return SubstrateConnection(endpoint, fallback_urls=fallbacks, max_retries=1, connect_factory=self._dial)

    async def _dial(self, endpoint: str) -> TextSocket:
        self._sockets.append(await dial(endpoint))
        return self._sockets[-1]

    async def close(self) -> None:
        """Close every socket, also of a connection that was cut off while it was opened."""
        with suppress(*LOST, *NONSENSE):
            await super().close()
        for opened in self._sockets:
            await opened.close()

    async def submit(self, *arguments: Any, **options: Any) -> bt.ExtrinsicResult:  # noqa: ANN401 - passed through
        """Sign and send a call, counted."""
        self.sent += 1
        return await super().submit(*arguments, **options)

    async def genesis_hash(self) -> str:
        """Return the hash of block 0 as the SDK keeps it and signs with it, not as the node says it another time."""
        return await self._read(lambda raw: raw.genesis_hash())

    async def block_hashes(self, blocks: Sequence[int]) -> Sequence[object]:
        """Return the hashes of many blocks in one read, which a node answers for a list of numbers."""
        found = await self._read(lambda raw: raw.rpc_request("chain_getBlockHash", [list(blocks)]))
        return found if isinstance(found, list) else []


@dataclass(frozen=True)
class Client:
    """An open connection."""

    backend: ReadWrite
    sdk: bt.Client
    network: Network


class BittensorChain:
    """One hotkey's access to a subnet of a real chain; implements ``Chain``.

    ``network`` is a name that the SDK knows or a ws:// address; ``fallback`` are further addresses of the same chain.
    Nothing is opened before the first call. Raises ConfigError for a name that is none.
    """

    def __init__(  # noqa: PLR0913 - each is a fact of its own
        self,
        network: str,
        netuid: int,
        wallet: Keys | None = None,
        *,
        fallback: Sequence[str] = (),
        mechanism: int = 0,
        deadlines: Deadlines | None = None,
        backend: Callable[[str], ReadWrite] | None = None,
    ) -> None:
        try:
            self._name, endpoint = resolve_endpoint(network)
        except ValueError as error:
            raise ConfigError(f"--subtensor.network {network!r}: expected a name or ws://HOST:PORT") from error
        self._subnet = Subnet(netuid, mechanism)
        self._wallet = wallet
        self._deadlines = deadlines or Deadlines()
        self._make_backend = backend or (lambda url: RpcBackend(url, default_archive_endpoints(self._name)))
        self._genesis: str | None = None
        endpoints = dict.fromkeys([endpoint, *(fallback or default_fallback_endpoints(self._name))])
        access = Access(self._open, lambda client: client.backend.close(), LOST)
        self._connection: Connection[Client] = Connection([*endpoints], access, self._deadlines)
        self._snapshot: Snapshot | None = None
        self._writer = Writer(self._connection, self._deadlines, self.head)

    async def close(self) -> None:
        """Close the connection; a later call opens another."""
        await self._connection.close()

    async def network(self) -> Network:
        """Say which chain this is."""

        async def known(client: Client) -> Network:
            return client.network

        return await self._connection.read(known)

    async def standing(self, coldkey: str | None = None) -> Standing:
        """Say how this hotkey stands at the newest block; ``coldkey`` is to own it, as long as nobody does."""
        hotkey, subnet = self._hotkey(), self._subnet
        return await self._read(lambda b: reading.standing(b, subnet, hotkey, self._connection.endpoint, coldkey))

    async def head(self) -> Head:
        """Return the newest and the finalised block."""
        return await self._read(reading.head)

    async def snapshot(self, cadence: int) -> Snapshot:
        """Read the state at the last multiple of ``cadence`` blocks not above the finalised head.

        Asking again within the same window costs one read: a finalised block never changes.
        """

        async def read(backend: Backend) -> Snapshot:
            finalized = decoded.whole(await backend.finalized_block_number(), "finalised block")
            block, last = Block(finalized - finalized % cadence), self._snapshot
            if last is not None and last.block == block:
                return last
            if last is not None and last.block > block:
                raise ChainUnavailable(f"the node has fallen back: block {finalized} is the newest finalised one to it")
            return await reading.snapshot(backend, self._subnet, block, last.tie_hashes if last else {})

        self._snapshot = await self._read(read)
        return self._snapshot

    async def commitment(self) -> Entry | None:
        """Return what this hotkey has committed at the newest block; None when nothing well-formed."""
        hotkey = self._hotkey()
        found = await self._read(lambda backend: reading.committed(backend, self._subnet, hotkey))
        return view.entry(hotkey, *found) if found else None

    async def commit(self, text: str) -> Block:
        """Write a commitment signed by the hotkey, wait until it reads back, and return its block."""
        made = fields.from_text(text)
        signer, hotkey, subnet = self._signer(), self._hotkey(), self._subnet
        before = (await self.head()).finalized

        async def landed(backend: Backend, at: Block) -> Block | None:
            block, found = await reading.committed(backend, subnet, hotkey, at) or (Block(0), ())
            return block if block > before and found == made else None

        async def wait(backend: Backend) -> int:
            return await reading.blocks_to_epoch(backend, subnet) + 1

        data = made[0].data
        info = {"fields": [[{f"Raw{len(data) // 2}": f"0x{data}"}]]}
        call = bt.calls.Commitments.set_commitment(netuid=subnet.netuid, info=info)
        write = self._call(
            "commitment", text, lambda sdk: sdk.submit_call(call, signer, signer="hotkey", period=ERA), landed, wait
        )
        block = await self._writer.write(write)
        if await self._writer.seen(write, block) != block:
            raise Refused(f"the commitment of block {block} was replaced by another", code="Replaced")
        return block

    async def set_weights(self, weights: Mapping[Hotkey, float], version_key: int) -> Block:
        """Set this validator's whole row (relative shares; hotkeys not registered are dropped); return its block.

        On a subnet with commit-reveal it is the block of the commit. Hotkeys become uids at the newest block; one that
        changes hands before the row lands is told of in the log, and mended by the next row.
        """
        signer, hotkey, subnet = self._signer(), self._hotkey(), self._subnet
        slots = await self._read(lambda backend: reading.neurons(backend, subnet))
        uids, _ = quantise(weights, slots)
        if not uids:
            raise Refused("no registered hotkey has a weight: nothing to set", code="WeightVecLengthIsLow")
        since = max((slot.last_update for slot in slots if slot.hotkey == hotkey), default=Block(0))

        async def landed(backend: Backend, at: Block) -> Block | None:
            now = await reading.neurons(backend, subnet, at)
            return next((s.last_update for s in now if s.hotkey == hotkey and s.last_update > since), None)

        async def wait(backend: Backend) -> int:
            stood = await reading.standing(backend, subnet, hotkey, self._connection.endpoint)
            last = stood.neuron.last_update if stood.neuron else stood.head.block
            return last + stood.weights_rate_limit - stood.head.block

        intent = bt.SetWeights(
            netuid=subnet.netuid,
            weights={int(slot.uid): float(weights[slot.hotkey]) for slot in slots if slot.uid in uids},
            mechid=subnet.mechanism,
            version_key=version_key,
        )
        block = await self._writer.write(
            self._call("row of weights", "", lambda sdk: sdk.execute(intent, signer, period=ERA), landed, wait)
        )
        now = {slot.uid: slot.hotkey for slot in await self._read(lambda backend: reading.neurons(backend, subnet))}
        for slot in (slot for slot in slots if slot.uid in uids and now.get(slot.uid) != slot.hotkey):
            log.warning("uid %d changed hands while its weight was on the way: %s left", slot.uid, slot.hotkey)
        return block

    def _call(
        self,
        kind: str,
        identity: str,
        submit: Callable[[bt.Client], Awaitable[bt.ExtrinsicResult]],
        landed: Callable[[Backend, Block], Awaitable[Block | None]],
        wait: Callable[[Backend], Awaitable[int]],
    ) -> Write[Client]:
        """Return a call of the SDK with what tells whether the finalised head shows it."""

        async def look(backend: Backend) -> Sight:
            finalized = Block(decoded.whole(await backend.finalized_block_number(), "finalised block"))
            return Sight(finalized, await landed(backend, finalized))

        return Write(
            kind,
            identity,
            send=lambda client, attempt: _answer(client, attempt, submit),
            look=lambda: self._read(look),
            wait=lambda: self._read(wait),
        )

    async def _read(self, work: Callable[[Backend], Awaitable[T]]) -> T:
        """Read at one endpoint or another; raises ChainUnavailable when none gives a sound answer."""
        return await self._connection.read(lambda client: _sound(work(client.backend)))

    async def _open(self, endpoint: str) -> Client:
        """Open a client, and see that the chain is the one that was asked for."""
        backend = self._make_backend(endpoint)
        try:
            await _sound(backend.connect())
            genesis = decoded.hash_bytes(await _sound(backend.genesis_hash()), "genesis").hex()
            self._check(endpoint, genesis)
            block_time = await _sound(backend.block_time())
        except (PretrainError, *LOST, asyncio.CancelledError):
            await backend.close()
            raise
        log.info("connected to %s%s, genesis %s", endpoint, f" of {self._name}" * named(self._name), genesis[:16])
        sdk = bt.Client(self._name, substrate=cast(bt.Substrate, backend))
        return Client(backend, sdk, Network(self._name, genesis, block_time))

    def _check(self, endpoint: str, genesis: str) -> None:
        """Refuse a chain that is not the one whose name was given, or not the one that was there before."""
        is_main = genesis == FINNEY_GENESIS_HASH.removeprefix("0x")
        if named(self._name) and is_main != (self._name in MAIN):
            which = "the main network" if is_main else f"another chain (genesis {genesis[:16]})"
            raise ConfigError(f"--subtensor.network {self._name}: {endpoint} serves {which}; nothing was signed")
        if self._genesis not in (None, genesis):
            raise ChainUnavailable(f"{endpoint} serves another chain than before (genesis {genesis[:16]})")
        self._genesis = genesis

    def _signer(self) -> Keypair:
        if self._wallet is None:
            raise ConfigError("this chain was opened without a wallet, to read only: open it with one to sign")
        return self._wallet.hotkey

    def _hotkey(self) -> Hotkey:
        return Hotkey(self._signer().ss58_address)


def named(network: str) -> bool:
    """Whether a network is asked for by one of the SDK's names, and not by an address."""
    return network in NETWORKS


async def _sound(answer: Awaitable[T]) -> T:
    """Await a node's answer; raises ChainUnavailable when it is an error, or not of the form that any node gives."""
    try:
        return await answer
    except bt.ChainError as error:
        raise ChainUnavailable(f"the node answers: {_one_line(error)}") from error
    except NONSENSE as error:
        raise ChainUnavailable(
            f"the node's answer makes no sense: {type(error).__name__}: {_one_line(error)}"
        ) from error


async def _answer(
    client: Client, attempt: Attempt, submit: Callable[[bt.Client], Awaitable[bt.ExtrinsicResult]]
) -> Answer:
    """Send a call and return what the chain said; what never left this machine is not looked for."""
    before = client.backend.sent
    try:
        result = await submit(client.sdk)
        error = None if result.success else (result.error or bt.ChainError(result.message))
        block = int(result.extrinsic_id.partition("-")[0]) if result.success and result.extrinsic_id else None
    except bt.ChainError as raised:
        error, block = raised, None
    except LOST:
        raise
    except bt.BittensorError as raised:  # the call itself cannot be made
        return Answer(None, Meaning.NO, _one_line(raised), type(raised).__name__)
    except NONSENSE as raised:
        raise ChainUnavailable(f"the node's answer makes no sense: {_one_line(raised)}") from raised
    finally:
        attempt.sent = client.backend.sent > before
    if error is None:
        return Answer(None if block is None else Block(block), text="it succeeded in a block that was not named")
    found = meaning(error.name, error.code.value)
    if found is Meaning.AGAIN or (found is Meaning.LOOK and not attempt.sent):
        attempt.sent = False
        raise ChainUnavailable(f"the node answers: {_one_line(error)}") from error  # and is left, with what it told us
    advice = "" if found is Meaning.LOOK else f"; {error.remediation}"
    return Answer(None, found, f"{_one_line(error)}{advice}", error.name or error.code.value)


def _one_line(error: Exception) -> str:
    """Return an error in one line of bounded length: its text may be a node's."""
    return " ".join(str(error).split())[:200] or type(error).__name__

"""The real chain: a subnet of finney, of the test network or of any node, through the bittensor SDK.

The only file that imports the SDK's client, and none of its types leaves it. What a node answers is read by
``reading`` and ``decoded``, what it refuses is judged by ``verdicts``, what it does not answer is left to
``connection``, and a write of which nothing was heard again to ``writing``.
"""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar, cast

import bittensor as bt
from bittensor._transport import SubstrateConnection
from bittensor._transport.errors import SubstrateRequestException
from bittensor.result import ConnectionNotReady
from bittensor.settings import (
    FINNEY_GENESIS_HASH,
    NETWORKS,
    default_archive_endpoints,
    default_fallback_endpoints,
    resolve_endpoint,
)

from pretrain.chain import Head, Network, Snapshot, Standing, decoded, fields, reading, view
from pretrain.chain.calls import U16_MAX
from pretrain.chain.connection import Access, Connection, Deadlines, Mismatch, one_line, shown
from pretrain.chain.decoded import Malformed
from pretrain.chain.reading import Backend, Subnet
from pretrain.chain.state import Slot
from pretrain.chain.text_socket import TextSocket, dial
from pretrain.chain.verdicts import ADVICE, Meaning, meaning
from pretrain.chain.weights import quantise
from pretrain.chain.writing import ERA, Answer, Attempt, Sight, Write, Writer
from pretrain.commitment import Entry
from pretrain.errors import ChainUnavailable, ConfigError, Refused
from pretrain.types import Block, Hotkey
from pretrain.wallet import Keypair, Keys

log = logging.getLogger("pretrain.chain")

MAIN = ("finney", "archive")
"""The SDK's names for the chain whose TAO is worth something."""
LOST = (bt.RpcConnectionError, ConnectionNotReady, OSError)
"""What the SDK raises when a client is of no use any more; a time-out is ours."""
NONSENSE = (
    ValueError, LookupError, TypeError, AttributeError, ArithmeticError, AssertionError, RecursionError,
    asyncio.InvalidStateError,
)  # fmt: skip
"""What the SDK stumbles over when a node's answer does not have the form it expects: that node is of no use either.

The last: when one of several who wait for the same metadata is cancelled.
"""
POOL = range(1_001, 1_100)
"""Codes under which a node itself says why it does not take a call (``author`` of the Substrate RPC)."""

QUEUES = ("TooManyUnrevealedCommits", "CommitQueueFull")
"""Refusals of a row that end with the epoch, not with the rate limit."""
CLOSING = 2.0
"""Seconds that the SDK has to leave a connection in good order; then its socket is closed under it."""
NOWHERE = f"{os.devnull}/none"
"""Where the SDK keeps metadata between runs, unless told otherwise: its cache is by chain, so what one node lied would
be believed of the next."""
LARGEST = {"RevealPeriodEpochs": 100, "Tempo": 65_535}
"""What a subnet can set at the most; a seal's moment is found by counting epochs, in one piece."""

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
    """The SDK's websocket backend at one endpoint, for the life of one socket: ``connection`` opens another."""

    def __init__(self, endpoint: str, archives: Sequence[str]) -> None:
        super().__init__(endpoint, archive_endpoints=[*archives])
        os.environ.setdefault("BITTENSOR_RUNTIME_CACHE_DIR", NOWHERE)
        self.sent = 0
        self._made: list[SubstrateConnection] = []
        self._sockets: dict[str, TextSocket] = {}

    def _interface(self, endpoint: str, fallbacks: list[str]) -> SubstrateConnection:
        """Return a connection that is known here: neither it nor its socket outlives a call that was cut off."""
        made = SubstrateConnection(endpoint, fallback_urls=fallbacks, max_retries=1, connect_factory=self._dial)
        self._made.append(made)
        return made

    async def _dial(self, endpoint: str) -> TextSocket:
        """Open a socket; a second one would be another node for all we know, with what the first one told."""
        if endpoint in self._sockets:
            raise ConnectionError("the connection was lost")
        self._sockets[endpoint] = await dial(endpoint)
        return self._sockets[endpoint]

    async def close(self) -> None:
        """Close every connection, also one that was cut off while it was opened."""
        for made in self._made:
            with suppress(TimeoutError, *LOST, *NONSENSE, SubstrateRequestException):
                async with asyncio.timeout(CLOSING):
                    await made.close()
        for opened in self._sockets.values():
            await opened.close()

    async def query(
        self, module: str, storage_function: str, params: list[Any] | None = None, block_hash: str | None = None
    ) -> Any:  # noqa: ANN401 - as the SDK has it
        """Read one storage item, of which some are numbers that the SDK counts up to."""
        value = await super().query(module, storage_function, params, block_hash)
        if isinstance(value, int) and value > LARGEST.get(storage_function, value):
            raise Malformed(f"{storage_function} {value}: expected at most {LARGEST[storage_function]}")
        return value

    async def _submit_and_report(self, *arguments: Any, **options: Any) -> bt.ExtrinsicResult:  # noqa: ANN401 - as it is
        """Send a call that is signed, counted."""
        self.sent += 1
        return await super()._submit_and_report(*arguments, **options)

    def _failed_submit(self, error: Exception, signer_address: str) -> bt.ExtrinsicResult:
        """Say why a call was not taken; in other words than a node's own it gets no name, which would be a verdict.

        The SDK finds names in any text, also in that of a gateway which lost the answer to a call that was taken.
        """
        failed = super()._failed_submit(error, signer_address)
        if _is_of_the_pool(error):
            return failed
        nameless = bt.ChainError(one_line(error))
        nameless.__cause__ = error
        return replace(failed, error=nameless)

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


@dataclass(frozen=True)
class _Call:
    """What a call is, and how the chain shows it."""

    kind: str
    identity: str
    landed: Callable[[Backend, Block], Awaitable[Block | None]]
    """Since which block the state at a finalised block shows it; None when it does not."""
    wait: Callable[[Backend, str], Awaitable[int]]
    read_back: bool = False


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
            name, endpoint = resolve_endpoint(network)
        except ValueError as error:
            raise ConfigError(f"--subtensor.network {network!r}: expected a name or ws://HOST:PORT") from error
        self._name = network if "://" in network else name  # the SDK has names for some addresses: whose node is it?
        self._subnet = Subnet(netuid, mechanism)
        self._wallet = wallet
        self._deadlines = deadlines or Deadlines()
        self._make_backend = backend or (lambda url: RpcBackend(url, default_archive_endpoints(self._name)))
        self._genesis: str | None = None
        self._is_right = False  # whether the subnet that was asked for has ever been read
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

        return await self._told(self._connection.read(known))

    async def standing(self, coldkey: str | None = None) -> Standing:
        """Say how this hotkey stands at the newest block; ``coldkey`` is to own it, as long as nobody does."""
        hotkey, subnet = self._hotkey(), self._subnet
        return await self._read(lambda b: reading.standing(b, subnet, hotkey, self._endpoint, coldkey))

    async def head(self) -> Head:
        """Return the newest and the finalised block."""
        return await self._read(reading.head)

    async def snapshot(self, cadence: int) -> Snapshot:
        """Read the state at the last multiple of ``cadence`` blocks not above the finalised head.

        Asking again within the same window costs one read: a finalised block never changes.
        """

        async def read(backend: Backend) -> Snapshot:
            finalized = await reading.finalized(backend)
            block, last = Block(finalized - finalized % cadence), self._snapshot
            if last is not None and last.block == block:
                return last
            if last is not None and last.block > block:
                raise ChainUnavailable(f"the node has fallen back: block {finalized} is the newest finalised one to it")
            return await reading.snapshot(backend, self._subnet, block)

        self._snapshot = await self._read(read)
        self._is_right = True
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

        async def wait(backend: Backend, _code: str) -> int:
            return await reading.blocks_to_epoch(backend, subnet) + 1

        data = made[0].data
        info = {"fields": [[{f"Raw{len(data) // 2}": f"0x{data}"}]]}
        call = bt.calls.Commitments.set_commitment(netuid=subnet.netuid, info=info)
        return await self._writer.write(
            self._call(
                _Call("commitment", text, landed, wait, read_back=True),
                lambda sdk: sdk.submit_call(call, signer, signer="hotkey", period=ERA),
            )
        )

    async def set_weights(self, weights: Mapping[Hotkey, float], version_key: int) -> Block:
        """Set this validator's whole row (relative shares; hotkeys not registered are dropped); return its block.

        On a subnet with commit-reveal it is the block of the commit. Hotkeys become uids at the newest block; one that
        changes hands before the row lands is told of in the log, and mended by the next row.
        """
        signer, hotkey, subnet = self._signer(), self._hotkey(), self._subnet
        slots = await self._read(lambda backend: reading.neurons(backend, subnet))
        uids, values = quantise(weights, slots)
        if not uids:
            raise Refused("no registered hotkey has a weight: nothing to set", code="WeightVecLengthIsLow")
        await self._check_limit(uids, values)
        since = max((slot.last_update for slot in slots if slot.hotkey == hotkey), default=Block(0))

        async def landed(backend: Backend, at: Block) -> Block | None:
            now = await reading.neurons(backend, subnet, at)
            return next((s.last_update for s in now if s.hotkey == hotkey and s.last_update > since), None)

        async def wait(backend: Backend, code: str) -> int:
            if code in QUEUES:
                return await reading.blocks_to_epoch(backend, subnet) + 1
            stood = await reading.standing(backend, subnet, hotkey, self._endpoint)
            last = stood.neuron.last_update if stood.neuron else stood.head.block
            return last + stood.weights_rate_limit - stood.head.block

        intent = bt.SetWeights(
            netuid=subnet.netuid,
            weights={int(slot.uid): float(weights[slot.hotkey]) for slot in slots if slot.uid in uids},
            mechid=subnet.mechanism,
            version_key=version_key,
        )
        call = _Call("row of weights", f"{uids} {values} {version_key}", landed, wait)
        block = await self._writer.write(self._call(call, lambda sdk: sdk.execute(intent, signer, period=ERA)))
        with suppress(ChainUnavailable):  # the row is set: nobody is to hear otherwise
            await self._tell_of_newcomers(slots, uids)
        return block

    async def _check_limit(self, uids: Sequence[int], values: Sequence[int]) -> None:
        """Refuse a row that the subnet's limit would change, as the embedded chain does: the SDK clips it silently."""
        limit = await self._read(lambda backend: reading.weight_limit(backend, self._subnet))
        if len(uids) > 1 and max(values) * U16_MAX > limit * sum(values):
            raise Refused(f"a weight is over {limit}/{U16_MAX} of its row", code="MaxWeightExceeded")

    async def _tell_of_newcomers(self, slots: Sequence[Slot], uids: Sequence[int]) -> None:
        now = {slot.uid: slot.hotkey for slot in await self._read(lambda b: reading.neurons(b, self._subnet))}
        for slot in (slot for slot in slots if slot.uid in uids and now.get(slot.uid) != slot.hotkey):
            log.warning("uid %d changed hands while its weight was on the way: %s left", slot.uid, slot.hotkey)

    def _call(self, call: _Call, submit: Callable[[bt.Client], Awaitable[bt.ExtrinsicResult]]) -> Write[Client]:
        """Return a call of the SDK with what tells whether the finalised head shows it."""

        async def look(backend: Backend) -> Sight:
            finalized = await reading.finalized(backend)
            return Sight(finalized, await call.landed(backend, finalized))

        return Write(
            call.kind,
            call.identity,
            send=lambda client, attempt: _answer(client, attempt, submit),
            look=lambda: self._read(look),
            wait=lambda code: self._read(lambda backend: call.wait(backend, code)),
            read_back=call.read_back,
        )

    @property
    def _endpoint(self) -> str:
        return shown(self._connection.endpoint)

    async def _read(self, work: Callable[[Backend], Awaitable[T]]) -> T:
        """Read at one endpoint or another; raises ChainUnavailable when none gives a sound answer."""
        return await self._told(self._connection.read(lambda client: _sound(work(client.backend))))

    async def _told(self, answer: Awaitable[T]) -> T:
        """Await an answer; that no endpoint serves what was asked for is a mistake of ours until one has done so."""
        try:
            return await answer
        except Mismatch as error:
            if self._is_right:
                raise
            raise ConfigError(str(error)) from error

    async def _open(self, endpoint: str) -> Client:
        """Open a client, and see that the chain is the one that was asked for."""
        backend = self._make_backend(endpoint)
        opened = False
        try:
            client = await _sound(self._examine(endpoint, backend))
            opened = True
        finally:
            if not opened:
                await backend.close()
        of = f" of {self._name}" if self._name in NETWORKS else ""
        log.info("connected to %s%s, genesis %s", shown(endpoint), of, client.network.genesis[:16])
        return client

    async def _examine(self, endpoint: str, backend: ReadWrite) -> Client:
        await backend.connect()
        genesis = decoded.hash_bytes(await backend.genesis_hash(), "genesis").hex()
        self._check(endpoint, genesis)
        name = self._name if self._name in NETWORKS else shown(self._name)
        network = Network(name, genesis, await backend.block_time())
        return Client(backend, bt.Client(self._name, substrate=cast(bt.Substrate, backend)), network)

    def _check(self, endpoint: str, genesis: str) -> None:
        """Refuse a chain that is not the one whose name was given, or not the one that was there before."""
        is_main = genesis == FINNEY_GENESIS_HASH.removeprefix("0x")
        if self._genesis not in (None, genesis):
            raise ChainUnavailable(f"{shown(endpoint)} serves another chain than before (genesis {genesis[:16]})")
        if self._name in NETWORKS and is_main != (self._name in MAIN):
            which = "the main network" if is_main else f"another chain (genesis {genesis[:16]})"
            raise Mismatch(f"--subtensor.network {self._name}: {shown(endpoint)} serves {which}; nothing was signed")
        self._genesis = genesis

    def _signer(self) -> Keypair:
        if self._wallet is None:
            raise ConfigError("this chain was opened without a wallet, to read only: open it with one to sign")
        return self._wallet.hotkey

    def _hotkey(self) -> Hotkey:
        return Hotkey(self._signer().ss58_address)


async def _sound(answer: Awaitable[T]) -> T:
    """Await a node's answer; raises ChainUnavailable when it is an error, or not of the form that any node gives."""
    try:
        return await answer
    except bt.ChainError as error:
        raise ChainUnavailable(f"the node answers: {one_line(error)}") from error
    except NONSENSE as error:
        raise ChainUnavailable(
            f"the node's answer makes no sense: {type(error).__name__}: {one_line(error)}"
        ) from error


def _is_of_the_pool(error: Exception) -> bool:
    payload = getattr(error, "payload", None)
    answer = payload.get("error") if isinstance(payload, dict) else None
    code = answer.get("code") if isinstance(answer, dict) else None
    return isinstance(code, int) and code in POOL


async def _answer(
    client: Client, attempt: Attempt, submit: Callable[[bt.Client], Awaitable[bt.ExtrinsicResult]]
) -> Answer:
    """Send a call and return what the chain said; what never left this machine is not looked for."""
    before = client.backend.sent
    attempt.sent = lambda: client.backend.sent > before
    try:
        result = await submit(client.sdk)
        block = Block(int(result.extrinsic_id.partition("-")[0])) if result.extrinsic_id else None
    except bt.ChainError as raised:
        return _verdict(raised, attempt, included=False)
    except LOST:
        raise
    except bt.BittensorError as raised:  # the call itself cannot be made
        return Answer(None, Meaning.NO, one_line(raised), type(raised).__name__)
    except NONSENSE as raised:
        raise ChainUnavailable(f"the node's answer makes no sense: {one_line(raised)}") from raised
    if result.success:
        return Answer(block, text="it succeeded in a block that was not named")
    return _verdict(result.error or bt.ChainError(result.message), attempt, included=block is not None)


def _verdict(error: bt.ChainError, attempt: Attempt, *, included: bool) -> Answer:
    """Return what an error means.

    Only the chain's own names are verdicts on a call that was sent, and the SDK's own checks on one that was not: the
    SDK also gives a code to any text that a node or a gateway answers, by words in it, and that proves nothing. What
    failed because a read did has a cause.
    """
    found = meaning(error.name, error.code.value)
    if included and error.name is not None:
        found = Meaning.NO if found is Meaning.LOOK else found
    elif included or error.__cause__ is not None or (error.name is None and attempt.sent()):
        found = Meaning.LOOK
    if found is Meaning.AGAIN or (found is Meaning.LOOK and not attempt.sent()):
        attempt.sent = lambda: False
        raise ChainUnavailable(f"the node answers: {one_line(error)}") from error  # and is left, with what it told us
    advice = "" if found is Meaning.LOOK else f"; {ADVICE.get(error.name or '', error.remediation)}"
    return Answer(None, found, f"{one_line(error)}{advice}", error.name or error.code.value)

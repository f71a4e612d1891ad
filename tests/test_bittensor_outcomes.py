"""What a call to a real chain came to, when a node, a gateway or a socket says something else than the chain."""

import asyncio
from pathlib import Path
from typing import Any

import bittensor as bt
import pytest
from bittensor._substrate import _public_request_error
from bittensor._transport.errors import SubstrateRequestException
from embedded_substrate import EmbeddedSubstrate
from serving import served
from subnet import NETUID, Subnet, commitment
from test_bittensor_chain import Elsewhere, Sends, calls_of, made, run

from pretrain.chain import writing
from pretrain.chain.bittensor import NONSENSE, BittensorChain, RpcBackend
from pretrain.chain.connection import Deadlines
from pretrain.chain.node.faults import Fault, Faults, Kind, When
from pretrain.errors import ChainUnavailable, Refused

SUBMIT = "author_submitAndWatchExtrinsic"
DEADLINES = Deadlines(opening=5.0, read=1.0, write=1.5, settling=20.0, closing=1.0, first_pause=0.01)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "_PAUSE", 0.0)


def in_memory(net: Subnet, backend: EmbeddedSubstrate, of: int = 2) -> BittensorChain:
    return BittensorChain("ws://memory", NETUID, net.pairs[of], backend=lambda _: backend, deadlines=DEADLINES)


@pytest.mark.parametrize(
    "error",
    [
        {"code": -32005, "message": "your plan: block limit exceeded"},
        {"code": -32000, "message": "transaction call is not expected"},
        {"code": -32000, "message": "upstream error", "data": 1},
        {"code": -32000, "message": "upstream error", "data": 6},
        {"code": -32000, "message": "upstream error", "data": 8},
    ],
)
def test_a_gateways_words_on_a_call_that_was_taken_are_no_verdict(error: dict[str, object], tmp_path: Path) -> None:
    """The SDK finds a name in each of them."""
    net, faults = made(tmp_path), Faults()
    hotkey = net.pairs[2].address

    async def scenario(endpoint: str) -> int:
        chain = BittensorChain(endpoint, NETUID, net.pairs[2], deadlines=DEADLINES)
        faults.add(Fault(Kind.ERROR, SUBMIT, When.AFTER, error=error))
        try:
            return await chain.commit(commitment(hotkey))
        finally:
            await chain.close()

    with served(net.path, net.clock, faults) as endpoint:
        assert run(scenario(endpoint)) > 0
    assert calls_of(net, hotkey) == 1


@pytest.mark.parametrize("kind", [Kind.DROP, Kind.ERROR])
def test_what_was_lost_before_it_was_signed_is_not_looked_for(kind: Kind, tmp_path: Path) -> None:
    net, faults = made(tmp_path), Faults()

    async def scenario(endpoint: str) -> None:
        chain = BittensorChain(endpoint, NETUID, net.pairs[2], deadlines=DEADLINES)
        faults.add(Fault(kind, "account_nextIndex", When.BEFORE))
        with pytest.raises(ChainUnavailable) as lost:
            await chain.commit(commitment(net.pairs[2].address))
        assert (lost.value.not_landed, chain._writer._unsettled) == (True, {})  # noqa: SLF001 - nothing to look for
        assert "did not land" not in str(lost.value)
        assert await chain.commit(commitment(net.pairs[2].address)) > 0
        await chain.close()

    with served(net.path, net.clock, faults) as endpoint:
        run(scenario(endpoint))
    assert calls_of(net, net.pairs[2].address) == 1


def test_a_node_that_cannot_be_read_before_a_call_is_left_and_refuses_nothing(tmp_path: Path) -> None:
    net = made(tmp_path)

    class Bad(EmbeddedSubstrate):
        async def query(
            self, module: str, storage_function: str, params: list[Any] | None = None, block_hash: str | None = None
        ) -> Any:  # noqa: ANN401 - as the SDK has it
            if storage_function == "Uids":
                lost = SubstrateRequestException({"error": {"code": -32603, "message": "Internal error", "data": 3}})
                raise _public_request_error(lost) from lost
            return await super().query(module, storage_function, params, block_hash)

    chain = BittensorChain(
        "ws://bad",
        NETUID,
        net.pairs[0],
        fallback=["ws://good"],
        backend=lambda url: (Bad if "bad" in url else EmbeddedSubstrate)(net.path, net.clock),
        deadlines=DEADLINES,
    )

    async def scenario() -> None:
        with pytest.raises(ChainUnavailable):
            await chain.set_weights({net.pairs[2].address: 1.0}, 0)
        assert await chain.set_weights({net.pairs[2].address: 1.0}, 0) > 0

    run(scenario())


def test_an_outcome_that_nobody_names_is_looked_up(tmp_path: Path) -> None:
    net = made(tmp_path)
    backend = Sends(net.path, net.clock)
    backend.answer = bt.ExtrinsicResult(
        success=False, message="None", extrinsic_id="42-0001", error=bt.ChainError("None", None)
    )

    assert run(in_memory(net, backend).commit(commitment(net.pairs[2].address))) > 0
    assert calls_of(net, net.pairs[2].address) == 1


@pytest.mark.parametrize(("name", "limit"), [("TooManyUnrevealedCommits", 0), ("SettingWeightsTooFast", 70)])
def test_how_long_to_wait_is_counted_from_the_chain(name: str, limit: int, tmp_path: Path) -> None:
    net = made(tmp_path, weights_rate_limit=limit)
    run(net.chains[0].set_weights({net.pairs[2].address: 1.0}, 0))
    net.clock.now += 10 * net.chains[0].genesis.parameters.block_time
    net.clock.tick = 0

    class Refusing(EmbeddedSubstrate):
        async def submit(self, *_arguments: Any, **_options: Any) -> bt.ExtrinsicResult:  # noqa: ANN401
            self.sent += 1
            return bt.ExtrinsicResult(success=False, extrinsic_id="60-0001", error=bt.ChainError(name, name))

    chain = in_memory(net, Refusing(net.path, net.clock), of=0)

    async def scenario() -> tuple[int, int, int]:
        stood = await chain.standing()
        assert stood.neuron is not None
        left = stood.neuron.last_update + limit - stood.head.block
        epoch = await chain._read(_next_epoch)  # noqa: SLF001 - as the chain says it
        with pytest.raises(Refused) as refused:
            await chain.set_weights({net.pairs[3].address: 1.0}, 0)
        return refused.value.wait_blocks, left, epoch - stood.head.block + 1

    waited, left, to_epoch = run(scenario())
    assert waited == (left if limit else to_epoch)
    assert waited > 1


async def _next_epoch(backend: Any) -> int:  # noqa: ANN401 - a backend of the SDK
    return int(await backend.runtime_call("SubnetInfoRuntimeApi", "get_next_epoch_start_block", [NETUID]))


def test_an_own_node_at_its_usual_address_may_serve_the_main_network(tmp_path: Path) -> None:
    net = made(tmp_path)
    chain = BittensorChain("ws://127.0.0.1:9944", NETUID, backend=lambda _: Elsewhere(net.path, net.clock))

    assert run(chain.network()).name == "ws://127.0.0.1:9944"


def test_another_chain_at_an_endpoint_ends_nobody_whose_chain_was_right_before(tmp_path: Path) -> None:
    net = made(tmp_path)
    kinds: list[type[EmbeddedSubstrate]] = [EmbeddedSubstrate]
    chain = BittensorChain(
        "ws://a", NETUID, net.pairs[2], backend=lambda _: kinds[0](net.path, net.clock), deadlines=DEADLINES
    )

    async def scenario() -> None:
        await chain.network()
        kinds[0] = Elsewhere
        await chain.close()
        with pytest.raises(ChainUnavailable, match="serves another chain than before"):
            await chain.head()

    run(scenario())


@pytest.mark.parametrize(("item", "most"), [("RevealPeriodEpochs", 100), ("Tempo", 65_535)])
def test_a_number_that_the_sdk_counts_up_to_is_bounded(item: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [most]

    async def query(*_arguments: object) -> int:
        return found[0]

    monkeypatch.setattr(bt.RpcSubstrate, "query", query)
    backend = RpcBackend("ws://nobody", [])
    assert run(backend.query("SubtensorModule", item)) == most
    found[0] += 1
    with pytest.raises(ValueError, match=f"{item} {most + 1}: expected at most {most}"):
        run(backend.query("SubtensorModule", item))


def test_a_closed_backend_leaves_no_socket_even_if_the_sdk_does_not_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = made(tmp_path)

    async def hangs(*_: object) -> None:
        await asyncio.Event().wait()

    async def scenario(endpoint: str) -> None:
        backend = RpcBackend(endpoint, [])
        await backend.connect()
        (socket,) = backend._sockets.values()  # noqa: SLF001 - what must not stay
        for made_here in backend._made:  # noqa: SLF001 - likewise
            monkeypatch.setattr(made_here, "close", hangs)
        await backend.close()
        with pytest.raises(ConnectionError):
            await socket.recv()

    monkeypatch.setattr("pretrain.chain.bittensor.CLOSING", 0.1)
    with served(net.path, net.clock) as endpoint:
        run(asyncio.wait_for(scenario(endpoint), 10))


def test_a_waiter_that_was_cancelled_in_the_sdk_is_no_bug_of_ours() -> None:
    assert issubclass(asyncio.InvalidStateError, NONSENSE)

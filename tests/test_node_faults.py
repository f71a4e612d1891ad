"""Everything that can go wrong on a wire to a node goes wrong on demand, once, and nothing else does."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import bittensor as bt
import pytest
from subnet import NETUID, Subnet, subnet
from test_node_client import committing, wallet
from test_node_server import ask, heard
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedError, InvalidStatus

from pretrain.chain.node.chaos import RATES, Chaos
from pretrain.chain.node.faults import Fault, Faults, Kind, When
from pretrain.chain.node.server import serve

Scenario = Callable[[str, Subnet], Awaitable[None]]
_TICK = 0.0015


def run(folder: Path, faults: Faults | Chaos, scenario: Scenario, tick: float = 0.0) -> None:
    async def served() -> None:
        net = subnet(folder)
        net.clock.tick = tick
        net.at(12)
        async with serve(net.path, clock=net.clock, faults=faults) as url:
            await scenario(url, net)

    asyncio.run(asyncio.wait_for(served(), 60))


async def send(socket: ClientConnection, method: str, *params: object) -> None:
    await socket.send(json.dumps({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}))


async def committed(net: Subnet) -> object:
    """Return what the third neuron has committed, as the chain's own reader sees it."""
    net.clock.now += 0.1
    return await net.chains[2].commitment() or net.chains[2]._committed(net.pairs[2].address)  # noqa: SLF001


@pytest.mark.parametrize("when", When)
def test_a_dropped_connection_is_cut_without_a_closing_word(tmp_path: Path, when: When) -> None:
    faults = Faults(Fault(Kind.DROP, "system_name", when))

    async def scenario(url: str, _: Subnet) -> None:
        async with connect(url) as other:
            async with connect(url) as socket:
                await send(socket, "system_name")
                with pytest.raises(ConnectionClosedError) as closed:
                    await socket.recv()
                assert closed.value.rcvd is None
            assert await ask(other, "system_name") == "pretrain-node"
            assert faults.met == [(Kind.DROP, "system_name")]

    run(tmp_path, faults, scenario)


def test_a_hanging_request_is_never_answered_and_the_next_one_is(tmp_path: Path) -> None:
    async def scenario(url: str, _: Subnet) -> None:
        async with connect(url) as socket:
            await send(socket, "system_name")
            assert await ask(socket, "system_chain") == "pretrain subnet 9"
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(socket.recv(), 0.2)

    run(tmp_path, Faults(Fault(Kind.HANG, "system_name")), scenario)


def test_garbage_comes_in_place_of_an_answer(tmp_path: Path) -> None:
    async def scenario(url: str, _: Subnet) -> None:
        async with connect(url) as socket:
            await send(socket, "system_name")
            with pytest.raises(ValueError, match=r"decode|Expecting"):
                json.loads(await socket.recv())
            assert await ask(socket, "system_name") == "pretrain-node"

    run(tmp_path, Faults(Fault(Kind.GARBAGE)), scenario)


@pytest.mark.parametrize("method", ["system_name", "rpc_methods", "state_getMetadata"], ids=["7", "16", "64 bits"])
def test_half_a_frame_comes_and_then_nothing(tmp_path: Path, method: str) -> None:
    """The lengths of the three answers are written in 7, 16 and 64 bits."""

    async def scenario(url: str, _: Subnet) -> None:
        async with connect(url) as socket:
            await send(socket, method)
            with pytest.raises(ConnectionClosedError) as closed:
                await socket.recv()
            assert closed.value.rcvd is None
        async with connect(url) as socket:
            assert await ask(socket, method)

    run(tmp_path, Faults(Fault(Kind.HALF, method)), scenario)


@pytest.mark.parametrize("when", When)
def test_a_slow_answer_is_late_and_right_and_holds_up_no_other(tmp_path: Path, when: When) -> None:
    async def scenario(url: str, _: Subnet) -> None:
        async with connect(url) as socket:
            await send(socket, "system_name")
            await socket.send('{"id": 8, "method": "system_chain", "params": []}')
            assert [(await heard(socket))["id"] for _ in range(2)] == [8, 7]

    run(tmp_path, Faults(Fault(Kind.SLOW, "system_name", when, seconds=1.0)), scenario)


def test_refused_connections_are_as_many_as_were_asked_for(tmp_path: Path) -> None:
    async def scenario(url: str, _: Subnet) -> None:
        for _attempt in range(2):
            with pytest.raises(InvalidStatus):
                await connect(url)
        async with connect(url) as socket:
            assert await ask(socket, "system_name") == "pretrain-node"

    run(tmp_path, Faults(Fault(Kind.REFUSE, times=2)), scenario)


def test_an_error_answer_is_the_one_that_was_asked_for(tmp_path: Path) -> None:
    busy = {"code": -32005, "message": "Too many requests", "data": {"policy": "some"}}
    faults = Faults(Fault(Kind.ERROR, error=busy), Fault(Kind.ERROR), Fault(Kind.PRUNED, "chain_getHead"))

    async def scenario(url: str, _: Subnet) -> None:
        async with connect(url) as socket:
            assert await ask(socket, "system_name") == (-32005, "Too many requests", {"policy": "some"})
            assert await ask(socket, "system_name") == (-32603, "Internal error")
            assert await ask(socket, "system_name") == "pretrain-node"
            assert "State already discarded for 0x" in (await ask(socket, "chain_getHead"))[1]
            faults.add(Fault(Kind.ERROR, "system_name"))
            faults.clear()
            assert await ask(socket, "system_name") == "pretrain-node"

    run(tmp_path, faults, scenario)


def test_a_head_that_is_set_back_is_an_earlier_block_of_the_same_chain(tmp_path: Path) -> None:
    async def scenario(url: str, _: Subnet) -> None:
        async with connect(url) as socket:
            behind = await ask(socket, "chain_getHeader")
            number = await ask(socket, "chain_getBlockHash", 11)
            right = await ask(socket, "chain_getHeader")
            assert (behind["number"], right["number"]) == ("0x9", "0xc")
            assert number is None
            assert await ask(socket, "chain_getBlockHash", 11) is not None

    faults = Faults(Fault(Kind.BEHIND, "chain_getHeader", blocks=3), Fault(Kind.BEHIND, "chain_getBlockHash", blocks=3))
    run(tmp_path, faults, scenario)


def test_a_forked_hash_is_that_of_no_block(tmp_path: Path) -> None:
    async def scenario(url: str, _: Subnet) -> None:
        async with connect(url) as socket:
            forked = await ask(socket, "chain_getBlockHash", 12)
            right = await ask(socket, "chain_getBlockHash", 12)
            assert (len(forked), forked == right) == (66, False)
            assert await ask(socket, "chain_getHeader", forked) is None
            assert await ask(socket, "chain_getHeader", right) is not None

    run(tmp_path, Faults(Fault(Kind.FORK, "chain_getBlockHash")), scenario)


def test_what_is_finalised_has_another_hash_on_another_chain_alone(tmp_path: Path) -> None:
    faults = Faults(Fault(Kind.FORK, "chain_getBlockHash"), Fault(Kind.FORK, "chain_getBlockHash", deep=True))

    async def scenario(url: str, _: Subnet) -> None:
        async with connect(url) as socket:
            shallow, deep, right = [await ask(socket, "chain_getBlockHash", [0, 10, 11, 99]) for _ in range(3)]
            assert [ours == theirs for ours, theirs in zip(right, shallow, strict=True)] == [True, True, False, True]
            assert [ours == theirs for ours, theirs in zip(right, deep, strict=True)] == [False, False, False, True]

    run(tmp_path, faults, scenario)


def test_a_fork_changes_no_answer_that_names_no_block(tmp_path: Path) -> None:
    async def scenario(url: str, _: Subnet) -> None:
        async with connect(url) as socket:
            assert await ask(socket, "system_name") == "pretrain-node"
            assert await ask(socket, "chain_getHead") != await ask(socket, "chain_getHead")

    run(tmp_path, Faults(Fault(Kind.FORK, times=2)), scenario)


@pytest.mark.parametrize(
    ("fault", "lands"),
    [
        (Fault(Kind.DROP, "author_submitAndWatchExtrinsic", When.AFTER), True),
        (Fault(Kind.HALF, "author_submitAndWatchExtrinsic"), True),
        (Fault(Kind.DROP, "author_submitAndWatchExtrinsic", When.BEFORE), False),
    ],
    ids=["after", "during", "before"],
)
def test_a_write_whose_answer_is_lost_lands_when_it_was_handled_and_the_client_knows_of_neither(
    tmp_path: Path, fault: Fault, *, lands: bool
) -> None:
    async def scenario(url: str, net: Subnet) -> None:
        async with bt.Subtensor(url) as client:
            result = await client.submit_call(committing(b"hello"), wallet(net.pairs[2]), signer="hotkey")
        assert (result.success, "may already be" in result.message) == (False, True)
        assert (await committed(net) is not None) is lands

    run(tmp_path, Faults(fault), scenario, _TICK)


def test_the_client_library_reads_on_after_a_drop_and_a_refused_connection(tmp_path: Path) -> None:
    faults = Faults()

    async def scenario(url: str, _: Subnet) -> None:
        async with bt.Subtensor(url) as client:
            faults.add(Fault(Kind.DROP, "state_call"))
            graph = await client.subnets.metagraph(NETUID)
            assert graph is not None
            assert graph.num_uids == 5
        assert faults.met == [(Kind.DROP, "state_call")]

    run(tmp_path, faults, scenario)


def test_chaos_is_drawn_from_its_seed_as_often_as_it_says() -> None:
    def kinds(seed: int, method: str) -> list[Kind | None]:
        chaos = Chaos(seed)
        return [fault.kind if (fault := chaos.next(method)) else None for _ in range(20_000)]

    drawn = kinds(1, "state_call")
    shares = {kind: drawn.count(kind) / len(drawn) for kind in RATES if kind is not Kind.REFUSE}
    expected = {kind: 0.0 if kind is Kind.FORK else RATES[kind] for kind in shares}

    assert (kinds(1, "state_call") == drawn, kinds(2, "state_call") == drawn) == (True, False)
    assert shares == pytest.approx(expected, abs=0.004)
    assert (Kind.FORK in kinds(1, "chain_getHead"), Kind.PRUNED in kinds(1, "chain_getHead")) == (True, False)


def test_no_kind_of_chaos_happens_that_has_no_rate() -> None:
    chaos = Chaos(1, {Kind.SLOW: 1.0})

    assert {fault.kind for _ in range(100) if (fault := chaos.next("any"))} == {Kind.SLOW}
    assert not any(chaos.refuses() for _ in range(100))


def test_whoever_asks_until_it_is_answered_gets_the_right_answer_from_a_node_in_chaos(tmp_path: Path) -> None:
    rates = {Kind.DROP: 0.1, Kind.HANG: 0.1, Kind.GARBAGE: 0.1, Kind.HALF: 0.1, Kind.ERROR: 0.1, Kind.REFUSE: 0.2}

    async def patient(url: str) -> object:
        while True:
            with contextlib.suppress(ConnectionClosedError, InvalidStatus, TimeoutError, ValueError):
                async with connect(url) as socket:
                    answer = await asyncio.wait_for(ask(socket, "chain_getBlockHash", 5), 0.2)
                    if isinstance(answer, str):
                        return answer

    async def scenario(url: str, net: Subnet) -> None:
        answers = {await patient(url) for _ in range(20)}
        async with serve(net.path, clock=net.clock) as quiet, connect(quiet) as socket:
            assert answers == {await ask(socket, "chain_getBlockHash", 5)}

    run(tmp_path, Chaos(3, rates), scenario)

"""A node's wire: JSON-RPC over websocket, its bounds, and what is pushed."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from subnet import Subnet, subnet
from test_node_extrinsics import committing, signed
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from pretrain.chain import local
from pretrain.chain.node.methods import METHODS, SUBSCRIPTIONS
from pretrain.chain.node.node import open_node
from pretrain.chain.node.server import serve
from pretrain.chain.node.session import Limits

Scenario = Callable[[ClientConnection, Subnet], Awaitable[None]]
UNKNOWN = "0x" + "ab" * 32


async def ask(socket: ClientConnection, method: str, *params: object) -> Any:  # noqa: ANN401 - JSON
    """Return a method's result, or its error's code and texts; what is pushed meanwhile is passed over."""
    await socket.send(json.dumps({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}))
    answer: dict[str, Any] = {}
    while answer.get("id") != 7:
        answer = json.loads(await socket.recv())
    return answer["result"] if "result" in answer else tuple(answer["error"].values())


async def heard(socket: ClientConnection) -> Any:  # noqa: ANN401 - JSON
    return json.loads(await socket.recv())


def run(folder: Path, scenario: Scenario, limits: Limits | None = None, tick: float = 0.0) -> None:
    async def connected() -> None:
        net = subnet(folder)
        net.clock.tick = tick
        net.at(12)
        async with serve(net.path, clock=net.clock, limits=limits) as url, connect(url) as socket:
            await scenario(socket, net)

    asyncio.run(asyncio.wait_for(connected(), 60))


def test_blocks_are_named_by_number_by_several_numbers_and_by_hash(tmp_path: Path) -> None:
    async def scenario(socket: ClientConnection, net: Subnet) -> None:
        hashes = await ask(socket, "chain_getBlockHash", [0, 11, 12, 13])
        header = await ask(socket, "chain_getHeader", hashes[2])
        assert hashes[0] == f"0x{net.chains[0].genesis.hash.hex()}"
        assert hashes[3] is None
        assert await ask(socket, "chain_getBlockHash") == await ask(socket, "chain_getHead") == hashes[2]
        assert await ask(socket, "chain_getFinalizedHead") == await ask(socket, "chain_getBlockHash", 10)
        assert (header["number"], header["parentHash"]) == ("0xc", hashes[1])
        assert (await ask(socket, "chain_getHeader", hashes[0]))["parentHash"] == "0x" + "00" * 32
        assert await ask(socket, "chain_getHeader", UNKNOWN) is None
        assert await ask(socket, "chain_getBlock", UNKNOWN) is None
        assert await ask(socket, "state_getStorage", "0x", UNKNOWN) == (
            4003, f"Client error: UnknownBlock: Header was not found in the database: {UNKNOWN}",
        )  # fmt: skip

    run(tmp_path, scenario)


def test_everything_the_node_says_it_has_it_has(tmp_path: Path) -> None:
    async def scenario(socket: ClientConnection, net: Subnet) -> None:
        listed = (await ask(socket, "rpc_methods"))["methods"]
        assert set(listed) == {*METHODS, *SUBSCRIPTIONS, *SUBSCRIPTIONS.values()}
        assert await ask(socket, "system_health") == {"peers": 0, "isSyncing": False, "shouldHavePeers": False}
        assert await ask(socket, "system_chain") == f"pretrain subnet {net.chains[0].genesis.netuid}"
        assert await ask(socket, "system_name") == "pretrain-node"
        assert (await ask(socket, "state_getMetadata")).startswith("0x6d6574610f")
        assert await ask(socket, "state_call", "Metadata_metadata_at_version", "0x0e000000") == "0x00"
        assert await ask(socket, "state_call", "Metadata_metadata_versions", "0x") == "0x040f000000"
        assert await ask(socket, "author_pendingExtrinsics") == []
        assert str((await ask(socket, "state_getRuntimeVersion"))["specVersion"]) == await ask(socket, "system_version")

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("author_rotateKeys", (), -32601),
        ("chain_getHeader", (12,), -32602),
        ("chain_getBlockHash", (True,), -32602),
        ("state_getStorage", ("0xzz",), -32602),
        ("state_getStorage", (None,), -32602),
        ("state_queryStorageAt", (["0x"] * 1_001,), -32602),
        ("state_call", ("SubnetInfoRuntimeApi_get_metagraph", "0x"), -32602),
        ("state_call", ("SubnetInfoRuntimeApi_get_delegates", "0x"), 4003),
        ("account_nextIndex", (), -32602),
        ("author_submitExtrinsic", ("0x00",), 1001),
        ("author_submitAndWatchExtrinsic", ("0x00",), 1001),
    ],
)
def test_what_cannot_be_answered_says_why_and_ends_nothing(
    tmp_path: Path, method: str, params: tuple[object, ...], code: int
) -> None:
    async def scenario(socket: ClientConnection, net: Subnet) -> None:
        assert (await ask(socket, method, *params))[0] == code
        assert await ask(socket, "account_nextIndex", net.pairs[0].address) == 0

    run(tmp_path, scenario)


def test_keys_come_in_pages_in_their_order_and_with_their_values(tmp_path: Path) -> None:
    async def scenario(socket: ClientConnection, net: Subnet) -> None:
        codec = open_node(net.path, net.clock).codec
        prefix = f"0x{codec.key('SubtensorModule', 'Keys', (9,)).hex()}"
        pages, start = [], prefix
        while page := await ask(socket, "state_getKeysPaged", prefix, 2, start, None):
            pages.append(page)
            start = page[-1]
        keys = [key for page in pages for key in page]
        (changes,) = await ask(socket, "state_queryStorageAt", [*keys, prefix + "ffff"])
        assert [len(page) for page in pages] == [2, 2, 1]
        assert keys == sorted(keys)
        assert [value for _, value in changes["changes"]] == [
            *(f"0x{keypair.hotkey.public_key.hex()}" for keypair in net.pairs), None,
        ]  # fmt: skip
        assert await ask(socket, "state_getStorageAt", "0x" + "ab" * 40) is None
        assert await ask(socket, "state_getKeysPaged", prefix, 0) == []

    run(tmp_path, scenario)


def test_a_batch_is_answered_as_one_and_a_wrong_request_in_it_alone_is_an_error(tmp_path: Path) -> None:
    async def scenario(socket: ClientConnection, _: Subnet) -> None:
        asked: list[object] = [{"id": number, "method": "system_name", "params": []} for number in (1, 2)]
        await socket.send(json.dumps([*asked, 5, {"id": 3, "method": "system_name", "params": {}}, {"method": "x"}]))
        answers = await heard(socket)
        assert [answer.get("result", answer.get("error", {}).get("code")) for answer in answers] == [
            "pretrain-node", "pretrain-node", -32600, -32602,
        ]  # fmt: skip

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("frame", "code"),
    [("{", -32700), (b"\xff\x00", -32700), ("[]", -32600), ("7", -32600), ("[" * 100_000, -32700), ("[7,7,7]", -32600)],
    ids=["cut", "bytes", "no request", "no object", "deep", "too many"],
)
def test_a_frame_that_is_no_request_is_answered_and_the_connection_goes_on(
    tmp_path: Path, frame: str | bytes, code: int
) -> None:
    async def scenario(socket: ClientConnection, _: Subnet) -> None:
        await socket.send(frame)
        answer = await heard(socket)
        assert (answer["id"], answer["error"]["code"]) == (None, code)
        assert await ask(socket, "system_name") == "pretrain-node"

    run(tmp_path, scenario, Limits(batch=2))


def test_a_frame_over_the_bound_ends_its_own_connection_alone(tmp_path: Path) -> None:
    async def scenario(socket: ClientConnection, net: Subnet) -> None:
        small = serve(net.path, clock=net.clock, limits=Limits(frame_bytes=1_000))
        async with small as url, connect(url) as other, connect(url) as big:
            await big.send("x" * 1_001)
            with pytest.raises(ConnectionClosed) as closed:
                await big.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1009
            assert await ask(other, "system_name") == await ask(socket, "system_name")

    run(tmp_path, scenario)


def test_too_many_requests_and_too_many_subscriptions_are_refused_with_the_policy(tmp_path: Path) -> None:
    async def scenario(socket: ClientConnection, _: Subnet) -> None:
        first = await ask(socket, "chain_subscribeNewHeads")
        second = await ask(socket, "chain_subscribeNewHeads")
        assert (isinstance(first, str), second[0], second[2]) == (True, -32005, {"policy": "subscriptions"})
        answers = [await ask(socket, "system_name") for _ in range(8)]
        assert (answers[0], answers[-1][0]) == ("pretrain-node", -32005)

    run(tmp_path, scenario, Limits(subscriptions=1, requests_per_second=5))


def test_more_connections_than_allowed_are_turned_away(tmp_path: Path) -> None:
    async def scenario(_: ClientConnection, net: Subnet) -> None:
        async with serve(net.path, clock=net.clock, limits=Limits(connections=1)) as url, connect(url):
            with pytest.raises(InvalidStatus) as refused:
                await connect(url)
            assert refused.value.response.status_code == 503

    run(tmp_path, scenario)


def test_heads_are_pushed_one_by_one_until_nobody_wants_them(tmp_path: Path) -> None:
    async def scenario(socket: ClientConnection, net: Subnet) -> None:
        subscription = await ask(socket, "chain_subscribeNewHeads")
        first = await heard(socket)
        net.at(15)
        later = [await heard(socket) for _ in range(3)]
        stopped = await ask(socket, "chain_unsubscribeNewHeads", subscription)
        again = await ask(socket, "chain_unsubscribeNewHeads", subscription)
        heads = [push["params"]["result"] for push in (first, *later)]
        assert {push["params"]["subscription"] for push in (first, *later)} == {subscription}
        assert [head["number"] for head in heads] == ["0xc", "0xd", "0xe", "0xf"]
        assert (first["method"], stopped, again) == ("chain_newHead", True, False)

    run(tmp_path, scenario)


def test_finalised_heads_come_as_much_later_as_the_chain_says(tmp_path: Path) -> None:
    async def scenario(socket: ClientConnection, net: Subnet) -> None:
        await ask(socket, "chain_subscribeFinalizedHeads")
        first = await heard(socket)
        net.at(13)
        second = await heard(socket)
        assert first["method"] == "chain_finalizedHead"
        assert [push["params"]["result"]["number"] for push in (first, second)] == ["0xa", "0xb"]

    run(tmp_path, scenario)


def test_an_extrinsic_that_is_watched_is_ready_then_in_its_block_then_final(tmp_path: Path) -> None:
    async def scenario(socket: ClientConnection, net: Subnet) -> None:
        raw = signed(open_node(net.path, net.clock), net.pairs[2], committing(b"hello"))
        subscription = await ask(socket, "author_submitAndWatchExtrinsic", f"0x{raw.hex()}")
        ready = await heard(socket)
        net.at(13)
        in_block = await heard(socket)
        net.at(15)
        finalized = await heard(socket)
        hash_ = await ask(socket, "chain_getBlockHash", 13)
        block = await ask(socket, "chain_getBlock", hash_)
        assert [push["params"] for push in (ready, in_block, finalized)] == [
            {"subscription": subscription, "result": "ready"},
            {"subscription": subscription, "result": {"inBlock": hash_}},
            {"subscription": subscription, "result": {"finalized": hash_}},
        ]
        assert block["block"]["extrinsics"][1] == f"0x{raw.hex()}"

    run(tmp_path, scenario)


def test_a_chain_that_stands_still_is_read_and_takes_no_calls(tmp_path: Path) -> None:
    async def scenario(socket: ClientConnection, net: Subnet) -> None:
        raw = signed(open_node(net.path, net.clock), net.pairs[2], committing(b"hello"))
        local.pause(net.path, net.clock)
        code, message = await ask(socket, "author_submitExtrinsic", f"0x{raw.hex()}")
        assert (code, "paused after block 12" in message) == (-32000, True)
        assert (await ask(socket, "chain_getHeader"))["number"] == "0xc"
        local.resume(net.path, net.clock)
        assert await ask(socket, "author_submitExtrinsic", f"0x{raw.hex()}") != code

    run(tmp_path, scenario)


def test_a_client_that_leaves_without_a_word_takes_nobody_with_it(tmp_path: Path) -> None:
    async def scenario(socket: ClientConnection, net: Subnet) -> None:
        async with serve(net.path, clock=net.clock) as url:
            port = int(url.rsplit(":", 1)[1])
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
            gone = await connect(url)
            await ask(gone, "chain_subscribeNewHeads")
            gone.transport.abort()
            async with connect(url) as other:
                assert await ask(other, "system_name") == await ask(socket, "system_name")

    run(tmp_path, scenario)


def test_with_finished_blocks_pushed_time_goes_on_by_itself(tmp_path: Path) -> None:
    async def scenario(socket: ClientConnection, _: Subnet) -> None:
        await ask(socket, "chain_subscribeNewHeads")
        numbers = [int((await heard(socket))["params"]["result"]["number"], 16) for _ in range(4)]
        assert numbers == list(range(numbers[0], numbers[0] + 4))

    run(tmp_path, scenario, tick=0.0015)

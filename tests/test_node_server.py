"""A node's wire: JSON-RPC over websocket, its bounds, and what is pushed."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from subnet import Subnet, subnet
from test_node_extrinsics import committing, signed
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin

from pretrain.chain import Head, ledger, local
from pretrain.chain.node import methods
from pretrain.chain.node.methods import METHODS, SUBSCRIPTIONS
from pretrain.chain.node.node import Node, open_node
from pretrain.chain.node.server import serve
from pretrain.chain.node.service import Limits
from pretrain.errors import ChainUnavailable

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
    [
        ("{", -32700),
        (b"\xff\x00", -32700),
        ("[]", -32600),
        ("7", -32600),
        ("[" * 100_000, -32700),
        ("[7,7,7]", -32600),
        ('{"id": NaN, "method": "system_name"}', -32700),
        ('{"id": 1e999, "method": "system_name"}', -32700),
    ],
    ids=["cut", "bytes", "no request", "no object", "deep", "too many", "no number", "infinite"],
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


@pytest.mark.parametrize(
    ("entry", "answer"),
    [
        ({"id": 5, "method": "system_name", "params": {}}, (5, -32602)),
        ({"id": "five", "method": "system_name", "params": None}, ("five", -32602)),
        ({"id": 5}, (5, -32600)),
        ({"id": [5], "method": "system_name"}, (None, -32600)),
        ({"id": True, "method": "system_name"}, (None, -32600)),
    ],
    ids=["object", "null", "no method", "list as id", "bool as id"],
)
def test_a_malformed_request_is_answered_under_its_own_id(
    tmp_path: Path, entry: dict[str, object], answer: tuple[object, int]
) -> None:
    async def scenario(socket: ClientConnection, _: Subnet) -> None:
        await socket.send(json.dumps(entry))
        heard_ = await heard(socket)
        assert (heard_["id"], heard_["error"]["code"]) == answer

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("method", "params", "code", "message"),
    [
        ("chain_getBlockHash", ([0] * 1_001,), -32602, "at most 1000 numbers, not 1001"),
        ("state_getKeysPaged", ("0x", 1_001), 4002, "count exceeds maximum value. value: 1001, max: 1000"),
        ("chain_getHeader", (f"  {UNKNOWN}",), -32602, "expected hex"),
        ("chain_getHeader", (UNKNOWN + "00",), -32602, "a block's hash of 32 bytes"),
        ("chain_getBlockHash", ("0x" + "ff" * 9,), -32602, "expected a number"),
        ("account_nextIndex", ("\ud800",), -32602, "an account's address"),
        ("account_nextIndex", ("5C",), -32602, "an account's address"),
    ],
    ids=["numbers", "keys", "blanks", "long hash", "large number", "surrogate", "no address"],
)
def test_what_is_too_much_or_has_not_the_form_of_what_it_stands_for_is_refused(
    tmp_path: Path, method: str, params: tuple[object, ...], code: int, message: str
) -> None:
    async def scenario(socket: ClientConnection, _: Subnet) -> None:
        answer = await ask(socket, method, *params)
        assert (answer[0], message in answer[1]) == (code, True), answer
        assert await ask(socket, "system_name") == "pretrain-node"

    run(tmp_path, scenario)


def test_as_many_numbers_and_keys_as_a_page_holds_are_answered_whole(tmp_path: Path) -> None:
    async def scenario(socket: ClientConnection, net: Subnet) -> None:
        hashes = await ask(socket, "chain_getBlockHash", [0] * 1_000)
        assert hashes == [f"0x{net.chains[0].genesis.hash.hex()}"] * 1_000
        assert len(await ask(socket, "state_getKeysPaged", "0x", 1_000)) > 100

    run(tmp_path, scenario)


def test_a_parameter_of_any_depth_is_refused_and_ends_nothing(tmp_path: Path) -> None:
    async def scenario(socket: ClientConnection, _: Subnet) -> None:
        for depth in range(900, 1_000, 10):
            await socket.send(f'{{"method":"chain_getHeader","id":1,"params":[{"[" * depth}{"]" * depth}]}}')
            assert (await heard(socket))["error"]["code"] in {-32602, -32700}

    run(tmp_path, scenario)


def test_a_hash_is_the_same_however_it_is_written_and_is_remembered_once(tmp_path: Path) -> None:
    net = subnet(tmp_path)
    net.at(12)
    node = open_node(net.path, net.clock)
    hash_ = str(node.hash_at(7))

    assert [node.number_of(text) for text in (hash_, hash_[2:], hash_.upper().replace("0X", "0x"))] == [7, 7, 7]
    assert node.numbers == {bytes.fromhex(hash_[2:]): 7}


def test_a_batch_gets_no_more_subscriptions_than_there_are(tmp_path: Path) -> None:
    async def scenario(socket: ClientConnection, _: Subnet) -> None:
        for _frame in range(2):
            asked = [{"id": number, "method": "chain_subscribeNewHeads", "params": []} for number in range(5)]
            await socket.send(json.dumps(asked))
        answers: list[dict[str, Any]] = []
        while len(answers) < 10:
            frame = await heard(socket)
            answers += frame if isinstance(frame, list) else []
        assert sum("result" in answer for answer in answers) == 2
        assert {answer["error"]["code"] for answer in answers if "error" in answer} == {-32005}

    run(tmp_path, scenario, Limits(subscriptions=2))


def test_a_refused_extrinsic_gives_its_place_among_the_subscriptions_back(tmp_path: Path) -> None:
    async def scenario(socket: ClientConnection, _: Subnet) -> None:
        assert (await ask(socket, "author_submitAndWatchExtrinsic", "0x00"))[0] == 1001
        assert isinstance(await ask(socket, "chain_subscribeNewHeads"), str)

    run(tmp_path, scenario, Limits(subscriptions=1))


def test_a_subscription_without_an_id_is_none_and_submits_nothing(tmp_path: Path) -> None:
    async def scenario(socket: ClientConnection, net: Subnet) -> None:
        raw = signed(open_node(net.path, net.clock), net.pairs[2], committing(b"hello"))
        for method, params in (("chain_subscribeNewHeads", []), ("author_submitAndWatchExtrinsic", [f"0x{raw.hex()}"])):
            await socket.send(json.dumps({"method": method, "params": params}))
        assert isinstance(await ask(socket, "chain_subscribeFinalizedHeads"), str), "the only place is still free"
        assert await ask(socket, "author_pendingExtrinsics") == []

    run(tmp_path, scenario, Limits(subscriptions=1))


def test_answers_over_the_bound_are_errors_and_those_within_it_are_not(tmp_path: Path) -> None:
    async def scenario(socket: ClientConnection, _: Subnet) -> None:
        assert await ask(socket, "state_getMetadata") == (-32008, "Response is too big", "Exceeded max limit of 2000")
        asked = [{"id": number, "method": "rpc_methods", "params": []} for number in range(9)]
        await socket.send(json.dumps(asked))
        answers = await heard(socket)
        good = ["result" in answer for answer in answers]
        assert [answer["id"] for answer in answers] == list(range(9))
        assert (good[0], good == sorted(good, reverse=True), good[-1]) == (True, True, False)
        assert len(json.dumps(answers)) < 2 * 2_000 + 9 * 120
        assert await ask(socket, "system_name") == "pretrain-node"

    run(tmp_path, scenario, Limits(answer_bytes=2_000))


def test_many_values_of_one_query_are_bounded_while_they_are_gathered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(methods, "MAX_ANSWER_BYTES", 1_000)

    async def scenario(socket: ClientConnection, net: Subnet) -> None:
        key = f"0x{open_node(net.path, net.clock).codec.key('SubtensorModule', 'LastUpdate', (9,)).hex()}"
        assert len((await ask(socket, "state_queryStorageAt", [key] * 5))[0]["changes"]) == 5
        assert (await ask(socket, "state_queryStorageAt", [key] * 50))[0] == -32008

    run(tmp_path, scenario)


def test_a_client_that_takes_no_answers_is_worked_for_no_further(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What does not fit between the two waits in the node: so few answers of it, however many were asked for."""
    worked: list[str] = []
    answer = methods.answer

    def counted(node: Node, method: str, params: Sequence[object]) -> object:
        worked.append(method)
        return answer(node, method, params)

    async def scenario(_: ClientConnection, net: Subnet) -> None:
        quick = Limits(requests_per_second=100_000, answer_bytes=200_000)
        async with serve(net.path, clock=net.clock, limits=quick) as url:
            slow = await connect(url, max_queue=1)
            monkeypatch.setattr(methods, "answer", counted)
            frame = json.dumps([{"id": 1, "method": "state_getMetadata", "params": []}] * 256)
            sending = asyncio.create_task(_send_all(slow, [frame] * 200))
            seen = -1
            while seen != len(worked):
                seen = len(worked)
                await asyncio.sleep(0.5)
            sending.cancel()
            slow.transport.abort()
        assert 0 < len(worked) < 200

    run(tmp_path, scenario)


def test_who_takes_no_answers_is_cut_off_and_what_waited_for_it_is_free_again(tmp_path: Path) -> None:
    async def scenario(_: ClientConnection, net: Subnet) -> None:
        limits = Limits(requests_per_second=100_000, held=6_000_000, seconds_to_take=1.0)
        async with serve(net.path, clock=net.clock, limits=limits) as url, connect(url) as other:
            slow = await connect(url, max_queue=1)
            frame = json.dumps([{"id": 1, "method": "state_getMetadata", "params": []}] * 256)
            sending = asyncio.create_task(_send_all(slow, [frame] * 20))
            busy = -32005
            while (await ask(other, "state_getMetadata"))[0] != busy:  # noqa: ASYNC110 - a server is waited for
                await asyncio.sleep(0.05)
            assert await ask(other, "system_name") == "pretrain-node"
            while (await ask(other, "state_getMetadata"))[0] == busy:  # noqa: ASYNC110 - likewise
                await asyncio.sleep(0.1)
            with contextlib.suppress(ConnectionClosed):
                await sending
            slow.transport.abort()

    run(tmp_path, scenario)


def test_what_is_malformed_counts_too_and_slows_its_client_down(tmp_path: Path) -> None:
    async def scenario(socket: ClientConnection, _net: Subnet) -> None:
        await socket.send(json.dumps([[]] * 10))
        codes = [answer["error"]["code"] for answer in await heard(socket)]
        assert codes == [-32600] * 5 + [-32005] * 5
        begun = asyncio.get_running_loop().time()
        for _ in range(3):
            await socket.send("[[]]")
        for _ in range(3):
            await heard(socket)
        assert asyncio.get_running_loop().time() - begun > 1  # of two frames a client may have in the node

    run(tmp_path, scenario, Limits(requests_per_second=5, in_flight=2))


def test_a_long_frame_counts_by_its_length_before_it_is_read(tmp_path: Path) -> None:
    async def scenario(socket: ClientConnection, _: Subnet) -> None:
        await socket.send(json.dumps({"id": 1, "method": "x" * 100_000, "params": []}))
        assert (await heard(socket))["error"]["code"] == -32005

    run(tmp_path, scenario, Limits(requests_per_second=20))


def test_an_account_of_any_length_is_refused_at_once(tmp_path: Path) -> None:
    async def scenario(socket: ClientConnection, _: Subnet) -> None:
        assert (await ask(socket, "system_accountNextIndex", "5" * 1_000_000))[0] == -32602

    run(tmp_path, scenario)


def test_a_header_is_looked_up_once_for_all_who_wait_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = subnet(tmp_path)
    net.at(12)
    node = open_node(net.path, net.clock)
    first = node.header(node.head().block)
    monkeypatch.setattr(ledger, "reading", lambda _path: pytest.fail("the chain was looked at again"))
    assert node.header(12) == node.set_back(1).header(12) == first


async def _send_all(socket: ClientConnection, frames: Sequence[str]) -> None:
    for frame in frames:
        await socket.send(frame)


def test_a_subscription_to_a_chain_that_goes_away_ends_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def gone(_node: Node, _number: int) -> dict[str, object]:
        raise ChainUnavailable("the chain is gone")

    async def scenario(socket: ClientConnection, _: Subnet) -> None:
        monkeypatch.setattr(Node, "header", gone)
        assert isinstance(await ask(socket, "chain_subscribeNewHeads"), str)
        while not caplog.messages:
            assert await ask(socket, "system_name") == "pretrain-node"
        assert isinstance(await ask(socket, "chain_subscribeNewHeads"), str), "the place is free again"
        assert caplog.messages[0] == "a subscription of chain_newHead ends: the chain is gone"

    run(tmp_path, scenario, Limits(subscriptions=1))


def test_what_nobody_foresaw_is_an_internal_error_of_one_request_and_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_node: Node, _number: int) -> dict[str, object]:
        raise OverflowError("too large")

    async def scenario(socket: ClientConnection, _: Subnet) -> None:
        monkeypatch.setattr(Node, "header", broken)
        answers = [await ask(socket, "chain_getHeader") for _ in range(3)]
        assert answers == [(-32603, "Internal error")] * 3
        assert await ask(socket, "system_name") == "pretrain-node"
        assert caplog.messages == ["chain_getHeader failed; further failures of it are not told"]

    run(tmp_path, scenario)


@pytest.mark.parametrize("origin", ["http://localhost:3000", "https://127.0.0.1", "http://[::1]:80"])
def test_pages_of_this_machine_may_connect(tmp_path: Path, origin: str) -> None:
    async def scenario(_: ClientConnection, net: Subnet) -> None:
        async with serve(net.path, clock=net.clock) as url, connect(url, origin=Origin(origin)) as socket:
            assert await ask(socket, "system_name") == "pretrain-node"

    run(tmp_path, scenario)


@pytest.mark.parametrize("origin", ["https://evil.example", "http://localhost.evil.example", "null"])
def test_other_pages_are_turned_away(tmp_path: Path, origin: str) -> None:
    async def scenario(_: ClientConnection, net: Subnet) -> None:
        async with serve(net.path, clock=net.clock) as url:
            with pytest.raises(InvalidStatus) as refused:
                await connect(url, origin=Origin(origin))
            assert refused.value.response.status_code == 403

    run(tmp_path, scenario)


def test_a_node_that_can_look_at_its_chain_no_more_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter(range(3))

    def head(node: Node) -> Head:
        if next(looks, None) is None:
            raise OSError("one bad look")
        return sound(node)

    sound = Node.head

    async def served() -> None:
        net = subnet(tmp_path)
        monkeypatch.setattr(Node, "head", head)
        async with serve(net.path, clock=net.clock):
            await asyncio.Event().wait()

    with pytest.raises(OSError, match="one bad look"):
        asyncio.run(asyncio.wait_for(served(), 20))


def test_an_error_of_whoever_runs_a_node_stays_what_it_is(tmp_path: Path) -> None:
    async def served() -> None:
        net = subnet(tmp_path)
        async with serve(net.path, clock=net.clock):
            raise KeyError("ours")

    with pytest.raises(KeyError, match="ours"):
        asyncio.run(served())


def test_a_chain_that_cannot_be_read_for_a_moment_is_told_of_once_and_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sound = Node.head
    looks = iter(range(5))

    def head(node: Node) -> Head:
        if next(looks, None) is not None:
            raise ChainUnavailable("not now")
        return sound(node)

    async def scenario(socket: ClientConnection, net: Subnet) -> None:
        await ask(socket, "chain_subscribeNewHeads")
        await heard(socket)
        monkeypatch.setattr(Node, "head", head)
        while not caplog.messages:  # noqa: ASYNC110 - a look that began before finds no new block
            await asyncio.sleep(0.01)
        net.at(13)
        assert (await heard(socket))["params"]["result"]["number"] == "0xd"
        assert caplog.messages == ["the chain cannot be read: not now"]

    run(tmp_path, scenario)

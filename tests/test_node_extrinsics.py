"""Extrinsics at a node's door: which are taken, and what is said of the others."""

import asyncio
import hashlib
import sqlite3
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bittensor_core
import pytest
from bittensor.error_map import CUSTOM_TRANSACTION_ERRORS, INVALID_TRANSACTION_ERRORS
from hypothesis import given
from hypothesis import strategies as st
from subnet import START, Pair, Subnet, commitment, pair, parameters, subnet

from pretrain.chain import calls, ledger, local
from pretrain.chain.calls import Call, CommitmentField, SetCommitment, SignedCall
from pretrain.chain.genesis import RAO, Genesis
from pretrain.chain.hyperparameters import Hyperparameters
from pretrain.chain.node import methods, pool
from pretrain.chain.node.codec import TRANSACTION_VERSION, Codec
from pretrain.chain.node.description import SS58_FORMAT
from pretrain.chain.node.extrinsics import Era, hash_of, parse
from pretrain.chain.node.node import Node, open_node
from pretrain.chain.node.pool import MAX_BYTES
from pretrain.chain.node.rpc import RpcError
from pretrain.errors import ChainUnavailable
from pretrain.types import Block

WORDS = {name: needle for needle, name in INVALID_TRANSACTION_ERRORS}
"""What the client library looks for in a pool's answer, by the name it gives the error."""
EXPECTED = f"expected at most {MAX_BYTES}"
SLIPPED = next(number for number, name in CUSTOM_TRANSACTION_ERRORS.items() if name == "SlippageTooHigh")


@dataclass(frozen=True)
class Signing:
    """How an extrinsic is signed; the defaults are right for a chain at its head."""

    nonce: int = 0
    period: int | None = 64
    current: int | None = None
    genesis: bytes | None = None
    spec: int | None = None


def signed(node: Node, keys: Pair, call: tuple[str, str, dict[str, object]], how: Signing = Signing()) -> bytes:
    """Sign a call as the client library does: by the compiled core."""
    spec = node.codec.spec_version if how.spec is None else how.spec
    runtime = bittensor_core.Runtime(node.codec.metadata, spec, TRANSACTION_VERSION, SS58_FORMAT)
    current = node.head().finalized if how.current is None else how.current
    era: object = "00" if how.period is None else {"period": how.period, "current": current}
    birth = 0 if how.period is None else bittensor_core.era_birth(how.period, current)
    genesis = node.genesis.hash if how.genesis is None else how.genesis
    data = runtime.compose_call(*call)
    terms = {"era": era, "nonce": how.nonce, "tip": 0, "tip_asset_id": None}
    payload = runtime.signature_payload(
        data, genesis_hash=genesis, era_block_hash=bytes.fromhex(str(node.hash_at(birth))[2:]), **terms
    )
    raw, _ = runtime.encode_signed_extrinsic(
        data,
        public_key=bytes(keys.hotkey.public_key),
        signature=keys.hotkey.sign(payload),
        signature_version=1,
        **terms,
    )
    return bytes(raw)


def committing(data: bytes) -> tuple[str, str, dict[str, object]]:
    info = {"fields": [{f"Raw{len(data)}": f"0x{data.hex()}"}]}
    return "Commitments", "set_commitment", {"netuid": 9, "info": info}


def setting(version_key: int = 0) -> tuple[str, str, dict[str, object]]:
    row = {"dests": [2, 3], "weights": [1, 2], "version_key": version_key}
    return "SubtensorModule", "set_weights", {"netuid": 9, **row}


@pytest.fixture
def node(net: Subnet) -> Node:
    net.at(12)
    return open_node(net.path, net.clock)


def refusal(node: Node, raw: bytes) -> tuple[int, str, object]:
    with pytest.raises(RpcError) as refused:
        node.submit(raw)
    return refused.value.code, refused.value.message, refused.value.data


def test_a_signed_extrinsic_lands_in_the_open_block_under_its_hash(net: Subnet, node: Node) -> None:
    raw = signed(node, net.pairs[2], committing(b"hello"))
    taken = node.submit(raw)
    pending = node.pending()
    net.at(13)
    hash_ = f"0x{hashlib.blake2b(raw, digest_size=32).hexdigest()}"

    assert (taken.hash, taken.block, pending) == (hash_, 13, [f"0x{raw.hex()}"])
    assert node.extrinsics(node.head().block)[1] == f"0x{raw.hex()}"
    assert node.pending() == []


def test_a_blocks_first_extrinsic_is_its_time(net: Subnet, node: Node) -> None:
    time, *others = node.extrinsics(node.head().block)
    runtime = bittensor_core.Runtime(node.codec.metadata, 1, 1, SS58_FORMAT)
    decoded: Any = runtime.decode_extrinsic(bytes.fromhex(time[2:]))
    milliseconds = round((START + 12 * net.chains[0].genesis.parameters.block_time) * 1_000)

    assert others == []
    assert decoded["call"]["call_module"] == "Timestamp"
    assert decoded["call"]["call_args"][0]["value"] == milliseconds


def test_a_finished_block_keeps_its_time_whatever_a_clock_does(net: Subnet, node: Node) -> None:
    before = node.extrinsics(node.head().block)
    local.pause(net.path, net.clock)
    net.clock.now += 1_000
    local.resume(net.path, net.clock)
    net.clock.now += 8 * node.genesis.parameters.block_time
    assert node.head().block == 20
    net.clock.now -= 3_600
    assert node.head().block == 20
    assert node.extrinsics(Block(12)) == before


def test_a_payload_over_256_bytes_is_signed_by_its_hash(net: Subnet, node: Node) -> None:
    call = ("Commitments", "set_commitment", {"netuid": 9, "info": {"fields": [{"BigRaw": "0x" + "ff" * 400}]}})

    assert node.submit(signed(node, net.pairs[2], call)).block == 13


def test_a_call_that_is_valid_for_ever_is_taken(net: Subnet, node: Node) -> None:
    assert node.submit(signed(node, net.pairs[2], committing(b"a"), Signing(period=None))).block == 13


@pytest.mark.parametrize("period", [4, 64, 512])
def test_an_era_ends_after_its_own_period_however_long_calls_of_the_chain_are_valid(net: Subnet, period: int) -> None:
    net.at(12)
    node = open_node(net.path, net.clock)
    raw = signed(node, net.pairs[2], committing(b"a"), Signing(period=period, current=12))
    net.at(12 + period - 2)
    taken = node.submit(raw)
    later = signed(node, net.pairs[2], committing(b"b"), Signing(1, period=period, current=12))
    net.at(12 + period - 1)
    at_the_end = refusal(node, later)[2]
    net.at(12 + period)

    assert taken.block == 12 + period - 1
    assert at_the_end == "Transaction has an ancient birth block"
    assert refusal(node, later)[2] == "Transaction has a bad signature"


def test_an_era_born_in_a_block_that_is_not_finished_or_too_long_gone_is_ancient(net: Subnet, node: Node) -> None:
    code, message, reason = refusal(node, _with_era(signed(node, net.pairs[2], committing(b"a")), period=64, phase=13))

    assert (code, message) == (1010, "Invalid Transaction")
    assert WORDS["AncientBirthBlock"] in str(reason).lower()


def test_a_birth_block_that_the_runtime_has_forgotten_is_ancient(net: Subnet, node: Node) -> None:
    raws = [signed(node, net.pairs[2], committing(b"a"), Signing(nonce, 4_096, current=12)) for nonce in (0, 1)]
    net.at(12 + 2_400 - 1)
    taken = node.submit(raws[0]).block
    net.at(12 + 2_400)

    assert taken == 12 + 2_400
    assert refusal(node, raws[1])[2] == "Transaction has an ancient birth block"


def test_calls_in_the_chains_own_form_take_no_place_among_extrinsics(net: Subnet, node: Node) -> None:
    net.clock.tick = 0.0015
    asyncio.run(net.chains[3].commit(commitment(net.pairs[3].address)))
    net.clock.tick = 0.0
    block = node.submit(signed(node, net.pairs[2], committing(b"a"))).block
    asyncio.run(net.chains[2].submit(_own_form(net, block)))
    net.at(block)
    events = _events(node, block)

    assert len(node.extrinsics(block)) == 2
    assert [(event["extrinsic_idx"], event["event_id"]) for event in events] == [
        (0, "ExtrinsicSuccess"), (1, "Commitment"), (1, "TransactionFeePaid"), (1, "ExtrinsicSuccess"),
    ]  # fmt: skip
    assert node.next_nonce(net.pairs[2].address) == 2


def _own_form(net: Subnet, block: Block) -> SignedCall:
    """Return the third neuron's second call, as a ``file:`` client makes it."""
    keys = net.pairs[2]
    action = SetCommitment((CommitmentField("Raw", "62"),))
    return calls.sign(Call(net.chains[0].genesis.hash.hex(), 9, keys.address, 1, block, action), keys.hotkey)


def _events(node: Node, block: Block) -> Any:  # noqa: ANN401 - as decoded
    with node.state(node.hash_at(block)) as state:
        return state.value("System", "Events")


def _with_era(raw: bytes, period: int, phase: int) -> bytes:
    """Replace the era of an extrinsic, whose signature is then no good."""
    number = (period.bit_length() - 2) | phase << 4
    start = 2 + 1 + 1 + 32 + 1 + 64  # length, version, address, signature
    return raw[:start] + number.to_bytes(2, "little") + raw[start + 2 :]


@pytest.mark.parametrize(
    ("how", "name"),
    [
        (Signing(nonce=1), "Future"),
        (Signing(genesis=bytes(32)), "BadProof"),
        (Signing(spec=7), "BadProof"),
    ],
    ids=["nonce ahead", "another chain", "another runtime"],
)
def test_what_is_signed_for_elsewhere_or_later_is_turned_away_by_the_words_that_clients_know(
    net: Subnet, node: Node, how: Signing, name: str
) -> None:
    code, message, reason = refusal(node, signed(node, net.pairs[2], committing(b"a"), how))

    assert (code, message) == (1010, "Invalid Transaction")
    assert WORDS[name] in str(reason).lower()


def test_the_same_extrinsic_again_is_imported_already_and_later_it_is_outdated(net: Subnet, node: Node) -> None:
    raw = signed(node, net.pairs[2], committing(b"a"))
    node.submit(raw)
    again = refusal(node, raw)
    net.at(14)

    assert again == (1013, "Transaction Already Imported", hash_of(raw))
    assert WORDS["Stale"] in str(refusal(node, raw)[2]).lower()


def test_a_changed_byte_makes_a_bad_signature(net: Subnet, node: Node) -> None:
    raw = signed(node, net.pairs[2], committing(b"hello"))

    assert refusal(node, raw[:-1] + b"!") == (1010, "Invalid Transaction", "Transaction has a bad signature")


def test_too_little_stake_is_a_custom_error_of_the_pool_and_uses_up_no_nonce(tmp_path: Path) -> None:
    net = subnet(tmp_path, parameters(Hyperparameters(stake_threshold=2**50)))
    net.at(12)
    node = open_node(net.path, net.clock)

    assert refusal(node, signed(node, net.pairs[0], setting())) == (1010, "Invalid Transaction", "Custom error: 1")
    assert node.next_nonce(net.pairs[0].address) == 0


def test_what_only_the_block_refuses_is_taken_and_uses_up_the_nonce(net: Subnet, node: Node) -> None:
    taken = node.submit(signed(node, net.pairs[2], setting()))
    net.at(14)
    events = _events(node, taken.block)

    assert node.next_nonce(net.pairs[2].address) == 1
    assert [(event["extrinsic_idx"], event["event_id"]) for event in events] == [
        (0, "ExtrinsicSuccess"), (1, "TransactionFeePaid"), (1, "ExtrinsicFailed"),
    ]  # fmt: skip
    assert events[2]["attributes"]["dispatch_error"] == {"Module": {"index": 7, "error": "0x0f000000"}}


def test_a_call_of_the_runtime_that_this_chain_does_not_take_is_said_to_be_not_expected(
    net: Subnet, node: Node
) -> None:
    raw = signed(node, net.pairs[2], ("System", "remark", {"remark": "hello"}))

    assert WORDS["Call"] in str(refusal(node, raw)[2]).lower()


def test_a_sealed_row_that_is_longer_than_any_runtime_takes_has_no_valid_form(net: Subnet, node: Node) -> None:
    terms: dict[str, object] = {"netuid": 9, "reveal_round": 1, "commit_reveal_version": 4}
    calls_ = [
        ("SubtensorModule", "commit_timelocked_weights", terms | {"commit": b"\xff" * length})
        for length in (5_000, 5_001)
    ]

    assert node.submit(signed(node, net.pairs[0], calls_[0])).block == 13
    assert refusal(node, signed(node, net.pairs[0], calls_[1], Signing(1)))[0] == 1001


def test_a_stake_with_a_limit_below_the_only_price_there_is_slips(net: Subnet, node: Node) -> None:
    terms: dict[str, object] = {
        "hotkey": net.pairs[2].address, "netuid": 9, "amount_staked": RAO, "limit_price": RAO - 1,
        "allow_partial": False,
    }  # fmt: skip
    answer = refusal(node, signed(node, net.pairs[2], ("SubtensorModule", "add_stake_limit", terms)))

    assert answer == (1010, "Invalid Transaction", f"Custom error: {SLIPPED}")


def test_text_that_looks_like_hex_is_not_taken_for_other_bytes(net: Subnet, node: Node) -> None:
    fields = {"fields": [{"BigRaw": "0x" + b"0x6162".hex()}]}
    raw = signed(node, net.pairs[2], ("Commitments", "set_commitment", {"netuid": 9, "info": fields}))

    assert refusal(node, raw)[0] == 1001


def test_an_extrinsic_longer_than_any_that_is_of_use_is_turned_away_unread(net: Subnet, node: Node) -> None:
    row: dict[str, object] = {"dests": [0] * 20_000, "weights": [0] * 12_000, "version_key": 0}
    raws = [
        signed(node, net.pairs[0], ("SubtensorModule", "set_weights", {"netuid": 9, **row, "dests": [0] * length}))
        for length in (20_000, 21_000)
    ]
    code, _, reason = refusal(node, raws[1])

    assert len(raws[0]) < MAX_BYTES < len(raws[1])
    assert node.submit(raws[0]).block == 13
    assert (code, WORDS["ExhaustsResources"] in str(reason)) == (1010, True)
    assert refusal(node, bytes(1 << 20))[2] == f"Transaction would exhaust the block limits: 1048576 bytes, {EXPECTED}"


def test_a_block_is_full_before_it_is_too_long_to_be_read(
    net: Subnet, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    raws = [signed(node, net.pairs[0], committing(b"x" * 100), Signing(nonce=nonce)) for nonce in range(3)]
    monkeypatch.setattr(pool, "MAX_BLOCK_BYTES", 2 * len(raws[0]))
    assert [node.submit(raw).block for raw in raws[:2]] == [13, 13]
    assert WORDS["ExhaustsResources"] in str(refusal(node, raws[2])[2])

    net.at(13)
    assert node.submit(raws[2]).block == 14

    monkeypatch.setattr(pool, "MAX_BLOCK_CALLS", 1)
    fourth = signed(node, net.pairs[0], committing(b"x"), Signing(nonce=3))
    assert "block 14 holds 1 calls" in str(refusal(node, fourth)[2])


def test_a_full_block_fits_into_an_answer() -> None:
    assert 2 * pool.MAX_BLOCK_BYTES + 5 * pool.MAX_BLOCK_CALLS < methods.MAX_ANSWER_BYTES


def test_the_chain_has_a_writer_only_for_an_extrinsic_that_is_good(
    net: Subnet, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a stranger sends is taken apart while others may write."""
    good = signed(node, net.pairs[2], committing(b"hello"))
    writing = ledger.writing
    opened = []

    def counted(path: Path) -> AbstractContextManager[sqlite3.Connection]:
        opened.append(path)
        return writing(path)

    monkeypatch.setattr(ledger, "writing", counted)
    refusals = [refusal(node, raw)[0] for raw in (b"\x00", good[:-1] + b"!", bytes(MAX_BYTES + 1))]

    assert (refusals, opened) == ([1001, 1010, 1010], [])
    assert node.submit(good).block == 13
    assert opened == [net.path]


def test_an_era_that_ends_while_its_extrinsic_is_checked_is_over(
    net: Subnet, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = signed(node, net.pairs[2], committing(b"a"), Signing(period=4, current=12))
    check = pool.check

    def slow(*arguments: Any) -> pool.Checked:  # noqa: ANN401 - passed on
        checked = check(*arguments)
        net.at(12 + 4)
        return checked

    monkeypatch.setattr(pool, "check", slow)

    assert refusal(node, raw) == (1010, "Invalid Transaction", "Transaction has a bad signature")


@pytest.mark.parametrize("size", [8, 34], ids=["8 bytes", "as if it were JSON"])
def test_a_length_that_is_written_longer_than_it_needs_makes_no_second_form_of_an_extrinsic(
    net: Subnet, node: Node, size: int
) -> None:
    raw = signed(node, net.pairs[2], committing(b"hello"))
    body = raw[2:]
    longer = bytes([(size - 4) << 2 | 3]) + len(body).to_bytes(size, "little") + body

    assert refusal(node, longer)[0] == 1001
    assert node.submit(raw).block == 13


def test_an_account_is_known_by_each_of_its_addresses(net: Subnet, node: Node) -> None:
    node.submit(signed(node, net.pairs[2], committing(b"a")))
    other = bittensor_core.ss58_encode(bytes(net.pairs[2].hotkey.public_key), 0)

    assert methods.answer(node, "account_nextIndex", [net.pairs[2].address]) == 1
    assert methods.answer(node, "account_nextIndex", [other]) == 1


def test_a_paused_chain_takes_nothing(net: Subnet, node: Node) -> None:
    raw = signed(node, net.pairs[2], committing(b"a"))
    local.pause(net.path, net.clock)
    with pytest.raises(ChainUnavailable, match="paused"):
        node.submit(raw)


@given(cut=st.integers(min_value=0, max_value=100), byte=st.integers(min_value=0, max_value=255))
def test_bytes_that_are_no_extrinsic_are_refused_and_break_nothing(cut: int, byte: int) -> None:
    raw = bytes.fromhex(GOOD)[:cut] + bytes([byte]) + bytes.fromhex(GOOD)[cut + 2 :]
    with pytest.raises(ValueError, match=r"the data|the extrinsic|an era"):
        parse(raw)


@given(st.sampled_from([b"", b"\x07", b"\x12\x00", b"\x07\x00\x09\x00"]), st.binary(max_size=80))
def test_calls_of_any_bytes_are_decoded_or_refused_with_a_value_error(start: bytes, rest: bytes) -> None:
    with suppress(ValueError):
        decoded = CODEC.call(start + rest)
        assert CODEC.compose(*_parts(decoded)) == start + rest


@given(period=st.integers(2, 16), phase=st.integers(0, 65_535), block=st.integers(0, 2**31))
def test_the_birth_of_an_era_is_that_of_the_compiled_core(period: int, phase: int, block: int) -> None:
    length, step = 2**period, max(2**period >> 12, 1)
    current = block // length * length + phase % length
    era = Era(length, current % length // step * step)  # as two bytes can hold it

    assert era.birth(current) == bittensor_core.era_birth(length, current)


def _parts(decoded: dict[str, Any]) -> tuple[str, str, dict[str, object]]:
    arguments = {argument["name"]: argument["value"] for argument in decoded["call_args"]}
    return decoded["call_module"], decoded["call_function"], arguments


def _good() -> str:
    """Return an extrinsic that could be taken apart, for bytes of it to be spoilt."""
    keys = pair("Miner0")
    data = CODEC.compose("Commitments", "set_commitment", committing(b"hello")[2])
    runtime = bittensor_core.Runtime(CODEC.metadata, 1, TRANSACTION_VERSION, SS58_FORMAT)
    raw, _ = runtime.encode_signed_extrinsic(
        data, public_key=bytes(keys.hotkey.public_key), signature=bytes(64), signature_version=1,
        era={"period": 64, "current": 3}, nonce=0, tip=0, tip_asset_id=None,
    )  # fmt: skip
    return bytes(raw).hex()


CODEC = Codec(Genesis(netuid=9, time=0.0))
GOOD = _good()


def test_texts_of_hotkeys_are_those_of_the_client(net: Subnet, node: Node) -> None:
    raw = signed(node, net.pairs[2], committing(commitment(net.pairs[2].address).encode()))

    assert parse(raw).signer == net.pairs[2].address

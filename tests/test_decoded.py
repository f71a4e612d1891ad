"""A node's answers, sound and otherwise: what is no answer raises, and what a miner wrote never does."""

import base64
from collections.abc import Mapping
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pretrain.chain import decoded, view
from pretrain.chain.calls import CommitmentField
from pretrain.chain.decoded import Malformed
from pretrain.types import Block, Uid

ALICE = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY"
BOB = "5FHneW46xGXgs5mUiveU4sbTyGBzmstUspZC92UhjJM694ty"
TEXT = f"alice:model:{'0' * 40}:{base64.b64encode(bytes(32)).decode()}:1"


def graph(**changes: object) -> dict[str, object]:
    return {
        "hotkeys": [ALICE, BOB],
        "total_stake": [5_000_000_000, 0],
        "incentives": [0, 65_535],
        "last_update": [90, 20],
        "block_at_registration": [10, 20],
        "validator_permit": [True, False],
    } | changes


def record(*fields: object, block: object = 7) -> dict[str, object]:
    return {"deposit": 0, "block": block, "info": {"fields": list(fields)}}


def raw(data: bytes) -> dict[str, str]:
    return {f"Raw{len(data)}": f"0x{data.hex()}"}


def test_a_metagraph_with_its_rows_becomes_slots() -> None:
    rows = decoded.weight_rows([(0, [(1, 65_535)])])
    alice, bob = decoded.slots(graph(), rows)

    assert (alice.hotkey, alice.uid, alice.stake, alice.permit, alice.incentive) == (ALICE, 0, 5_000_000_000, True, 0)
    assert (alice.weights_block, alice.weights) == (90, ((1, 65_535),))
    assert (bob.registered, bob.last_update, bob.weights_block, bob.weights) == (20, 20, None, ())
    assert view.assemble(Block(100), bytes(32), (alice, bob), (), {}).weights == {ALICE: {BOB: 1.0}}


def test_a_share_above_the_whole_is_the_whole() -> None:
    slots = decoded.slots(graph(incentives=[0, 70_000]), decoded.weight_rows([(0, [(1, 70_000)])]))

    assert (slots[1].incentive, slots[0].weights) == (65_535, ((1, 65_535),))


@pytest.mark.parametrize(
    "broken",
    [
        None,
        [],
        "0x00",
        graph(hotkeys=None),
        graph(hotkeys=[ALICE, ALICE]),
        graph(hotkeys=[ALICE, "bob"]),
        graph(hotkeys=[ALICE, 7]),
        graph(total_stake=[1]),
        graph(total_stake=[1, -1]),
        graph(total_stake=[1, 2**64]),
        graph(total_stake=[1, 0.5]),
        graph(incentives=[1, True]),
        graph(last_update=[1, None]),
        graph(block_at_registration={}),
        graph(validator_permit=[1, 0]),
    ],
)
def test_a_metagraph_that_is_none_is_the_nodes_fault(broken: object) -> None:
    with pytest.raises(Malformed):
        decoded.slots(broken, {})


@pytest.mark.parametrize("broken", [None, "x", [1], [(0, [1])], [(0, [(1, 2, 3)])], [(-1, [])], [(0, [(1, "2")])]])
def test_rows_that_are_none_are_the_nodes_fault(broken: object) -> None:
    with pytest.raises(Malformed):
        decoded.weight_rows(broken)


@pytest.mark.parametrize("value", [None, 7, "0x00", "00" * 32, "0x" + "g" * 64, "0x" + "0" * 66])
def test_a_hash_has_thirty_two_bytes(value: object) -> None:
    with pytest.raises(Malformed):
        decoded.hash_bytes(value, "hash")


def test_one_field_in_the_clear_is_an_entry() -> None:
    for fields in ([raw(TEXT.encode())], [[raw(TEXT.encode())]]):  # a bounded vector may come wrapped
        found = decoded.commitment({"block": 7, "info": {"fields": fields}})
        assert found == (7, (CommitmentField("Raw", TEXT.encode().hex()),))
        entry = view.entry(decoded.commitments([(ALICE, record(raw(TEXT.encode())))]).popitem()[0], *found)
        assert entry is not None
        assert entry.commitment.encode() == TEXT


HOSTILE: Mapping[str, tuple[object, ...]] = {
    "two fields": (raw(TEXT[:64].encode()), raw(TEXT[64:].encode())),
    "no field": (),
    "an empty field": ({"Raw0": "0x"},),
    "none": ("None",),
    "a flag": ("ResetBondsFlag",),
    "a hash alone": ({"Sha256": "0x" + "ab" * 32},),
    "another hash": ({"BlakeTwo256": "0x" + "ab" * 32},),
    "sealed": ({"TimelockEncrypted": {"encrypted": "0x" + TEXT.encode().hex(), "reveal_round": 9}},),
    "sealed and never opened": ({"TimelockRevealFailed": {"reveal_round": 9}},),
    "a big one": ({"BigRaw": "0x" + TEXT.encode().hex()},),
    "in the clear beside a sealed one": (
        raw(TEXT.encode()),
        {"TimelockEncrypted": {"encrypted": "0x", "reveal_round": 1}},
    ),
    "not UTF-8": (raw(b"\xff\xfe" * 64),),
    "128 separators": (raw(b":" * 128),),
    "zeros": (raw(bytes(128)),),
    "more than fits": ({"Raw129": "0x" + "78" * 129},),
    "a wrong length": ({"Raw5": f"0x{TEXT.encode().hex()}"},),
    "not hex": ({"Raw4": "0xzzzz"},),
    "text for hex": ({f"Raw{len(TEXT)}": TEXT},),
    "a number for hex": ({"Raw4": 7},),
    "an unknown variant": ({"Quantum": "0x00"},),
    "a number": (7,),
    "nothing": (None,),
    "a list": ([[[]]],),
    "an empty variant": ({},),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_anything_else_is_no_entry_and_never_raises(name: str) -> None:
    found = decoded.commitments([(ALICE, record(*HOSTILE[name])), (BOB, record(raw(TEXT.encode())))])
    slots = decoded.slots(graph(), {})

    assert [entry.hotkey for entry in view.entries(slots, found)] == [BOB]


def test_a_revealed_commitment_leaves_no_entry_with_its_old_block() -> None:
    """The chain drops the record when a sealed text is opened; nothing reads the map of revealed ones."""
    assert view.entries(decoded.slots(graph(), {}), decoded.commitments([])) == ()
    assert decoded.commitment(None) is None


@pytest.mark.parametrize("broken", ["x", 7, [], record(block=None), record(block=-1), record(block="7")])
def test_a_record_without_a_block_is_the_nodes_fault(broken: object) -> None:
    with pytest.raises(Malformed):
        decoded.commitment(broken)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["None", "Raw4", "0x00"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(anything, max_size=4))
def test_whatever_the_fields_are_they_are_an_entry_or_none(fields: list[object]) -> None:
    found = decoded.commitments([(ALICE, record(*fields))])

    assert view.entries(decoded.slots(graph(), {}), found) == ()


@given(anything)
def test_whatever_is_answered_it_is_read_or_malformed(value: object) -> None:
    for read in (
        lambda: decoded.slots(value, {}),
        lambda: decoded.slots(graph(total_stake=value), {Uid(0): ()}),
        lambda: decoded.weight_rows(value),
        lambda: decoded.commitments(value),
        lambda: decoded.commitment(value),
        lambda: decoded.whole(value, "number"),
        lambda: decoded.hash_bytes(value, "hash"),
    ):
        with suppress(Malformed):
            read()

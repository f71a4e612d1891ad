"""The runtime that a node describes: the compiled core opens it, its numbers are the real ones, and values survive."""

import re
from pathlib import Path
from typing import Any

import bittensor_core
import pytest
from bittensor._generated import calls, errors, runtime_apis, storage
from hypothesis import assume, given
from hypothesis import strategies as st
from subnet import Subnet, commitment, pair
from test_node_extrinsics import signed

from pretrain.chain import epochs, rules
from pretrain.chain.calls import CommitmentField, SetCommitment
from pretrain.chain.genesis import Genesis, Parameters
from pretrain.chain.node import answers, commitments, events, metadata, pallets, pool
from pretrain.chain.node.codec import Codec
from pretrain.chain.node.description import SS58_FORMAT, describe
from pretrain.chain.node.node import open_node
from pretrain.chain.node.scale import Composite, Field, Registry, compact, read_compact
from pretrain.types import Block

GENESIS = Genesis(netuid=9, time=0.0)
CODEC = Codec(GENESIS)
PALLETS = describe(GENESIS).pallets
ITEMS = [(pallet.name, item) for pallet in PALLETS for item in pallet.items]
METHODS = [(method.api, method.name) for method in describe(GENESIS).methods]
ALICE = pair("Validator0").address
BOB = pair("Miner0").address
HASH = "0x" + "ab" * 32
FIELDS = [
    {"Raw3": "0x616263"}, "ResetBondsFlag", "None", {"Sha256": HASH}, {"BigRaw": "0xff00"},
    {"TimelockEncrypted": {"encrypted": "0xff01", "reveal_round": 7}},
]  # fmt: skip
EXAMPLES: dict[str, Any] = {
    "u8": 7, "u16": 65_535, "u32": 2**32 - 1, "u64": 2**64 - 1, "bool": True, "Vec<u8>": "\u03b1", "AccountId32": ALICE,
    "H256": HASH, "TaoBalance": 2**64 - 1, "AlphaBalance": 5, "MechId": 1, "EpochConsensus": "Null",
    "Vec<bool>": [True, False], "Vec<PerU16>": [0, 65_535], "Vec<u64>": [0, 2**63], "Vec<AlphaBalance>": [1, 2],
    "Vec<AccountId32>": [ALICE, BOB], "Vec<(u16, u16)>": [(0, 1), (65_535, 2)],
    "Vec<(H256, u64, u64, u64)>": [(HASH, 1, 2, 3)], "Vec<(Vec<u8>, u64)>": [("text", 3), ("0xff", 4)],
    "Vec<(AccountId32, u64, BoundedBytes, u64)>": [(ALICE, 3, "0xff02", 9)],
    "UsageTracker": {"last_epoch": 3, "used_space": 300},
    "Registration": {"deposit": 0, "block": 5, "info": {"fields": FIELDS}},
    "AccountInfo": {
        "nonce": 3, "consumers": 0, "providers": 1, "sufficients": 0,
        "data": {"free": 7, "reserved": 0, "frozen": 0, "flags": 1 << 127},
    },
}  # fmt: skip
"""A value of each type that storage holds, as clients see it."""


def test_the_metadata_opens_in_the_core_as_version_15_and_says_how_calls_are_signed() -> None:
    runtime = bittensor_core.Runtime(CODEC.metadata, CODEC.spec_version, 1, SS58_FORMAT)

    assert CODEC.metadata.startswith(b"meta\x0f")
    assert (runtime.is_v15, runtime.extrinsic_version) == (True, 4)
    assert runtime.signed_extension_identifiers() == [
        "CheckNonZeroSender", "CheckSpecVersion", "CheckTxVersion", "CheckGenesis", "CheckMortality", "CheckNonce",
        "CheckWeight", "ChargeTransactionPayment", "CheckMetadataHash",
    ]  # fmt: skip


def test_the_slot_duration_is_the_block_time_of_the_genesis() -> None:
    quick = Codec(Genesis(netuid=9, time=0.0, parameters=Parameters(block_time=0.25)))
    durations = [
        bittensor_core.Runtime(codec.metadata, 1, 1, SS58_FORMAT).constant("Aura", "SlotDuration")
        for codec in (CODEC, quick)
    ]

    assert durations == [12_000, 250]


def test_the_same_chain_has_the_same_runtime_version_and_another_description_has_another() -> None:
    quick = Codec(Genesis(netuid=9, time=0.0, parameters=Parameters(block_time=0.25)))

    assert Codec(Genesis(netuid=9, time=5.0)).spec_version == CODEC.spec_version
    assert quick.spec_version != CODEC.spec_version


@pytest.mark.parametrize(("pallet", "item"), [(pallet, item) for pallet, item in ITEMS if item.name != "Events"])
def test_every_item_takes_a_value_and_gives_it_back(pallet: str, item: metadata.Item) -> None:
    value = EXAMPLES[item.value]

    assert CODEC.decode_value(pallet, item.name, CODEC.encode_value(pallet, item.name, value)) == value


@pytest.mark.parametrize(("pallet", "item"), [(pallet, item) for pallet, item in ITEMS if item.keys])
def test_every_key_of_a_map_gives_back_what_it_was_made_of(pallet: str, item: metadata.Item) -> None:
    kinds: dict[str, object] = {"NetUid": 9, "u16": 3, "u32": 5, "u64": 7, "AccountId32": ALICE}
    parameters = tuple(kinds[type_] for _, type_ in item.keys)
    key = CODEC.key(pallet, item.name, parameters)

    assert CODEC.parameters(pallet, item, key) == parameters
    assert CODEC.item_of(key) == (pallet, item)


@pytest.mark.parametrize(("pallet", "item"), [(pallet, item) for pallet, item in ITEMS if item.default is not None])
def test_what_is_not_stored_reads_as_the_items_default(pallet: str, item: metadata.Item) -> None:
    entry = bittensor_core.Runtime(CODEC.metadata, 1, 1, SS58_FORMAT).storage_entry(pallet, item.name)
    shown = CODEC.decode_value(pallet, item.name, bytes(entry.default_bytes))
    expected = {"()": [], "'0x'": ""}.get(repr(item.default), item.default)

    assert entry.modifier == "Default"
    assert shown == expected


def test_every_described_item_and_method_has_a_source_and_no_source_is_left_over() -> None:
    assert {(pallet, item.name) for pallet, item in ITEMS} == set(pallets.SOURCES)
    assert set(METHODS) == set(answers.ANSWERS)


def test_what_is_described_has_the_names_that_the_client_library_knows() -> None:
    known = {(pallet, item.name) for pallet, item in ITEMS if hasattr(getattr(storage, pallet), item.name)}
    named_calls = {(pallet.name, call.name) for pallet in PALLETS for call in pallet.calls}

    assert known == {(pallet, item.name) for pallet, item in ITEMS}
    assert all(hasattr(getattr(runtime_apis, api), name) for api, name in METHODS)
    assert all(hasattr(getattr(calls, pallet), name) for pallet, name in named_calls)


def test_calls_take_the_arguments_that_the_client_library_sends() -> None:
    for pallet in PALLETS:
        for call in pallet.calls:
            sent = getattr(getattr(calls, pallet.name), call.name)
            names = list(sent.__code__.co_varnames[: sent.__code__.co_argcount])
            assert [name for name, _ in call.arguments] == names, call.name


def test_errors_have_the_numbers_of_the_client_librarys_catalogue() -> None:
    catalogue = {(info.pallet, info.name): number for number, info in errors.ERRORS.items()}
    ours = {
        (pallet.name, name): (pallet.index, index) for pallet in PALLETS for name, index in pallet.errors.items()
    }  # fmt: skip

    assert ours == {name: catalogue[name] for name in ours}


def test_every_refusal_of_the_chain_has_a_number_or_is_made_before_a_block_takes_the_call() -> None:
    sources = Path(rules.__file__).parent.glob("*.py")
    codes = {code for source in sources for code in re.findall(r'code="(\w+)"', source.read_text())}
    numbered = {name for pallet in PALLETS for name in pallet.errors} | set(events.RENAMED)
    before = {*rules.POOL_CODES, *pool.ADMISSION, "BadFormat", "BadSignature", "NotEncodable"}
    unnumbered = {"BadOrigin", "CommitmentSetRateLimitExceeded"}
    """A dispatch error of its own; and one that the runtime of the client library has no more."""
    of_clients = {"InvalidWeight", "Replaced"}

    assert codes - numbered - before == unnumbered | of_clients


def test_events_are_decoded_as_clients_look_for_them() -> None:
    failed = {"dispatch_error": {"Module": {"index": 7, "error": "0x1d000000"}}, "dispatch_info": {
        "weight": {"ref_time": 1, "proof_size": 2}, "class": "Normal", "pays_fee": "No",
    }}  # fmt: skip
    record = {"phase": {"ApplyExtrinsic": 1}, "event": {"System": {"ExtrinsicFailed": failed}}, "topics": []}
    decoded: Any = CODEC.decode_value("System", "Events", CODEC.encode_value("System", "Events", [record]))
    (shown,) = decoded

    assert (shown["extrinsic_idx"], shown["module_id"], shown["event_id"]) == (1, "System", "ExtrinsicFailed")
    assert shown["attributes"] == failed


@pytest.mark.parametrize(
    "field",
    [
        CommitmentField("Raw", commitment("miner").encode().hex()),
        CommitmentField("Raw", b"0x12".hex()),
        CommitmentField("Raw"),
        CommitmentField("Raw", "ff" * 128),
        CommitmentField("None"),
        CommitmentField("ResetBondsFlag"),
        CommitmentField("Keccak256", "ab" * 32),
        CommitmentField("BigRaw", "ff" * 512),
        CommitmentField("BigRaw", b"text".hex()),
        CommitmentField("TimelockEncrypted", "00ff", 12),
    ],
    ids=lambda field: f"{field.kind} {len(field.data) // 2}",
)
def test_a_field_of_a_commitment_is_the_same_after_its_way_through_a_call(field: CommitmentField) -> None:
    data = CODEC.compose(
        "Commitments", "set_commitment", {"netuid": 9, "info": {"fields": [commitments.to_data(field)]}}
    )
    arguments: Any = CODEC.call(data)["call_args"]

    assert commitments.from_info(arguments[1]["value"]) == (field,)


def test_a_chains_state_is_shown_for_every_item_and_method(net: Subnet) -> None:
    net.at(30)
    node = open_node(net.path, net.clock)
    with node.state(None) as state:
        values = {
            (pallet, item.name): state.entries(pallet, item.name) if item.keys else state.value(pallet, item.name)
            for pallet, item in ITEMS
        }
        neurons: Any = state.answer("NeuronInfoRuntimeApi", "get_neurons_lite", (9,))
        graph: Any = state.answer("SubnetInfoRuntimeApi", "get_metagraph", (9,))
        nobody = state.answer("SubnetInfoRuntimeApi", "get_metagraph", (8,))

    assert values["System", "Number"] == 30
    assert values["SubtensorModule", "Keys"] == [((9, uid), keys.address) for uid, keys in enumerate(net.pairs)]
    assert values["SubtensorModule", "ValidatorPermit"] == [(9, [True, True, False, False, False])]
    assert [neuron["hotkey"] for neuron in neurons] == graph["hotkeys"] == [keys.address for keys in net.pairs]
    assert nobody is None


@pytest.mark.parametrize("block", [3, 9, 10, 11, 30, 31, 32])
def test_the_next_epoch_and_the_number_of_the_present_one_are_those_of_the_chain(net: Subnet, block: int) -> None:
    genesis = net.chains[0].genesis
    net.at(40)
    node = open_node(net.path, net.clock)
    with node.state(node.hash_at(block)) as state:
        following = state.answer("SubnetInfoRuntimeApi", "get_next_epoch_start_block", (9,))
        elsewhere = state.answer("SubnetInfoRuntimeApi", "get_next_epoch_start_block", (8,))
        index = state.value("SubtensorModule", "SubnetEpochIndex", (9,))
        last = state.value("SubtensorModule", "LastEpochBlock", (9,))
    run = [number for number in range(1, block + 1) if epochs.is_epoch(genesis, Block(number))]

    assert following == next(number for number in range(block + 1, 60) if epochs.is_epoch(genesis, Block(number)))
    assert elsewhere is None
    assert (index, last) == (len(run), max(run, default=0))


def test_after_an_epoch_that_pays_its_measures_are_shown_by_uid(net: Subnet) -> None:
    net.at(12)
    node = open_node(net.path, net.clock)
    for keys in net.pairs[:2]:
        node.submit(signed(node, keys, ("SubtensorModule", "set_weights", {
            "netuid": 9, "dests": [2, 3], "weights": [65_535, 65_535], "version_key": 0,
        })))  # fmt: skip
    net.at(31)
    with node.state(None) as state:
        graph: Any = state.answer("SubnetInfoRuntimeApi", "get_metagraph", (9,))
        stored: Any = state.value("SubtensorModule", "Incentive", (9,))
        emission: Any = state.value("SubtensorModule", "Emission", (9,))
        neurons: Any = state.answer("NeuronInfoRuntimeApi", "get_neurons_lite", (9,))

    assert graph["incentives"] == stored == [neuron["incentive"] for neuron in neurons]
    assert stored[2] == stored[3] > 0 == stored[0] == stored[1] == stored[4]
    assert graph["emission"] == emission
    assert [paid > 0 for paid in emission] == [True, True, True, True, False]
    assert [share > 0 for share in graph["dividends"]] == [True, True, False, False, False]


def test_a_block_knows_the_hashes_of_those_before_it_and_not_its_own(net: Subnet) -> None:
    net.at(5)
    node = open_node(net.path, net.clock)
    with node.state(node.hash_at(4)) as state:
        known = state.entries("System", "BlockHash")
        own = state.value("System", "BlockHash", (4,))

    assert sorted(known, key=str) == [(number, node.hash_at(number)) for number in range(4)]
    assert own == "0x" + "00" * 32


def test_a_map_is_listed_by_what_is_left_of_its_keys(net: Subnet) -> None:
    net.at(3)
    with open_node(net.path, net.clock).state(None) as state:
        keys = [state.entries("SubtensorModule", "Keys", fixed) for fixed in ((9,), (8,))]

    assert keys == [[(uid, each.address) for uid, each in enumerate(net.pairs)], []]


def test_a_value_that_is_not_stored_reads_as_its_default_or_as_nothing(net: Subnet) -> None:
    net.at(3)
    with open_node(net.path, net.clock).state(None) as state:
        assert state.value("SubtensorModule", "Tempo", (8,)) == 0
        assert state.value("SubtensorModule", "Uids", (9, pair("Stranger").address)) is None
        assert state.value("System", "Account", (pair("Stranger").address,)) == {
            "nonce": 0, "consumers": 0, "providers": 0, "sufficients": 0,
            "data": {"free": 0, "reserved": 0, "frozen": 0, "flags": 1 << 127},
        }  # fmt: skip


@given(st.integers(min_value=0, max_value=2**536 - 1))
def test_a_compact_integer_reads_back_and_leaves_what_follows(value: int) -> None:
    written = compact(value)

    assert read_compact(b"ab" + written + b"c", 2) == (value, 2 + len(written))


@pytest.mark.parametrize("data", [b"", b"\x01", b"\x02\x00\x00", b"\x03\x00"], ids=["none", "two", "four", "big"])
def test_a_compact_integer_that_is_cut_is_none(data: bytes) -> None:
    with pytest.raises(ValueError, match="the data ends"):
        read_compact(data, 0)


@given(value=st.integers(0, 2**40), size=st.sampled_from([1, 2, 4, 5, 8, 34, 67]))
def test_a_compact_integer_has_one_form_alone(value: int, size: int) -> None:
    mode = {1: 0, 2: 1, 4: 2}.get(size)
    if mode is None:
        written = bytes([(size - 4) << 2 | 3]) + value.to_bytes(size, "little") if value < 1 << 8 * size else b""
    else:
        written = (value << 2 | mode).to_bytes(size, "little") if value < 1 << (8 * size - 2) else b""
    assume(written)
    if written == compact(value):
        assert read_compact(written, 0) == (value, len(written))
    else:
        with pytest.raises(ValueError, match="longer than it needs"):
            read_compact(written, 0)


@pytest.mark.parametrize("expression", ["Vec<", "(u8", "[u8; ", "u8>", "Vec<u8,", "Missing", ""])
def test_a_type_that_nothing_stands_for_is_refused_by_its_name(expression: str) -> None:
    with pytest.raises(ValueError, match=f"the type '{re.escape(expression)}'"):
        Registry({}).id_of(expression)


def test_a_type_may_hold_itself() -> None:
    registry = Registry({"List": Composite("List", (Field("Option<List>", "next"),))})

    assert registry.id_of("List") == 0
    assert registry.encode()[0] >> 2 == 2


def test_a_commitment_of_a_node_is_that_of_the_chain() -> None:
    fields = (CommitmentField("Raw", "61"), CommitmentField("ResetBondsFlag"))

    assert SetCommitment(commitments.from_info({"fields": [{"Raw1": "0x61"}, "ResetBondsFlag"]})) == SetCommitment(
        fields
    )

"""Signed calls on an embedded chain: who may do what, once, and what a registration leaves to whom."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bittensor import sp_core
from subnet import NETUID, Pair, Subnet, commitment, pair, parameters, subnet

from pretrain import wallet
from pretrain.chain import history, ledger, runtime
from pretrain.chain.calls import (
    Action,
    AddStake,
    BurnedRegister,
    Call,
    Faucet,
    RemoveStake,
    SetCommitment,
    SetWeights,
    SignedCall,
    sign,
)
from pretrain.chain.fields import from_text
from pretrain.chain.genesis import RAO, GenesisNeuron
from pretrain.chain.local import LocalChain, create
from pretrain.chain.node.answers import answer
from pretrain.chain.node.codec import Codec
from pretrain.chain.node.past import Past
from pretrain.chain.rules import Here, slot_for_newcomer, upscale
from pretrain.chain.state import Slot, slots
from pretrain.errors import ConfigError, Refused
from pretrain.types import Block, Hotkey, Uid


@pytest.fixture
def net(tmp_path: Path) -> Subnet:
    return subnet(tmp_path)


def _call(chain: LocalChain, keys: Pair, action: Action, nonce: int = 0, birth: int = 1) -> Call:
    return Call(chain.genesis.hash.hex(), NETUID, keys.address, nonce, Block(birth), action)


def _refusal(net: Subnet, signed: SignedCall) -> str:
    with pytest.raises(Refused) as refused:
        asyncio.run(net.chains[0].submit(signed))
    return refused.value.code


def test_a_call_is_applied_once(net: Subnet) -> None:
    net.at(0)
    keys = net.pairs[2]
    signed = sign(_call(net.chains[0], keys, SetCommitment(from_text("ab"))), keys.hotkey)
    assert asyncio.run(net.chains[0].submit(signed)) == 1
    assert _refusal(net, signed) == "Stale"


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("BadGenesis", {"genesis": "00" * 32}),
        ("Future", {"nonce": 1}),
        ("AncientBirthBlock", {"birth": Block(2)}),
    ],
)
def test_a_call_for_another_chain_or_time_is_refused(net: Subnet, code: str, change: dict[str, object]) -> None:
    net.at(0)
    keys = net.pairs[2]
    call = replace(_call(net.chains[0], keys, SetCommitment(from_text("ab"))), **change)  # type: ignore[arg-type]
    assert _refusal(net, sign(call, keys.hotkey)) == code


def test_a_call_is_valid_for_its_time_only(net: Subnet) -> None:
    keys = net.pairs[2]
    signed = sign(_call(net.chains[0], keys, SetCommitment(from_text("ab"))), keys.hotkey)
    net.at(64)  # block 65 is open: 64 blocks after 1
    assert _refusal(net, signed) == "AncientBirthBlock"
    with ledger.reading(net.path) as database:
        assert database.execute("SELECT COUNT(*) FROM calls").fetchone()[0] == 0


def test_nobody_signs_for_another(net: Subnet) -> None:
    net.at(0)
    victim, thief = net.pairs[2], net.pairs[3]
    call = _call(net.chains[0], victim, SetCommitment(from_text("ab")))
    assert _refusal(net, sign(call, thief.hotkey)) == "BadSignature"


@pytest.mark.parametrize("form", [b"%b ", b" %b"])
def test_a_call_has_one_form_only_and_another_is_refused_even_if_it_is_signed(net: Subnet, form: bytes) -> None:
    net.at(0)
    keys = net.pairs[2]
    payload = form % _call(net.chains[0], keys, SetCommitment(from_text("ab"))).encode()
    assert _refusal(net, SignedCall(payload, keys.hotkey.sign(payload))) == "BadFormat"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda payload: payload.replace(b'"6162"', b'"6163"'),
        lambda payload: payload.replace(b'"nonce":0', b'"nonce": 0'),
        lambda payload: payload.replace(b'"nonce":0', b'"nonce":0,"odd":1'),
        lambda payload: payload[:-1],
        lambda _payload: b"\xff",
        lambda payload: payload + b" " * 70_000,
    ],
)
def test_a_call_changed_after_signing_is_refused(net: Subnet, spoil: Callable[[bytes], bytes]) -> None:
    net.at(0)
    keys = net.pairs[2]
    signed = sign(_call(net.chains[0], keys, SetCommitment(from_text("ab"))), keys.hotkey)
    assert _refusal(net, SignedCall(spoil(signed.payload), signed.signature)) in {"BadSignature", "BadFormat"}
    assert history.commitments(net.path) == ()


# Accounts


def _as_polkadot_writes_it(keys: Pair) -> Hotkey:
    return Hotkey(sp_core.ss58_encode(keys.hotkey.public_key, 0))


NO_ACCOUNTS = pytest.mark.parametrize(
    "address", [Hotkey("1" * 47), Hotkey(""), _as_polkadot_writes_it(pair("New")), Hotkey(pair("New").address[:-1])]
)


@NO_ACCOUNTS
@pytest.mark.parametrize(
    "action",
    [
        BurnedRegister,
        lambda address: AddStake(address, RAO),
        lambda address: RemoveStake(address, RAO),
        lambda address: Faucet(address, RAO),
    ],
)
def test_who_is_no_account_of_this_network_is_named_by_no_call_in_whatever_form_it_comes(
    net: Subnet, action: Callable[[Hotkey], Action], address: Hotkey
) -> None:
    net.at(0)
    keys = net.pairs[2]
    call = _call(net.chains[0], keys, action(address))
    signed = sign(call, keys.hotkey)
    assert _refusal(net, signed) == "BadFormat"
    with ledger.writing(net.path) as database, pytest.raises(Refused) as refused:
        runtime.apply(database, net.chains[0].genesis, call, signed.payload, signed.signature, keep_refused=True)
    assert refused.value.code == "BadFormat"


def test_a_key_signs_under_one_address_only(net: Subnet) -> None:
    net.at(0)
    keys = net.pairs[2]
    other = _as_polkadot_writes_it(keys)
    call = replace(_call(net.chains[0], keys, SetCommitment(from_text("ab"))), signer=other)
    assert wallet.verify(other, call.encode(), keys.hotkey.sign(call.encode()))
    assert _refusal(net, sign(call, keys.hotkey)) == "BadFormat"


@NO_ACCOUNTS
@pytest.mark.parametrize(
    ("where", "change"),
    [
        ("neurons.0.hotkey", lambda address: {"neurons": (GenesisNeuron(address, pair("a").address),)}),
        ("neurons.0.coldkey", lambda address: {"neurons": (GenesisNeuron(pair("a").address, address),)}),
        ("balances.0", lambda address: {"balances": ((address, 1),)}),
        ("owner", lambda address: {"owner": address}),
        ("faucet", lambda address: {"faucet": address}),
    ],
)
def test_a_genesis_that_names_no_account_makes_no_chain(
    net: Subnet, tmp_path: Path, where: str, change: Callable[[Hotkey], dict[str, object]], address: Hotkey
) -> None:
    path = tmp_path / "other.sqlite"
    with pytest.raises(ConfigError, match=f"^genesis: {where}: '{address}': expected an ss58 address, prefix 42$"):
        create(path, replace(net.chains[0].genesis, **change(address)))  # type: ignore[arg-type]
    assert not path.exists()


# Registration


def _newcomer(net: Subnet, name: str) -> LocalChain:
    """Open the chain for a key that is not registered, its coldkey with money."""
    keys = pair(name)
    with ledger.writing(net.path) as database:
        ledger.add_balance(database, keys.coldkey.ss58_address, RAO)
    return LocalChain(net.path, NETUID, keys, clock=net.clock)


def _slots(net: Subnet) -> tuple[Slot, ...]:
    asyncio.run(net.chains[0].head())
    with ledger.reading(net.path) as database:
        return slots(database, ledger.read_head(database).open)


def test_a_registration_costs_the_burn_and_its_first_weights_in_the_next_block_are_too_fast(net: Subnet) -> None:
    net.at(20)
    chain = _newcomer(net, "New")
    assert asyncio.run(chain.register()) == 5
    with ledger.reading(net.path) as database:
        assert ledger.balance_of(database, pair("New").coldkey.ss58_address) == RAO - 100_000_000
    net.at(21)
    with pytest.raises(Refused) as refused:
        asyncio.run(chain.set_weights({pair("New").address: 1.0}, 0))
    assert (refused.value.code, refused.value.wait_blocks) == ("SettingWeightsTooFast", 4)


@pytest.mark.parametrize(
    ("code", "name", "coldkey"),
    [
        ("HotKeyAlreadyRegisteredInSubNet", "Miner0", "Miner0Cold"),
        ("NotEnoughBalanceToStake", "New", "Poor"),
    ],
)
def test_a_registration_is_refused(net: Subnet, code: str, name: str, coldkey: str) -> None:
    chain = LocalChain(net.path, NETUID, pair(name, coldkey), clock=net.clock)
    with pytest.raises(Refused) as refused:
        asyncio.run(chain.register())
    assert refused.value.code == code


def test_a_block_takes_one_registration(net: Subnet) -> None:
    net.at(20)
    asyncio.run(_newcomer(net, "One").register())
    late = _newcomer(net, "Two")
    with pytest.raises(Refused) as refused:
        asyncio.run(late.register())
    assert (refused.value.code, refused.value.wait_blocks) == ("TooManyRegistrationsThisBlock", 1)
    net.at(21)
    assert asyncio.run(late.register()) == 6


def test_a_hotkey_stays_its_coldkeys(tmp_path: Path) -> None:
    net = subnet(tmp_path, parameters(max_uids=5))
    net.at(20)
    assert asyncio.run(_newcomer(net, "New").register()) == 2, "the first of the miners without a score"
    replaced = Pair(net.pairs[2].hotkey, net.pairs[3].coldkey)
    net.at(21)
    with pytest.raises(Refused) as refused:
        asyncio.run(LocalChain(net.path, NETUID, replaced, clock=net.clock).register())
    assert refused.value.code == "NonAssociatedColdKey"


def test_who_comes_back_between_two_epochs_has_earned_nothing_yet_for_the_chain_and_for_its_node(
    tmp_path: Path,
) -> None:
    net = subnet(tmp_path, parameters(max_uids=5))
    miner = net.pairs[2]
    net.at(12)
    row = {miner.address: 1.0, net.pairs[3].address: 3.0, net.pairs[4].address: 3.0}
    for chain in net.chains[:2]:
        asyncio.run(chain.set_weights(row, 0))
    net.at(34)
    assert _slots(net)[2].incentive > 0
    assert asyncio.run(_newcomer(net, "New").register()) == 2
    net.at(35)
    assert asyncio.run(net.chains[2].register()) == 3
    net.at(40)
    _slots(net)
    genesis = net.chains[0].genesis
    for block in (32, 34, 36, 38):
        with ledger.reading(net.path) as database:
            past = Past(database, genesis, Codec(genesis), Block(block))
            neurons = past.slots
            metagraph: Any = answer(past, "SubnetInfoRuntimeApi", "get_metagraph", (NETUID,))
            told: Any = answer(past, "NeuronInfoRuntimeApi", "get_neurons", (NETUID,))
        incentive = [slot.incentive for slot in neurons]
        assert metagraph["incentives"] == incentive
        assert [neuron["incentive"] for neuron in told] == incentive
        assert [paid > 0 for paid in metagraph["emission"]] == [slot.uid < 2 or slot.incentive > 0 for slot in neurons]
        assert (metagraph["hotkeys"][3] == miner.address, incentive[3] == 0) == (block >= 36,) * 2


def test_a_replaced_miner_leaves_its_slot_and_takes_its_commitment_and_stake(tmp_path: Path) -> None:
    """As measured in r10, r11 and r17."""
    net = subnet(tmp_path, parameters(max_uids=5))
    net.at(12)
    miner = net.pairs[2]
    committed = SetCommitment(from_text(commitment(miner.address)))
    asyncio.run(net.chains[2].submit(sign(_call(net.chains[2], miner, committed, 0, 12), miner.hotkey)))
    asyncio.run(
        net.chains[0].set_weights({miner.address: 1.0, net.pairs[3].address: 3.0, net.pairs[4].address: 3.0}, 0)
    )
    net.at(31)
    before = {slot.uid: slot for slot in _slots(net)}
    assert min(before.values(), key=lambda slot: slot.pruning_score).uid == 2
    assert asyncio.run(_newcomer(net, "New").register()) == 2
    after = {slot.uid: slot for slot in _slots(net)}
    assert after[Uid(2)] == replace(
        before[Uid(2)],
        hotkey=pair("New").address,
        registered=Block(32),
        stake=0,
        incentive=0,
        pruning_score=65_535,
        bonds=(),
    )
    assert {uid: slot for uid, slot in after.items() if uid != 2} == {u: s for u, s in before.items() if u != 2}
    net.at(35)
    seen = asyncio.run(net.chains[0].snapshot(33))
    assert seen.entries == (), "the commitment of a hotkey that left is no entry"
    assert seen.weights[net.pairs[0].address] == pytest.approx({net.pairs[3].address: 0.5, net.pairs[4].address: 0.5})
    net.at(40)
    back = LocalChain(net.path, NETUID, miner, clock=net.clock)
    asyncio.run(back.register())
    found = asyncio.run(back.commitment())
    net.at(41)
    assert asyncio.run(back.commitment()) == found
    assert found is not None
    assert found.block == 13


def test_the_heir_of_a_validator_has_its_permit_and_row_but_neither_stake_nor_bonds(tmp_path: Path) -> None:
    """As measured in r12 and r16; the row is not the heir's in a snapshot."""
    net = subnet(tmp_path, parameters(max_uids=5, immunity_period=1, emission=0), validators=2, miners=3)
    net.at(12)
    for chain in net.chains[:2]:
        asyncio.run(chain.set_weights({net.pairs[4].address: 1.0}, 0))
    net.at(31)
    _slots(net)
    with ledger.writing(net.path) as database:
        database.execute("UPDATE epochs SET pruning_score = uid != 1 WHERE block = 31")
    before = {slot.uid: slot for slot in _slots(net)}
    heir = _newcomer(net, "Heir")
    assert asyncio.run(heir.register()) == 1
    after = {slot.uid: slot for slot in _slots(net)}[Uid(1)]
    assert after == replace(
        before[Uid(1)],
        hotkey=pair("Heir").address,
        registered=Block(32),
        stake=0,
        incentive=0,
        pruning_score=65_535,
        bonds=(),
    )
    assert (after.permit, after.weights, after.last_update) == (True, ((4, 65_535),), 13)
    net.at(35)
    assert list(asyncio.run(heir.snapshot(33)).weights) == [net.pairs[0].address]
    asyncio.run(heir.set_weights({net.pairs[3].address: 1.0}, 0))  # the predecessor's last update is long ago


def _neuron(uid: int, score: int, registered: int) -> Slot:
    return Slot(Uid(uid), Hotkey(str(uid)), Block(registered), 0, Block(0), None, (), False, 0, score, ())  # noqa: FBT003


@pytest.mark.parametrize(
    ("neurons", "replaced"),
    [
        (
            [_neuron(0, 0, 10), _neuron(1, 0, 20), _neuron(2, 0, 21)],
            1,
        ),  # r14: all equal
        ([_neuron(0, 0, 10), _neuron(1, 9, 20), _neuron(2, 8, 21)], 2),
        ([_neuron(0, 0, 10), _neuron(1, 9, 20), _neuron(2, 8, 98)], 1),  # 2 is immune
        ([_neuron(0, 0, 10), _neuron(1, 9, 97), _neuron(2, 8, 98)], 2),  # all are: the lowest score again
    ],
)
def test_the_lowest_score_is_replaced_then_the_earliest_and_the_owner_never(
    net: Subnet, neurons: list[Slot], replaced: int
) -> None:
    genesis = replace(net.chains[0].genesis, owner=Hotkey("0"), parameters=parameters(max_uids=3, immunity_period=5))
    assert slot_for_newcomer(Here(genesis, Block(100), neurons)) == replaced


# Stake and balances


def test_stake_comes_from_the_coldkeys_balance_one_for_one(net: Subnet) -> None:
    net.at(3)
    asyncio.run(net.chains[2].add_stake(4 * RAO))
    with ledger.reading(net.path) as database:
        assert ledger.balance_of(database, net.pairs[2].coldkey.ss58_address) == 6 * RAO
        assert [ledger.stake_of(database, net.pairs[2].address, Block(b)) for b in (3, 4)] == [0, 4 * RAO]


@pytest.mark.parametrize(("code", "amount"), [("StakeAmountTooLow", 1_999_999), ("BalanceTooLow", 10 * RAO + 1)])
def test_a_stake_too_small_or_not_covered_is_refused(net: Subnet, code: str, amount: int) -> None:
    with pytest.raises(Refused) as refused:
        asyncio.run(net.chains[2].add_stake(amount))
    assert refused.value.code == code


def test_stake_goes_to_known_hotkeys_only(net: Subnet) -> None:
    net.at(0)
    payer = net.pairs[2]
    call = _call(net.chains[0], payer, AddStake(pair("Nobody").address, RAO))
    call = replace(call, signer=Hotkey(payer.coldkey.ss58_address))
    assert _refusal(net, sign(call, payer.coldkey)) == "HotKeyAccountNotExists"


def test_only_the_key_that_genesis_names_makes_money(tmp_path: Path, net: Subnet) -> None:
    bank, rich = pair("Bank"), pair("Rich").coldkey.ss58_address
    with pytest.raises(Refused, match="may not create balances"):
        asyncio.run(net.chains[0].fund(bank.hotkey, rich, RAO))
    path = tmp_path / "funded.sqlite"
    create(path, replace(net.chains[0].genesis, faucet=bank.address))
    chain = LocalChain(path, NETUID, clock=net.clock)
    asyncio.run(chain.fund(bank.hotkey, rich, RAO))
    with pytest.raises(Refused, match="may not create balances"):
        asyncio.run(chain.fund(pair("Rich").coldkey, rich, RAO))
    with ledger.reading(path) as database:
        assert ledger.balance_of(database, rich) == RAO


# Commitments and weights


def test_a_rate_limit_on_commitments_says_how_long_to_wait(tmp_path: Path) -> None:
    net = subnet(tmp_path, parameters(commitment_rate_limit=10))
    net.clock.tick = 1 / 640
    block = asyncio.run(net.chains[2].commit("one"))
    with pytest.raises(Refused) as refused:
        asyncio.run(net.chains[2].commit("two"))
    assert refused.value.code == "CommitmentSetRateLimitExceeded"
    net.clock.now += refused.value.wait_blocks / 64
    assert asyncio.run(net.chains[2].commit("two")) >= block + 10


def test_space_that_is_used_up_is_free_again_after_the_blocks_to_wait(net: Subnet) -> None:
    net.at(15)
    keys, chain = net.pairs[2], net.chains[2]
    for nonce in range(31):
        asyncio.run(chain.submit(sign(_call(chain, keys, SetCommitment(from_text("a")), nonce, 16), keys.hotkey)))
    with pytest.raises(Refused) as refused:
        asyncio.run(chain.submit(sign(_call(chain, keys, SetCommitment(from_text("a")), 31, 16), keys.hotkey)))
    assert (refused.value.code, refused.value.wait_blocks) == ("SpaceLimitExceeded", 16)
    for block, code in ((30, "SpaceLimitExceeded"), (31, None)):
        net.at(block)
        signed = sign(_call(chain, keys, SetCommitment(from_text("a")), 31, 16), keys.hotkey)
        assert (_refusal(net, signed) if code else asyncio.run(chain.submit(signed))) == (code or 32)


def test_a_row_for_nobody_registered_is_refused(net: Subnet) -> None:
    net.at(12)
    with pytest.raises(Refused) as refused:
        asyncio.run(net.chains[0].set_weights({pair("Nobody").address: 1.0}, 0))
    assert refused.value.code == "WeightVecLengthIsLow"


def test_rows_are_stored_with_the_largest_as_65535() -> None:
    assert upscale(SetWeights((4, 3, 5), (10, 20, 0), 0)) == ((4, 32_768), (3, 65_535), (5, 0))
    assert upscale(SetWeights((4,), (0,), 0)) == ((4, 0),)
    assert upscale(SetWeights((), (), 0)) == ()

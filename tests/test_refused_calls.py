"""What a block does with a call that is refused, and weights that are."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from subnet import NETUID, Pair, Subnet, pair, parameters, subnet

from pretrain.chain import blocks, fields, ledger, runtime
from pretrain.chain.calls import Action, AddStake, Call, RemoveStake, SetCommitment, SetWeights, SignedCall, sign
from pretrain.chain.fields import from_text
from pretrain.chain.genesis import RAO
from pretrain.chain.local import LocalChain
from pretrain.chain.runtime import Applied
from pretrain.errors import ChainUnavailable, Refused
from pretrain.types import Block, Hotkey


@pytest.fixture
def net(tmp_path: Path) -> Subnet:
    return subnet(tmp_path)


def _signed(net: Subnet, keys: Pair, action: Action, **changes: object) -> tuple[Call, SignedCall]:
    with ledger.reading(net.path) as database:
        nonce = runtime.next_nonce(database, keys.address)
        block = ledger.read_head(database).open
    call = Call(net.chains[0].genesis.hash.hex(), NETUID, keys.address, nonce, block, action)
    call = replace(call, **changes)  # type: ignore[arg-type]
    return call, sign(call, keys.hotkey)


def _apply(net: Subnet, call: Call, signed: SignedCall, *, keep_refused: bool = True) -> Applied:
    with ledger.writing(net.path) as database:
        return runtime.apply(
            database, net.chains[0].genesis, call, signed.payload, signed.signature, keep_refused=keep_refused
        )


def _content(net: Subnet) -> dict[str, list[tuple[object, ...]]]:
    with ledger.reading(net.path) as database:
        names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: database.execute(f"SELECT * FROM {name}").fetchall() for name in names}  # noqa: S608


def _at(net: Subnet, block: int) -> None:
    net.at(block)
    blocks.catch_up(net.path, net.chains[0].genesis, net.clock)


def test_a_block_keeps_a_call_that_fails_in_it_with_its_outcome_and_nothing_else_changes(net: Subnet) -> None:
    _at(net, 12)
    before = _content(net)
    call, signed = _signed(net, net.pairs[2], SetWeights((3,), (1,), 0))
    done = _apply(net, call, signed)
    after = _content(net)
    assert (done.block, done.position, done.refused and done.refused.code) == (13, 0, "NeuronNoValidatorPermit")
    assert after.pop("calls") == [
        (13, 0, call.signer, 0, "set_weights", signed.payload, signed.signature, "NeuronNoValidatorPermit")
    ]
    assert after == {name: rows for name, rows in before.items() if name != "calls"}
    with pytest.raises(Refused) as again:
        _apply(net, call, signed)
    assert again.value.code == "Stale"


def test_calls_of_a_block_stand_in_the_order_they_came(net: Subnet) -> None:
    _at(net, 12)
    done = [_apply(net, *_signed(net, net.pairs[2], SetCommitment(from_text(text)))) for text in ("a", "b")]
    done.append(_apply(net, *_signed(net, pair("Nobody"), SetCommitment(from_text("a")))))
    assert [(one.block, one.position, one.refused and one.refused.code) for one in done] == [
        (13, 0, None),
        (13, 1, None),
        (13, 2, "AccountNotAllowedCommit"),
    ]


def test_a_rule_that_refuses_when_something_is_written_already_leaves_nothing_of_it(
    net: Subnet, monkeypatch: pytest.MonkeyPatch
) -> None:
    _at(net, 12)
    before = _content(net)

    def refuse(_fields: object) -> str:
        raise Refused("too late", code="SpaceLimitExceeded")

    monkeypatch.setattr(fields, "dump", refuse)  # of a commitment the space is written before
    done = _apply(net, *_signed(net, net.pairs[2], SetCommitment(from_text("a"))))
    assert done.refused is not None
    assert _content(net) | {"calls": []} == before


def test_without_being_asked_to_keep_it_a_failed_call_leaves_nothing(net: Subnet) -> None:
    _at(net, 12)
    before = _content(net)
    with pytest.raises(Refused):
        _apply(net, *_signed(net, net.pairs[2], SetWeights((3,), (1,), 0)), keep_refused=False)
    assert _content(net) == before


@pytest.mark.parametrize("keep_refused", [True, False])
@pytest.mark.parametrize(
    ("code", "action", "changes"),
    [
        ("StakeAmountTooLow", AddStake(pair("Miner0").address, 1), {}),
        ("BalanceTooLow", AddStake(pair("Miner0").address, RAO), {}),
        ("BadRequest", AddStake(pair("Miner0").address, RAO), {"netuid": 8}),
        ("NotEnoughStakeToWithdraw", RemoveStake(pair("Validator0").address, RAO), {}),
        ("HotKeyAccountNotExists", RemoveStake(pair("Nobody").address, RAO), {}),
        ("BadGenesis", SetCommitment(from_text("a")), {"genesis": "00" * 32}),
        ("Future", SetCommitment(from_text("a")), {"nonce": 7}),
        ("AncientBirthBlock", SetCommitment(from_text("a")), {"birth": Block(90)}),
    ],
)
def test_what_the_pool_turns_away_is_in_no_block(
    net: Subnet, code: str, action: Action, changes: dict[str, object], *, keep_refused: bool
) -> None:
    _at(net, 12)
    before = _content(net)
    call, signed = _signed(net, net.pairs[2], action, **changes)
    with pytest.raises(Refused) as refused:
        _apply(net, call, signed, keep_refused=keep_refused)
    assert refused.value.code == code
    assert _content(net) == before


def test_too_little_stake_for_weights_is_seen_in_the_pool(tmp_path: Path) -> None:
    net = subnet(tmp_path, parameters(hyperparameters=replace(parameters().hyperparameters, stake_threshold=101 * RAO)))
    _at(net, 12)
    with pytest.raises(Refused) as refused:
        _apply(net, *_signed(net, net.pairs[0], SetWeights((3,), (1,), 0)))
    assert refused.value.code == "StakeAmountTooLow"


def test_a_paused_chain_takes_no_calls(net: Subnet) -> None:
    _at(net, 12)
    blocks.pause(net.path, net.chains[0].genesis, net.clock)
    with pytest.raises(ChainUnavailable, match="paused after block 12"):
        _apply(net, *_signed(net, net.pairs[2], SetCommitment(from_text("a"))))


# Stake that is taken back


def _unstake(net: Subnet, amount: int, hotkey: Hotkey, owner: Pair) -> None:
    keys = Pair(owner.coldkey, owner.coldkey)
    _apply(net, *_signed(net, keys, RemoveStake(hotkey, amount)))


def test_stake_goes_back_to_the_coldkey_that_owns_the_hotkey_one_for_one(net: Subnet) -> None:
    _at(net, 3)
    owner = net.pairs[0]
    _unstake(net, 40 * RAO, owner.address, owner)
    with ledger.reading(net.path) as database:
        assert ledger.balance_of(database, owner.coldkey.ss58_address) == 50 * RAO
        assert [ledger.stake_of(database, owner.address, Block(b)) for b in (3, 4)] == [100 * RAO, 60 * RAO]
    for keys in (net.pairs[1], net.pairs[0]):
        with pytest.raises(Refused) as refused:
            _unstake(net, 61 * RAO, owner.address, keys)
        assert refused.value.code == "NotEnoughStakeToWithdraw"


# Weights


@pytest.mark.parametrize(
    ("code", "uids"),
    [
        ("UidVecContainInvalidOne", (2, 5)),
        ("UidsLengthExceedUidsInSubNet", (0, 1, 2, 3, 4, 5)),
        ("DuplicateUids", (2, 2)),
        ("WeightVecLengthIsLow", ()),
        (None, (0, 1, 2, 3, 4)),
        (None, (0,)),
    ],
)
def test_a_row_names_each_of_the_registered_at_most_once(net: Subnet, code: str | None, uids: tuple[int, ...]) -> None:
    _at(net, 12)
    done = _apply(net, *_signed(net, net.pairs[0], SetWeights(uids, (1,) * len(uids), 0)))
    assert (done.refused and done.refused.code) == code


@pytest.mark.parametrize(
    ("code", "action"),
    [
        ("WeightVecNotEqualSize", SetWeights((2, 3), (1,), 0)),
        ("MechanismDoesNotExist", SetWeights((2,), (1,), 0, mechanism=1)),
    ],
)
def test_a_row_of_no_form_or_for_another_mechanism_is_refused(net: Subnet, code: str, action: SetWeights) -> None:
    _at(net, 12)
    done = _apply(net, *_signed(net, net.pairs[0], action))
    assert (done.refused and done.refused.code) == code


def test_before_it_has_a_permit_a_validator_weighs_itself_alone(net: Subnet) -> None:
    _at(net, 8)
    done = [_apply(net, *_signed(net, net.pairs[0], SetWeights(uids, (1,), 0))) for uids in ((2,), (0,))]
    assert [one.refused and one.refused.code for one in done] == ["NeuronNoValidatorPermit", None]
    net.at(14)
    asyncio.run(LocalChain(net.path, NETUID, net.pairs[0], clock=net.clock).set_weights({net.pairs[2].address: 1.0}, 0))


def test_a_weight_on_oneself_pays_nobody(net: Subnet) -> None:
    _at(net, 12)
    for keys in net.pairs[:2]:
        row = SetWeights((0, 1, 2), (65_535, 65_535, 65_535), 0)
        assert _apply(net, *_signed(net, keys, row)).refused is None
    net.at(33)
    incentive = [neuron.incentive for neuron in asyncio.run(net.chains[0].snapshot(31)).neurons]
    assert incentive[3:] == [0, 0]
    assert incentive[2] > max(incentive[:2]), "of each validator only the other's weight on it is left"

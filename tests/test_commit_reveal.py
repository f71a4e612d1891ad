"""Weights that are committed first and revealed in the epoch for it, on an embedded chain that asks for it.

With netuid 9 and a tempo of 20 a period is 11 to 31, then 32 to 52, then 53 to 73; epochs run in its last block.
"""

import asyncio
import hashlib
import sqlite3
import stat
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from subnet import NETUID, Pair, Subnet, pair, parameters, subnet

from pretrain.chain import history, ledger, pending, runtime, weight_calls
from pretrain.chain.calls import (
    Action,
    BurnedRegister,
    Call,
    CommitTimelockedWeights,
    CommitWeights,
    RevealWeights,
    SetWeights,
    sign,
)
from pretrain.chain.commit_reveal import reveal_blocks, row_hash
from pretrain.chain.genesis import RAO
from pretrain.chain.hyperparameters import Hyperparameters
from pretrain.chain.local import LocalChain, pause
from pretrain.chain.state import Slot, slots
from pretrain.errors import ChainUnavailable, Refused
from pretrain.types import Block

ROW = RevealWeights((2, 3), (65_535, 21_845), (7, 8), 0)
OTHER = RevealWeights((4,), (65_535,), (9,), 0)


@pytest.fixture
def net(tmp_path: Path) -> Subnet:
    return subnet(tmp_path, parameters(commit_reveal=True))


def _send(net: Subnet, block: int, action: Action, keys: Pair | None = None) -> Block:
    """Apply a validator's call in a block."""
    keys = keys or net.pairs[0]
    net.at(block - 1)
    asyncio.run(net.chains[2].head())
    with ledger.reading(net.path) as database:
        nonce = runtime.next_nonce(database, keys.address)
    call = Call(net.chains[0].genesis.hash.hex(), NETUID, keys.address, nonce, Block(block), action)
    return asyncio.run(net.chains[2].submit(sign(call, keys.hotkey)))


def _refusal(net: Subnet, block: int, action: Action, keys: Pair | None = None) -> tuple[str, int]:
    with pytest.raises(Refused) as refused:
        _send(net, block, action, keys)
    return refused.value.code, refused.value.wait_blocks


def _commit(net: Subnet, row: RevealWeights) -> CommitWeights:
    return CommitWeights(row_hash(net.pairs[0].address, NETUID, row))


def _slot(net: Subnet, uid: int = 0) -> Slot:
    with ledger.reading(net.path) as database:
        return slots(database, ledger.read_head(database).open)[uid]


# The hash


def test_a_row_is_committed_by_the_hash_of_its_scale_encoding() -> None:
    keys = pair("Alice")
    public = bytes.fromhex("d43593c715fdd31c61141abd04a99fd6822c8558854ccde39a5684e7a56da27d")
    row = RevealWeights((1, 258), (65_535, 3), (7,), 5)
    rest = "0900" + "0801000201" + "08ffff0300" + "040700" + "0500000000000000"
    expected = hashlib.blake2b(public + bytes.fromhex(rest), digest_size=32).hexdigest()
    assert row_hash(keys.address, 9, row) == expected


@pytest.mark.parametrize(
    ("length", "compact"), [(0, "00"), (63, "fc"), (64, "0101"), (256, "0104"), (16_384, "02000100")]
)
def test_the_length_of_a_list_is_a_compact_number(length: int, compact: str) -> None:
    public = bytes.fromhex("d43593c715fdd31c61141abd04a99fd6822c8558854ccde39a5684e7a56da27d")
    encoded = public + bytes.fromhex("0900" + compact) + bytes(2 * length + 1 + 1 + 8)
    expected = hashlib.blake2b(encoded, digest_size=32).hexdigest()
    assert row_hash(pair("Alice").address, 9, RevealWeights((0,) * length, (), (), 0)) == expected


# Commits and reveals


def test_a_revealed_row_is_set_without_being_an_update_and_pays_in_the_next_epoch(net: Subnet) -> None:
    assert _send(net, 13, _commit(net, ROW)) == 13
    assert (_slot(net).last_update, _slot(net).weights) == (13, ())
    assert _send(net, 40, ROW) == 40
    slot = _slot(net)
    assert (slot.last_update, slot.weights_block, slot.weights) == (13, 13, ((2, 65_535), (3, 21_845)))
    with ledger.reading(net.path) as database:
        assert weight_calls.waiting(database, net.pairs[0].address) == ()
    net.at(54)
    found = asyncio.run(net.chains[2].snapshot(52))
    shares = {net.pairs[2].address: 0.75, net.pairs[3].address: 0.25}
    assert found.weights == {net.pairs[0].address: shares}
    assert found.neurons[0].last_update == 13
    assert history.weights(net.path) == (history.WeightsRow(Block(40), net.pairs[0].address, shares),)


@pytest.mark.parametrize(
    ("block", "outcome"),
    [
        (14, ("RevealTooEarly", 18)),
        (31, ("RevealTooEarly", 1)),
        (32, None),
        (52, None),
        (53, ("ExpiredWeightCommit", 0)),
        (90, ("ExpiredWeightCommit", 0)),
    ],
)
def test_a_row_is_revealed_in_exactly_one_period(net: Subnet, block: int, outcome: tuple[str, int] | None) -> None:
    _send(net, 13, _commit(net, ROW))
    assert reveal_blocks(net.chains[0].genesis, Block(13)) == (32, 52)
    if outcome is None:
        assert _send(net, block, ROW) == block
    else:
        assert _refusal(net, block, ROW) == outcome
        assert _slot(net).weights == ()


def test_a_reveal_period_is_counted_in_epochs(tmp_path: Path) -> None:
    net = subnet(tmp_path, parameters(commit_reveal=True, reveal_period=2))
    assert reveal_blocks(net.chains[0].genesis, Block(13)) == (53, 73)


@pytest.mark.parametrize(
    "row",
    [
        RevealWeights(ROW.uids, ROW.values, (7, 9), 0),
        RevealWeights(ROW.uids, (65_535, 21_846), ROW.salt, 0),
        RevealWeights(ROW.uids, ROW.values, ROW.salt, 1),
    ],
    ids=["salt", "values", "version key"],
)
def test_another_row_than_the_committed_one_is_refused(net: Subnet, row: RevealWeights) -> None:
    _send(net, 13, _commit(net, ROW))
    assert _refusal(net, 40, row) == ("InvalidRevealCommitHashNotMatch", 0)


def test_nobody_reveals_a_row_that_another_committed_or_nobody_did(net: Subnet) -> None:
    assert _refusal(net, 13, ROW) == ("NoWeightsCommitFound", 0)
    _send(net, 13, _commit(net, ROW))
    assert _refusal(net, 40, ROW, net.pairs[1]) == ("NoWeightsCommitFound", 0)
    _send(net, 40, _commit(net, ROW), net.pairs[1])
    assert _refusal(net, 60, ROW, net.pairs[1]) == ("InvalidRevealCommitHashNotMatch", 0)


def test_a_reveal_ends_its_commit_and_all_before_it(net: Subnet) -> None:
    _send(net, 13, _commit(net, ROW))
    _send(net, 20, _commit(net, OTHER))
    _send(net, 40, OTHER)
    assert _refusal(net, 41, ROW) == ("NoWeightsCommitFound", 0)
    assert _slot(net).weights == ((4, 65_535),)


def test_a_reveal_is_checked_like_weights_in_the_clear_but_for_the_pace(tmp_path: Path) -> None:
    net = subnet(tmp_path, parameters(commit_reveal=True, weights_version_key=1))
    _send(net, 13, _commit(net, ROW))
    assert _refusal(net, 40, ROW) == ("IncorrectWeightVersionKey", 0)
    unknown = RevealWeights((5,), (1,), (), 1)
    _send(net, 40, _commit(net, unknown))
    assert _refusal(net, 60, unknown) == ("UidVecContainInvalidOne", 0)
    with ledger.reading(net.path) as database:
        waiting = [made.block for made in weight_calls.waiting(database, net.pairs[0].address)]
    assert waiting == [13, 40], "a refused reveal ends no commit"


def test_commits_have_the_pace_of_weights(net: Subnet) -> None:
    _send(net, 13, _commit(net, ROW))
    assert _refusal(net, 16, _commit(net, OTHER)) == ("CommittingWeightsTooFast", 2)
    assert _send(net, 18, _commit(net, OTHER)) == 18


def test_of_more_than_ten_commits_the_eleventh_waits_until_the_first_expires(tmp_path: Path) -> None:
    net = subnet(tmp_path, parameters(commit_reveal=True, weights_rate_limit=0))
    for block in range(13, 23):
        _send(net, block, _commit(net, ROW))
    assert _refusal(net, 23, _commit(net, OTHER)) == ("TooManyUnrevealedCommits", 30)
    assert _refusal(net, 52, _commit(net, OTHER)) == ("TooManyUnrevealedCommits", 1)
    _send(net, 53, _commit(net, OTHER))
    with ledger.reading(net.path) as database:
        assert [made.block for made in weight_calls.waiting(database, net.pairs[0].address)] == [53]


def test_who_is_not_registered_commits_nothing_and_an_unknown_mechanism_takes_nothing(net: Subnet) -> None:
    assert _refusal(net, 13, _commit(net, ROW), pair("Nobody"))[0] == "HotKeyNotRegisteredInSubNet"
    assert _refusal(net, 13, CommitWeights("00" * 32, mechanism=1))[0] == "MechanismDoesNotExist"


def test_who_has_too_little_stake_neither_commits_nor_reveals(tmp_path: Path) -> None:
    poor = parameters(Hyperparameters(stake_threshold=101 * RAO), commit_reveal=True)
    net = subnet(tmp_path, poor)
    for action in (_commit(net, ROW), ROW, CommitTimelockedWeights("ab", 1, 4)):
        assert _refusal(net, 13, action)[0] == "StakeAmountTooLow"


def test_a_subnet_takes_either_rows_in_the_clear_or_commits(tmp_path: Path, net: Subnet) -> None:
    assert _refusal(net, 13, SetWeights((2,), (1,), 0)) == ("CommitRevealEnabled", 0)
    (tmp_path / "clear").mkdir()
    clear = subnet(tmp_path / "clear")
    assert _refusal(clear, 13, _commit(clear, ROW)) == ("CommitRevealDisabled", 0)
    assert _refusal(clear, 13, ROW) == ("CommitRevealDisabled", 0)
    assert _refusal(clear, 13, CommitTimelockedWeights("00", 1, 4)) == ("CommitRevealDisabled", 0)


def test_timelocked_weights_are_kept_and_are_an_update_but_are_never_opened(net: Subnet) -> None:
    made = CommitTimelockedWeights("ab" * 5_000, 2**64 - 1, 4)
    assert _refusal(net, 13, CommitTimelockedWeights("ab", 1, 3)) == ("IncorrectCommitRevealVersion", 0)
    _send(net, 13, made)
    net.at(100)
    asyncio.run(net.chains[2].head())
    with ledger.reading(net.path) as database:
        assert weight_calls.timelocked(database, net.pairs[0].address) == ((13, made),)
    assert (_slot(net).last_update, _slot(net).weights) == (13, ())


def test_ten_timelocked_commits_fit_between_two_epochs(tmp_path: Path) -> None:
    net = subnet(tmp_path, parameters(commit_reveal=True, weights_rate_limit=0))
    made = CommitTimelockedWeights("ab", 1, 4)
    for block in range(21, 31):
        _send(net, block, made)
    assert _refusal(net, 30, made) == ("TooManyUnrevealedCommits", 1)
    assert _send(net, 31, made) == 31


def test_who_was_registered_after_a_row_was_committed_is_not_weighed_by_it(tmp_path: Path) -> None:
    net = subnet(tmp_path, parameters(commit_reveal=True))
    row = RevealWeights((2, 5, 6), (65_535, 65_535, 65_535), (7,), 0)
    payer = net.pairs[2].coldkey
    for block, name in ((12, "Early"), (13, "Same"), (20, "Late")):
        _send(net, block, BurnedRegister(pair(name).address), Pair(payer, payer))
        if block == 13:
            _send(net, block, _commit(net, row))
    _send(net, 40, row)
    net.at(45)
    expected = {net.pairs[2].address: 0.5, pair("Early").address: 0.5}
    assert history.weights(net.path) == (history.WeightsRow(Block(40), net.pairs[0].address, expected),)
    assert asyncio.run(net.chains[2].snapshot(42)).weights == {net.pairs[0].address: expected}

    with ledger.writing(net.path) as database:
        database.execute("UPDATE weights SET row = '[[7,65535],[2,65535]]'")
    (shown,) = history.weights(net.path)
    assert shown.shares == {net.pairs[2].address: 1.0}


def test_who_held_the_slot_when_a_row_was_committed_is_weighed_by_it_for_ever(tmp_path: Path) -> None:
    net = subnet(tmp_path, parameters(commit_reveal=True, max_uids=5))
    _send(net, 13, _commit(net, OTHER))
    with ledger.writing(net.path) as database:
        database.execute("INSERT INTO registrations VALUES (4, 20, ?)", (pair("Heir").address,))
    _send(net, 40, OTHER)
    assert [shown.shares for shown in history.weights(net.path)] == [{net.pairs[4].address: 1.0}]


# A validator's way


def _head(chain: LocalChain, net: Subnet, block: int) -> None:
    net.at(block)
    asyncio.run(chain.head())


def test_a_validator_commits_and_any_later_look_at_the_head_reveals(net: Subnet) -> None:
    validator = net.chains[0]
    net.at(12)
    assert asyncio.run(validator.set_weights({net.pairs[2].address: 1.0}, 0)) == 13
    assert asyncio.run(validator.standing()).commit_reveal
    _head(validator, net, 30)
    assert _slot(net).weights == ()
    _head(validator, net, 31)
    assert (_slot(net).weights, _slot(net).last_update) == (((2, 65_535),), 13)


def test_a_validator_that_was_killed_reveals_what_it_committed_before(net: Subnet) -> None:
    net.at(12)
    asyncio.run(net.chains[0].set_weights({net.pairs[2].address: 1.0}, 0))
    asyncio.run(LocalChain(net.path, NETUID, net.pairs[1], clock=net.clock).head())
    again = LocalChain(net.path, NETUID, net.pairs[0], clock=net.clock)
    net.at(40)
    assert asyncio.run(again.set_weights({net.pairs[3].address: 1.0}, 0)) == 41
    assert _slot(net).weights == ((2, 65_535),)
    _head(again, net, 60)
    assert _slot(net).weights == ((3, 65_535),)


def test_two_looks_at_the_head_at_once_reveal_once(net: Subnet, caplog: pytest.LogCaptureFixture) -> None:
    validator = net.chains[0]
    net.at(12)
    asyncio.run(validator.set_weights({net.pairs[2].address: 1.0}, 0))
    net.at(40)

    async def look() -> None:
        await asyncio.gather(*(validator.head() for _ in range(8)))

    asyncio.run(look())
    assert _slot(net).weights == ((2, 65_535),)
    assert caplog.records == []
    with ledger.reading(net.path) as database:
        assert [name for (name,) in database.execute("SELECT name FROM calls")] == ["commit_weights", "reveal_weights"]


def test_a_row_whose_commit_never_came_is_forgotten(net: Subnet) -> None:
    validator, place = net.chains[0], pending.place(net.path, net.pairs[0].address)
    pending.write(place, [ROW])
    net.at(12)
    asyncio.run(validator.set_weights({net.pairs[2].address: 1.0}, 0))
    assert [(row.uids, row.values, len(row.salt)) for row in pending.read(place)] == [((2,), (65_535,), 8)]
    assert stat.S_IMODE(place.stat().st_mode) == 0o600


def test_a_validator_that_slept_through_the_period_goes_on(net: Subnet) -> None:
    validator = net.chains[0]
    net.at(12)
    asyncio.run(validator.set_weights({net.pairs[2].address: 1.0}, 0))
    net.at(60)
    assert asyncio.run(validator.set_weights({net.pairs[3].address: 1.0}, 0)) == 61
    _head(validator, net, 80)
    assert _slot(net).weights == ((3, 65_535),)


def test_a_row_refused_at_its_reveal_is_told_once_and_forgotten(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    net = subnet(tmp_path, parameters(commit_reveal=True))
    validator, place = net.chains[0], pending.place(net.path, net.pairs[0].address)
    net.at(12)
    asyncio.run(validator.set_weights({net.pairs[2].address: 1.0}, 0))
    net.at(31)
    asyncio.run(net.chains[2].head())
    with ledger.writing(net.path) as database:
        database.execute("UPDATE epochs SET permit = 0 WHERE block = 31")
    _head(validator, net, 32)
    _head(validator, net, 33)
    assert [record.message for record in caplog.records] == [
        f"the committed row of weights is not revealed: {net.pairs[0].address} (uid 0) has no validator permit"
    ]
    assert pending.read(place) == ()


def test_a_row_that_could_not_be_revealed_is_refused_before_it_is_committed(net: Subnet) -> None:
    net.at(12)
    with pytest.raises(Refused, match="has no validator permit"):
        asyncio.run(net.chains[2].set_weights({net.pairs[3].address: 1.0}, 0))
    assert not pending.place(net.path, net.pairs[2].address).exists()


def test_a_paused_chain_is_looked_at_without_revealing(net: Subnet) -> None:
    net.at(12)
    asyncio.run(net.chains[0].set_weights({net.pairs[2].address: 1.0}, 0))
    net.at(40)
    pause(net.path, net.clock)
    assert asyncio.run(net.chains[0].head()).block == 40
    assert _slot(net).weights == ()


def test_a_spoilt_file_of_rows_is_said_so(net: Subnet) -> None:
    pending.place(net.path, net.pairs[0].address).write_text("{")
    with pytest.raises(ChainUnavailable, match="holds no rows of weights: remove it"):
        _head(net.chains[0], net, 12)


# Several rows that wait: with a reveal period of 2, rows of 11 to 31 are revealed in 53 to 73, those of 32 to 52 in 74
# to 94


@pytest.fixture
def slow(tmp_path: Path) -> Subnet:
    return subnet(tmp_path, parameters(commit_reveal=True, reveal_period=2))


def _weigh(net: Subnet, block: int, uid: int) -> None:
    """Commit a row for one miner, by an object of its own as after a restart."""
    net.at(block - 1)
    validator = LocalChain(net.path, NETUID, net.pairs[0], clock=net.clock)
    assert asyncio.run(validator.set_weights({net.pairs[uid].address: 1.0}, 0)) == block


def _kept(net: Subnet) -> list[tuple[int, ...]]:
    """Return the uids of each row in the validator's file."""
    return [row.uids for row in pending.read(pending.place(net.path, net.pairs[0].address))]


def _look(net: Subnet, block: int) -> tuple[tuple[int, int], ...]:
    """Look at the head by a new object, and return the row that the chain then has."""
    _head(LocalChain(net.path, NETUID, net.pairs[0], clock=net.clock), net, block)
    return _slot(net).weights


def test_rows_of_two_periods_wait_side_by_side_and_each_is_revealed_in_its_own(slow: Subnet) -> None:
    _weigh(slow, 13, 2)
    _weigh(slow, 40, 3)
    assert _kept(slow) == [(2,), (3,)]
    assert [_look(slow, block) for block in (51, 53, 72, 73, 93)] == [
        (),
        ((2, 65_535),),
        ((2, 65_535),),
        ((3, 65_535),),
        ((3, 65_535),),
    ]


def test_of_two_rows_of_one_period_the_newer_is_revealed_and_the_older_is_done_with_it(slow: Subnet) -> None:
    _weigh(slow, 13, 2)
    _weigh(slow, 20, 3)
    assert _kept(slow) == [(2,), (3,)]
    assert _look(slow, 53) == ((3, 65_535),)
    assert _look(slow, 60) == ((3, 65_535),)
    with ledger.reading(slow.path) as database:
        assert weight_calls.waiting(database, slow.pairs[0].address) == ()
    _weigh(slow, 61, 4)
    assert _kept(slow) == [(4,)], "what no longer waits on the chain is forgotten at the next commit"


def test_who_is_refused_one_row_keeps_the_others(slow: Subnet, caplog: pytest.LogCaptureFixture) -> None:
    _weigh(slow, 13, 2)
    _weigh(slow, 40, 3)
    _head(slow.chains[2], slow, 53)
    with ledger.writing(slow.path) as database:
        database.execute("UPDATE epochs SET permit = 0 WHERE block = 52")
    assert _look(slow, 54) == ()
    assert len(caplog.records) == 1
    assert _kept(slow) == [(3,)]
    assert _look(slow, 74) == ((3, 65_535),)


def test_while_the_file_is_rewritten_no_other_process_changes_the_chain_or_the_file(
    slow: Subnet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both that add a row and that forget one read the file first: in between, another's row would be lost."""
    free = []
    write = pending.write

    def rewrite(path: Path, rows: Sequence[RevealWeights]) -> None:
        with closing(sqlite3.connect(slow.path, timeout=0, isolation_level=None)) as other:
            try:
                other.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                free.append(False)
            else:
                free.append(True)
        write(path, rows)

    monkeypatch.setattr(pending, "write", rewrite)
    _weigh(slow, 13, 2)
    _head(slow.chains[2], slow, 53)
    with ledger.writing(slow.path) as database:
        database.execute("UPDATE epochs SET permit = 0 WHERE block = 52")
    _look(slow, 54)
    assert (free, _kept(slow)) == ([False, False], [])

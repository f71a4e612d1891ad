import asyncio
import hashlib
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from subnet import NETUID, START, Pair, Subnet, commitment, parameters, subnet

from pretrain.chain import Head, Snapshot, history, ledger
from pretrain.chain.calls import Action, Call, SetCommitment, sign
from pretrain.chain.fields import from_text
from pretrain.chain.genesis import RAO, Genesis
from pretrain.chain.hyperparameters import Hyperparameters
from pretrain.chain.local import LocalChain, create, pause, resume
from pretrain.chain.state import Slot, block_hash
from pretrain.chain.weights import quantise
from pretrain.errors import ChainUnavailable, ConfigError, Refused
from pretrain.types import Block, Hotkey, Uid

FIRST_EPOCH = 10  # (10 + 9 + 1) % 21 == 20


@pytest.fixture
def net(tmp_path: Path) -> Subnet:
    return subnet(tmp_path)


def _head(net: Subnet, block: int) -> Head:
    net.at(block)
    return asyncio.run(net.chains[0].head())


def _snapshot(net: Subnet, block: int, chain: LocalChain | None = None) -> Snapshot:
    """Read the state at a block, once it is final."""
    net.at(block + 2)
    return asyncio.run((chain or net.chains[0]).snapshot(block))


def _call(chain: LocalChain, keys: Pair, action: Action, nonce: int = 0, birth: int = 1) -> Call:
    return Call(chain.genesis.hash.hex(), NETUID, keys.address, nonce, Block(birth), action)


# Time


def test_blocks_come_from_the_genesis_time_and_the_block_time(net: Subnet) -> None:
    heads = [_head(net, block) for block in (0, 1, 2, 3, 50)]
    assert [(head.block, head.finalized) for head in heads] == [(0, 0), (1, 0), (2, 0), (3, 1), (50, 48)]


def test_a_block_hash_covers_the_hash_before_the_number_and_the_calls(net: Subnet) -> None:
    net.at(0)
    keys, chain = net.pairs[2], net.chains[0]
    signed = sign(_call(chain, keys, SetCommitment(from_text("ab"))), keys.hotkey)
    assert asyncio.run(chain.submit(signed)) == 1
    _head(net, 2)
    calls = hashlib.sha256(hashlib.sha256(signed.payload).digest() + signed.signature).digest()
    first = hashlib.sha256(chain.genesis.hash + (1).to_bytes(8, "big") + calls).digest()
    second = hashlib.sha256(first + (2).to_bytes(8, "big") + hashlib.sha256().digest()).digest()
    with ledger.reading(net.path) as database:
        assert [block_hash(database, Block(b)) for b in (0, 1, 2)] == [chain.genesis.hash, first, second]


def test_a_clock_set_back_stops_nothing_and_changes_no_finished_block(net: Subnet) -> None:
    before = _head(net, 40)
    snapshot = asyncio.run(net.chains[0].snapshot(38))
    net.clock.now -= 3600
    assert asyncio.run(net.chains[0].head()) == before
    net.clock.now += 5 / 64
    assert asyncio.run(net.chains[0].head()).block == 45
    assert asyncio.run(LocalChain(net.path, NETUID, clock=net.clock).snapshot(38)) == snapshot


def test_a_clock_read_a_moment_earlier_by_another_process_does_not_move_the_chain(net: Subnet) -> None:
    _head(net, 40)
    net.clock.now -= 1 / 64
    assert asyncio.run(net.chains[1].head()).block == 40
    net.clock.now += 2 / 64
    assert asyncio.run(net.chains[1].head()).block == 41


def test_after_a_pause_the_chain_goes_on_from_where_it_was(net: Subnet) -> None:
    _head(net, 30)
    pause(net.path, net.clock)
    net.clock.now += 100
    assert asyncio.run(net.chains[0].head()).block == 30
    with pytest.raises(ChainUnavailable, match="paused after block 30"):
        asyncio.run(net.chains[2].commit("text"))
    resume(net.path, net.clock)
    assert asyncio.run(net.chains[0].head()).block == 30
    net.clock.now += 2 / 64
    assert asyncio.run(net.chains[0].head()).block == 32


def test_after_a_kill_too_resume_goes_on_from_the_newest_block(net: Subnet) -> None:
    _head(net, 30)
    net.clock.now += 100
    resume(net.path, net.clock)
    assert asyncio.run(net.chains[0].head()).block == 30


def test_ten_thousand_blocks_with_their_epochs_are_made_up_for_at_once(net: Subnet) -> None:
    assert _head(net, 10_000).block == 10_000
    blocks = {row.block for row in history.epochs(net.path)}
    assert blocks == {b for b in range(1, 10_002) if (b + NETUID + 1) % 21 == 20}


# The state at a block


def test_a_snapshot_is_the_state_at_its_block_whatever_came_after(net: Subnet) -> None:
    miner, validator = net.pairs[2], net.chains[0]
    net.at(19)
    asyncio.run(_commit_in_open_block(net, 2, "old"))
    asyncio.run(validator.set_weights({miner.address: 1.0}, 0))
    at_20 = _snapshot(net, 20)
    net.at(30)
    asyncio.run(_commit_in_open_block(net, 2, "new"))
    asyncio.run(validator.set_weights({net.pairs[3].address: 1.0}, 0))
    net.at(38)
    assert _snapshot(net, 20, LocalChain(net.path, NETUID, clock=net.clock)) == at_20
    assert [entry.commitment.name for entry in at_20.entries] == ["old"]
    assert at_20.weights == {net.pairs[0].address: {miner.address: 1.0}}
    at_40 = _snapshot(net, 40)
    assert [entry.commitment.name for entry in at_40.entries] == ["new"]
    assert at_40.weights == {net.pairs[0].address: {net.pairs[3].address: 1.0}}


def test_commit_blocks_come_with_their_hash(net: Subnet) -> None:
    net.at(14)
    asyncio.run(_commit_in_open_block(net, 2))
    asyncio.run(_commit_in_open_block(net, 3))
    net.at(16)
    asyncio.run(_commit_in_open_block(net, 4))
    snapshot = _snapshot(net, 20)
    assert [entry.block for entry in snapshot.entries] == [15, 15, 17]
    with ledger.reading(net.path) as database:
        assert snapshot.tie_hashes == {made: block_hash(database, Block(made)) for made in (15, 17)}


def test_a_state_older_than_the_retention_is_said_to_be_gone(tmp_path: Path) -> None:
    net = subnet(tmp_path, parameters(retention=50))
    net.at(120)
    assert asyncio.run(net.chains[0].snapshot(100)).block == 100
    with pytest.raises(ChainUnavailable, match="block 0 is not kept any more: the oldest to be read is 70"):
        asyncio.run(net.chains[0].snapshot(200))


async def _commit_in_open_block(net: Subnet, index: int, name: str = "model") -> Block:
    """Commit without waiting for it to read back."""
    keys, chain = net.pairs[index], net.chains[index]
    text = commitment(keys.address, name)
    with ledger.reading(net.path) as database:
        head = ledger.read_head(database)
        nonce = database.execute("SELECT COUNT(*) FROM calls WHERE signer = ?", (keys.address,)).fetchone()[0]
    call = _call(chain, keys, SetCommitment(from_text(text)), nonce, head.newest)
    return await chain.submit(sign(call, keys.hotkey))


# The file


def test_a_chain_that_is_not_there_is_said_so_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ChainUnavailable, match=r"^there is no chain at .*nowhere: expected the file of an .* chain$"):
        LocalChain(tmp_path / "nowhere", NETUID)


@pytest.mark.parametrize("content", [b"", b"not a database" * 100], ids=["empty", "garbage"])
def test_a_file_that_is_no_chain_is_said_so_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "chain.sqlite"
    path.write_bytes(content)
    with pytest.raises(ChainUnavailable, match=r"^.*chain\.sqlite (is no embedded chain|cannot be used).*$"):
        LocalChain(path, NETUID)


@pytest.mark.parametrize("version", [1, ledger.VERSION - 1, ledger.VERSION + 1])
def test_a_chain_of_another_version_says_what_to_do(net: Subnet, version: int) -> None:
    with closing(sqlite3.connect(net.path)) as database:
        database.execute(f"PRAGMA user_version = {version}")
    with pytest.raises(ChainUnavailable) as unavailable:
        LocalChain(net.path, NETUID)
    assert str(unavailable.value) == (
        f"{net.path} was made by another version of this software ({version}; this one reads {ledger.VERSION}):"
        " remove it and start a new run"
    )


def test_a_chain_damaged_while_it_runs_is_unavailable_and_not_a_crash(net: Subnet) -> None:
    with sqlite3.connect(net.path) as database:
        database.execute("DROP TABLE head")
    with pytest.raises(ChainUnavailable, match="no such table: head"):
        asyncio.run(net.chains[0].head())


def test_another_subnets_chain_is_a_wrong_flag(net: Subnet) -> None:
    with pytest.raises(ConfigError, match=r"--netuid 8: the chain in .* holds subnet 9"):
        LocalChain(net.path, 8)


def test_a_chain_is_never_made_over_another(net: Subnet) -> None:
    content = net.path.read_bytes()
    with pytest.raises(ChainUnavailable, match="the file exists"):
        create(net.path, net.chains[0].genesis)
    assert net.path.read_bytes() == content


def test_of_two_who_make_a_chain_at_once_one_is_told_so_and_the_chain_is_whole(
    tmp_path: Path, net: Subnet, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, genesis, fill = tmp_path / "both.sqlite", net.chains[0].genesis, ledger._fill  # noqa: SLF001 - the moment in between

    def overtaken(database: sqlite3.Connection, made: Genesis) -> None:
        fill(database, made)
        monkeypatch.setattr(ledger, "_fill", fill)
        create(path, made)

    monkeypatch.setattr(ledger, "_fill", overtaken)
    with pytest.raises(ChainUnavailable, match="the file exists"):
        create(path, genesis)

    assert LocalChain(path, NETUID, clock=net.clock).genesis == genesis
    assert list(tmp_path.glob(".both*")) == []


def test_a_chain_that_came_into_anothers_place_is_neither_read_nor_written(tmp_path: Path, net: Subnet) -> None:
    other = tmp_path / "other.sqlite"
    create(other, replace(net.chains[0].genesis, time=net.chains[0].genesis.time + 1))
    net.at(30)
    for kind in ("", "-wal", "-shm"):
        net.path.with_name(net.path.name + kind).unlink(missing_ok=True)
    other.rename(net.path)

    for ask in (net.chains[0].head(), net.chains[0].snapshot(5), net.chains[0].commit("text")):
        with pytest.raises(
            ChainUnavailable, match=r"another chain is in this one's place: .* start this program again"
        ):
            asyncio.run(ask)
    assert (
        asyncio.run(LocalChain(net.path, NETUID, clock=net.clock).network()).genesis != net.chains[0].genesis.hash.hex()
    )


def test_without_a_wallet_a_chain_is_read_only(net: Subnet) -> None:
    reader = LocalChain(net.path, NETUID, clock=net.clock)
    assert asyncio.run(reader.head()) == Head(Block(0), Block(0))
    with pytest.raises(ConfigError, match="without a wallet"):
        asyncio.run(reader.commit("text"))


# Epochs


def test_a_still_look_makes_no_block_however_many_are_due(net: Subnet) -> None:
    _head(net, 3)
    net.at(90_000)
    look = LocalChain(net.path, NETUID, net.pairs[0], clock=net.clock, still=True)
    told, head = asyncio.run(look.standing()), asyncio.run(look.head())
    assert (told.head.block, head.block, asyncio.run(look.commitment()), history.newest(net.path)) == (3, 3, None, 3)
    assert told.head_time == START + 3 * look.genesis.parameters.block_time


def test_permits_come_with_the_first_epoch_and_go_to_the_largest_stakes(tmp_path: Path) -> None:
    net = subnet(tmp_path, parameters(Hyperparameters(max_validators=1)))
    before, after = _snapshot(net, FIRST_EPOCH - 1), _snapshot(net, FIRST_EPOCH)
    assert [neuron.permit for neuron in before.neurons] == [False] * 5
    assert [neuron.permit for neuron in after.neurons] == [False, True, False, False, False]


def test_two_agreeing_validators_pay_the_miners_by_their_weights(net: Subnet) -> None:
    net.at(12)
    row = {net.pairs[2].address: 3.0, net.pairs[3].address: 1.0}
    for chain in net.chains[:2]:
        asyncio.run(chain.set_weights(row, 0))
    incentive = [neuron.incentive for neuron in _snapshot(net, 31).neurons]
    assert incentive == pytest.approx([0, 0, 0.75, 0.25, 0], abs=1e-3)


def test_no_rao_is_lost_or_made_but_the_emission(tmp_path: Path) -> None:
    net = subnet(tmp_path)
    genesis = net.chains[0].genesis
    owned = replace(genesis, owner=net.pairs[2].address, time=START)
    path = tmp_path / "owned.sqlite"
    create(path, owned)
    chains = [LocalChain(path, NETUID, keys, clock=net.clock) for keys in net.pairs]
    net.at(12)
    for chain in chains[:2]:
        asyncio.run(chain.set_weights({net.pairs[2].address: 1.0, net.pairs[3].address: 2.0}, 0))
    before = _wealth(path)
    net.at(112)
    asyncio.run(chains[0].head())
    assert _wealth(path) - before == 100 * RAO
    with ledger.reading(path) as database:
        head = ledger.read_head(database)
        owner = ledger.stake_of(database, net.pairs[2].address, head.newest)
    assert head.recycled > 0, "what the owner earned as a miner is recycled"
    assert owner == sum(RAO * 11_796 // 65_535 for b in range(1, 95)), "the owner's cut of all epochs up to block 94"


def _wealth(path: Path) -> int:
    """All rao there is: staked, spendable, pending and recycled."""
    with ledger.reading(path) as database:
        head = ledger.read_head(database)
        hotkeys = [row[0] for row in database.execute("SELECT DISTINCT hotkey FROM stakes")]
        staked = sum(ledger.stake_of(database, hotkey, head.open) for hotkey in hotkeys)
        spendable = database.execute("SELECT COALESCE(SUM(rao), 0) FROM balances").fetchone()[0]
    return int(staked + spendable + head.pending + head.pending_owner + head.recycled)


# Weights


@given(st.dictionaries(st.integers(0, 30), st.floats(0, 1e6), max_size=30))
def test_quantised_rows_keep_the_shares_to_half_a_unit_of_the_largest(shares: dict[int, float]) -> None:
    uids, values = quantise({Hotkey(str(i)): share for i, share in shares.items()}, [_slot(i) for i in range(20)])
    known = {uid: share for uid, share in shares.items() if uid < 20}
    top = max(known.values(), default=0.0)
    assert list(uids) == sorted(uids)
    assert all(0 < value <= 65_535 for value in values)
    assert not top or max(values) == 65_535
    kept = dict(zip(uids, values, strict=True))
    assert all(abs(kept.get(uid, 0) - share / top * 65_535) <= 0.5 for uid, share in known.items() if top)


@pytest.mark.parametrize("share", [-1.0, float("nan"), float("inf")])
def test_a_share_that_is_no_share_is_refused(share: float) -> None:
    with pytest.raises(Refused, match="expected a finite number, 0 or more"):
        quantise({Hotkey("0"): share}, [_slot(0)])


def _slot(uid: int) -> Slot:
    return Slot(
        uid=Uid(uid),
        hotkey=Hotkey(str(uid)),
        registered=Block(0),
        stake=0,
        last_update=Block(0),
        weights_block=None,
        weights=(),
        permit=False,
        incentive=0,
        pruning_score=0,
        bonds=(),
    )


# History


def test_the_history_tells_who_weighed_committed_and_earned_what(net: Subnet) -> None:
    net.at(14)
    miner, validator = net.pairs[2].address, net.pairs[0].address
    asyncio.run(_commit_in_open_block(net, 2))
    asyncio.run(net.chains[0].set_weights({miner: 1.0, net.pairs[3].address: 1.0}, 0))
    _head(net, 20)
    assert history.commitments(net.path) == (history.CommitmentMade(Block(15), miner, commitment(miner)),)
    assert history.weights(net.path) == (
        history.WeightsRow(Block(15), validator, {miner: 0.5, net.pairs[3].address: 0.5}),
    )
    rows = history.epochs(net.path)
    assert [(row.block, row.uid, row.hotkey, row.permit) for row in rows] == [
        (FIRST_EPOCH, uid, keys.address, uid < 2) for uid, keys in enumerate(net.pairs)
    ]
    assert sum(row.emission for row in rows) == pytest.approx(FIRST_EPOCH, abs=1e-6)

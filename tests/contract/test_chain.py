"""What every ``Chain`` does, whatever stands behind it: the same cases over each implementation.

A subnet here has two validators with permits, three registered miners, and a rate limit of five blocks on weights.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
import subnet as embedded
from embedded_substrate import EmbeddedSubstrate
from serving import served

from pretrain.chain import Chain, ledger, writing
from pretrain.chain.bittensor import BittensorChain, ReadWrite
from pretrain.chain.local import LocalChain
from pretrain.chain.state import slots
from pretrain.commitment import Entry, decode
from pretrain.errors import Refused
from pretrain.types import Block, Hotkey

CADENCE = 25

T = TypeVar("T")


@dataclass(frozen=True)
class Network:
    validators: Sequence[Chain]
    miners: Sequence[Chain]
    stranger: Chain
    keys: Mapping[int, embedded.Pair]
    """By id() of a chain, whose it is."""
    path: Path
    clock: embedded.Clock
    pass_blocks: Callable[[int], None]

    def run(self, scenario: Coroutine[Any, Any, T]) -> T:
        """Run a scenario to its end, and leave no connection open."""

        async def to_its_end() -> T:
            try:
                return await scenario
            finally:
                for chain in (*self.validators, *self.miners, self.stranger):
                    if isinstance(chain, BittensorChain):
                        await chain.close()

        return asyncio.run(to_its_end())

    def hotkey(self, chain: Chain) -> Hotkey:
        return self.keys[id(chain)].address

    async def later(self, blocks: int) -> None:
        """Let blocks pass and be noticed."""
        self.pass_blocks(blocks)
        await self.stranger.head()

    async def to_fresh_window(self) -> None:
        """Go to just after a sync block, so that the next blocks belong to one window."""
        head = await self.stranger.head()
        await self.later(CADENCE - head.finalized % CADENCE)


def _embedded(folder: Path) -> Network:
    made = embedded.subnet(folder)
    made.clock.tick = 0.0015  # a tenth of a block at each look
    outsider = embedded.pair("Stranger")
    stranger = LocalChain(made.path, embedded.NETUID, outsider, clock=made.clock)
    made.at(2 * CADENCE)
    chains = [*made.chains, stranger]
    keys = {id(chain): pair for chain, pair in zip(chains, [*made.pairs, outsider], strict=True)}

    def pass_blocks(count: int) -> None:
        made.clock.now += count * made.chains[0].genesis.parameters.block_time

    return Network(made.chains[:2], made.chains[2:], stranger, keys, made.path, made.clock, pass_blocks)


def _over_the_sdk(network: Network, endpoint: str, backend: Callable[[str], ReadWrite] | None = None) -> Network:
    """Return the same network, talked to through the real client."""
    chains = [*network.validators, *network.miners, network.stranger]
    keys = [network.keys[id(chain)] for chain in chains]
    over = [BittensorChain(endpoint, embedded.NETUID, pair, backend=backend) for pair in keys]
    return replace(
        network,
        validators=over[:2],
        miners=over[2:-1],
        stranger=over[-1],
        keys={id(chain): pair for chain, pair in zip(over, keys, strict=True)},
    )


@contextmanager
def _in_memory(folder: Path) -> Iterator[Network]:
    """The real client on an in-memory backend whose state is an embedded chain."""
    network = _embedded(folder)
    yield _over_the_sdk(network, "ws://memory", lambda _endpoint: EmbeddedSubstrate(network.path, network.clock))


@contextmanager
def _over_a_websocket(folder: Path) -> Iterator[Network]:
    """The real client with its real transport, and a node in front of an embedded chain."""
    network = _embedded(folder)
    network.clock.tick /= 3  # a node is asked more often
    with served(network.path, network.clock) as endpoint:
        yield _over_the_sdk(network, endpoint)


@contextmanager
def _in_a_file(folder: Path) -> Iterator[Network]:
    """The embedded chain itself."""
    yield _embedded(folder)


@pytest.fixture(
    params=[_in_a_file, _in_memory, _over_a_websocket], ids=["file", "sdk in memory", "sdk over a websocket"]
)
def network(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    monkeypatch.setattr(writing, "_PAUSE", 0.0)
    with request.param(tmp_path) as made:
        yield made


def test_the_finalised_head_is_never_above_the_newest(network: Network) -> None:
    async def scenario() -> None:
        first = await network.stranger.head()
        await network.later(3)
        second = await network.stranger.head()
        assert first.finalized <= first.block
        assert second.finalized <= second.block
        assert (second.block, second.finalized) >= (first.block + 3, first.finalized + 3)

    network.run(scenario())


def test_a_snapshot_is_at_the_last_multiple_of_the_cadence_not_above_the_finalised_head(network: Network) -> None:
    async def scenario() -> None:
        before = (await network.stranger.head()).finalized
        snapshot = await network.stranger.snapshot(CADENCE)
        after = (await network.stranger.head()).finalized
        assert snapshot.block in {before - before % CADENCE, after - after % CADENCE}
        assert len(snapshot.block_hash) == 32
        assert [neuron.uid for neuron in snapshot.neurons] == list(range(5))

    network.run(scenario())


def test_validators_with_stake_have_permits_and_miners_have_none(network: Network) -> None:
    snapshot = network.run(network.stranger.snapshot(CADENCE))
    permits = {neuron.hotkey: (neuron.permit, neuron.stake > 0) for neuron in snapshot.neurons}
    assert permits == {
        network.hotkey(chain): (chain in network.validators, chain in network.validators)
        for chain in [*network.validators, *network.miners]
    }


def test_two_readers_see_the_same_snapshot_and_no_later_write_changes_it(network: Network) -> None:
    async def scenario() -> None:
        await network.to_fresh_window()
        first, miner = network.validators[0], network.miners[0]
        before = await first.snapshot(CADENCE)
        await miner.commit(embedded.commitment(network.hotkey(miner)))
        await first.set_weights({network.hotkey(miner): 1.0}, 0)
        again = await network.validators[1].snapshot(CADENCE)
        assert again.block == before.block
        assert again == before
        assert before.entries == ()

    network.run(scenario())


def test_a_commitment_reads_back_with_its_block_and_stands_in_later_snapshots(network: Network) -> None:
    async def scenario() -> None:
        miner = network.miners[0]
        text = embedded.commitment(network.hotkey(miner))
        assert await miner.commitment() is None
        block = await miner.commit(text)
        entry = Entry(network.hotkey(miner), block, decode(text))
        assert await miner.commitment() == entry
        assert await network.miners[1].commitment() is None
        assert (await miner.head()).block >= block
        await network.later(2 * CADENCE)
        assert (await network.stranger.snapshot(CADENCE)).entries == (entry,)

    network.run(scenario())


def test_a_hotkeys_newest_commitment_is_its_only_one(network: Network) -> None:
    async def scenario() -> None:
        miner = network.miners[0]
        await miner.commit(embedded.commitment(network.hotkey(miner), "first"))
        text = embedded.commitment(network.hotkey(miner), "second")
        block = await miner.commit(text)
        await network.later(2 * CADENCE)
        snapshot = await network.stranger.snapshot(CADENCE)
        assert snapshot.entries == (Entry(network.hotkey(miner), block, decode(text)),)

    network.run(scenario())


def test_a_commitment_that_is_not_well_formed_is_no_entry_and_takes_the_former_ones_place(network: Network) -> None:
    async def scenario() -> None:
        miner = network.miners[0]
        await miner.commit(embedded.commitment(network.hotkey(miner)))
        await miner.commit("sold out")
        assert await miner.commitment() is None
        await network.later(2 * CADENCE)
        assert (await network.stranger.snapshot(CADENCE)).entries == ()

    network.run(scenario())


@pytest.mark.parametrize("text", ["x" * 129, "é" * 65], ids=["129 letters", "130 bytes"])
def test_a_commitment_over_128_bytes_is_refused(network: Network, text: str) -> None:
    with pytest.raises(Refused):
        network.run(network.miners[0].commit(text))


def test_who_is_not_registered_can_neither_commit_nor_set_weights(network: Network) -> None:
    async def scenario() -> None:
        with pytest.raises(Refused):
            await network.stranger.commit(embedded.commitment(network.hotkey(network.stranger)))
        with pytest.raises(Refused):
            await network.stranger.set_weights({network.hotkey(network.miners[0]): 1.0}, 0)

    network.run(scenario())


def test_who_has_no_permit_cannot_weigh_others(network: Network) -> None:
    with pytest.raises(Refused):
        network.run(network.miners[0].set_weights({network.hotkey(network.miners[1]): 1.0}, 0))


def test_weights_are_shares_of_a_row_and_hotkeys_not_registered_are_dropped(network: Network) -> None:
    async def scenario() -> None:
        one, two = (network.hotkey(miner) for miner in network.miners[:2])
        validator = network.validators[0]
        block = await validator.set_weights({one: 3.0, two: 1.0, network.hotkey(network.stranger): 9.0}, 0)
        await network.later(2 * CADENCE)
        snapshot = await network.stranger.snapshot(CADENCE)
        assert snapshot.weights == {network.hotkey(validator): pytest.approx({one: 0.75, two: 0.25}, abs=1e-4)}
        assert sum(snapshot.weights[network.hotkey(validator)].values()) == pytest.approx(1.0, abs=1e-12)
        assert {n.last_update for n in snapshot.neurons if n.hotkey == network.hotkey(validator)} == {block}

    network.run(scenario())


def test_weights_too_soon_are_refused_with_the_blocks_to_wait_and_accepted_after_them(network: Network) -> None:
    async def scenario() -> None:
        validator, row = network.validators[0], {network.hotkey(network.miners[0]): 1.0}
        block = await validator.set_weights(row, 0)
        with pytest.raises(Refused) as refused:
            await validator.set_weights(row, 0)
        assert 1 <= refused.value.wait_blocks <= 5
        await network.later(refused.value.wait_blocks)
        assert await validator.set_weights(row, 0) >= Block(block + 5)

    network.run(scenario())


def test_entries_are_ordered_by_block_and_then_hotkey(network: Network) -> None:
    async def scenario() -> None:
        for miner in network.miners:
            await miner.commit(embedded.commitment(network.hotkey(miner)))
        await network.later(2 * CADENCE)
        entries = (await network.stranger.snapshot(CADENCE)).entries
        assert len(entries) == 3
        assert list(entries) == sorted(entries, key=lambda entry: (entry.block, entry.hotkey))

    network.run(scenario())


def test_a_chain_says_which_one_it_is(network: Network) -> None:
    with ledger.reading(network.path) as database:
        genesis = ledger.read_genesis(database)
    for chain in (network.validators[0], network.stranger):
        told = network.run(chain.network())
        assert told.genesis == genesis.hash.hex()
        assert told.block_time == pytest.approx(genesis.parameters.block_time, abs=0.001)  # a node says milliseconds


def test_a_hotkey_is_told_how_it_stands(network: Network) -> None:
    async def scenario() -> None:
        validator, miner, stranger = network.validators[0], network.miners[0], network.stranger
        stands = await validator.standing()
        assert stands.neuron is not None
        assert (stands.neuron.hotkey, stands.neuron.permit, stands.neuron.uid) == (network.hotkey(validator), True, 0)
        assert (stands.balance, stands.registration_cost, stands.weights_rate_limit) == (10.0, 0.1, 5)
        assert (stands.commit_reveal, stands.head.finalized <= stands.head.block) == (False, True)
        assert stands.coldkey == network.keys[id(validator)].coldkey.ss58_address
        assert abs(stands.head_time - network.clock.now) < 1.0
        assert (await miner.standing()).neuron is not None
        outside = await stranger.standing()
        assert (outside.neuron, outside.coldkey, outside.balance) == (None, None, 0.0)
        coldkey = network.keys[id(miner)].coldkey.ss58_address
        asked = await stranger.standing(coldkey)
        assert (asked.neuron, asked.coldkey, asked.balance) == (None, coldkey, 10.0)
        assert (await validator.standing(coldkey)).coldkey == stands.coldkey

    network.run(scenario())


def test_standing_tells_of_weights_that_were_just_set(network: Network) -> None:
    async def scenario() -> None:
        validator = network.validators[0]
        block = await validator.set_weights({network.hotkey(network.miners[0]): 1.0}, 0)
        await network.later(1)
        neuron = (await validator.standing()).neuron
        assert neuron is not None
        assert neuron.last_update == block

    network.run(scenario())


SHARES = [
    (1.0, 1 / 3, 1e-9),
    (0.2, 0.3, 0.5),
    (1e-300, 3e-300, 2e-300),
    (65_535.0, 1.0, 0.5),
    (1 / 65_535, 0.5 / 65_535, 1.5 / 65_535),
    (0.1 + 0.2, 0.3, 0.30000000000000004),
]


@pytest.mark.parametrize("shares", SHARES)
def test_one_vector_becomes_the_same_numbers_on_every_chain(network: Network, shares: Sequence[float]) -> None:
    """The largest is 65535 and the others are rounded to it, halves to even; what rounds to 0 is left out."""
    row = {network.hotkey(miner): share for miner, share in zip(network.miners, shares, strict=True)}
    block = network.run(network.validators[0].set_weights(row, 0))
    with ledger.reading(network.path) as database:
        stored = slots(database, block)[0].weights
    scaled = [(uid, round(share / max(shares) * 65_535)) for uid, share in enumerate(shares, start=2)]
    assert list(stored) == [(uid, value) for uid, value in scaled if value]


def test_a_row_that_was_set_later_does_not_show_at_an_earlier_block(network: Network) -> None:
    async def scenario() -> None:
        validator, (one, two) = network.validators[0], (network.hotkey(miner) for miner in network.miners[:2])
        await validator.set_weights({one: 1.0}, 0)
        await network.later(CADENCE)
        await network.to_fresh_window()
        before = await network.stranger.snapshot(CADENCE)
        await network.later(6)
        await validator.set_weights({two: 1.0}, 0)
        again = await network.validators[1].snapshot(CADENCE)
        assert again.block == before.block
        assert again.weights == before.weights == {network.hotkey(validator): {one: 1.0}}

    network.run(scenario())

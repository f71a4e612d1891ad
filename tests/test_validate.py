"""A validator's two loops: judging each window once, and setting weights only when there is something fresh to say."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import fakes
import pytest
from fakes import VALIDATOR, World, one_competition, schedule_of

from pretrain.chain import Head, Snapshot
from pretrain.errors import ChainUnavailable, Refused
from pretrain.memory import Memory
from pretrain.report import Report
from pretrain.state import Standings, State
from pretrain.types import Block, CompetitionId, Hotkey
from pretrain.validate import Listeners, Mind, Pace, judge_forever, set_weights_forever, weights_row

ALICE, BOB = Hotkey("alice"), Hotkey("bob")


@dataclass
class MovingChain(fakes.FakeChain):
    """A chain whose newest blocks are told one after another; the last one asks the loop to stop."""

    world: World | None = None
    blocks: list[int] = field(default_factory=list)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    rows: list[tuple[int, dict[Hotkey, float], int]] = field(default_factory=list)
    refusals: list[Refused] = field(default_factory=list)
    outages: int = 0
    block: int = 0

    async def head(self) -> Head:
        if self.outages:
            self.outages -= 1
            raise ChainUnavailable("no answer")
        self.block = self.blocks.pop(0)
        if not self.blocks:
            self.stop.set()
        return Head(Block(self.block), Block(self.block))

    async def snapshot(self, cadence: int) -> Snapshot:
        assert self.world is not None
        return self.world.at(self.block - self.block % cadence)

    async def set_weights(self, weights: Mapping[Hotkey, float], version_key: int) -> Block:
        if self.refusals:
            raise self.refusals.pop(0)
        self.rows.append((self.block, dict(weights), version_key))
        return Block(self.block)


def judge_through(world: World, blocks: list[int], memory: Memory, outages: int = 0) -> tuple[Mind, list[int]]:
    """Run the judging loop while the chain passes these blocks; return its mind and the blocks it published."""
    published: list[int] = []
    troubles: list[str] = []

    async def go() -> Mind:
        chain = MovingChain(world.at(0), world=world, blocks=blocks, outages=outages)
        mind = Mind(memory.load())

        def publish(report: Report) -> None:
            assert memory.load() == mind.state
            published.append(report.block)

        listeners = Listeners(publish, troubles.append)
        await judge_forever(replace(world.node, chain=chain), mind, memory, Pace(0.0, chain.stop), listeners)
        assert len(troubles) == outages
        return mind

    return asyncio.run(go()), published


def test_each_sync_window_is_judged_once_and_skipped_ones_are_not_made_up_for(tmp_path: Path) -> None:
    world = World(tmp_path / "store", one_competition())
    (tmp_path / "store" / "arriving").mkdir(parents=True)
    world.commit("alice", 1, 2.0)
    memory = Memory(tmp_path / "state.sqlite")
    mind, published = judge_through(world, [20, 20, 25, 30, 31, 62], memory)
    assert (published, mind.state.step) == ([20, 30, 60], 60)


def test_a_step_is_saved_before_anybody_hears_of_it_and_found_again_after_a_restart(tmp_path: Path) -> None:
    world = World(tmp_path / "store", one_competition())
    (tmp_path / "store" / "arriving").mkdir(parents=True)
    world.commit("alice", 1, 2.0)
    memory = Memory(tmp_path / "state.sqlite")
    mind, _ = judge_through(world, [20], memory)
    _, again = judge_through(world, [25, 29], Memory(tmp_path / "state.sqlite"))
    assert (memory.load(), again) == (mind.state, [])


def test_an_outage_of_the_chain_only_delays(tmp_path: Path) -> None:
    world = World(tmp_path / "store", one_competition())
    _, published = judge_through(world, [20], Memory(tmp_path / "state.sqlite"), outages=3)
    assert published == [20]


def test_a_bug_ends_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("pretrain.validate.step", broken)
    with pytest.raises(ZeroDivisionError):
        judge_through(World(tmp_path, one_competition()), [20], Memory(tmp_path / "state.sqlite"))


def standing(updated: int, **averages: float) -> Standings:
    return Standings({Hotkey(h): w for h, w in averages.items()}, Block(updated), (), ready=True)


def two_miners(tmp_path: Path) -> World:
    world = World(tmp_path, schedule_of())
    world.commit("alice", 1, 2.0, competition=0)
    world.commit("bob", 1, 2.0, competition=1)
    return world


def row_of(world: World, *standings: Standings, block: int = 100) -> dict[Hotkey, float]:
    state = State(Block(block), standings={CompetitionId(i): standing for i, standing in enumerate(standings)})
    return weights_row(state, world.at(block), world.schedule)


def test_competitions_are_paid_by_their_shares(tmp_path: Path) -> None:
    world = two_miners(tmp_path)
    assert row_of(world, standing(90, alice=0.5), standing(90, bob=1.0)) == {ALICE: 0.5, BOB: 0.5}


def test_nothing_is_set_before_anything_is_decided(tmp_path: Path) -> None:
    assert row_of(two_miners(tmp_path)) == {}


def test_a_validator_that_is_not_ready_does_not_even_burn(tmp_path: Path) -> None:
    world = World(tmp_path, schedule_of(weights={"burn": 0.1, "burn_uid": 0}))
    assert row_of(world, replace(standing(90, alice=1.0), ready=False)) == {}


def test_a_competition_that_is_not_ready_gives_its_share_to_the_other(tmp_path: Path) -> None:
    world = two_miners(tmp_path)
    unready = replace(standing(90, alice=1.0), ready=False)
    assert row_of(world, unready, standing(90, bob=1.0)) == {BOB: 1.0}


def test_averages_that_are_too_old_are_not_set_again(tmp_path: Path) -> None:
    world = two_miners(tmp_path)
    old = standing(100, alice=1.0)
    assert (row_of(world, old, block=200), row_of(world, old, block=210)) == ({ALICE: 1.0}, {})


def test_who_left_or_entered_elsewhere_is_not_paid_from_the_old_average(tmp_path: Path) -> None:
    world = two_miners(tmp_path)
    assert row_of(world, standing(90, alice=0.5, bob=0.4, carol=0.1)) == {ALICE: 1.0}


def test_everything_is_burnt_when_a_ready_validator_has_nobody_to_pay(tmp_path: Path) -> None:
    world = World(tmp_path, schedule_of(weights={"burn_uid": 0}))
    assert row_of(world, standing(90)) == {VALIDATOR: 1.0}


def set_through(
    world: World, blocks: list[int], outages: int = 0, refusals: list[Refused] | None = None
) -> list[tuple[int, dict[Hotkey, float], int]]:
    async def go() -> list[tuple[int, dict[Hotkey, float], int]]:
        chain = MovingChain(world.at(0), world=world, blocks=blocks, outages=outages, refusals=refusals or [])
        state = State(Block(50), standings={CompetitionId(0): standing(50, alice=1.0)})
        await set_weights_forever(replace(world.node, chain=chain), Mind(state), Pace(0.0, chain.stop))
        return chain.rows

    return asyncio.run(go())


def test_weights_are_set_once_an_interval(tmp_path: Path) -> None:
    rows = set_through(two_miners(tmp_path), [50, 51, 60, 69, 70, 89, 95])
    assert rows == [(50, {ALICE: 1.0}, 1), (70, {ALICE: 1.0}, 1), (95, {ALICE: 1.0}, 1)]


def test_a_refusal_and_an_outage_are_tried_again(tmp_path: Path) -> None:
    refusals = [Refused("too soon", code="SettingWeightsTooFast", wait_blocks=1), Refused("no permit")]
    rows = set_through(two_miners(tmp_path), [50, 51, 52], outages=2, refusals=refusals)
    assert [block for block, _, _ in rows] == [52]


def test_a_validator_that_has_judged_nothing_for_too_long_sets_nothing_and_burns_nothing(tmp_path: Path) -> None:
    world = World(tmp_path, schedule_of(weights={"burn_uid": 0}))
    state = State(Block(50), standings={CompetitionId(0): standing(50)})
    assert (weights_row(state, world.at(150), world.schedule), weights_row(state, world.at(160), world.schedule)) == (
        {VALIDATOR: 1.0},
        {},
    )


def test_one_competition_that_is_too_old_leaves_its_share_to_the_fresh_one(tmp_path: Path) -> None:
    world = two_miners(tmp_path)
    assert row_of(world, standing(10, alice=1.0), standing(190, bob=1.0), block=200) == {BOB: 1.0}

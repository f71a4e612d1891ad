"""A validator's two loops: judging each window once, and setting weights only when there is something fresh to say."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import fakes
import pytest
from fakes import VALIDATOR, World, one_competition, schedule_of

from pretrain.chain import Head, Snapshot, Standing
from pretrain.errors import ChainUnavailable, Refused
from pretrain.memory import Memory
from pretrain.node import Node
from pretrain.outage import Outage
from pretrain.patience import Pace
from pretrain.report import Report
from pretrain.state import Standings, State
from pretrain.step import step
from pretrain.types import Block, CompetitionId, Hotkey
from pretrain.validate import (
    ROW,
    SYNC_BLOCK,
    Listeners,
    Mind,
    averages_age,
    judge_forever,
    set_weights_forever,
    weights_row,
)

ALICE, BOB = Hotkey("alice"), Hotkey("bob")


@dataclass
class MovingChain(fakes.FakeChain):
    """A chain whose newest blocks are told one after another; the last one asks the loop to stop.

    A None among them is a look at a chain that is away.
    """

    world: World | None = None
    blocks: list[int | None] = field(default_factory=list)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    rows: list[tuple[int, dict[Hotkey, float], int]] = field(default_factory=list)
    refusals: list[Refused | ChainUnavailable] = field(default_factory=list)
    block: int = 0
    last_update: int = 0
    tried: list[int] = field(default_factory=list)
    """When a row was sent."""
    lag: int = 0
    """Blocks between the newest and the newest finalised one."""

    @property
    def tries(self) -> int:
        return len(self.tried)

    async def head(self) -> Head:
        block = self.blocks.pop(0)
        if block is None:
            raise ChainUnavailable("no answer")
        self.block = block
        if not self.blocks:
            self.stop.set()
        return Head(Block(self.block), Block(self.block - self.lag))

    async def snapshot(self, cadence: int) -> Snapshot:
        assert self.world is not None
        return self.world.at(self.block - self.block % cadence)

    async def standing(self, coldkey: str | None = None) -> Standing:
        assert self.world is not None
        assert coldkey is None
        neuron = replace(self.world.at(self.block).neurons[0], last_update=Block(self.last_update))
        head = Head(Block(self.block), Block(self.block))
        return Standing(head, 0.0, "ws://fake", neuron, None, 0.0, 0.0, 0, commit_reveal=False, version_key=0)

    async def set_weights(self, weights: Mapping[Hotkey, float], version_key: int) -> Block:
        self.tried.append(self.block)
        if self.refusals:
            raise self.refusals.pop(0)
        self.rows.append((self.block, dict(weights), version_key))
        self.last_update = self.block
        return Block(self.block)


@dataclass
class Waits:
    """How long a loop wanted to wait, and what it told; its clock passes by just that."""

    seconds: list[float] = field(default_factory=list)
    told: list[Outage | None] = field(default_factory=list)
    poll: float = 0.0

    def pace(self, stop: asyncio.Event) -> Pace:
        waits = self

        class Noting(Pace):
            async def wait(self, seconds: float) -> None:
                waits.seconds.append(seconds)
                await asyncio.sleep(0)

        return Noting(self.poll, stop, clock=lambda: 1000.0 + sum(self.seconds))


def judge_through(
    world: World, blocks: list[int | None], memory: Memory, waits: Waits | None = None
) -> tuple[Mind, list[int]]:
    """Run the judging loop while the chain passes these blocks; return its mind and the blocks it published."""
    published: list[int] = []
    waits = waits or Waits()

    async def go() -> Mind:
        chain = MovingChain(world.at(0), world=world, blocks=blocks)
        mind = Mind(memory.load())

        def publish(report: Report) -> None:
            assert memory.load() == mind.state
            published.append(report.block)

        listeners = Listeners(publish, waits.told.append)
        await judge_forever(replace(world.node, chain=chain), mind, memory, waits.pace(chain.stop), listeners)
        return mind

    return asyncio.run(go()), published


def a_world(tmp_path: Path) -> World:
    world = World(tmp_path / "store", one_competition())
    (tmp_path / "store" / "arriving").mkdir(parents=True)
    world.commit("alice", 1, 2.0)
    return world


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


def test_an_outage_of_the_chain_only_delays_and_is_told_until_it_is_over(tmp_path: Path) -> None:
    world, waits = World(tmp_path / "store", one_competition()), Waits()
    _, published = judge_through(world, [None, None, None, 20, 30], Memory(tmp_path / "state.sqlite"), waits)
    assert published == [20, 30]
    assert [(outage.what, outage.why, outage.tries) if outage else None for outage in waits.told] == [
        ("the chain", "no answer", 1),
        ("the chain", "no answer", 2),
        ("the chain", "no answer", 3),
        None,
    ]


def test_who_hears_of_trouble_hears_when_it_is_over(tmp_path: Path) -> None:
    waits = Waits()
    judge_through(a_world(tmp_path), [20, None, 25, 26], Memory(tmp_path / "state.sqlite"), waits)
    assert [outage and outage.tries for outage in waits.told] == [1, None]


def test_hours_without_a_chain_are_a_few_lines_with_a_count_and_one_when_it_is_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    waits = Waits(poll=12.0)
    with caplog.at_level(logging.INFO):
        judge_through(a_world(tmp_path), [20, *[None] * 200, 300, 301], Memory(tmp_path / "state.sqlite"), waits)
    lines = [record.getMessage() for record in caplog.records]
    away = [line for line in lines if line.startswith("waiting for the chain: no answer")]
    assert [line.partition("(")[2].partition(" tries")[0] for line in away[1:]] == [
        "2",
        "4",
        "8",
        "16",
        "32",
        "64",
        "128",
    ]
    assert away[0].startswith(
        "waiting for the chain: no answer; weights on chain stay, our averages are 0 blocks old at block 20; trying"
    )
    assert [line for line in lines if "is back" in line] == ["the chain is back after 2 h 29 min (200 tries failed)"]


def test_pauses_grow_up_to_a_minute_and_are_the_same_for_one_hotkey_and_others_for_another() -> None:
    def pauses(hotkey: str) -> list[float]:
        pace = Pace(12.0, asyncio.Event())
        return [pace.pause(hotkey, tries) for tries in range(1, 9)]

    first, other = pauses("5Alice"), pauses("5Bob")
    assert first == pauses("5Alice")
    assert all(a != b for a, b in zip(first, other, strict=True))
    assert all(full / 2 <= pause <= full for full, pause in zip([12, 24, 48, 60, 60, 60, 60, 60], first, strict=True))


def test_a_step_that_has_begun_goes_on_when_the_chain_goes_away(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    published: list[int] = []

    @dataclass
    class GoesAway(MovingChain):
        gone: bool = False
        asked: list[str] = field(default_factory=list)

        async def snapshot(self, cadence: int) -> Snapshot:
            seen = await super().snapshot(cadence)
            self.gone = True
            return seen

        async def head(self) -> Head:
            if not self.gone:
                return await super().head()
            assert published == [20], "nothing is asked before the step is done"
            self.stop.set()
            raise ChainUnavailable("gone")

    async def go() -> None:
        chain = GoesAway(world.at(0), world=world, blocks=[20, 21])
        memory = Memory(tmp_path / "state.sqlite")
        listeners = Listeners(lambda report: published.append(report.block), lambda _outage: None)
        await judge_forever(
            replace(world.node, chain=chain), Mind(memory.load()), memory, Pace(0.0, chain.stop), listeners
        )
        assert memory.load().step == 20

    asyncio.run(go())
    assert published == [20]


def test_asked_to_stop_a_loop_does_not_wait_for_a_chain_that_hangs(tmp_path: Path) -> None:
    class Hangs(MovingChain):
        async def head(self) -> Head:
            self.stop.set()
            await asyncio.Event().wait()
            raise AssertionError

    async def go() -> None:
        world = a_world(tmp_path)
        chain = Hangs(world.at(0), world=world)
        node, listeners = replace(world.node, chain=chain), Listeners(lambda _: None, lambda _: None)
        pace = Pace(60.0, chain.stop)
        async with asyncio.timeout(5):
            await judge_forever(node, Mind(State()), Memory(tmp_path / "state.sqlite"), pace, listeners)
            await set_weights_forever(node, Mind(State()), pace, listeners)

    asyncio.run(go())


def test_the_age_of_the_averages_is_that_of_the_oldest_in_force(tmp_path: Path) -> None:
    world = two_miners(tmp_path)
    both = {CompetitionId(0): standing(50, alice=1.0), CompetitionId(1): standing(70, bob=1.0)}
    known = Mind(State(Block(90), standings={**both, CompetitionId(7): standing(1, alice=1.0)}), Block(95))
    assert averages_age(known, world.schedule) == 45
    assert averages_age(Mind(State(), Block(95)), world.schedule) is None
    assert averages_age(Mind(known.state), world.schedule) is None


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


def weights_chain(
    world: World, blocks: list[int | None], refusals: list[Refused | ChainUnavailable] | None = None, updated: int = 50
) -> MovingChain:
    """Run the loop that sets weights while the chain passes these blocks, and return the chain."""

    async def go() -> MovingChain:
        chain = MovingChain(world.at(0), world=world, blocks=blocks, refusals=refusals or [])
        state = State(Block(updated), standings={CompetitionId(0): standing(updated, alice=1.0)})
        listeners = Listeners(lambda _: None, lambda _: None)
        node = replace(world.node, chain=chain)
        await set_weights_forever(node, Mind(state), Waits().pace(chain.stop), listeners)
        return chain

    return asyncio.run(go())


def set_at(chain: MovingChain) -> list[int]:
    return [block for block, _, _ in chain.rows]


def test_weights_are_set_once_an_interval(tmp_path: Path) -> None:
    chain = weights_chain(two_miners(tmp_path), [50, 51, 60, 69, 70, 89, 95])
    assert chain.rows == [(50, {ALICE: 1.0}, 1), (70, {ALICE: 1.0}, 1), (95, {ALICE: 1.0}, 1)]


def test_a_refusal_and_an_outage_are_tried_again(tmp_path: Path) -> None:
    refusals = [Refused("too soon", code="SettingWeightsTooFast", wait_blocks=1), Refused("no permit")]
    assert set_at(weights_chain(two_miners(tmp_path), [None, None, 50, 51, 52], [*refusals])) == [52]


def test_too_early_is_waiting_for_so_many_blocks_and_no_failure(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    early = Refused("SettingWeightsTooFast", wait_blocks=10)
    with caplog.at_level(logging.INFO):
        chain = weights_chain(two_miners(tmp_path), [50, 51, 55, 59, 60], [early])
    assert (set_at(chain), chain.tries) == ([60], 2)
    told = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert told[0] == ("INFO", "weights wait 10 blocks, about 2 min: SettingWeightsTooFast")
    assert {level for level, _ in told} == {"INFO"}


def test_a_refusal_that_waiting_does_not_mend_is_told_once_and_tried_ever_more_seldom(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        chain = weights_chain(two_miners(tmp_path), [*range(50, 66)], [Refused("no permit")] * 4)
    assert (set_at(chain), chain.tries) == ([65], 5)
    assert [r.getMessage() for r in caplog.records if r.levelname == "WARNING"] == ["weights not set: no permit"]


def test_no_stale_weights_are_set_when_the_chain_comes_back_after_too_long(tmp_path: Path) -> None:
    assert set_at(weights_chain(two_miners(tmp_path), [50, *[None] * 20, 150, 151])) == [50, 150]
    assert set_at(weights_chain(two_miners(tmp_path), [50, *[None] * 20, 160, 161, 500])) == [50]


@pytest.mark.parametrize(("landed", "rows"), [(True, []), (False, [51])])
def test_a_row_of_which_nothing_was_heard_is_looked_for_before_another_is_sent(
    tmp_path: Path, *, landed: bool, rows: list[int]
) -> None:
    class Silent(MovingChain):
        async def set_weights(self, weights: Mapping[Hotkey, float], version_key: int) -> Block:
            if self.tries == 0 and landed:
                self.last_update = self.block
            return await super().set_weights(weights, version_key)

    async def go() -> MovingChain:
        world = two_miners(tmp_path)
        lost = ChainUnavailable("nothing was heard of the row")
        chain = Silent(world.at(0), world=world, blocks=[50, 51, 52], refusals=[lost])
        state = State(Block(50), standings={CompetitionId(0): standing(50, alice=1.0)})
        listeners = Listeners(lambda _: None, lambda _: None)
        await set_weights_forever(replace(world.node, chain=chain), Mind(state), Waits().pace(chain.stop), listeners)
        return chain

    chain = asyncio.run(go())
    assert (set_at(chain), chain.tries) == (rows, 1 + len(rows))


def test_a_validator_started_again_does_not_send_the_row_that_is_there(tmp_path: Path) -> None:
    async def go() -> MovingChain:
        world = two_miners(tmp_path)
        chain = MovingChain(world.at(0), world=world, blocks=[55, 64, 65], last_update=45)
        state = State(Block(50), standings={CompetitionId(0): standing(50, alice=1.0)})
        listeners = Listeners(lambda _: None, lambda _: None)
        await set_weights_forever(replace(world.node, chain=chain), Mind(state), Waits().pace(chain.stop), listeners)
        return chain

    assert set_at(asyncio.run(go())) == [65]


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


def test_averages_that_are_too_old_are_not_burnt_although_a_step_is_fresh(tmp_path: Path) -> None:
    world = World(tmp_path, schedule_of(weights={"burn_uid": 0}))
    world.commit("alice", 1, 2.0)
    assert row_of(world, standing(10, alice=1.0), standing(190), block=200) == {}
    assert row_of(world, standing(190), standing(190), block=200) == {VALIDATOR: 1.0}


def test_ages_are_told_at_the_newest_block_heard_of(tmp_path: Path) -> None:
    async def go() -> Mind:
        world = two_miners(tmp_path)
        chain = MovingChain(world.at(0), world=world, blocks=[55], lag=4)
        mind, listeners = Mind(State()), Listeners(lambda _: None, lambda _: None)
        await set_weights_forever(replace(world.node, chain=chain), mind, Waits().pace(chain.stop), listeners)
        return mind

    assert asyncio.run(go()).seen == 55


def test_a_row_set_is_counted_from_even_where_the_chain_does_not_show_it_yet(tmp_path: Path) -> None:
    class Forgets(MovingChain):
        async def set_weights(self, weights: Mapping[Hotkey, float], version_key: int) -> Block:
            block = await super().set_weights(weights, version_key)
            self.last_update = 0
            return block

    async def go() -> MovingChain:
        world = two_miners(tmp_path)
        chain = Forgets(world.at(0), world=world, blocks=[50, 60, 69, 70, 71])
        state = State(Block(50), standings={CompetitionId(0): standing(50, alice=1.0)})
        listeners = Listeners(lambda _: None, lambda _: None)
        await set_weights_forever(replace(world.node, chain=chain), Mind(state), Waits().pace(chain.stop), listeners)
        return chain

    assert set_at(asyncio.run(go())) == [50, 70]


def test_a_refusal_is_tried_again_at_least_once_an_interval(tmp_path: Path) -> None:
    blocks: list[int | None] = [*range(50, 151)]
    chain = weights_chain(two_miners(tmp_path), blocks, [Refused("no permit")] * 9)
    tried = [50, 51, 53, 57, 65, 81, 101, 121, 141]  # after 1, 2, 4, 8, 16 and then 20 blocks, the interval
    assert (chain.tried, set_at(chain)) == (tried, [])


@pytest.mark.parametrize(
    ("refusals", "told"),
    [
        ([Refused("no permit"), Refused("no stake")], ["no permit", "no stake"]),
        ([Refused("no permit"), Refused("no stake"), Refused("no permit")], ["no permit", "no stake"]),
        ([Refused("no permit at 50"), Refused("no permit at 51")], ["no permit at 50"]),
        (
            [Refused("no permit"), Refused("too soon", wait_blocks=1), Refused("no permit")],
            ["no permit", "no permit"],
        ),
    ],
)
def test_each_reason_of_a_refusal_is_told_once_until_the_chain_would_take_a_row(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, refusals: list[Refused | ChainUnavailable], told: list[str]
) -> None:
    weights_chain(two_miners(tmp_path), [*range(50, 66)], refusals)
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == [f"weights not set: {why}" for why in told]


def test_after_too_early_a_refusal_is_the_first_again(tmp_path: Path) -> None:
    no, early = Refused("no permit"), Refused("too soon", wait_blocks=1)
    chain = weights_chain(two_miners(tmp_path), [*range(50, 61)], [no, no, no, early, no])
    assert (chain.tried, set_at(chain)) == ([50, 51, 53, 57, 58, 59], [59])


def test_a_reason_is_told_again_after_a_row_was_set(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def go() -> None:
        world = two_miners(tmp_path)

        class Later(MovingChain):
            async def set_weights(self, weights: Mapping[Hotkey, float], version_key: int) -> Block:
                if self.block in {50, 90}:
                    raise Refused("no permit")
                return await super().set_weights(weights, version_key)

        chain = Later(world.at(0), world=world, blocks=[50, 51, 90, 91])
        state = State(Block(50), standings={CompetitionId(0): standing(50, alice=1.0)})
        listeners = Listeners(lambda _: None, lambda _: None)
        await set_weights_forever(replace(world.node, chain=chain), Mind(state), Waits().pace(chain.stop), listeners)

    asyncio.run(go())
    assert [record.getMessage() for record in caplog.records] == ["weights not set: no permit"] * 2


def told_by_both(world: World, memory: Memory, blocks: list[int | None], mind: Mind) -> list[tuple[str, int] | None]:
    """Run both loops while the chain passes these blocks, and return what they told."""
    waits = Waits()

    async def go() -> None:
        chain = MovingChain(world.at(0), world=world, blocks=blocks)
        node, pace = replace(world.node, chain=chain), waits.pace(chain.stop)
        listeners = Listeners(lambda _: None, waits.told.append)
        async with asyncio.TaskGroup() as group:
            group.create_task(judge_forever(node, mind, memory, pace, listeners))
            group.create_task(set_weights_forever(node, mind, pace, listeners))

    asyncio.run(go())
    return [(outage.what, outage.tries) if outage else None for outage in waits.told]


def test_a_chain_that_is_away_is_told_once_for_both_loops_and_is_back_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        mind = Mind(State())
        told = told_by_both(
            a_world(tmp_path), Memory(tmp_path / "state.sqlite"), [None, None, None, None, 20, 20, 21, 21], mind
        )
    assert told == [*[("the chain", 1)] * 2, *[("the chain", 2)] * 2, None]
    lines = [record.getMessage().partition(";")[0] for record in caplog.records]
    assert lines == [
        "waiting for the chain: no answer",
        "waiting for the chain: no answer (2 tries in 0 s)",
        "the chain is back after 0 s (2 tries failed)",
    ]
    assert (mind.outages, mind.state.step) == ({}, 20)


def test_the_chain_is_back_when_its_head_answers_and_not_only_after_the_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits, seen = Waits(), []

    async def noting(node: Node, state: State) -> tuple[State, Report | None]:
        seen.append([outage and outage.what for outage in waits.told])
        return await step(node, state)

    monkeypatch.setattr("pretrain.validate.step", noting)
    judge_through(a_world(tmp_path), [None, 20], Memory(tmp_path / "state.sqlite"), waits)
    assert seen == [["the chain", None]]


def test_the_hub_is_back_when_a_step_was_judged_and_not_when_the_chain_goes_away(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world, waits = a_world(tmp_path), Waits()
    world.hub.all_down = True

    def health(outage: Outage | None) -> None:
        waits.told.append(outage)
        if outage and outage.what == "the chain":
            world.hub.all_down = False

    async def go() -> None:
        chain = MovingChain(world.at(0), world=world, blocks=[20, 20, None, 21])
        memory = Memory(tmp_path / "state.sqlite")
        node, pace = replace(world.node, chain=chain), waits.pace(chain.stop)
        await judge_forever(node, Mind(State()), memory, pace, Listeners(lambda _: None, health))

    with caplog.at_level(logging.INFO):
        asyncio.run(go())
    told = [outage and (outage.what, outage.tries) for outage in waits.told]
    assert told == [("the hub", 1), ("the hub", 2), ("the chain", 1), ("the hub", 2), None]
    assert [r.getMessage() for r in caplog.records if "is back" in r.getMessage()] == [
        "the chain is back after 0 s (1 try failed)",
        "the hub is back after 0 s (2 tries failed)",
    ]


@pytest.mark.parametrize(
    ("ends", "lacking"),
    [
        ("out of force", ["the chain's answer about weights", "the engine", "the hub", "a dataset"]),
        ("abandoned", ["the chain's answer about weights", "the hub", "a dataset"]),
        ("judged", ["the chain's answer about weights"]),
    ],
)
def test_a_step_proves_only_what_it_has_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: str, lacking: list[str]
) -> None:
    world, memory, mind = a_world(tmp_path), Memory(tmp_path / "state.sqlite"), Mind(State())
    state, report = world.step(20)
    outcomes = {"out of force": None, "abandoned": replace(report, abandoned="no champion"), "judged": report}

    async def ended(*_: object) -> tuple[State, Report | None]:
        return state, outcomes[ends]

    async def go() -> None:
        chain = MovingChain(world.at(0), world=world, blocks=[20])
        things = ["the chain", SYNC_BLOCK, ROW, "the engine", "the hub", "a dataset"]
        mind.outages.update({what: Outage(what, "no", 0.0) for what in things})
        listeners = Listeners(lambda _: None, lambda _: None)
        await judge_forever(replace(world.node, chain=chain), mind, memory, Waits().pace(chain.stop), listeners)

    monkeypatch.setattr("pretrain.validate.step", ended)
    asyncio.run(go())
    assert list(mind.outages) == lacking


def test_a_sync_block_that_cannot_be_read_is_no_chain_that_comes_and_goes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Unread(MovingChain):
        async def snapshot(self, cadence: int) -> Snapshot:
            if self.block < 25:
                raise ChainUnavailable(f"block {self.block} is not there")
            return await super().snapshot(cadence)

    async def go() -> None:
        world = a_world(tmp_path)
        chain = Unread(world.at(0), world=world, blocks=[20, 21, 22, 23, 25])
        memory = Memory(tmp_path / "state.sqlite")
        listeners = Listeners(lambda _: None, lambda _: None)
        await judge_forever(
            replace(world.node, chain=chain), Mind(State()), memory, Waits().pace(chain.stop), listeners
        )

    with caplog.at_level(logging.INFO):
        asyncio.run(go())
    assert [record.getMessage().partition(";")[0] for record in caplog.records] == [
        "waiting for the sync block: block 20 is not there",
        "waiting for the sync block: block 21 is not there (2 tries in 0 s)",
        "waiting for the sync block: block 23 is not there (4 tries in 0 s)",
        "the sync block is back after 0 s (4 tries failed)",
    ]


def test_a_look_that_is_cut_short_by_a_stop_is_no_answer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    waits = Waits()

    class Hangs(MovingChain):
        async def head(self) -> Head:
            if not self.blocks:
                self.stop.set()
                await asyncio.Event().wait()
            return await super().head()

        async def snapshot(self, cadence: int) -> Snapshot:
            if self.tries:
                self.stop.set()
                await asyncio.Event().wait()
            return await super().snapshot(cadence)

    async def go(*, at_head: bool) -> None:
        world = two_miners(tmp_path)
        lost = ChainUnavailable("nothing was heard")
        chain = Hangs(world.at(0), world=world, blocks=[None] if at_head else [50, 51, 52, 53], refusals=[lost])
        state = State(Block(50), standings={CompetitionId(0): standing(50, alice=1.0)})
        listeners = Listeners(lambda _: None, waits.told.append)
        await set_weights_forever(replace(world.node, chain=chain), Mind(state), waits.pace(chain.stop), listeners)

    with caplog.at_level(logging.INFO):
        for at_head in (True, False):
            asyncio.run(go(at_head=at_head))
    assert [outage and outage.what for outage in waits.told] == ["the chain", "the chain's answer about weights"]
    assert not [record for record in caplog.records if "is back" in record.getMessage()]


def test_averages_get_older_while_the_head_moves_and_nothing_is_finalised(tmp_path: Path) -> None:
    world = two_miners(tmp_path)

    class Stalled(MovingChain):
        async def head(self) -> Head:
            return replace(await super().head(), finalized=Block(205))

        async def snapshot(self, cadence: int) -> Snapshot:  # noqa: ARG002
            return world.at(200)

    age = world.schedule.timing.max_weights_age
    chain = Stalled(world.at(0), world=world, blocks=[200 + age, 201 + age, 500 + age, 501 + age])
    state = State(Block(200), standings={CompetitionId(0): standing(200, alice=1.0)})

    asyncio.run(
        set_weights_forever(
            replace(world.node, chain=chain),
            Mind(state),
            Pace(0.0, chain.stop),
            Listeners(lambda _: None, lambda _: None),
        )
    )

    assert [block for block, _, _ in chain.rows] == [200 + age]

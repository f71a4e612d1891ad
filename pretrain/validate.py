"""A validator's two loops: judge at every sync block, and set weights once an interval. They share one frozen State.

Either goes on for as long as the world is away: it says so, waits longer and longer, and says when it is back.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

from pretrain import scoring
from pretrain.chain import Head, Snapshot
from pretrain.errors import Refused, Unavailable
from pretrain.memory import Memory
from pretrain.node import Node
from pretrain.outage import DATA, ENGINE, HUB, Outage, is_new, remembered, spoken
from pretrain.patience import Pace, Waiting, until_answered
from pretrain.report import Report
from pretrain.schedule import Schedule
from pretrain.state import State
from pretrain.step import step
from pretrain.types import Block, Hotkey

log = logging.getLogger("pretrain.validator")
SYNC_BLOCK, ROW = "the sync block", "the chain's answer about weights"
"""What each loop may lack of a chain whose head answers."""
_NEVER = Block(0)


@dataclass
class Mind:
    """What both loops share; every value in it is replaced and never changed."""

    state: State
    seen: Block | None = None
    """The newest block that either loop has heard of."""
    outages: dict[str, Outage] = field(default_factory=dict)
    """What is lacking just now, by what it is: noted by either loop, and over for both."""


@dataclass(frozen=True)
class Listeners:
    """Who is told what happens."""

    report: Callable[[Report], None]
    """Told each step's report, after the state is saved; must not raise."""
    health: Callable[[Outage | None], None]
    """Told at each failed try what is lacking, and None when all answers again; must not raise."""


@dataclass(frozen=True)
class Turn:
    """When this validator's row was set, and when it is tried again."""

    last_set: Block = _NEVER
    not_before: Block = _NEVER
    refusals: int = 0
    """In a row, for a reason that waiting does not mend."""
    said: tuple[str, ...] = ()
    """Their reasons: each is told once."""


async def judge_forever(node: Node, mind: Mind, memory: Memory, pace: Pace, listeners: Listeners) -> None:
    """Judge once at every sync block, saving each step whole before anyone hears of it.

    What is Unavailable is tried again with growing pauses; anything else is a bug and ends the program.
    """
    waiting = _waiting("judging", node, mind, pace, listeners)
    while head := await _head(node, mind, waiting):
        if _is_new_window(head, mind.state, node.schedule):
            try:
                await _judge(node, mind, memory, waiting, listeners)
            except Unavailable as error:
                await waiting.hold_out(error, SYNC_BLOCK)
                continue
        await pace.wait(pace.poll)


async def set_weights_forever(node: Node, mind: Mind, pace: Pace, listeners: Listeners) -> None:
    """Set this validator's row once every ``weights_interval`` blocks, as long as there is something fresh to say."""
    waiting = _waiting("weights", node, mind, pace, listeners)
    turn = Turn()
    while head := await _head(node, mind, waiting):
        try:
            turn = await _take_turn(node, mind.state, head, turn, pace)
        except Unavailable as error:
            await waiting.hold_out(error, ROW)
            continue
        if not pace.stop.is_set():  # else it may have been cut short
            waiting.answered(ROW)
        await pace.wait(pace.poll)


def _waiting(loop: str, node: Node, mind: Mind, pace: Pace, listeners: Listeners) -> Waiting:
    who, holds = f"{node.hotkey} {loop}", partial(still_valid, mind, node.schedule)
    return Waiting(who, pace, mind.outages, listeners.health, holds)


async def _head(node: Node, mind: Mind, waiting: Waiting) -> Head | None:
    """Return the head, however long it takes; None when asked to stop before it is known."""
    head = await until_answered(node.chain.head, waiting)
    mind.seen = head.block if head else mind.seen
    return head


def _is_new_window(head: Head, state: State, schedule: Schedule) -> bool:
    cadence = schedule.timing.sync_cadence
    return state.step is None or head.finalized // cadence * cadence > state.step


async def _judge(node: Node, mind: Mind, memory: Memory, waiting: Waiting, listeners: Listeners) -> None:
    state, report = await step(node, mind.state)
    await asyncio.to_thread(memory.save, state, report)
    mind.state = state
    waiting.answered(*_proven(report))
    if report:
        listeners.report(report)


def _proven(report: Report | None) -> tuple[str, ...]:
    """Return what has answered for a step to end so: with no competition in force none but the chain is asked."""
    if report is None:
        return (SYNC_BLOCK,)
    return (SYNC_BLOCK, ENGINE) if report.abandoned else (SYNC_BLOCK, ENGINE, HUB, DATA)


async def _take_turn(node: Node, state: State, head: Head, turn: Turn, pace: Pace) -> Turn:
    """Set the row when it is time and there is one, and return how things stand then.

    A row of which nothing was heard again may have been set or not: the chain itself is asked before any is sent.
    """
    timing = node.schedule.timing
    if head.block < max(turn.last_set + timing.weights_interval, turn.not_before):
        return turn
    snapshot = await pace.ask(node.chain.snapshot(timing.sync_cadence))
    row = weights_row(state, snapshot, node.schedule, head.block) if snapshot else {}
    standing = await pace.ask(node.chain.standing()) if row else None
    if standing is None:
        return turn
    last_set = standing.neuron.last_update if standing.neuron else _NEVER
    if head.block < last_set + timing.weights_interval:
        return replace(turn, last_set=last_set)
    try:
        block = await node.chain.set_weights(row, node.schedule.version_key)
    except Refused as error:
        return _after_refusal(turn, error, head.block, timing.weights_interval, pace)
    log.info("weights set at block %d: %s", block, ", ".join(f"{h[:8]} {w:.3f}" for h, w in row.items()))
    return Turn(last_set=block)


def _after_refusal(turn: Turn, error: Refused, now: Block, interval: int, pace: Pace) -> Turn:
    """Return when to try again: when the chain says so, else after more blocks each time, for a person has to act."""
    why = str(error)
    if error.wait_blocks:
        duration = spoken(error.wait_blocks * pace.block_time)
        log.info("weights wait %d blocks, about %s: %s", error.wait_blocks, duration, why)
        return replace(turn, not_before=Block(now + error.wait_blocks), refusals=0, said=())
    if is_new(turn.said, why):
        log.warning("weights not set: %s", why)
    wait = min(interval, 2 ** min(turn.refusals, 20))
    said = remembered(turn.said, why)
    return replace(turn, not_before=Block(now + wait), refusals=turn.refusals + 1, said=said)


def still_valid(mind: Mind, schedule: Schedule) -> str:
    """Return what holds while the chain is away."""
    age = averages_age(mind, schedule)
    ours = "" if age is None else f", our averages are {age} blocks old at block {mind.seen}"
    return f"weights on chain stay{ours}"


def averages_age(mind: Mind, schedule: Schedule) -> int | None:
    """Return how old our oldest averages in force are, in blocks at the newest block known; None: there are none."""
    if mind.seen is None:
        return None
    standings = [mind.state.standing(competition.competition_id) for competition in schedule.at(mind.seen)]
    updated = [standing.updated for standing in standings if standing.averages and standing.updated is not None]
    return max(0, mind.seen - min(updated)) if updated else None


def weights_row(state: State, snapshot: Snapshot, schedule: Schedule, now: Block | None = None) -> dict[Hotkey, float]:
    """Return the row to set at S; empty while nothing is decided, or when all averages are older than allowed.

    They age with the newest block, ``now``, also while an endpoint finalises none.
    """
    in_force = schedule.at(snapshot.block)
    oldest = max(snapshot.block, now or snapshot.block) - schedule.timing.max_weights_age
    standings = {c.competition_id: state.standing(c.competition_id) for c in in_force}
    ready = {competition: standing for competition, standing in standings.items() if standing.ready}
    if not ready or state.step is None or state.step < oldest:
        return {}
    aged = {c for c, standing in ready.items() if standing.averages and (standing.updated or 0) < oldest}
    fresh = {competition: standing for competition, standing in ready.items() if competition not in aged}
    if aged and not any(standing.averages for standing in fresh.values()):
        return {}
    entered = {(entry.competition, entry.hotkey) for entry in snapshot.entries}
    averages = {
        competition: {h: w for h, w in standing.averages.items() if (competition, h) in entered}
        for competition, standing in fresh.items()
    }
    burner = next((n.hotkey for n in snapshot.neurons if n.uid == schedule.weights.burn_uid), None)
    shares = {c.competition_id: c.share for c in in_force}
    return scoring.combine(averages, shares, schedule.weights, burner)

"""A validator's two loops: judge at every sync block, and set weights once an interval. They share one frozen State."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from pretrain import scoring
from pretrain.chain import Snapshot
from pretrain.errors import Refused, Unavailable
from pretrain.memory import Memory
from pretrain.node import Node
from pretrain.report import Report
from pretrain.schedule import Schedule
from pretrain.state import State
from pretrain.step import step
from pretrain.types import Hotkey

log = logging.getLogger("pretrain.validator")
LONGEST_BACKOFF = 60.0
"""Seconds between two tries at most."""


@dataclass
class Mind:
    """The one variable that both loops share; its value is never changed, only replaced."""

    state: State


@dataclass(frozen=True)
class Pace:
    """How the loops wait."""

    poll: float
    """Seconds between two looks at the chain's head."""
    stop: asyncio.Event
    """Set when the duty in hand is to be the last."""

    async def wait(self, seconds: float) -> None:
        """Sleep, or return at once when asked to stop."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.stop.wait(), seconds)


@dataclass(frozen=True)
class Listeners:
    """Who hears of what the judging loop does."""

    report: Callable[[Report], None]
    trouble: Callable[[str], None]
    """Told why no step could be done, in one line."""


async def judge_forever(node: Node, mind: Mind, memory: Memory, pace: Pace, listeners: Listeners) -> None:
    """Judge once at every sync block, saving each step whole before anyone hears of it.

    What is Unavailable is tried again with growing pauses; anything else is a bug and ends the program.
    """
    backoff = pace.poll
    while not pace.stop.is_set():
        try:
            if await _is_new_window(node, mind.state):
                state, report = await step(node, mind.state)
                await asyncio.to_thread(memory.save, state, report)
                mind.state = state
                if report:
                    listeners.report(report)
            backoff = pace.poll
        except Unavailable as error:
            log.warning("no step: %s; trying again in %.0f s", error, backoff)
            listeners.trouble(str(error))
            await pace.wait(backoff)
            backoff = min(2 * backoff, LONGEST_BACKOFF)
            continue
        await pace.wait(pace.poll)


async def _is_new_window(node: Node, state: State) -> bool:
    cadence = node.schedule.timing.sync_cadence
    finalized = (await node.chain.head()).finalized
    return state.step is None or finalized // cadence * cadence > state.step


async def set_weights_forever(node: Node, mind: Mind, pace: Pace) -> None:
    """Set this validator's row once every ``weights_interval`` blocks, as long as there is something fresh to say."""
    timing = node.schedule.timing
    last_set = 0
    while not pace.stop.is_set():
        try:
            head = await node.chain.head()
            snapshot = await node.chain.snapshot(timing.sync_cadence)
            last_set = max(last_set, _last_update(node.hotkey, snapshot))
            row = weights_row(mind.state, snapshot, node.schedule)
            if row and head.block - last_set >= timing.weights_interval:
                last_set = await node.chain.set_weights(row, node.schedule.version_key)
                log.info("weights set at block %d: %s", last_set, ", ".join(f"{h[:8]} {w:.3f}" for h, w in row.items()))
        except Refused as error:
            if not error.wait_blocks:
                log.warning("weights not set: %s", error)
        except Unavailable as error:
            log.warning("weights not set: %s", error)
        await pace.wait(pace.poll)


def _last_update(hotkey: Hotkey, snapshot: Snapshot) -> int:
    return next((neuron.last_update for neuron in snapshot.neurons if neuron.hotkey == hotkey), 0)


def weights_row(state: State, snapshot: Snapshot, schedule: Schedule) -> dict[Hotkey, float]:
    """Return the row to set at S; empty while nothing is decided, or when all averages are older than allowed."""
    in_force = schedule.at(snapshot.block)
    oldest = snapshot.block - schedule.timing.max_weights_age
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

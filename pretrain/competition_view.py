"""What a schedule says at one block, as facts for people and programs."""

from dataclasses import dataclass
from typing import Any

from pretrain.competition import Competition
from pretrain.schedule import Schedule
from pretrain.types import Block

Facts = dict[str, Any]


@dataclass(frozen=True)
class View:
    """A schedule at a block."""

    block: Block
    sync_block: Block
    """The last multiple of the cadence that is not above the block."""
    judged: Competition | None
    """What the window of that sync block judges."""
    in_force: tuple[Competition, ...]
    phase_start: Block | None
    next_start: Block | None
    """Where the next phase begins; None after the last."""


def view(schedule: Schedule, block: Block) -> View:
    """Look up what is in force at a block, and what its sync window judges: by the phase in force at the sync block."""
    sync = Block(block // schedule.timing.sync_cadence * schedule.timing.sync_cadence)
    starts = [phase.start for phase in schedule.phases]
    return View(
        block=block,
        sync_block=sync,
        judged=schedule.pick(sync),
        in_force=schedule.at(block),
        phase_start=max((Block(start) for start in starts if start <= block), default=None),
        next_start=min((Block(start) for start in starts if start > block), default=None),
    )


def facts(schedule: Schedule, seen: View) -> Facts:
    """Return a view as JSON values."""
    return {
        "schedule": schedule.name,
        "netuid": schedule.netuid,
        "digest": schedule.digest,
        "block": seen.block,
        "sync_block": seen.sync_block,
        "judged": seen.judged.name if seen.judged else None,
        "phase_start": seen.phase_start,
        "next_phase_start": seen.next_start,
        "competitions": [competition_facts(schedule, competition) for competition in seen.in_force],
    }


def competition_facts(schedule: Schedule, competition: Competition) -> Facts:
    """Return all that decides one competition: its fields, its sources, its least epsilon and its digest."""
    tasks = {
        name: {**task.model_dump(), "source": {"name": task.source, **schedule.sources[task.source].model_dump()}}
        for name, task in competition.tasks.items()
    }
    return {
        **competition.model_dump(mode="json"),
        "tasks": tasks,
        "least_epsilon": competition.least_epsilon,
        "above_noise": competition.epsilon.end >= competition.least_epsilon,
        "digest": schedule.competition_digest(competition),
    }

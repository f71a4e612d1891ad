"""Judge the models of a subnet and set weights: `validator.py --help` says how."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

sys.path.insert(0, str(Path(__file__).parents[1]))  # run from a checkout, installed or not
if __name__ == "__main__":  # the imports take seconds: a stop among them has nothing to finish, and is no failure
    for early in (signal.SIGTERM, signal.SIGINT):
        signal.signal(early, lambda _number, _frame: sys.exit(0))

import collaborators

from pretrain import competition_file
from pretrain.chain import Chain, Network
from pretrain.command_line import Program, fail, read
from pretrain.data.draw import build_sampler
from pretrain.errors import ConfigError, PretrainError
from pretrain.evaluate.canary import Canary
from pretrain.folder_lock import alone
from pretrain.memory import STATE, Identity, Memory
from pretrain.node import Node
from pretrain.outage import Outage
from pretrain.patience import Pace, Waiting, until_answered
from pretrain.report import Report, to_json
from pretrain.schedule import Schedule
from pretrain.selection import crowned
from pretrain.settings import ValidatorSettings
from pretrain.status import Fact, write_status
from pretrain.tables import step_table
from pretrain.tracking import Tracker
from pretrain.types import Block, Hotkey
from pretrain.validate import Listeners, Mind, averages_age, judge_forever, set_weights_forever

log = logging.getLogger("pretrain.validator")
LOG_WIDTH = 120  # columns, where no terminal says otherwise
_STOPPED = 130  # the exit code of a program that was interrupted
LONGEST_POLL = 12.0  # seconds; a block of the real chain

PROGRAM = Program(
    name="neurons/validator.py",
    about="Judge every model of the subnet on the same windows as the other validators, and set weights by the result.",
    examples="""  neurons/validator.py --wallet.name alice --wallet.hotkey default \\
      --subtensor.network file:localnet-run/chain.sqlite --hub folder:localnet-run/hub \\
      --competitions localnet-run/competition.yaml --dir my-validator --wandb.off
  pm2 start neurons/validator.py --interpreter .venv/bin/python --kill-timeout 600000 -- --wallet.name alice ...""",
)


async def main(settings: ValidatorSettings) -> None:
    """Build the collaborators, run both loops until asked to stop, and leave everything saved."""
    stop = _stop_on_signals()
    schedule = competition_file.load(settings.competitions)
    sampler = build_sampler(schedule, settings.competitions.parent)
    async with AsyncExitStack() as stack:
        stack.enter_context(alone(settings.dir, "--dir"))
        evaluator = stack.enter_context(collaborators.build_evaluator(settings.judge, settings.device, sampler))
        wallet = collaborators.unlock(settings.wallet)  # after the fork server: its children never knew a secret
        hotkey = collaborators.address(wallet)
        hub = collaborators.open_hub(settings.hub, settings.store)
        memory = Memory(settings.dir / STATE)
        mind = Mind(memory.load())
        voice = Voice(settings.dir, hotkey, schedule, mind)
        pace = Pace(LONGEST_POLL, stop)

        def opened() -> AbstractAsyncContextManager[Chain]:
            return collaborators.open_chain(settings.subtensor, schedule, settings.netuid, wallet)

        waiting = Waiting(hotkey, pace, mind.outages, voice.health)
        reached = await until_answered(lambda: _reach(stack, opened()), waiting)
        if reached is None:
            return
        chain, network, head = reached
        memory.bind(Identity(network.genesis, collaborators.subnet(schedule, settings.netuid), hotkey), head)
        store = collaborators.open_store(settings.dir, settings.store)
        store.keep(crowned(mind.state, schedule))  # before another process that shares the folder drops one
        node = Node(
            hotkey=hotkey,
            chain=chain,
            hub=hub,
            store=store,
            sampler=sampler,
            evaluator=evaluator,
            canary=Canary(evaluator, settings.dir / "canary"),
            schedule=schedule,
        )
        tracker = stack.enter_context(Tracker(settings.wandb, settings.dir, hotkey))
        pace = replace(pace, poll=min(LONGEST_POLL, network.block_time), block_time=network.block_time)
        listeners = Listeners(lambda report: voice.publish(report, tracker), voice.health)
        voice.health(None)
        await until_stopped(
            judge_forever(node, mind, memory, pace, listeners), set_weights_forever(node, mind, pace, listeners)
        )


async def _reach(stack: AsyncExitStack, opened: AbstractAsyncContextManager[Chain]) -> tuple[Chain, Network, Block]:
    """Return the chain, once it has said what it is and how this hotkey stands, with that and its newest block."""
    async with AsyncExitStack() as trying:
        chain = await trying.enter_async_context(opened)
        network, standing = await chain.network(), await chain.standing()
        stack.push_async_exit(trying.pop_all())
    neuron = standing.neuron
    who = f"uid {neuron.uid}, {'with' if neuron.permit else 'without'} a permit" if neuron else "not registered"
    log.info("network %s at block %d; this hotkey: %s", network, standing.head.block, who)
    return chain, network, standing.head.block


async def until_stopped(*loops: Coroutine[Any, Any, None]) -> None:
    """Run loops side by side; what ends one of them ends all, and a ConfigError is raised as one."""
    try:
        async with asyncio.TaskGroup() as group:
            for loop in loops:
                group.create_task(loop)
    except BaseExceptionGroup as failed:
        wrong = failed.subgroup(ConfigError)
        if wrong is None:
            raise
        raise ConfigError(str(wrong.exceptions[0])) from failed


@dataclass(frozen=True)
class Voice:
    """How the validator tells what it does: the table of each step, a file of all of them, and ``status.json``."""

    folder: Path
    hotkey: Hotkey
    schedule: Schedule
    mind: Mind

    def health(self, outage: Outage | None) -> None:
        """Say what is lacking, since when, and what holds meanwhile."""
        if outage is None:
            self._status(doing="waiting for the next sync block", hotkey=self.hotkey)
            return
        since = datetime.fromtimestamp(outage.since, UTC).isoformat(timespec="seconds")
        self._status(
            doing=f"waiting for {outage.what}: {outage.why}",
            hotkey=self.hotkey,
            since=since,
            tries=outage.tries,
            weights="those on chain stay",
            last_known_block=self.mind.seen,
            age_of_averages=averages_age(self.mind, self.schedule),
        )

    def publish(self, report: Report, tracker: Tracker) -> None:
        """Say what a step found."""
        console = Console(width=None if sys.stdout.isatty() else LOG_WIDTH)
        try:
            console.print(step_table(report))
            with (self.folder / "steps.jsonl").open("a") as lines:
                lines.write(to_json(report) + "\n")
        except OSError as error:  # a full disk, a closed terminal: the step itself is saved
            log.warning("the report of block %d is in state.sqlite alone: %s", report.block, error)
        self._status(doing=f"judged {report.name}", block=report.block, champion=report.champion)
        tracker.log(report)

    def _status(self, **facts: Fact) -> None:
        try:
            write_status(self.folder, **facts)
        except OSError as error:
            log.warning("status.json is an old one: %s", error)


def _stop_on_signals() -> asyncio.Event:
    """Return the event that SIGTERM and SIGINT set: the duty in hand is finished.

    A second one ends at once, whatever thread is at work: nothing half-written counts, and the fork server ends its
    children when its starter is gone.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def ask() -> None:
        if stop.is_set():
            os._exit(_STOPPED)
        log.info("finishing the duty in hand, then leaving")
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ask)
    return stop


if __name__ == "__main__":
    collaborators.start_logging()
    try:
        asyncio.run(main(read(ValidatorSettings, sys.argv[1:], PROGRAM)))
    except PretrainError as error:
        sys.exit(fail(error))

"""Judge the models of a subnet and set weights: `validator.py --help` says how."""

import asyncio
import logging
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path

from rich.console import Console

sys.path.insert(0, str(Path(__file__).parents[1]))  # run from a checkout, installed or not

import collaborators

from pretrain import competition_file
from pretrain.command_line import Program, fail, read
from pretrain.data.draw import build_sampler
from pretrain.errors import PretrainError
from pretrain.evaluate.canary import Canary
from pretrain.folder_lock import alone
from pretrain.hub.store import ModelStore
from pretrain.memory import Memory
from pretrain.node import Node
from pretrain.report import Report, to_json
from pretrain.settings import ValidatorSettings
from pretrain.status import write_status
from pretrain.tables import step_table
from pretrain.tracking import Tracker
from pretrain.validate import Listeners, Mind, Pace, judge_forever, set_weights_forever

log = logging.getLogger("pretrain.validator")
LOG_WIDTH = 120  # columns, where no terminal says otherwise
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
    schedule = competition_file.load(settings.competitions)
    sampler = build_sampler(schedule, settings.competitions.parent)
    async with AsyncExitStack() as stack:
        stack.enter_context(alone(settings.dir, "--dir"))
        evaluator = stack.enter_context(collaborators.build_evaluator(settings.judge, settings.device, sampler))
        wallet = collaborators.unlock(settings.wallet)  # after the fork server: its children never knew a secret
        hotkey = collaborators.address(wallet)
        chain = collaborators.open_chain(settings.subtensor, schedule, settings.netuid, wallet)
        node = Node(
            hotkey=hotkey,
            chain=chain,
            hub=collaborators.open_hub(settings.hub_folder),
            store=ModelStore(settings.dir / "models"),
            sampler=sampler,
            evaluator=evaluator,
            canary=Canary(evaluator, settings.dir / "canary"),
            schedule=schedule,
        )
        memory = Memory(settings.dir / "state.sqlite")
        mind = Mind(memory.load())
        tracker = stack.enter_context(Tracker(settings.wandb, settings.dir, hotkey))
        pace = Pace(min(LONGEST_POLL, chain.genesis.parameters.block_time), _stop_on_signals())
        write_status(settings.dir, doing="waiting for the next sync block", hotkey=hotkey)

        def trouble(why: str) -> None:
            write_status(settings.dir, doing=f"cannot judge: {why}")

        console = Console(width=None if sys.stdout.isatty() else LOG_WIDTH)

        def publish(report: Report) -> None:
            try:
                console.print(step_table(report))
                with (settings.dir / "steps.jsonl").open("a") as lines:
                    lines.write(to_json(report) + "\n")
                write_status(settings.dir, doing=f"judged {report.name}", block=report.block, champion=report.champion)
            except OSError as error:  # a full disk, a closed terminal: the step itself is saved
                log.warning("the report of block %d is in state.sqlite alone: %s", report.block, error)
            tracker.log(report)

        async with asyncio.TaskGroup() as loops:
            loops.create_task(judge_forever(node, mind, memory, pace, Listeners(publish, trouble)))
            loops.create_task(set_weights_forever(node, mind, pace))


def _stop_on_signals() -> asyncio.Event:
    """Return the event that SIGTERM and SIGINT set: the duty in hand is finished, a second one ends at once."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def ask() -> None:
        if stop.is_set():
            raise KeyboardInterrupt
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

"""Judge the models of a subnet and set weights: `validator.py --help` says how."""

import asyncio
import logging
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path

from rich.console import Console

sys.path.insert(0, str(Path(__file__).parents[1]))  # run from a checkout, installed or not

from pretrain import command_line, competition_file
from pretrain.chain.local import LocalChain
from pretrain.data.draw import build_sampler
from pretrain.errors import ConfigError, PretrainError
from pretrain.evaluate.canary import Canary
from pretrain.evaluate.request import EngineSettings
from pretrain.evaluate.worker import ProcessEvaluator
from pretrain.hub.folder import FolderHub
from pretrain.hub.store import ModelStore
from pretrain.memory import Memory
from pretrain.node import Node
from pretrain.report import Report, to_json
from pretrain.settings import ValidatorSettings
from pretrain.status import write_status
from pretrain.tables import step_table
from pretrain.tracking import Tracker
from pretrain.types import Hotkey
from pretrain.validate import Mind, Pace, judge_forever, set_weights_forever
from pretrain.wallet import open_wallet

PROGRAM = command_line.Program(
    name="neurons/validator.py",
    about="Judges every model of the subnet on the same windows as the other validators, and sets weights by the result.",
    examples="""  neurons/validator.py --wallet.name alice --wallet.hotkey default \\
      --subtensor.network file:localnet-run/chain.sqlite --hub folder:localnet-run/hub \\
      --competitions localnet-run/competition.yaml --dir my-validator --wandb.off
  pm2 start neurons/validator.py --interpreter .venv/bin/python --kill-timeout 600000 -- --wallet.name alice ...""",
)


async def main(settings: ValidatorSettings) -> None:
    """Build the collaborators, run both loops until asked to stop, and leave everything saved."""
    schedule = competition_file.load(settings.competitions)
    async with AsyncExitStack() as stack:
        vocabularies = {name: tokenizer.vocabulary for name, tokenizer in schedule.tokenizers.items()}
        judge = settings.judge
        engine = EngineSettings(settings.device, judge.batch, threads=judge.threads, deadline=judge.deadline)
        evaluator = stack.enter_context(ProcessEvaluator(engine, vocabularies))  # before any secret is read
        wallet = open_wallet(settings.wallet.name, settings.wallet.hotkey, settings.wallet.path)
        hotkey = Hotkey(wallet.hotkey.ss58_address)
        chain = LocalChain(settings.subtensor.file, settings.netuid or schedule.netuid, wallet)
        node = Node(
            hotkey=hotkey,
            chain=chain,
            hub=FolderHub(settings.hub_folder, None),
            store=ModelStore(settings.dir / "models"),
            sampler=build_sampler(schedule, settings.competitions.parent),
            evaluator=evaluator,
            canary=Canary(evaluator, settings.dir / "canary"),
            schedule=schedule,
        )
        memory = Memory(settings.dir / "state.sqlite")
        mind = Mind(memory.load())
        tracker = stack.enter_context(Tracker(settings.wandb, settings.dir, hotkey))
        pace = Pace(poll=min(12.0, chain.genesis.parameters.block_time), stop=_stop_on_signals())
        write_status(settings.dir, doing="waiting for the next sync block", hotkey=hotkey)

        def publish(report: Report) -> None:
            Console().print(step_table(report))
            with (settings.dir / "steps.jsonl").open("a") as lines:
                lines.write(to_json(report) + "\n")
            tracker.log(report)
            write_status(settings.dir, doing=f"judged {report.name}", block=report.block, champion=report.champion)

        async with asyncio.TaskGroup() as loops:
            loops.create_task(judge_forever(node, mind, memory, pace, publish))
            loops.create_task(set_weights_forever(node, mind, pace))


def _stop_on_signals() -> asyncio.Event:
    """Return the event that SIGTERM and SIGINT set: the duty in hand is finished, a second one ends at once."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def ask() -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        logging.getLogger("pretrain.validator").info("finishing the duty in hand, then leaving")
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ask)
    return stop


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        asyncio.run(main(command_line.read(ValidatorSettings, sys.argv[1:], PROGRAM)))
    except PretrainError as error:
        sys.exit(command_line.fail(error))

"""The miner: trains a model, measures it as a validator would, and publishes it."""

import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # run from a checkout, installed or not
if __name__ == "__main__":  # the imports take seconds: a stop among them has nothing to finish, and is no failure
    for early in (signal.SIGTERM, signal.SIGINT):
        signal.signal(early, lambda _number, _frame: sys.exit(0))

from pretrain.command_line import Program, fail, read
from pretrain.errors import ConfigError, PretrainError
from pretrain.settings import PublishSettings, RunSettings, ScoreSettings, Settings, TrainSettings

WORLD = "--subtensor.network file:localnet-run/chain.sqlite --hub folder:localnet-run/hub"
FILE = "--competitions localnet-run/competition.yaml"

COMMANDS: Mapping[str, tuple[type[Settings], Program]] = {
    "train": (
        TrainSettings,
        Program(
            "neurons/miner.py train",
            "Train a model for a competition into DIR/model; called again, it goes on from its last checkpoint.",
            f"""  neurons/miner.py train {FILE} --competition 1 --dir my-miner
  neurons/miner.py train ... --model.layers 4 --train.tokens 2000000 --train.mix prose=0.85,code=0.15
  neurons/miner.py train ... --train.from alice/model@<40 hex digits> --train.tokens 300000""",
        ),
    ),
    "score": (
        ScoreSettings,
        Program(
            "neurons/miner.py score",
            "Measure DIR/model and the present champion as a validator would: which is better, by how much?\n"
            "Exit code 0: it would beat the champion; 1: it would not.",
            f"""  neurons/miner.py score {FILE} --competition 1 --dir my-miner \\
      {WORLD}""",
        ),
    ),
    "publish": (
        PublishSettings,
        Program(
            "neurons/miner.py publish",
            "Upload DIR/model to a private repository, commit it, open the repository. HF_TOKEN owns the namespace.\n"
            "Interrupted, call it again: it goes on where it was.",
            f"""  HF_TOKEN=... neurons/miner.py publish {FILE} --competition 1 --dir my-miner \\
      {WORLD} --wallet.name alice --repo alice/model-1""",
        ),
    ),
    "run": (
        RunSettings,
        Program(
            "neurons/miner.py run",
            "Train, score, and publish what would beat the champion (exit code 1: it would not).\n"
            "Interrupted, call it again: it goes on where it was.",
            f"""  HF_TOKEN=... neurons/miner.py run {FILE} --competition 1 --dir my-miner \\
      {WORLD} --wallet.name alice --repo alice/model-1""",
        ),
    ),
}

HELP = f"""usage: neurons/miner.py {{train,score,publish,run}} ...

{__doc__}

commands:
  train     make a model in DIR/model, or go on making it
  score     would it beat the champion? measured with the validator's own code
  publish   upload it in private, commit it on chain, open it
  run       all three, one after the other

`neurons/miner.py COMMAND --help` explains the flags of a command. Every flag can also stand in the environment or in
.env: --wallet.name is PRETRAIN_WALLET__NAME. The hub's token is HF_TOKEN, and has no flag.

exit codes: 0 done, or yes; 1 not done, or no; 2 asked wrongly. Stopped by SIGTERM: 0, and the same command goes on.
"""


def main(arguments: Sequence[str]) -> int:
    """Do what the arguments say and return the exit code."""
    command, *rest = arguments or ["--help"]
    if command in {"-h", "--help"}:
        sys.stdout.write(HELP)
        return 0
    if command not in COMMANDS:
        return fail(ConfigError(f"{command}: no such command; expected {', '.join(COMMANDS)}"))
    try:
        kind, program = COMMANDS[command]
        settings = read(kind, rest, program)
        from mining import act  # noqa: PLC0415 - explaining a flag needs no torch

        return act(settings)
    except ConfigError as error:
        return fail(error)
    except PretrainError as error:
        fail(error)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The ``pretrain`` command: its parts put together, and errors turned into one line and an exit code.

A new group is one import and one ``add_typer`` line; a new command one import and one ``app.command`` line. Commands
import torch and bittensor inside their functions, so that ``--help`` answers at once.
"""

import sys

import typer

from pretrain.commands import bench, chain, check, commitment, competitions, doctor, localnet, score
from pretrain.errors import PretrainError

WRONG = 2
"""Exit code of a question that was wrong."""

HELP = """Node software of a decentralised pretraining subnet: miners train, validators judge, the chain pays.

\b
First commands:
  scripts/localnet                                a whole subnet, right here
  pretrain competitions check competitions/*.yaml
  pretrain competitions show competitions/localnet.yaml --block 0
  pretrain commitment decode TEXT                 what a text on chain names
  pretrain check MODEL --competition 1            would a validator accept it?
  pretrain score MODEL --competition 1            what a validator would measure
  pretrain doctor validator --wallet.name alice   is everything in place? the same with miner

\b
Exit code: 0 it is so, 1 it is not so, 2 the question was wrong.
Every command takes --json.
"""

app = typer.Typer(
    name="pretrain", help=HELP, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)
app.command("localnet")(localnet.localnet)
app.add_typer(competitions.app, name="competitions")
app.add_typer(commitment.app, name="commitment")
app.command("check")(check.check)
app.command("score")(score.score)
app.add_typer(bench.app, name="bench")
app.add_typer(chain.app, name="chain")
app.add_typer(doctor.app, name="doctor")


def main(arguments: list[str] | None = None) -> None:
    """Run the command and exit: 0 it is so, 1 it is not so, 2 the question was wrong (one clear line, no traceback).

    An error that is none of ours is a bug, and keeps its traceback.
    """
    sys.exit(run(arguments))


def run(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    try:
        code = app(arguments, prog_name="pretrain", standalone_mode=False)
    except typer.TyperException as error:
        message = " ".join(error.format_message().split())
        return _wrong(f"{message.rstrip('.')}; see --help") if message else WRONG
    except PretrainError as error:
        return _wrong(str(error))
    except typer.Abort:
        return _wrong("stopped")
    return code if isinstance(code, int) else 0


def _wrong(message: str) -> int:
    typer.echo(message, err=True)
    return WRONG

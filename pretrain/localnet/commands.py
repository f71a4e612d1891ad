"""The command line of each process of a localnet: what a user of a real network would type, with file: and folder:."""

from collections.abc import Iterator
from pathlib import Path

from pretrain.localnet.chaos import TIMEOUT
from pretrain.localnet.prepare import Run
from pretrain.localnet.processes import Daemon
from pretrain.localnet.roles import Miner

NEURONS = Path(__file__).parents[2] / "neurons"


def validator(run: Run, name: str) -> Daemon:
    """Return a validator that has yet to be started."""
    folder = run.out / name
    flags = ["--wandb.off"]
    return Daemon(name, [str(NEURONS / "validator.py"), *_shared(run, name, folder), *flags], folder)


def miner(run: Run, part: Miner, start: str | None = None) -> Daemon:
    """Return a miner that has yet to be started; ``start`` is REPO@REVISION to republish, for a copier."""
    folder = run.out / part.name
    flags = ["--competition", str(part.competition), "--repo", part.repo, "--publish.anyway"]
    flags += ["--train.tokens", str(part.tokens), "--train.seed", str(part.seed)]
    if part.mix:
        flags += ["--train.mix", ",".join(f"{source}={share:g}" for source, share in part.mix)]
    if start:
        flags += ["--train.from", start]
    command = [str(NEURONS / "miner.py"), "run", *_shared(run, part.name, folder), *flags]
    return Daemon(part.name, command, folder, {"HF_TOKEN": run.token(part.name)})


def _shared(run: Run, name: str, folder: Path) -> Iterator[str]:
    yield from ("--wallet.name", name, "--wallet.path", str(run.wallets))
    yield from ("--subtensor.network", run.network, "--netuid", str(run.schedule.netuid))
    if run.endpoint:
        yield from ("--subtensor.timeout", f"{TIMEOUT:g}")
    yield from ("--store.min_free_gb", "0")  # its models are of a few MB, and a laptop's disk may be nearly full
    yield from ("--hub", f"folder:{run.hub}", "--competitions", str(run.competitions), "--dir", str(folder))

"""Finds out what ``pretrain doctor`` judges. Nothing here fails: what cannot be found out is a fact as well."""

import asyncio
import os
import re
import shutil
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pretrain import competition_file
from pretrain.chain import Network, Standing
from pretrain.commands.opening import open_chain
from pretrain.commitment import Entry
from pretrain.errors import ConfigError, PretrainError
from pretrain.facts import Asked, Contests, Facts, Trouble
from pretrain.schedule import Schedule
from pretrain.settings import RunSettings, Secrets, Subtensor, ValidatorSettings
from pretrain.types import CompetitionId, Hotkey
from pretrain.wallet import Wallet, open_wallet

CHAIN = 20.0
"""Seconds for all that is asked of the chain."""
DEVICE = 20.0
"""Seconds for the device: loading torch takes some of them."""

T = TypeVar("T")


@dataclass(frozen=True)
class _OfTheChain:
    network: Network | Trouble
    standing: Standing | Trouble
    entry: Entry | Trouble | None


async def gather(settings: RunSettings | ValidatorSettings) -> Facts:
    """Find everything out, the slow things side by side."""
    schedule = _tried(lambda: competition_file.load(settings.competitions))
    wallet = _tried(lambda: open_wallet(settings.wallet.name, settings.wallet.hotkey, _wallets(settings)))
    chain, device = await asyncio.gather(
        _chain(settings, schedule, wallet),
        _answer(asyncio.to_thread(_device, settings.device), asyncio.get_running_loop().time() + DEVICE, DEVICE),
    )
    return Facts(
        asked=_asked(settings),
        now=time.time(),
        contests=schedule if isinstance(schedule, Trouble) else _contests(schedule),
        hotkey=wallet if isinstance(wallet, Trouble) else Hotkey(wallet.hotkey.ss58_address),
        network=chain.network,
        standing=chain.standing,
        entry=chain.entry,
        free=_tried(lambda: _free(settings.dir)),
        device=device,
        hub=_tried(lambda: _hub(settings)),
        token=Secrets().hf_token is not None,
    )


async def _chain(
    settings: RunSettings | ValidatorSettings, schedule: Schedule | Trouble, wallet: Wallet | Trouble
) -> _OfTheChain:
    """Ask the chain which one it is and how the hotkey stands; what needs an answer that is missing is not asked."""
    until = asyncio.get_running_loop().time() + CHAIN
    netuid = settings.netuid
    if netuid is None and isinstance(schedule, Trouble):
        unknown = Trouble("which subnet is meant is not known: there is no competition file and no --netuid")
        return _OfTheChain(unknown, unknown, unknown)
    if netuid is None and isinstance(schedule, Schedule):
        netuid = schedule.netuid
    keys = None if isinstance(wallet, Trouble) else wallet
    mechanism = 0 if isinstance(schedule, Trouble) else schedule.mechanism
    async with AsyncExitStack() as stack:
        opening = stack.enter_async_context(
            open_chain(_hasty(settings.subtensor), netuid or 0, keys, mechanism=mechanism)
        )
        chain = await _answer(opening, until, CHAIN)
        if isinstance(chain, Trouble):
            return _OfTheChain(chain, chain, chain)
        network = await _answer(chain.network(), until, CHAIN)
        if isinstance(network, Trouble) or isinstance(wallet, Trouble):
            missing = network if isinstance(network, Trouble) else Trouble("there is no hotkey to ask for")
            return _OfTheChain(network, missing, missing)
        standing = await _answer(chain.standing(), until, CHAIN)
        entry = standing if isinstance(standing, Trouble) else await _answer(chain.commitment(), until, CHAIN)
        return _OfTheChain(network, standing, entry)


def _hasty(subtensor: Subtensor) -> Subtensor:
    """Return the chain with less patience than a daemon has."""
    return subtensor.model_copy(update={"timeout": min(subtensor.timeout, CHAIN / 2)})


async def _answer(question: Awaitable[T], until: float, seconds: float) -> T | Trouble:
    """Return the answer, or the trouble that came instead of it."""
    try:
        async with asyncio.timeout_at(until):
            return await question
    except TimeoutError:
        return Trouble(f"no answer within {seconds:.0f} s")
    except (PretrainError, OSError) as error:
        return Trouble(_one_line(error))


def _tried(work: Callable[[], T]) -> T | Trouble:
    try:
        return work()
    except (PretrainError, OSError) as error:
        return Trouble(_one_line(error))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _asked(settings: RunSettings | ValidatorSettings) -> Asked:
    miner = isinstance(settings, RunSettings)
    return Asked(
        role="miner" if miner else "validator",
        network=settings.subtensor.network,
        fallback=settings.subtensor.fallback,
        netuid=settings.netuid,
        wallet=settings.wallet.name,
        hotkey=settings.wallet.hotkey,
        wallets=str(settings.wallet.path),
        competitions=str(settings.competitions),
        competition=CompetitionId(settings.competition) if isinstance(settings, RunSettings) else None,
        dir=str(settings.dir),
        hub=settings.hub,
    )


def _wallets(settings: RunSettings | ValidatorSettings) -> Path:
    return settings.wallet.path.expanduser()


def _contests(schedule: Schedule) -> Contests:
    contests = {CompetitionId(contest.id): (name, contest) for name, contest in schedule.competitions.items()}
    return Contests(
        digest=schedule.digest,
        netuid=schedule.netuid,
        weights_interval=schedule.timing.weights_interval,
        names={number: name for number, (name, _) in contests.items()},
        max_bytes={number: schedule.models[contest.model].max_bytes for number, (_, contest) in contests.items()},
    )


def _free(folder: Path) -> int:
    """Return the bytes free for a folder, which need not be there yet; raises ConfigError when it cannot be written."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(f"--dir {folder}: {there} cannot be written")
    return shutil.disk_usage(there).free


def _device(name: str) -> str:
    """Say what a device is and has; raises ConfigError when it cannot be used."""
    if name == "cpu":
        return f"cpu, {os.cpu_count()} cores"
    import torch  # noqa: PLC0415 - takes seconds, and a cpu needs none of it

    index = int((re.findall(r"\d+", name) or ["0"])[0])
    if not torch.cuda.is_available():
        raise ConfigError(f"--device {name}: torch {torch.__version__} finds no GPU")
    if index >= torch.cuda.device_count():
        raise ConfigError(f"--device {name}: there are {torch.cuda.device_count()} GPUs, numbered from 0")
    try:
        free, total = torch.cuda.mem_get_info(index)
    except RuntimeError as error:
        raise ConfigError(f"--device {name}: {_one_line(error)}") from error
    return f"{torch.cuda.get_device_name(index)}, {free / 1e9:.0f} of {total / 1e9:.0f} GB free"


def _hub(settings: RunSettings | ValidatorSettings) -> str:
    folder = settings.hub_folder
    if not folder.is_dir():
        raise ConfigError(f"--hub {settings.hub}: {folder} does not exist")
    return f"{settings.hub} is there"

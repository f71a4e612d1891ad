"""Finds out what ``pretrain doctor`` judges. Nothing here fails: what cannot be found out is a fact as well.

Nothing here changes anything either: of an embedded chain not even the blocks that are due are made.
"""

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pretrain import competition_file
from pretrain.chain import Chain, Network, Standing, ledger
from pretrain.chain.connection import shown
from pretrain.chain.local import LocalChain
from pretrain.commands import device
from pretrain.commands.opening import find_token, open_chain, open_hub
from pretrain.commands.unwaited import Unwaited
from pretrain.commitment import Entry
from pretrain.data.draw import build_sampler
from pretrain.errors import ConfigError, PretrainError
from pretrain.facts import Asked, Contests, Facts, Folder, Trouble
from pretrain.folder_lock import in_use
from pretrain.hub.asking import Limits
from pretrain.memory import STATE, Identity, Memory
from pretrain.publish import JOURNAL, Publication, read_journal, refuse_another_place
from pretrain.schedule import Schedule
from pretrain.settings import RunSettings, Subtensor, ValidatorSettings, at_home, hub_folder
from pretrain.types import Block, CompetitionId, Hotkey
from pretrain.wallet import Keypair, Wallet, coldkey_address, open_wallet

DEADLINE = 20.0
"""Seconds after which nothing is waited for any more; all is asked side by side."""
OF_THE_FOLDER = 2.0
"""Seconds for the folder, which is compared with what the chain said, however late that was."""
TRIES, TRYING = 4, 0.8
"""How often a silent node is asked at the most, and the share of the time that this takes without the pauses: so that
it is the chain that says why it was given up."""
_ANY_REPOSITORY = "nobody/nothing"
CLIENT_CACHE = "BITTENSOR_RUNTIME_CACHE_DIR"
"""Where the chain's client keeps what it has seen of a node; without it, at home."""

T = TypeVar("T")


@dataclass(frozen=True)
class Nobody:
    """A hotkey that nobody has, to ask a chain with where there is no wallet; it signs nothing."""

    ss58_address: str = "5C4hrfjw9DjXZTzV3MwzrrAr9P1MJhSrvWGWqi1eSuyUpnhM"
    """Of 32 zero bytes."""
    public_key: bytes = bytes(32)
    crypto_type: int = 1

    @property
    def hotkey(self) -> Keypair:
        """Itself."""
        return self

    @property
    def coldkey(self) -> Keypair:
        """Itself."""
        return self

    def sign(self, message: bytes) -> bytes:
        """Refuse."""
        raise ConfigError(f"{len(message)} bytes cannot be signed without a wallet")


@dataclass(frozen=True)
class _Here:
    """What was found on this machine, and is needed to ask the chain."""

    schedule: Schedule | Trouble
    wallet: Wallet | Trouble
    coldkey: str | Trouble


@dataclass(frozen=True)
class _OfTheChain:
    network: Network | Trouble
    standing: Standing | Trouble
    entry: Entry | Trouble | None
    paused: bool = False


async def gather(settings: RunSettings | ValidatorSettings) -> Facts:
    """Find everything out, the slow things side by side."""
    loop = asyncio.get_running_loop()
    loop.set_default_executor(Unwaited())
    until = loop.time() + DEADLINE
    keys = settings.wallet
    here = _Here(
        await _done(lambda: competition_file.load(settings.competitions), until),
        await _done(lambda: open_wallet(keys.name, keys.hotkey, at_home(keys.path)), until),
        await _done(lambda: coldkey_address(keys.name, keys.hotkey, at_home(keys.path)), until),
    )
    with _nothing_kept():
        chain, gpu, texts, free, hub = await asyncio.gather(
            _chain(settings, here, until),
            _done(lambda: device.ask(settings.device, DEADLINE * 0.9), until),
            _done(lambda: _texts(settings, here.schedule), until),
            _done(lambda: _free(settings.dir), until),
            _answer(_hub(settings), until, f"--hub {settings.hub}: "),
        )
    hotkey = here.wallet if isinstance(here.wallet, Trouble) else Hotkey(here.wallet.hotkey.ss58_address)
    folder = await _done(
        lambda: _folder(settings, here.schedule, hotkey, chain), max(until, loop.time() + OF_THE_FOLDER)
    )
    return Facts(
        asked=_asked(settings),
        now=time.time(),
        contests=here.schedule if isinstance(here.schedule, Trouble) else _contests(here.schedule),
        texts=texts,
        hotkey=hotkey,
        coldkey=here.coldkey,
        network=chain.network,
        paused=chain.paused,
        standing=chain.standing,
        entry=chain.entry,
        folder=folder,
        free=free,
        device=gpu,
        hub=hub,
        token=bool(find_token(settings.hub)),
    )


async def _chain(settings: RunSettings | ValidatorSettings, here: _Here, until: float) -> _OfTheChain:
    """Ask the chain which one it is and how the hotkey stands; what needs an answer that is missing is not asked."""
    who = f"{shown(settings.subtensor.network)}: "
    async with AsyncExitStack() as stack:
        chain = await _answer(stack.enter_async_context(_opened(settings, here)), until, who)
        network = chain if isinstance(chain, Trouble) else await _answer(chain.network(), until, who)
        if isinstance(chain, Trouble) or isinstance(network, Trouble):
            missing = chain if isinstance(chain, Trouble) else Trouble("the network is not known")
            return _OfTheChain(network, missing, missing)
        coldkey = None if isinstance(here.coldkey, Trouble) else here.coldkey
        standing = await _answer(chain.standing(coldkey), until, who)
        paused = await _done(lambda: _paused(settings.subtensor.file), until)
        entry: Entry | Trouble | None = Trouble("there is no hotkey to ask for")
        if isinstance(standing, Trouble):
            entry = standing
        elif not isinstance(here.wallet, Trouble):
            entry = await _answer(chain.commitment(), until, who)
        return _OfTheChain(network, standing, entry, paused is True)


@asynccontextmanager
async def _opened(settings: RunSettings | ValidatorSettings, here: _Here) -> AsyncIterator[Chain]:
    """Open the chain for a look that changes nothing, of nobody where there is no wallet."""
    netuid, mechanism = settings.netuid, 0
    if isinstance(here.schedule, Schedule):
        netuid, mechanism = here.schedule.netuid if netuid is None else netuid, here.schedule.mechanism
    if netuid is None:
        raise ConfigError("which subnet is meant is not known: there is no competition file and no --netuid")
    keys, file, subnet = Nobody() if isinstance(here.wallet, Trouble) else here.wallet, settings.subtensor.file, netuid
    if file is not None and not mechanism:
        yield await asyncio.to_thread(lambda: LocalChain(file, subnet, keys, still=True))
        return
    async with open_chain(_hasty(settings.subtensor), subnet, keys, mechanism=mechanism) as chain:
        yield chain


def _hasty(subtensor: Subtensor) -> Subtensor:
    """Return the chain with less patience than a daemon has: all its tries fit into the time that there is."""
    seconds = DEADLINE * TRYING / max(TRIES, len(subtensor.fallback) + 2)
    return subtensor.model_copy(update={"timeout": min(subtensor.timeout, seconds)})


def _paused(file: Path | None) -> bool:
    if file is None:
        return False
    with ledger.reading(file) as database:
        return ledger.read_head(database).paused


@contextmanager
def _nothing_kept() -> Iterator[None]:
    """Give the chain's client a place for what it keeps that is gone afterwards, unless it was given another."""
    if CLIENT_CACHE in os.environ:
        yield
        return
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        os.environ[CLIENT_CACHE] = folder
        try:
            yield
        finally:
            del os.environ[CLIENT_CACHE]


async def _answer(question: Awaitable[T], until: float, who: str = "") -> T | Trouble:
    """Return the answer, or the trouble that came instead of it."""
    try:
        async with asyncio.timeout_at(until):
            return await question
    except TimeoutError:
        return Trouble(f"{who}no answer within {DEADLINE:.0f} s", is_late=True)
    except (PretrainError, OSError) as error:
        return Trouble(_one_line(error), is_asked_wrong=isinstance(error, ConfigError))


async def _done(work: Callable[[], T], until: float) -> T | Trouble:
    """Return what work of this machine gives: a thread does it, since a disk can hang too."""
    return await _answer(asyncio.to_thread(work), until)


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
        min_free_gb=settings.store.min_free_gb,
    )


def _contests(schedule: Schedule) -> Contests:
    contests = {CompetitionId(contest.id): (name, contest) for name, contest in schedule.competitions.items()}
    return Contests(
        digest=schedule.digest,
        netuid=schedule.netuid,
        weights_interval=schedule.timing.weights_interval,
        version_key=schedule.version_key,
        names={number: name for number, (name, _) in contests.items()},
        max_bytes={number: schedule.models[contest.model].max_bytes for number, (_, contest) in contests.items()},
        phases=tuple(
            (Block(phase.start), tuple(found.competition_id for found in schedule.at(Block(phase.start))))
            for phase in schedule.phases
        ),
    )


def _texts(settings: RunSettings | ValidatorSettings, schedule: Schedule | Trouble) -> str:
    """Open every source and tokenizer as a daemon does at its start; raises what that raises."""
    if isinstance(schedule, Trouble):
        raise ConfigError(schedule.why)
    sampler = build_sampler(schedule, settings.competitions.parent)
    return f"sources {', '.join(sampler.sources)}; tokenizers {', '.join(sampler.tokenizers)}"


def _folder(
    settings: RunSettings | ValidatorSettings, schedule: Schedule | Trouble, hotkey: Hotkey | Trouble, of: _OfTheChain
) -> Folder:
    """Look at what a daemon goes on with; raises ConfigError where it would not start with it.

    What is not known of hotkey, subnet or chain is not compared.
    """
    network, netuid = of.network, settings.netuid
    if netuid is None and isinstance(schedule, Schedule):
        netuid = schedule.netuid
    known = None
    if netuid is not None and not isinstance(network, Trouble) and not isinstance(hotkey, Trouble):
        known = Identity(network.genesis, netuid, hotkey)
    if not settings.dir.is_dir():
        return Folder("", in_use=False)
    used = in_use(settings.dir)
    if isinstance(settings, RunSettings):
        holds = _journal(settings, known, network)
    else:
        holds = _memory(settings.dir / STATE, known, of.standing)
    return Folder(holds, used)


def _memory(path: Path, known: Identity | None, standing: Standing | Trouble) -> str:
    if not path.exists():
        return ""
    memory = Memory(path, still=True)
    step = memory.load().step
    if known is not None and not isinstance(standing, Trouble):
        memory.check(known, standing.head.block)
    return f"{path} is whole, {'nothing judged yet' if step is None else f'judged up to block {step}'}"


def _journal(settings: RunSettings, known: Identity | None, network: Network | Trouble) -> str:
    path = settings.dir / JOURNAL
    journal = read_journal(path)
    if journal is None:
        return ""
    if known is not None and not isinstance(network, Trouble):
        competition = CompetitionId(settings.competition)
        place = Publication(settings.dir, settings.repo, competition, known.hotkey, network, known.netuid)
        refuse_another_place(path, place)
    return f"{path} is of {journal.repo} in competition {journal.competition}"


def _free(folder: Path) -> int:
    """Return the bytes free for a folder, which need not be there yet; raises ConfigError when it cannot be written."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(f"--dir {folder}: {there} cannot be written")
    return shutil.disk_usage(there).free


async def _hub(settings: RunSettings | ValidatorSettings) -> str:
    """Ask the hub for a repository, without a token: any answer will do; raises what tells that there is none."""
    folder = hub_folder(settings.hub)
    if folder is not None and not await asyncio.to_thread(folder.is_dir):
        raise ConfigError(f"--hub {settings.hub}: {folder} does not exist")
    await open_hub(settings.hub, limits=Limits(tries=2, connect=5.0, stall=8.0)).is_public(_ANY_REPOSITORY)
    return f"{settings.hub} is there"

"""What the miner's commands do: settings -> collaborators -> train, score, publish."""

import asyncio
import logging
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

import collaborators
from rich.console import Console

from pretrain import competition_file
from pretrain.chain import Chain
from pretrain.data.draw import build_sampler
from pretrain.errors import ConfigError
from pretrain.folder_lock import alone
from pretrain.hub import Hub
from pretrain.patience import asked_again
from pretrain.publish import JOURNAL, Publication, held_entry, publish, refuse_another_place
from pretrain.self_score import Bench, Verdict, would_beat
from pretrain.settings import PublishSettings, RunSettings, ScoreSettings, Settings, TrainSettings, shares
from pretrain.status import Fact, write_status
from pretrain.train.job import MODEL, Job, run
from pretrain.train.start import fetch_start
from pretrain.train.text import competition_to_train, judged_mix, read_text
from pretrain.train.watch import watching
from pretrain.types import CompetitionId

log = logging.getLogger("pretrain.miner")
T = TypeVar("T")
_ANY_REPO = "pretrain/pretrain"  # asked for only to see whether the hub answers
_LONGEST_POLL = 12.0  # seconds; a block of the real chain


def act(settings: Settings) -> int:
    """Do the command that these settings belong to and return its exit code; 0 when SIGTERM or Ctrl-C ends it."""
    console = collaborators.start_logging()
    stop = threading.Event()
    reads_only = isinstance(settings, ScoreSettings) and not isinstance(settings, RunSettings)
    try:
        with nullcontext() if reads_only else alone(settings.dir, "--dir"):
            return asyncio.run(_stoppable(_act(settings, console, stop), stop))
    except asyncio.CancelledError:
        log.info("stopped; the same command goes on")
        return 0


async def _stoppable(work: Coroutine[Any, Any, int], stop: threading.Event) -> int:
    """Let a signal cancel what is awaited, and tell a training thread, which finishes its step and saves."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()

    def ask() -> None:
        stop.set()
        if task is not None:
            task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ask)
    return await work


async def _act(settings: Settings, console: Console, stop: threading.Event) -> int:
    match settings:
        case RunSettings():
            return await _run(settings, console, stop)
        case PublishSettings():
            await _publish(settings)
            return 0
        case ScoreSettings():
            return 0 if (await _score(settings)).beats else 1
        case TrainSettings():
            await _train(settings, console, stop)
            return 0
        case _:
            raise TypeError(f"no command has {type(settings).__name__}")


async def _run(settings: RunSettings, console: Console, stop: threading.Event) -> int:
    """Train, score and publish; what is done already is not done again."""
    hub = collaborators.open_hub_to_write(settings.hub)
    async with _publication(settings) as (publication, chain):
        await hub.is_public(settings.repo)  # whoever is told a wrong hub hears of it before the training
        log.info("to be published on network %s, netuid %d", publication.network, publication.netuid)
        await _train(settings, console, stop)
        held = await _patiently(lambda: held_entry(publication, chain), settings)
        if held is not None and await _patiently(lambda: hub.is_public(held.commitment.repo), settings):
            log.info("%s is published already, committed at block %d", held.commitment.repo, held.block)
            _status(settings, doing="published", block=held.block)
            return 0
        if held is None and not (await _measure(settings, chain, hub)).beats and not settings.publish.anyway:
            log.info("not published; --publish.anyway publishes it all the same")
            return 1
        await _enter(settings, publication, chain, hub)
    return 0


async def _train(settings: TrainSettings, console: Console, stop: threading.Event) -> None:
    """Train until all tokens are done, or until stopped."""
    schedule = competition_file.load(settings.competitions)
    competition = competition_to_train(schedule, CompetitionId(settings.competition))
    mix = shares(settings.train.mix) if settings.train.mix else judged_mix(competition)
    _status(settings, doing="reading text")
    text = await read_text(schedule, competition, mix, settings.train.seed, settings.competitions.parent)
    start = await _fetch(settings) if settings.train.start else None
    job = Job(settings.dir, competition, settings.model, settings.train, text, start, settings.device)
    told = ", ".join(f"{share:.0%} {source}" for source, share in mix.items())
    log.info("competition %d (%s), training on %s", competition.id, competition.name, told)
    with watching(settings.dir, console, stop.is_set) as watch:
        await asyncio.to_thread(run, job, watch)
    log.info("model in %s", settings.dir / MODEL)


async def _fetch(settings: TrainSettings) -> Path:
    hub, store = (
        collaborators.open_hub(settings.hub, settings.store),
        collaborators.open_store(settings.dir, settings.store),
    )
    return await fetch_start(settings.train.start or "", hub, store)


async def _score(settings: ScoreSettings) -> Verdict:
    _model(settings)
    schedule = competition_file.load(settings.competitions)
    hub = collaborators.open_hub(settings.hub, settings.store)
    async with collaborators.open_chain(settings.subtensor, schedule, settings.netuid, None) as chain:
        await chain.network()
        await hub.is_public(_ANY_REPO)
        return await _measure(settings, chain, hub)


async def _measure(settings: ScoreSettings, chain: Chain, hub: Hub) -> Verdict:
    """Measure the model and the champion, and say which is better."""
    schedule = competition_file.load(settings.competitions)
    sampler = build_sampler(schedule, settings.competitions.parent)
    with collaborators.build_evaluator(settings.judge, settings.device, sampler) as evaluator:
        store = collaborators.open_store(settings.dir, settings.store)
        bench = Bench(chain=chain, hub=hub, store=store, sampler=sampler, evaluator=evaluator, schedule=schedule)
        _status(settings, doing="scoring")
        verdict = await _patiently(
            lambda: would_beat(_model(settings), CompetitionId(settings.competition), bench), settings
        )
    log.info("block %d: %s", verdict.block, verdict)
    _status(settings, doing="scored", block=verdict.block, score=verdict.score, beats=verdict.beats)
    return verdict


async def _publish(settings: PublishSettings) -> None:
    _model(settings)
    hub = collaborators.open_hub_to_write(settings.hub)
    async with _publication(settings) as (publication, chain):
        await hub.is_public(settings.repo)
        await _enter(settings, publication, chain, hub)


async def _enter(settings: PublishSettings, publication: Publication, chain: Chain, hub: Hub) -> None:
    """Publish the model, however long chain and hub are away."""
    _status(settings, doing="publishing")
    journal, poll = settings.dir / JOURNAL, min(_LONGEST_POLL, publication.network.block_time)
    entry = await _patiently(lambda: publish(publication, chain, hub, journal, log.info, poll=poll), settings)
    _status(settings, doing="published", block=entry.block)


@asynccontextmanager
async def _publication(settings: PublishSettings) -> AsyncIterator[tuple[Publication, Chain]]:
    """Open the chain and see that the folder is not of another one, before anything is signed."""
    schedule = competition_file.load(settings.competitions)
    wallet = collaborators.unlock(settings.wallet)
    async with collaborators.open_chain(settings.subtensor, schedule, settings.netuid, wallet) as chain:
        publication = Publication(
            folder=settings.dir / MODEL,
            repo=settings.repo,
            competition=CompetitionId(settings.competition),
            hotkey=collaborators.address(wallet),
            network=await chain.network(),
            netuid=collaborators.subnet(schedule, settings.netuid),
        )
        refuse_another_place(settings.dir / JOURNAL, publication)
        yield publication, chain


async def _patiently(question: Callable[[], Awaitable[T]], settings: Settings) -> T:
    """Ask until chain and hub answer.

    At its start a program ends when nobody answers, for then an address may be wrong; later it was right before.
    """

    def told(why: str, pause: float) -> None:
        log.warning("%s; trying again in %.0f s (stopped now, the same command goes on later)", why, pause)
        _status(settings, doing=f"waiting: {why}")

    return await asked_again(question, str(settings.dir), told)


def _status(settings: Settings, **facts: Fact) -> None:
    """Say what is being done; a full disk ends nobody's publication."""
    try:
        write_status(settings.dir, **facts)
    except OSError as error:
        log.warning("status.json is an old one: %s", error)


def _model(settings: Settings) -> Path:
    model = settings.dir / MODEL
    if not (model / "config.json").is_file():
        raise ConfigError(f"--dir {settings.dir}: no finished model in {model}; make one with neurons/miner.py train")
    return model

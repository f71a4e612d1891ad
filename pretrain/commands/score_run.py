"""The work of ``pretrain score``: windows drawn, the engine checked, every model measured."""

import asyncio
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError
from rich.console import Console
from rich.progress import Progress

from pretrain import competition_file
from pretrain.commands.opening import open_chain
from pretrain.competition import Competition
from pretrain.data.draw import Sampler, build_sampler
from pretrain.errors import ConfigError
from pretrain.evaluate import canary
from pretrain.evaluate.canary import Canary
from pretrain.evaluate.request import EngineSettings
from pretrain.evaluate.worker import ProcessEvaluator
from pretrain.schedule import Schedule
from pretrain.self_score import competition_at
from pretrain.settings import Subtensor, check_device, without_key
from pretrain.trial import Comparison, Tried, compare, measure
from pretrain.types import Block, CompetitionId, Digest

SEED_DIGITS = 64


@dataclass(frozen=True)
class Place:
    """A chain as flags name it, and the subnet there."""

    network: str
    fallback: tuple[str, ...]
    timeout: float
    netuid: int | None
    """None: the competition file's."""


@dataclass(frozen=True)
class Question:
    """What is asked: which models, in which competition, on which windows."""

    folders: tuple[Path, ...]
    """The model, then its rivals."""
    competition: int | None
    """None: the only one in force."""
    file: Path
    """The competition file."""
    seed: str | None
    place: Place | None
    """The chain whose newest windows they are; with neither it nor a seed they are drawn anew."""
    threads: int
    device: str


@dataclass(frozen=True)
class Scores:
    """What was found."""

    competition: Competition
    competition_digest: Digest
    block: Block | None
    """The sync block whose windows these are; None when the seed came from elsewhere."""
    seed: str
    """64 hex digits."""
    samples: Digest
    canary: float
    """Largest difference of the canary's losses from the known ones, in nats."""
    model: Tried
    comparisons: tuple[Comparison, ...]


def ask(question: Question) -> Scores:
    """Answer a question.

    Raises ConfigError when it is wrong, ModelRejected when a validator would refuse one of the models, Unavailable when
    the chain, a dataset or the engine is.
    """
    check_device(question.device)
    schedule = competition_file.load(question.file)
    sampler = build_sampler(schedule, question.file.parent)
    vocabularies = {name: tokenizer.vocabulary for name, tokenizer in sampler.tokenizers.items()}
    settings = EngineSettings(device=question.device, threads=question.threads)
    with ProcessEvaluator(settings, vocabularies | {canary.TOKENIZER: canary.VOCABULARY}) as evaluator:
        return asyncio.run(_measure(question, schedule, sampler, evaluator))


async def _measure(question: Question, schedule: Schedule, sampler: Sampler, evaluator: ProcessEvaluator) -> Scores:
    block, seed = await _windows(question, schedule)
    wanted = None if question.competition is None else CompetitionId(question.competition)
    rules = competition_at(schedule, wanted, block)
    console = Console(stderr=True)
    with (
        Progress(console=console, transient=True, disable=not console.is_terminal) as progress,
        tempfile.TemporaryDirectory(prefix="pretrain-canary-") as canary_folder,
    ):
        bar = progress.add_task("drawing windows", total=len(question.folders) + 2)
        samples = await sampler.draw(rules, seed)
        progress.update(bar, advance=1, description="checking the engine")
        health = await Canary(evaluator, Path(canary_folder)).check()
        progress.update(bar, advance=1, description=f"measuring {question.folders[0]}")
        tried = []
        async for one in measure(question.folders, rules, samples, evaluator):
            tried.append(one)
            after = question.folders[len(tried) : len(tried) + 1]
            progress.update(bar, advance=1, description=f"measuring {after[0]}" if after else "comparing")
    return Scores(
        competition=rules,
        competition_digest=schedule.competition_digest(rules),
        block=block if question.place else None,
        seed=f"{seed:064x}",
        samples=samples.digest,
        canary=health.difference,
        model=tried[0],
        comparisons=tuple(compare(tried[0], rival, rules) for rival in tried[1:]),
    )


async def _windows(question: Question, schedule: Schedule) -> tuple[Block, int]:
    """Return the block whose rules hold and the seed of the windows; without a chain the last phase's rules hold."""
    last_phase = Block(schedule.phases[-1].start)
    if place := question.place:
        netuid = schedule.netuid if place.netuid is None else place.netuid
        async with open_chain(_subtensor(place), netuid, mechanism=schedule.mechanism) as chain:
            snapshot = await chain.snapshot(schedule.timing.sync_cadence)
        return snapshot.block, snapshot.seed
    if question.seed is None:
        return last_phase, secrets.randbits(256)
    if len(question.seed) != SEED_DIGITS or set(question.seed) - set("0123456789abcdef"):
        raise ConfigError(f"--seed {question.seed!r}: expected {SEED_DIGITS} lower-case hex digits, as in a report")
    return last_phase, int(question.seed, 16)


def _subtensor(place: Place) -> Subtensor:
    try:
        return Subtensor(network=place.network, fallback=place.fallback, timeout=place.timeout)
    except ValidationError as error:
        wrong = error.errors()[0]
        right = wrong["msg"].removeprefix("Value error, ")
        raise ConfigError(f"--subtensor.{wrong['loc'][0]} {without_key(wrong['input'])!r}: {right}") from error

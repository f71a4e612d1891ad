"""``pretrain score``: what a validator would measure of a model folder, before anything is published."""

from __future__ import annotations

import asyncio
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pretrain.commands.output import AsJson, emit, say, verdict
from pretrain.errors import ConfigError, ModelRejected

if TYPE_CHECKING:
    from pretrain.commands.score_view import Scores
    from pretrain.data.draw import Sampler
    from pretrain.evaluate.worker import ProcessEvaluator
    from pretrain.schedule import Schedule

SEED_DIGITS = 64


@dataclass(frozen=True)
class Question:
    """What is asked: which models, in which competition, on which windows."""

    folders: tuple[Path, ...]
    """The model, then its rivals."""
    competition: int | None
    file: Path
    seed: str | None
    network: str | None
    threads: int
    device: str


def score(  # noqa: PLR0913 - one argument a flag
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A folder with config.json and safetensors.")],
    *,
    competition: Annotated[int | None, typer.Option(help="Its id; may be left out when only one is in force.")] = None,
    competitions: Annotated[Path, typer.Option(help="The competition file.")] = Path("localnet-run/competition.yaml"),
    against: Annotated[list[Path] | None, typer.Option(metavar="MODEL", help="Another folder; repeatable.")] = None,
    seed: Annotated[
        str | None, typer.Option(metavar="HEX", help="Draw the windows of this seed, as a report names it.")
    ] = None,
    network: Annotated[
        str | None, typer.Option(metavar="file:PATH", help="Draw the windows of this chain's newest sync block.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the process that measures.")] = 1,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    as_json: AsJson = False,
) -> None:
    """Measure a model folder as a validator would, alone or --against others on the same windows.

    Exit code 0: scored, and better than each of the others even if they were committed earlier and have all the head
    start that they can have; 1: not better, or a model that is refused; 2: the question was wrong. Without --seed and
    --network the windows are drawn anew each time; the seed is shown, so that it can be asked again.
    """
    from pretrain.commands import score_view  # noqa: PLC0415 - `pretrain --help` answers at once

    if seed and network:
        raise ConfigError("--seed and --network both choose the windows: give one of them")
    question = Question((model, *(against or [])), competition, competitions, seed, network, threads, device)
    for folder in question.folders:
        if not folder.is_dir():
            raise ConfigError(f"{folder}: no such folder; expected one with config.json and model.safetensors")
    try:
        scores = _ask(question)
    except ModelRejected as error:
        if as_json:
            emit({"refused": {"reason": str(error.reason), "detail": error.detail}, "wins": False})
        else:
            say(f"refused by every validator: {error}")
        raise typer.Exit(1) from error
    if as_json:
        emit(score_view.facts(scores))
    else:
        score_view.tell(scores)
    verdict(so=all(comparison.wins for comparison in scores.comparisons))


def _ask(question: Question) -> Scores:
    """Draw the windows, see that the engine is sound, and measure every model; raises what these raise."""
    from pretrain import competition_file  # noqa: PLC0415
    from pretrain.data.draw import build_sampler  # noqa: PLC0415
    from pretrain.evaluate import canary  # noqa: PLC0415
    from pretrain.evaluate.request import EngineSettings  # noqa: PLC0415
    from pretrain.evaluate.worker import ProcessEvaluator  # noqa: PLC0415

    schedule = competition_file.load(question.file)
    sampler = build_sampler(schedule, question.file.parent)
    vocabularies = {name: tokenizer.vocabulary for name, tokenizer in sampler.tokenizers.items()}
    settings = EngineSettings(device=question.device, threads=question.threads)
    with ProcessEvaluator(settings, vocabularies | {canary.TOKENIZER: canary.VOCABULARY}) as evaluator:
        return asyncio.run(_measure(question, schedule, sampler, evaluator))


async def _measure(question: Question, schedule: Schedule, sampler: Sampler, evaluator: ProcessEvaluator) -> Scores:
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import Progress  # noqa: PLC0415

    from pretrain.commands.score_view import Scores  # noqa: PLC0415
    from pretrain.evaluate.canary import Canary  # noqa: PLC0415
    from pretrain.trial import compare, measure  # noqa: PLC0415

    block, seed = await _windows(question, schedule)
    rules = _competition(schedule, question.competition, block)
    console = Console(stderr=True)
    with (
        Progress(console=console, transient=True, disable=not console.is_terminal) as progress,
        tempfile.TemporaryDirectory(prefix="pretrain-canary-") as canary_folder,
    ):
        bar = progress.add_task("drawing windows", total=len(question.folders) + 2)
        samples = await sampler.draw(rules, seed)
        progress.update(bar, advance=1, description="checking the engine")
        off = await Canary(evaluator, Path(canary_folder)).check()
        progress.update(bar, advance=1, description=f"measuring {question.folders[0]}")
        tried = []
        async for one in measure(question.folders, rules, samples, evaluator):
            tried.append(one)
            after = question.folders[len(tried) : len(tried) + 1]
            progress.update(bar, advance=1, description=f"measuring {after[0]}" if after else "comparing")
    return Scores(
        competition=rules,
        competition_digest=schedule.competition_digest(rules),
        block=block if question.network else None,
        seed=f"{seed:064x}",
        samples=samples.digest,
        canary=off,
        model=tried[0],
        comparisons=tuple(compare(tried[0], rival, rules) for rival in tried[1:]),
    )


async def _windows(question: Question, schedule: Schedule) -> tuple[int, int]:
    """Return the block whose rules hold and the seed of the windows; without a chain the last phase's rules hold."""
    last_phase = schedule.phases[-1].start
    if question.network:
        from pretrain.chain.local import LocalChain  # noqa: PLC0415

        kind, _, path = question.network.partition(":")
        if kind != "file" or not path:
            message = "expected file:PATH; the real chain comes with a later version"
            raise ConfigError(f"--network {question.network!r}: {message}")
        chain = LocalChain(Path(path).expanduser(), schedule.netuid)
        snapshot = await chain.snapshot(schedule.timing.sync_cadence)
        return snapshot.block, snapshot.seed
    if question.seed is None:
        return last_phase, secrets.randbits(256)
    if len(question.seed) != SEED_DIGITS or set(question.seed) - set("0123456789abcdef"):
        raise ConfigError(f"--seed {question.seed!r}: expected {SEED_DIGITS} lower-case hex digits, as in a report")
    return last_phase, int(question.seed, 16)

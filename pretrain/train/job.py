"""From settings to a trained model on disk: what ``miner.py train`` does."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedModel

from pretrain.competition import Competition
from pretrain.models.load import save
from pretrain.settings import Model, Train
from pretrain.train.checkpoint import FILE, Settings
from pretrain.train.loop import Keeping, Progress, Recipe, train
from pretrain.train.schedule import LearningRate
from pretrain.train.start import published_start, random_start
from pretrain.train.text import TrainingText

MODEL = "model"
"""Folder of the model as it is published, in the miner's own folder."""


@dataclass(frozen=True)
class Job:
    """One training run."""

    folder: Path
    """Of the miner: the checkpoint and the finished model go there."""
    competition: Competition
    model: Model
    train: Train
    text: TrainingText
    start: Path | None
    """Folder of the model to begin with; None: random weights."""
    device: str


def run(job: Job, watch: Callable[[Progress], bool]) -> Progress:
    """Train, or go on training, and write the model when all tokens are done; returns how far it came.

    Raises ConfigError when the model does not fit the competition, or the checkpoint is of another run.
    """
    torch.set_num_threads(job.train.threads)
    model = _start(job)
    recipe = recipe_of(job.train, job.competition.model.sequence_length)
    every = max(1, job.train.checkpoint_tokens // recipe.length)
    keeping = Keeping(job.folder / FILE, every, settings_of(job))
    progress = train(model, lambda index: job.text.windows.window(index)[1], recipe, keeping, watch)
    if progress.tokens >= progress.of:
        save(model, job.folder / MODEL, job.competition.model)
    return progress


def recipe_of(wanted: Train, sequence_length: int) -> Recipe:
    """Return the recipe in windows: the tokens are rounded up to whole ones."""
    windows = -(-wanted.tokens // sequence_length)
    total = windows * sequence_length
    return Recipe(
        windows=windows,
        length=sequence_length,
        batch=wanted.batch,
        learning_rate=LearningRate(
            peak=wanted.lr,
            warmup=round(wanted.warmup * total),
            decay=round(wanted.decay * total),
            total=total,
            form=wanted.form,
        ),
        weight_decay=wanted.weight_decay,
        clip=wanted.clip,
    )


def settings_of(job: Job) -> Settings:
    """Return all that says what is trained on what; where, on how many threads and how often it is saved does not."""
    chosen = job.train.model_dump(exclude={"checkpoint_tokens", "mix", "threads"}, by_alias=True)
    return (
        {f"model.{name}": value for name, value in job.model.model_dump().items()}
        | {f"train.{name}": value for name, value in chosen.items()}
        | {f"share of {name}": share for name, share in job.text.mix.items()}
        | {f"digest of {name}": digest for name, digest in job.text.digests.items()}
        | {"sequence_length": job.competition.model.sequence_length}
    )


def _start(job: Job) -> PreTrainedModel:
    constraints, vocabulary = job.competition.model, job.text.vocabulary
    if job.start is None:
        return random_start(job.model, constraints, vocabulary, job.train.seed, job.device)
    return published_start(job.start, constraints, vocabulary, job.device, trained=job.train.tokens > 0)

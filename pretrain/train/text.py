"""What a miner trains on: the training side of the competition file's sources, mixed."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pretrain.competition import Competition
from pretrain.data.draw import open_tokenizer
from pretrain.data.mixture import TrainingWindows, training_windows
from pretrain.data.sources import open_source
from pretrain.data.train_tokens import training_tokens
from pretrain.errors import ConfigError
from pretrain.schedule import Schedule
from pretrain.types import Block, CompetitionId, Digest


@dataclass(frozen=True)
class TrainingText:
    """Windows to train on, and what they were made of."""

    windows: TrainingWindows
    mix: Mapping[str, float]
    """Share of the tokens by source."""
    vocabulary: int
    """Number of token ids."""
    digests: Mapping[str, Digest]
    """Of each source's training side and of the tokenizer, by name."""


def judged_mix(competition: Competition) -> dict[str, float]:
    """Return the shares by source in which a competition is judged; a source of two tasks has both shares."""
    mix: dict[str, float] = {}
    for name in sorted(competition.tasks):
        task = competition.tasks[name]
        mix[task.source] = mix.get(task.source, 0.0) + task.weight
    return mix


def competition_to_train(schedule: Schedule, competition: CompetitionId) -> Competition:
    """Return a competition by the last phase that has it; raises ConfigError with those that there are."""
    known: dict[CompetitionId, Competition] = {}
    for phase in schedule.phases:
        known |= {c.competition_id: c for c in schedule.at(Block(phase.start))}
    if competition not in known:
        names = ", ".join(f"{c.id} ({c.name})" for c in known.values())
        raise ConfigError(f"--competition {competition}: the competition file has {names}")
    return known[competition]


async def read_text(
    schedule: Schedule, competition: Competition, mix: Mapping[str, float], seed: int, root: Path
) -> TrainingText:
    """Read, tokenize and mix the training side of the sources of a mix; paths in the file are relative to ``root``.

    Raises ConfigError for a source that the competition file does not define, or too short; DataUnavailable.
    """
    tokenizer = open_tokenizer(schedule, competition.model.tokenizer, root)
    streams, digests = {}, {"tokenizer": tokenizer.digest}
    for name in sorted(mix):
        if name not in schedule.sources:
            known = ", ".join(sorted(schedule.sources))
            raise ConfigError(f"--train.mix names {name!r}; the competition file defines {known}")
        source = open_source(name, schedule.sources[name], root=root, split="train")
        streams[name] = await training_tokens(source, tokenizer, seed=seed)
        digests[f"source {name}"] = source.digest
    windows = training_windows(streams, mix, competition.model.sequence_length, seed)
    return TrainingText(windows, mix, tokenizer.vocabulary, digests)

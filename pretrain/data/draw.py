"""The samples of a step: from (competition, seed) to the same windows on every validator."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pretrain.competition import Competition
from pretrain.data import Samples, Source
from pretrain.data.pack import Document, Windows, pack, stream_length
from pretrain.data.plan import plan
from pretrain.data.sources import open_source
from pretrain.data.tokenizer import Tokenizer, load
from pretrain.errors import ConfigError, DataUnavailable
from pretrain.schedule import Schedule
from pretrain.types import Block, TaskName


@dataclass(frozen=True)
class Sampler:
    """Draws the samples of any competition whose sources and tokenizer are at hand."""

    sources: Mapping[str, Source]
    """By their names in the competition file."""
    tokenizers: Mapping[str, Tokenizer]
    """By their names in the competition file."""

    async def draw(self, competition: Competition, seed: int) -> Samples:
        """Return ``competition.windows`` windows of each task: a pure function of the seed and what the file pins.

        Raises DataUnavailable when a source fails or has too little text: all tasks or none, since the other weights
        renormalised would be another competition.
        """
        names = [TaskName(name) for name in sorted(competition.tasks)]
        jobs = [asyncio.create_task(self._draw_task(competition, name, seed)) for name in names]
        try:
            drawn = dict(zip(names, await asyncio.gather(*jobs), strict=True))
        finally:
            for job in jobs:
                job.cancel()
        return Samples(
            tokens={name: windows.tokens for name, windows in drawn.items()},
            bytes={name: windows.bytes for name, windows in drawn.items()},
        )

    async def _draw_task(self, competition: Competition, task: TaskName, seed: int) -> Windows:
        """Follow the plan in its own order until there are tokens enough."""
        rules = competition.tasks[task]
        name = rules.source
        source, tokenizer = self.sources[name], self.tokenizers[competition.model.tokenizer]
        length = competition.model.sequence_length
        needed, found = competition.windows * length, 0
        documents: list[Document] = []
        for group, rows in plan(source.groups, seed, task, rows_a_visit=rules.rows_a_visit):
            texts = await source.rows(group)
            if len(texts) != group.rows:
                raise DataUnavailable(f"source {name} gave {len(texts)} rows of {group.name}, its index {group.rows}")
            chosen = [texts[row] for row in rows]
            encoded = await asyncio.to_thread(tokenizer.encode, chosen, competition.max_document_tokens)
            documents += encoded
            found += stream_length(encoded)
            if found >= needed:
                windows = await asyncio.to_thread(pack, documents, tokenizer.eos, length)
                return Windows(windows.tokens[: competition.windows], windows.bytes[: competition.windows])
        raise DataUnavailable(
            f"source {name} has {found} tokens for task {task} of competition {competition.name}, which needs {needed}"
        )


def build_sampler(schedule: Schedule, root: Path) -> Sampler:
    """Return the sampler of a competition file; paths in it are relative to ``root``.

    Opens every source and tokenizer that any phase uses, so that what is missing or not as pinned is a ConfigError at
    the start and not a failed step later.
    """
    competitions = [c for phase in schedule.phases for c in schedule.at(Block(phase.start))]
    sources = sorted({task.source for c in competitions for task in c.tasks.values()})
    tokenizers = sorted({c.model.tokenizer for c in competitions})
    return Sampler(
        sources={name: open_source(name, schedule.sources[name], root=root) for name in sources},
        tokenizers={name: open_tokenizer(schedule, name, root) for name in tokenizers},
    )


def open_tokenizer(schedule: Schedule, name: str, root: Path) -> Tokenizer:
    """Return the tokenizer that the competition file calls ``name``; raises ConfigError."""
    spec = schedule.tokenizers[name]
    if spec.path is None:
        raise ConfigError(
            f"tokenizer {name}: {spec.repo or 'no path'} is not on this machine, and fetching one from the hub comes"
            " with a later version; name a tokenizer.json as path"
        )
    try:
        return load(root / spec.path, spec)
    except ConfigError as error:
        hint = "" if (root / spec.path).exists() else "; a localnet's own file is OUT/competition.yaml"
        raise ConfigError(f"tokenizer {name}: {error}{hint}") from error

"""What is allowed in a competition file and still worth a line to whoever checks it."""

from collections.abc import Iterator

from pretrain.references import unused_names
from pretrain.rules import Path
from pretrain.schedule import UNPINNED, ParquetSource, Schedule
from pretrain.types import Block

Note = tuple[Path, str]
"""A place in the file, and what to know about it."""


def unpinned(schedule: Schedule) -> Iterator[Note]:
    """Name the sources and tokenizers whose bytes may change without the file changing."""
    message = "is not pinned; two validators may read different bytes"
    for name, tokenizer in schedule.tokenizers.items():
        if tokenizer.digest == UNPINNED:
            yield ("tokenizers", name), f"its digest {message}"
    for name, source in schedule.sources.items():
        if isinstance(source, ParquetSource):
            field, pin = "revision", source.revision
        else:
            field, pin = "digest", source.digest
        if pin == UNPINNED:
            yield ("sources", name), f"its {field} {message}"


def accepted_noise(schedule: Schedule) -> Iterator[Note]:
    """Name the competitions that are decided below the noise because their file accepts it."""
    told: set[str] = set()
    for index, phase in enumerate(schedule.phases):
        for place, competition in enumerate(schedule.at(Block(phase.start))):
            end, least = competition.epsilon.end, competition.least_epsilon
            message = f"epsilon ends at {end:g}, below 3 standard errors ({least:.2g}); accepted by this file"
            if end < least and (key := f"{competition.name}: {message}") not in told:
                told.add(key)
                slot = phase.competitions[place]
                here = ("phases", index, "competitions", place)
                overridden = slot.epsilon or slot.windows or slot.noise
                yield here if overridden else ("competitions", slot.competition, "noise"), message


def unused(schedule: Schedule) -> Iterator[Note]:
    """Name the definitions that nothing refers to: seldom wrong, and often a phase that was forgotten."""
    for path in unused_names(schedule.model_dump()):
        yield path, "defined, and nothing uses it"

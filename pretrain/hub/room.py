"""Room on the disk for a model before it is downloaded: what was needed least recently goes, what is needed stays.

This is housekeeping of one machine. What is dropped and needed again is downloaded again, so no result rests on it.
"""

import logging
import math
import os
import shutil
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pretrain.errors import EvaluatorUnavailable
from pretrain.hub import leases
from pretrain.hub.layout import coming, models, reserve, sweep_dead, unfinished
from pretrain.hub.unfinished import alone

log = logging.getLogger("pretrain.store")
GB = 10**9  # bytes


@dataclass(frozen=True)
class Budget:
    """How much of a disk a store may take."""

    max_bytes: int | None = None
    """Of all its models together, with those on their way; None: as much as the disk has."""
    min_free: int = 0
    """Bytes of the disk that stay free for others."""

    @classmethod
    def of_gb(cls, max_gb: float | None, min_free_gb: float) -> "Budget":
        """Return the budget that two flags give, in GB of 10^9 bytes."""
        return cls(None if max_gb is None else round(max_gb * GB), round(min_free_gb * GB))


@dataclass(frozen=True)
class Wanted:
    """A model that is about to be downloaded."""

    name: str
    size: int
    """In bytes."""
    lock: IO[bytes]
    """Of the folder that it goes into; the room is noted there, and given back when it goes."""


@dataclass(frozen=True)
class _Lack:
    """What there is too little of, in bytes; not above 0: enough."""

    over: int
    """Beyond ``max_bytes``."""
    short: int
    """Of what the download needs and ``min_free``."""

    @property
    def size(self) -> int:
        return max(self.over, self.short)


def make_room(root: Path, budget: Budget, wanted: Wanted, soon: Sequence[str] = ()) -> None:
    """Drop models until a download fits, and reserve its room; of ``soon`` only what must go, needed last first.

    Processes do this one after another, so what is reserved is never given away twice. Raises EvaluatorUnavailable,
    with nothing dropped, when dropping everything that nobody needs would not do.
    """
    with alone(root):
        sweep_dead(root)
        while (lack := _lack(root, budget, wanted.size)).size > 0:
            _drop(root, budget, wanted, lack, soon)
        reserve(wanted.lock, wanted.name, wanted.size)


def dropping_order(last_needed: Mapping[str, int], soon: Sequence[str]) -> list[str]:
    """Return the names of models, the first to be dropped first: least recently needed, and last what is needed soon.

    ``last_needed`` holds the count of each. Of those needed soon, in order, the last is the first to go. Equal counts:
    by name.
    """
    order = {name: -position for position, name in enumerate(soon, 1)}
    first = min(order.values(), default=0) - 1
    return sorted(last_needed, key=lambda name: (order.get(name, first), last_needed[name], name))


def _lack(root: Path, budget: Budget, size: int) -> _Lack:
    """Return what is lacking for a download; called by one process at a time.

    A download may be finished while this looks: it is then counted as the one or the other, and never as neither.
    """
    on_the_way = coming(root)
    here = models(root)
    on_the_way = [each for each in on_the_way if each.folder.is_dir() or each.name not in here]
    taken = sum(here.values()) + sum(each.size for each in on_the_way)
    to_come = sum(each.missing for each in on_the_way)
    over = 0 if budget.max_bytes is None else taken + size - budget.max_bytes
    return _Lack(over, size + to_come + budget.min_free - shutil.disk_usage(root).free)


def _drop(root: Path, budget: Budget, wanted: Wanted, lack: _Lack, soon: Sequence[str]) -> None:
    """Drop at least one model, and as many as are lacking by their sizes; raises EvaluatorUnavailable."""
    sizes = models(root)
    counts = {name: leases.last_needed(root, name) for name in sizes}
    dropped: list[str] = []
    with ExitStack() as claims:
        for name in dropping_order(counts, soon):
            if sum(sizes[each] for each in dropped) >= lack.size:
                break
            descriptor = leases.claim(root, name)
            if descriptor is not None:
                claims.callback(os.close, descriptor)
                dropped.append(name)
        freed = sum(sizes[name] for name in dropped)
        if freed < lack.size:
            raise EvaluatorUnavailable(_no_room(root, budget, wanted.size, lack, freed))
        _remove(root, dropped)
    log.info("dropped %d models, %s, for one of %s in %s", len(dropped), gb(freed), gb(wanted.size), root)


def _remove(root: Path, names: Collection[str]) -> None:
    """Remove models so that nobody finds a part of one; a process that dies here leaves the rest to be swept."""
    for name in names:
        with unfinished(root) as (folder, _):
            with suppress(FileNotFoundError):  # another process may find it spoilt just now
                (root / name).rename(folder / "dropped")
            leases.forget(root, name)
            shutil.rmtree(folder)


def _no_room(root: Path, budget: Budget, size: int, lack: _Lack, freed: int) -> str:
    """Say what is needed and what to set; the rest is taken by what may not be dropped."""
    start = f"no room for a model of {gb(size)} in {root}:"
    why = "champions, past champions, what is being judged or downloaded"
    if budget.max_bytes is not None and lack.over >= lack.short:
        least = budget.max_bytes + lack.over - freed
        needed = f"{gb(least - size)} are needed by others ({why})"
        return f"{start} {needed}; --store.max_gb must be at least {gb(least).removesuffix(' GB')}"
    more = f"{gb(lack.short - freed)} more must be free on that disk"
    return f"{start} {more}, so that {gb(budget.min_free)} stay free; make room there, or lower --store.min_free_gb"


def gb(size: int) -> str:
    """Return a number of bytes in GB, rounded up: to a tenth, or small ones to the byte."""
    if size >= GB // 10:
        return f"{math.ceil(size * 10 / GB) / 10:.1f} GB"
    return f"{size / GB:.9f}".rstrip("0").rstrip(".") + " GB"

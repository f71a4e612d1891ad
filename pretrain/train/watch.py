"""What people see of a training run: a bar or lines, ``status.json``, and the loss curve. It decides nothing."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from pretrain.status import write_status
from pretrain.train.loop import Progress

CURVE = "training.jsonl"
_STATUS_SECONDS = 1.0
_LINE_SECONDS = 15.0
_POINTS = 200  # of the curve
_MEMORY = 0.95  # of the running mean of the loss


@contextmanager
def watching(folder: Path, console: Console, stopped: Callable[[], bool]) -> Iterator[Callable[[Progress], bool]]:
    """Give a ``watch`` for ``train``, which shows progress and goes on until ``stopped()``.

    On a terminal a bar, else a line now and then; in the folder ``status.json`` at most once a second, and
    ``training.jsonl`` with some hundred points (tokens, running mean of the loss).
    """
    folder.mkdir(parents=True, exist_ok=True)
    columns = (TextColumn("training"), BarColumn(), TaskProgressColumn(), TextColumn("{task.description}"))
    bar = Bar(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal)
    with bar, (folder / CURVE).open("a") as curve:
        display = _Display(folder, bar, curve)

        def watch(progress: Progress) -> bool:
            display.show(progress, time.monotonic())
            return not stopped()

        yield watch


class _Display:
    """Remembers what was shown last, so that showing costs the training nothing."""

    def __init__(self, folder: Path, bar: Bar, curve: TextIO) -> None:
        self._folder, self._bar, self._curve = folder, bar, curve
        self._task = bar.add_task("")
        self._began: tuple[float, int] | None = None
        self._status = self._line = -_LINE_SECONDS
        self._point = 0
        self._mean: float | None = None

    def show(self, progress: Progress, now: float) -> None:
        """Show a step, or its part in a mean."""
        if progress.loss is not None:
            self._mean = progress.loss if self._mean is None else _MEMORY * self._mean + (1 - _MEMORY) * progress.loss
            self._draw(progress)
        over = progress.tokens >= progress.of
        facts = self._facts(progress, now)
        if over or now - self._status >= _STATUS_SECONDS:
            self._status = now
            write_status(self._folder, doing="training", **facts)
            self._bar.update(self._task, completed=progress.tokens, total=progress.of, description=_line(facts))
        if not self._bar.console.is_terminal and (over or now - self._line >= _LINE_SECONDS):
            self._line = now
            done = f"{progress.tokens:,} of {progress.of:,} tokens"
            self._bar.console.print(f"training: {done}, {_line(facts)}", highlight=False, soft_wrap=True)

    def _draw(self, progress: Progress) -> None:
        point = progress.tokens * _POINTS // progress.of
        if point > self._point:
            self._point = point
            self._curve.write(json.dumps({"tokens": progress.tokens, "loss": self._mean}) + "\n")
            self._curve.flush()

    def _facts(self, progress: Progress, now: float) -> dict[str, int | float | None]:
        self._began = self._began or (now, progress.tokens)
        seconds = now - self._began[0]
        rate = (progress.tokens - self._began[1]) / seconds if seconds > 0 else 0.0
        return {
            "tokens": progress.tokens,
            "of": progress.of,
            "loss": self._mean,
            "tokens_per_second": round(rate),
            "seconds_left": round((progress.of - progress.tokens) / rate) if rate else None,
        }


def _line(facts: dict[str, int | float | None]) -> str:
    loss = "" if facts["loss"] is None else f"loss {facts['loss']:.4f}, "
    left = "" if facts["seconds_left"] is None else f", {facts['seconds_left']} s left"
    return f"{loss}{facts['tokens_per_second']:,} tokens/s{left}"

"""What a run looks like from outside, read from its files alone."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pretrain.chain import history
from pretrain.chain.history import NeuronEpoch, WeightsRow
from pretrain.commitment import Entry, decode
from pretrain.errors import ConfigError
from pretrain.localnet.prepare import Run
from pretrain.memory import Memory
from pretrain.report import Report
from pretrain.state import State
from pretrain.types import Block, Hotkey


@dataclass(frozen=True)
class View:
    """A look at a run."""

    block: Block
    entries: tuple[Entry, ...]
    """Everything committed until now."""
    states: Mapping[str, State]
    """By validator."""
    reports: Mapping[str, tuple[Report, ...]]
    """By validator, oldest first."""
    rows: tuple[WeightsRow, ...]
    epochs: tuple[NeuronEpoch, ...]
    statuses: Mapping[str, Mapping[str, object]]
    """By process: what it last said that it does."""

    def decided(self, validator: str) -> bool:
        """Whether a validator has scored or refused everything that was committed."""
        state = self.states.get(validator, State())
        return all(state.record(entry).decided for entry in self.entries)

    @property
    def paid(self) -> bool:
        """Whether an epoch came after every validator had set weights on somebody."""
        first = {row.hotkey: row.block for row in reversed(self.rows) if row.shares}
        last = self.epochs[-1].block if self.epochs else 0
        return len(first) == len(self.states) and last > max(first.values(), default=last)


def look(run: Run, block: Block) -> View:
    """Read a run's chain, validators and statuses."""
    entries = []
    for made in history.commitments(run.chain):
        try:
            entries.append(Entry(made.hotkey, made.block, decode(made.text)))
        except ValueError:
            continue
    states, reports = {}, {}
    for name in run.validators:
        memory = _memory(run.out / name / "state.sqlite")
        if memory:
            states[name], reports[name] = memory.load(), tuple(memory.reports())
    return View(
        block=block,
        entries=tuple(entries),
        states=states,
        reports=reports,
        rows=history.weights(run.chain),
        epochs=history.epochs(run.chain),
        statuses={name: _status(run.out / name / "status.json") for name in run.hotkeys},
    )


def final(run: Run) -> View:
    """Read a run that has ended, without moving its chain."""
    return look(run, history.newest(run.chain))


def labels(run: Run) -> dict[Hotkey, str]:
    """Return the name of each hotkey."""
    return {hotkey: name for name, hotkey in run.hotkeys.items()}


def _memory(path: Path) -> Memory | None:
    if not path.exists():
        return None
    try:
        return Memory(path)
    except ConfigError:
        return None


def _status(path: Path) -> Mapping[str, object]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}

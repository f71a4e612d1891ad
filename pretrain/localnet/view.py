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
from pretrain.types import Block, CompetitionId, Hotkey

COMMON_WINDOWS = 2
"""In so many windows all validators must have scored everything before a run is complete."""


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

    def settled(self, competition: CompetitionId) -> Block | None:
        """Return the second sync block at which all validators scored everything that is not refused; None: not yet."""
        entered = {entry.hotkey for entry in self.entries if entry.competition == competition}
        windows = []
        for validator, state in self.states.items():
            refused = {record.entry.hotkey for record in state.records.values() if record.rejected}
            steps = [report for report in self.reports[validator] if report.competition == competition]
            windows.append({report.block for report in steps if {*report.players} >= entered - refused})
        common = sorted(set.intersection(*windows)) if windows else []
        return common[COMMON_WINDOWS - 1] if len(common) >= COMMON_WINDOWS else None

    def paid_since(self, block: Block) -> bool:
        """Whether every validator set weights after a block, and an epoch has come after that."""
        later = {row.hotkey: row.block for row in reversed(self.rows) if row.shares and row.block > block}
        last = self.epochs[-1].block if self.epochs else Block(0)
        return len(later) == len(self.states) and last > max(later.values(), default=last)


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

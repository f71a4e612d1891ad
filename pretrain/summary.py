"""A whole run in one frozen value: what tables, pages and ``summary.json`` show and nothing else."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import TypeAdapter

from pretrain import plain
from pretrain.agreement import Agreement, Unscored, agreement, unscored
from pretrain.competition import Competition
from pretrain.leaderboard import Leaderboard
from pretrain.ranking import leaderboard
from pretrain.report import Report
from pretrain.types import Block, Digest, Hotkey, Uid


@dataclass(frozen=True)
class Run:
    """What the run was: enough to run it again."""

    seed: int
    started: Block
    ended: Block
    block_seconds: float
    versions: Mapping[str, str]
    """Name -> version of what computed: Python, torch, this software."""
    schedule: str
    schedule_digest: Digest
    data: Mapping[str, Digest]
    """Source or tokenizer -> digest."""


@dataclass(frozen=True)
class WeightsRow:
    """A row that a validator set, in force from its block until its next one."""

    block: Block
    validator: Hotkey
    shares: Mapping[Hotkey, float]
    """Sum to 1."""


@dataclass(frozen=True)
class EpochRow:
    """What one epoch gave one neuron."""

    block: Block
    uid: Uid
    hotkey: Hotkey
    incentive: float
    """Share of the miners' emission, 0 to 1."""
    dividends: float
    """Share of the validators' emission, 0 to 1."""
    stake: float
    """In alpha, at that epoch."""


@dataclass(frozen=True)
class ChainFacts:
    """What the chain remembers of the run."""

    weights: tuple[WeightsRow, ...] = ()
    epochs: tuple[EpochRow, ...] = ()


@dataclass(frozen=True)
class Summary:
    """One run, whole."""

    run: Run
    validators: tuple[Hotkey, ...]
    """In the order in which the run named them."""
    miners: tuple[Hotkey, ...]
    """Every other hotkey with an entry, a weight or an incentive, labelled ones first; its index here is its colour."""
    labels: Mapping[Hotkey, str]
    """A short name of every hotkey above."""
    agreement: Agreement
    leaderboards: tuple[Leaderboard, ...]
    unscored: tuple[Unscored, ...]
    weights: tuple[WeightsRow, ...]
    """By block, then validator."""
    epochs: tuple[EpochRow, ...]
    """By block, then uid."""
    reports: tuple[Report, ...]
    """Every step of every validator: by block, competition, validator."""

    def last_weights(self) -> dict[Hotkey, WeightsRow]:
        """Return the row in force at the end, by validator."""
        return {row.validator: row for row in self.weights}

    def last_epoch(self) -> tuple[EpochRow, ...]:
        """Return the rows of the newest epoch; empty when there was none."""
        newest = self.epochs[-1].block if self.epochs else None
        return tuple(row for row in self.epochs if row.block == newest)

    def label(self, hotkey: Hotkey) -> str:
        """Return the short name of a hotkey."""
        return plain.label(hotkey, self.labels)


def gather(
    run: Run,
    competitions: Sequence[Competition],
    reports: Mapping[Hotkey, Sequence[Report]],
    chain: ChainFacts,
    labels: Mapping[Hotkey, str],
) -> Summary:
    """Put a run together: its competitions in order, each validator's reports, and the chain's history.

    The first validator named is the one whose view a leaderboard shows; ``labels`` gives short names such as
    ``miner-1`` to the hotkeys it knows.
    """
    validators = tuple(reports)
    steps = tuple(
        sorted((r for mine in reports.values() for r in mine), key=lambda r: (r.block, r.competition, r.validator))
    )
    weights = tuple(sorted(chain.weights, key=lambda row: (row.block, row.validator)))
    epochs = tuple(sorted(chain.epochs, key=lambda row: (row.block, row.uid)))
    found = _hotkeys(steps, weights, epochs) | {Hotkey(hotkey) for hotkey in labels}
    others = {row.validator for row in weights} | {report.validator for report in steps}
    validators += tuple(sorted(others - {*validators}))
    names = {hotkey: plain.label(hotkey, labels) for hotkey in sorted(found | {*validators})}
    miners = _miners(steps, weights, epochs) - {*validators}
    return Summary(
        run=run,
        validators=validators,
        miners=tuple(sorted(miners, key=lambda h: (h not in labels, _natural(names[h]), h))),
        labels=names,
        agreement=agreement(steps, names),
        leaderboards=tuple(leaderboard(each, steps, validators, names) for each in competitions),
        unscored=unscored(steps, names),
        weights=weights,
        epochs=epochs,
        reports=steps,
    )


def _miners(reports: Iterable[Report], weights: Iterable[WeightsRow], epochs: Iterable[EpochRow]) -> set[Hotkey]:
    entries = {entry.hotkey for report in reports for entry in report.entries}
    weighed = {hotkey for row in weights for hotkey, share in row.shares.items() if share > 0}
    return entries | weighed | {row.hotkey for row in epochs if row.incentive > 0}


def _hotkeys(reports: Sequence[Report], weights: Sequence[WeightsRow], epochs: Sequence[EpochRow]) -> set[Hotkey]:
    players = {hotkey for report in reports for hotkey in (*report.players, *report.references)}
    return _miners(reports, weights, epochs) | players | {row.hotkey for row in epochs}


def _natural(name: str) -> tuple[tuple[int, str], ...]:
    """Order miner-2 before miner-10."""
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", name))


_ADAPTER = TypeAdapter(Summary)


def to_json(summary: Summary) -> str:
    """Return the summary as JSON, indented for people."""
    return _ADAPTER.dump_json(summary, indent=2).decode()


def from_json(text: str | bytes) -> Summary:
    """Read what ``to_json`` wrote; raises pydantic's ValidationError for anything else."""
    return _ADAPTER.validate_json(text)

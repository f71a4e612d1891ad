"""Whether validators saw the same: what a subnet's pay rests on. Pure."""

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from pretrain import plain
from pretrain.report import Report
from pretrain.types import Block, CompetitionId, Hotkey

_NAMED = 4
"""So many differing windows are named in a sentence; all stand in the summary."""


@dataclass(frozen=True)
class Window:
    """One competition at one sync block, decided by two validators or more."""

    block: Block
    competition: CompetitionId
    name: str
    validators: tuple[Hotkey, ...]
    differing: tuple[str, ...]
    """What is not the same for all of them: ``samples``, ``champion``, ``rules`` or ``engine``."""
    score_gap: float
    """Largest difference of two validators' scores of one commitment, as a share of the score; 0 if none is shared."""


@dataclass(frozen=True)
class Agreement:
    """What the common windows say; without any there is no agreement to speak of."""

    windows: tuple[Window, ...]
    same_samples: int
    same_champion: int
    score_gap: float
    """The largest of all windows."""
    text: str
    """One line for people."""

    @property
    def holds(self) -> bool:
        """Whether there are common windows and all have the same samples and champion."""
        return 0 < len(self.windows) == self.same_samples == self.same_champion


@dataclass(frozen=True)
class Unscored:
    """A commitment that some validators scored and another one, that decided steps of its competition, did not."""

    competition: CompetitionId
    hotkey: Hotkey
    repo: str
    scored_by: tuple[Hotkey, ...]
    missing: tuple[Hotkey, ...]
    why: str
    """What the first missing validator said of it."""
    text: str
    """One line for people."""

    def __str__(self) -> str:
        return self.text


def agreement(reports: Iterable[Report], labels: Mapping[Hotkey, str]) -> Agreement:
    """Compare every window that two validators or more decided and in which one of them scored something."""
    decided = sorted((r for r in reports if not r.abandoned), key=lambda r: (*_window_key(r), r.validator))
    groups = [tuple(group) for _, group in itertools.groupby(decided, key=_window_key)]
    groups = [group for group in groups if any(report.players for report in group)]
    windows = tuple(_window(group) for group in groups if len({report.validator for report in group}) > 1)
    same_samples = sum("samples" not in window.differing for window in windows)
    same_champion = sum("champion" not in window.differing for window in windows)
    gap = max((window.score_gap for window in windows), default=0.0)
    text = _text(windows, same_samples, same_champion, labels)
    return Agreement(windows, same_samples, same_champion, gap, text)


def unscored(reports: Sequence[Report], labels: Mapping[Hotkey, str]) -> tuple[Unscored, ...]:
    """Return the commitments scored by one validator and not by another."""
    decided = [report for report in reports if not report.abandoned]
    rows: dict[tuple[CompetitionId, Hotkey, str, Block, str], dict[Hotkey, str]] = {}
    for report in decided:
        for entry in report.entries:
            seen = rows.setdefault((report.competition, entry.hotkey, entry.revision, entry.block, entry.repo), {})
            if seen.get(report.validator) != "scored":
                seen[report.validator] = entry.outcome if entry.outcome == "scored" else entry.reason or entry.outcome
    result = []
    for (competition, hotkey, _, _, repo), seen in sorted(rows.items()):
        validators = sorted({r.validator for r in decided if r.competition == competition})
        by = tuple(v for v in validators if seen.get(v) == "scored")
        missing = tuple(v for v in validators if v not in by)
        if by and missing:
            why = seen.get(missing[0], "not seen")
            text = (
                f"{plain.label(hotkey, labels)} ({plain.middle(repo, 40)}, competition {competition}) was scored by"
                f" {_names(by, labels)} and not by {_names(missing, labels)}: {plain.line(why, 40)}"
            )
            result.append(Unscored(competition, hotkey, repo, by, missing, why, text))
    return tuple(result)


def _names(hotkeys: Iterable[Hotkey], labels: Mapping[Hotkey, str]) -> str:
    return ", ".join(plain.label(hotkey, labels) for hotkey in hotkeys)


def _window_key(report: Report) -> tuple[Block, CompetitionId]:
    return report.block, report.competition


def _window(group: Sequence[Report]) -> Window:
    compared: dict[str, Callable[[Report], object]] = {
        "samples": lambda report: report.samples,
        "champion": lambda report: report.champion,
        "rules": lambda report: report.competition_digest,
        "engine": lambda report: report.engine,
    }
    differing = [what for what, of in compared.items() if len({of(report) for report in group}) > 1]
    if "samples" not in differing and group[0].samples is None:
        differing.insert(0, "samples")  # nobody can say what was drawn, which is not agreement
    first = group[0]
    validators = tuple(sorted(report.validator for report in group))
    return Window(first.block, first.competition, first.name, validators, tuple(differing), _score_gap(group))


def _score_gap(group: Sequence[Report]) -> float:
    scores: dict[tuple[Hotkey, str, Block], list[float]] = {}
    for report in group:
        for entry in report.entries:
            if entry.score is not None and math.isfinite(entry.score):
                scores.setdefault((entry.hotkey, entry.revision, entry.block), []).append(entry.score)
    return max((1 - min(values) / max(values) for values in scores.values() if max(values) > 0), default=0.0)


def _text(windows: Sequence[Window], same_samples: int, same_champion: int, labels: Mapping[Hotkey, str]) -> str:
    if not windows:
        return "no common window: no two validators have decided the same competition at the same block"
    total = len(windows)
    noun = "window" if total == 1 else "windows"
    text = f"the validators drew identical samples in {same_samples} of {total} common {noun}"
    text += f" and crowned the same champion in {same_champion}"
    differing = [window for window in windows if window.differing]
    named = [
        f"{', '.join(window.differing)} at block {window.block} of {plain.line(window.name, 24)}"
        f" ({_names(window.validators, labels)})"
        for window in differing[:_NAMED]
    ]
    if len(differing) > _NAMED:
        named.append(f"and {len(differing) - _NAMED} more")
    return text + (f"; different {'; '.join(named)}" if named else "")

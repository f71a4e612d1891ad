"""All steps of all validators, put in one order: from reports to a leaderboard. Pure."""

import math
from collections.abc import Iterable, Mapping, Sequence

from pretrain.competition import Competition
from pretrain.leaderboard import Leaderboard, Loss, Part, Place, Refusal, verdict
from pretrain.report import EntryReport, Report
from pretrain.scoring import hotkey_order
from pretrain.types import Block, Hotkey, TaskName

UNITS = {"text_loss": "nats per token", "bits_per_byte": "bits per byte"}
"""What a task's loss is measured in, by its method."""
_Rank = tuple[int, float, float, Block, bytes]


def leaderboard(
    competition: Competition, reports: Sequence[Report], validators: Sequence[Hotkey], labels: Mapping[Hotkey, str]
) -> Leaderboard:
    """Put one competition's entries in order; ``validators`` says whose view comes first."""
    mine = sorted(
        (r for r in reports if r.competition == competition.competition_id),
        key=lambda r: (r.block, validators.index(r.validator)),
    )
    decided = [report for report in mine if not report.abandoned]
    last = next((report for report in decided if report.block == decided[-1].block), None)
    mix = tuple(
        Part(task, weight, UNITS[competition.tasks[task].method]) for task, weight in competition.weights.items()
    )
    units = {part.unit for part in mix}
    unit = units.pop() if len(units) == 1 else "mixed units"
    places = _places(last, decided, labels) if last else ()
    return Leaderboard(
        competition=competition.competition_id,
        name=competition.name,
        share=competition.share,
        mix=mix,
        unit=unit,
        block=last.block if last else None,
        validator=last.validator if last else None,
        champion=last.champion if last else None,
        verdict=verdict(competition.name, unit, last.champion if last else None, places),
        places=places,
        players=last.players if last else (),
        wins=last.wins if last else (),
        refusals=_refusals(decided, labels),
        losses=tuple(_losses(decided)),
    )


def _places(last: Report, decided: Sequence[Report], labels: Mapping[Hotkey, str]) -> tuple[Place, ...]:
    measured = [(entry, _measured(entry, last, decided)) for entry in last.entries]
    result: list[Place] = []
    for entry, source in sorted(measured, key=lambda pair: _rank(pair[0], pair[1], last)):
        place = 1 + sum(p.place is not None for p in result) if source else None
        result.append(_place(place, entry, source, decided, labels))
    return tuple(result)


def _measured(entry: EntryReport, last: Report, decided: Sequence[Report]) -> tuple[Report, EntryReport] | None:
    """Find the latest step in which a commitment was scored, by the preferred validator if it has it."""
    if entry.outcome == "rejected":
        return None
    found = [
        (report, other)
        for report in decided
        for other in report.entries
        if _commitment(other) == _commitment(entry) and finite(other.score) is not None
    ]
    return max(found, key=lambda pair: (pair[0].block, pair[0].validator == last.validator), default=None)


def _rank(entry: EntryReport, source: tuple[Report, EntryReport] | None, last: Report) -> _Rank:
    """Order: champion; the last step's by win rate, score, earlier block, sha256(hotkey); older ones; no score."""
    tie = (entry.block, hotkey_order(entry.hotkey))
    if source is None:
        return (3, float(entry.outcome == "rejected"), 0.0, *tie)
    report, measured = source
    group = 0 if entry.hotkey == last.champion else 1 if report.block == last.block else 2
    return (group, -measured.win_rate, measured.score or 0.0, *tie)


def _place(
    place: int | None,
    entry: EntryReport,
    source: tuple[Report, EntryReport] | None,
    decided: Sequence[Report],
    labels: Mapping[Hotkey, str],
) -> Place:
    report, measured = source or (None, entry)
    scores = {
        other.validator: score
        for other in decided
        for row in other.entries
        if report and other.block == report.block and _commitment(row) == _commitment(entry)
        if (score := finite(row.score)) is not None
    }
    return Place(
        place=place,
        hotkey=entry.hotkey,
        label=labels[entry.hotkey],
        repo=entry.repo,
        revision=entry.revision,
        committed=entry.block,
        outcome=entry.outcome,
        reason=entry.reason,
        detail=entry.detail,
        measured=report.block if report else None,
        score=finite(measured.score) if report else None,
        tasks=_tasks(measured),
        competitive=measured.competitive,
        win_rate=measured.win_rate,
        epsilon=measured.epsilon,
        difference=measured.difference,
        average=entry.average,
        scores=scores,
    )


def _refusals(decided: Sequence[Report], labels: Mapping[Hotkey, str]) -> tuple[Refusal, ...]:
    found: dict[tuple[object, ...], dict[Hotkey, EntryReport]] = {}
    for report in decided:
        for entry in report.entries:
            if entry.outcome == "rejected":
                found.setdefault((*_commitment(entry), entry.reason), {})[report.validator] = entry
    result = []
    for rows in found.values():
        entry = next(iter(rows.values()))
        who = tuple(sorted(rows))
        label = labels[entry.hotkey]
        result.append(Refusal(entry.hotkey, label, entry.repo, entry.block, entry.reason, entry.detail, who))
    return tuple(sorted(result, key=lambda refusal: (refusal.committed, hotkey_order(refusal.hotkey))))


def _losses(decided: Iterable[Report]) -> Iterable[Loss]:
    for report in decided:
        for entry in report.entries:
            score = finite(entry.score)
            if score is not None:
                yield Loss(report.block, report.validator, entry.hotkey, score, _tasks(entry))


def _tasks(entry: EntryReport) -> dict[TaskName, float]:
    return {task: loss for task, loss in (entry.tasks or {}).items() if math.isfinite(loss)}


def _commitment(entry: EntryReport) -> tuple[Hotkey, str, str, Block]:
    return entry.hotkey, entry.repo, entry.revision, entry.block


def finite(value: float | None) -> float | None:
    """Return a number, or None for what is none: JSON has no infinity."""
    return value if value is not None and math.isfinite(value) else None

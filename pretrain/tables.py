"""What people read in a terminal: one step, a leaderboard, weights and incentives, in 100 columns.

Names and details come from miners: they are shown as plain text on one line, never as markup.
"""

from collections.abc import Iterable, Mapping, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pretrain import plain
from pretrain.leaderboard import Leaderboard, Place
from pretrain.report import Difference, EntryReport, NearCopy, Report
from pretrain.summary import Summary
from pretrain.types import CompetitionId, Hotkey, TaskName

WIDTH = 100
"""Columns that every table fits in."""
_COLUMNS = 8
"""So many miners stand beside each other in a matrix; the others are summed up."""
_TASKS = 2
"""So many tasks have a column of their own."""


def step_table(report: Report) -> RenderableType:
    """Show one step: who was judged and how it ended, who was not and why."""
    head = Text.assemble(
        (f"block {report.block}", "bold"),
        f"   {plain.line(report.name, 24)} ({report.competition})",
        f"   samples {(report.samples or 'none')[:12]}",
        f"   {report.seconds:.0f} s",
    )
    parts: list[RenderableType] = [head]
    if report.abandoned:
        parts.append(Text(f"  nothing was decided: {plain.line(report.abandoned, 400)}", "yellow"))
    scored = [entry for entry in report.entries if entry.outcome == "scored"]
    if scored:
        parts.append(_scored_table(report, scored))
    elif not report.abandoned:
        parts.append(Text("  no entry was scored"))
    parts += [_unscored_line(entry) for entry in report.entries if entry.outcome != "scored"]
    parts += [_near_line(report, near) for near in report.near_copies]
    parts += [Text(f"  note: {plain.line(note, 400)}", "yellow") for note in report.notes]
    if not report.ready and not report.abandoned:
        parts.append(Text("  no weights yet: not everything top-weighted is decided", "yellow"))
    return Group(*parts)


def leaderboard(summary: Summary, competition: CompetitionId) -> RenderableType:
    """Show who leads a competition at the end of a run; raises KeyError for a competition that it did not have."""
    board = {board.competition: board for board in summary.leaderboards}[competition]
    mix = " + ".join(f"{part.weight:.0%} {plain.line(part.task, 16)}" for part in board.mix)
    title = Text.assemble((plain.line(board.name, 24), "bold"), f"   {mix}   {board.share:.0%} of the pay")
    parts: list[RenderableType] = [title, Text(plain.line(board.verdict, 300), "green" if board.champion else "yellow")]
    if any(place.score is not None for place in board.places):
        parts.append(_places_table(board))
    parts += [_line(place.outcome, place.label, place.repo, why(place)) for place in unplaced(board)]
    return Group(*parts, Text())


def weights_table(summary: Summary) -> RenderableType:
    """Show the row that each validator set last."""
    last = summary.last_weights()
    table, shown = _matrix(summary, "weights set by", {h: last[h].shares for h in last})
    table.add_column("set at block", justify="right")
    for validator in summary.validators:
        name = Text(summary.label(validator))
        if validator in last:
            row = last[validator]
            table.add_row(name, *_shares(row.shares, shown, len(summary.miners)), str(row.block))
        else:
            table.add_row(name, *[""] * (len(table.columns) - 2), "never")
    return table


def incentive_table(summary: Summary) -> RenderableType:
    """Show what the newest epoch gave to everybody."""
    rows = summary.last_epoch()
    if not rows:
        return Text("no epoch has passed: nobody was paid yet")
    table = _table(f"incentive and dividends at block {rows[0].block}")
    for column in ("incentive", "dividends", "stake"):
        table.add_column(column, justify="right")
    paid = [row for row in rows if row.hotkey in summary.labels and (row.incentive or row.dividends or row.stake)]
    order = {hotkey: index for index, hotkey in enumerate((*summary.miners, *summary.validators))}
    for row in sorted(paid, key=lambda row: order.get(row.hotkey, len(order))):
        shares = [f"{share:.1%}" if share else "" for share in (row.incentive, row.dividends)]
        table.add_row(Text(summary.label(row.hotkey)), *shares, f"{row.stake:,.2f}")
    return table


def compared(difference: Difference | None) -> str:
    """Return a difference to the champion with its standard error, in percent of the champion's loss."""
    return f"{difference.mean * 100:+.2f} ± {difference.standard_error * 100:.2f} %" if difference else ""


def why(row: Place | EntryReport) -> str:
    """Return a refusal's or a delay's reason and detail, as written."""
    return ": ".join(part for part in (row.reason, row.detail) if part)


def unplaced(board: Leaderboard) -> tuple[Place, ...]:
    """Return who stands on a leaderboard without a score."""
    return tuple(place for place in board.places if place.score is None)


def _scored_table(report: Report, entries: Sequence[EntryReport]) -> Table:
    table = _table()
    table.add_column("role", width=9)
    table.add_column("model", max_width=24, overflow="ellipsis")
    for column in ("loss", "to champion", "wins", "epsilon", "weight"):
        table.add_column(column, justify="right", no_wrap=True)
    tasks = _task_columns(table, entries)
    for entry in sorted(entries, key=lambda e: (e.hotkey != report.champion, -e.win_rate, e.score or 0.0, e.block)):
        leads = entry.hotkey == report.champion
        table.add_row(
            Text(plain.line(entry.role, 9)),
            Text(plain.middle(entry.repo, 24)),
            f"{entry.score:.4f}" if entry.score is not None else "",
            "leads" if leads else compared(entry.difference),
            f"{entry.win_rate:.0%}" if entry.competitive else "none",
            f"{entry.epsilon:.2%}",
            f"{entry.step_weight:.3f}",
            *_task_cells(entry, tasks),
            style="bold green" if leads else None,
        )
    return table


def _places_table(board: Leaderboard) -> Table:
    table = _table()
    table.add_column("", justify="right", width=2)
    table.add_column("miner", max_width=14, no_wrap=True, overflow="ellipsis")
    table.add_column("model", max_width=24, overflow="ellipsis")
    for column in ("loss", "to champion", "wins", "average"):
        table.add_column(column, justify="right", no_wrap=True)
    tasks = _task_columns(table, board.places)
    for place in board.places:
        if place.score is None:
            continue
        table.add_row(
            str(place.place),
            Text(place.label),
            Text(plain.middle(place.repo, 24)),
            f"{place.score:.4f}",
            "leads" if place.hotkey == board.champion else compared(place.difference),
            f"{place.win_rate:.0%}",
            f"{place.average:.3f}",
            *_task_cells(place, tasks),
            style="bold green" if place.hotkey == board.champion else None,
        )
    return table


def _task_columns(table: Table, rows: Iterable[Place | EntryReport]) -> tuple[TaskName, ...]:
    """Add a column for each task of a mix, or a single one for many; a mix of one task is its score: no column."""
    tasks = tuple(sorted({task for row in rows for task in row.tasks or {}}))
    if 1 < len(tasks) <= _TASKS:
        for task in tasks:
            table.add_column(Text(plain.line(task, 10)), justify="right", no_wrap=True)
    elif len(tasks) > _TASKS:
        table.add_column("by task", max_width=24)
    return tasks if len(tasks) > 1 else ()


def _task_cells(row: Place | EntryReport, tasks: tuple[TaskName, ...]) -> list[Text]:
    known = row.tasks or {}
    values = [f"{known[task]:.4f}" if task in known else "" for task in tasks]
    if len(tasks) <= _TASKS:
        return [Text(value) for value in values]
    return [Text("\n".join(f"{plain.line(task, 14)} {value}" for task, value in zip(tasks, values, strict=True)))]


def _near_line(report: Report, near: NearCopy) -> Text:
    repos = {entry.hotkey: entry.repo for entry in report.entries}
    later, earlier = (plain.middle(repos.get(hotkey, hotkey), 16) for hotkey in (near.later, near.earlier))
    return Text(f"  near: {later} and {earlier}: {near}", "yellow")


def _unscored_line(entry: EntryReport) -> Text:
    return _line(entry.outcome, plain.middle(entry.hotkey, 12), entry.repo, why(entry))


def _line(outcome: str, who: str, repo: str, reason: str) -> Text:
    style = {"rejected": "red", "undecided": "yellow"}.get(outcome, "")
    text = f"  {plain.line(outcome, 10)}  {plain.line(who, 24)}  {plain.middle(repo, 40)}"
    return Text(f"{text}  {plain.line(reason, 160)}".rstrip(), style)


def _matrix(
    summary: Summary, corner: str, rows: Mapping[Hotkey, Mapping[Hotkey, float]]
) -> tuple[Table, tuple[Hotkey, ...]]:
    """Return a table with a column for each miner, the largest where there are too many, and those columns."""
    most = {miner: max((row.get(miner, 0.0) for row in rows.values()), default=0.0) for miner in summary.miners}
    largest = sorted(summary.miners, key=lambda miner: -most[miner])[:_COLUMNS]
    shown = tuple(miner for miner in summary.miners if miner in largest)
    table = _table()
    table.add_column(corner, max_width=16, no_wrap=True, overflow="ellipsis")
    for miner in shown:
        table.add_column(Text(summary.label(miner)), justify="right", max_width=9, overflow="fold")
    if len(shown) < len(summary.miners):
        table.add_column("others", justify="right")
    return table, shown


def _shares(row: Mapping[Hotkey, float], shown: tuple[Hotkey, ...], miners: int) -> list[str]:
    cells = [f"{row[hotkey]:.1%}" if row.get(hotkey) else "" for hotkey in shown]
    if len(shown) < miners:
        cells.append(f"{sum(share for hotkey, share in row.items() if hotkey not in shown):.1%}")
    return cells


def _table(first: str | None = None) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    if first:
        table.add_column(first, max_width=44, no_wrap=True, overflow="ellipsis")
    return table

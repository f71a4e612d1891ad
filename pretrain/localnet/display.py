"""The progress of a localnet: what each process does, and who leads."""

from collections.abc import Mapping

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pretrain.localnet.prepare import Run
from pretrain.localnet.processes import Daemon
from pretrain.localnet.view import View, labels


def progress(run: Run, view: View, daemons: Mapping[str, Daemon]) -> RenderableType:
    """Return what the run looks like now."""
    return Group(Text(f"block {view.block}", style="bold"), _processes(run, view, daemons), *_leaders(run, view))


def _processes(run: Run, view: View, daemons: Mapping[str, Daemon]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("process", "part", "doing"):
        table.add_column(column)
    parts = {miner.name: miner.part for miner in run.miners}
    for name in run.hotkeys:
        doing = _doing(name, view, daemons.get(name))
        table.add_row(name, parts.get(name, "judges"), Text(doing))
    return table


def _doing(name: str, view: View, daemon: Daemon | None) -> str:
    if daemon is None:
        return "waits until there is something to republish"
    restarts = f" (restarted {daemon.deaths} times)" if daemon.deaths else ""
    if daemon.done:
        return f"done{restarts}"
    status = view.statuses.get(name, {})
    doing = str(status.get("doing", "starting"))
    if status.get("tokens") is not None and status.get("of"):
        doing += f" {status['tokens']:,} of {status['of']:,} tokens"
    if isinstance(status.get("loss"), float):
        doing += f", loss {status['loss']:.3f}"
    return doing + restarts


def _leaders(run: Run, view: View) -> list[Text]:
    names = labels(run)
    lines = []
    for competition in run.schedule.at(view.block):
        steps = [r for reports in view.reports.values() for r in reports if r.competition == competition.id]
        decided = [r for r in steps if r.champion]
        if not decided:
            lines.append(Text(f"{competition.name}: nothing judged yet ({len(steps)} steps)"))
            continue
        last = max(decided, key=lambda report: report.block)
        scores = ", ".join(
            f"{names.get(e.hotkey, e.hotkey[:8])} {e.score:.4f}" for e in last.entries if e.score is not None
        )
        leader = names.get(last.champion or last.validator, "?")
        lines.append(Text(f"{competition.name}: {leader} leads at block {last.block} ({scores} nats a token)"))
    return lines

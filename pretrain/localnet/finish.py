"""From the files of an ended run to its summary, its page and its tables."""

import platform
from importlib.metadata import version

from rich.console import Console

from pretrain import pages, tables
from pretrain.localnet.prepare import Run
from pretrain.localnet.view import View, labels
from pretrain.schedule import ParquetSource
from pretrain.summary import ChainFacts, EpochRow, Summary, WeightsRow, gather
from pretrain.summary import Run as RunFacts
from pretrain.types import Block, Digest

COMPUTES = ("pretrain", "torch", "transformers", "tokenizers")
"""Packages whose versions may move a number."""


def summarise(run: Run, view: View) -> Summary:
    """Gather what the validators reported and what the chain remembers."""
    schedule = run.schedule
    texts = {name: spec.digest for name, spec in schedule.sources.items() if not isinstance(spec, ParquetSource)}
    tokenizers = {name: spec.digest for name, spec in schedule.tokenizers.items()}
    facts = RunFacts(
        seed=run.seed,
        started=Block(0),
        ended=view.block,
        block_seconds=run.block_time,
        versions={"python": platform.python_version(), **{name: version(name) for name in COMPUTES}},
        schedule=schedule.name,
        schedule_digest=schedule.digest,
        data={name: Digest(digest) for name, digest in {**texts, **tokenizers}.items()},
    )
    chain = ChainFacts(
        weights=tuple(WeightsRow(row.block, row.hotkey, row.shares) for row in view.rows),
        epochs=tuple(
            EpochRow(row.block, row.uid, row.hotkey, row.incentive, row.dividends, row.stake) for row in view.epochs
        ),
    )
    reports = {run.hotkeys[name]: view.reports.get(name, ()) for name in run.validators}
    return gather(facts, schedule.at(view.block), reports, chain, labels(run))


def show(run: Run, summary: Summary, console: Console) -> None:
    """Write the report, and print who won, who is paid, and whether the validators agree."""
    folder = run.out / "report"
    pages.write(summary, folder)
    for board in summary.leaderboards:
        console.print(tables.leaderboard(summary, board.competition))
    console.print(tables.weights_table(summary))
    console.print(tables.incentive_table(summary))
    console.print(summary.agreement.text, style="bold green" if summary.agreement.holds else "bold red")
    for missing in summary.unscored:
        console.print(f"not scored by everybody: {missing}", style="red")
    console.print(f"pictures: {folder / 'index.html'}   the same for programs: {folder / 'summary.json'}")

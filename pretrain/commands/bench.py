"""``pretrain bench``: how fast the parts are that must be fast."""

from typing import Annotated

import typer

from pretrain.commands.bench_probes import probes
from pretrain.commands.output import AsJson, emit, say, verdict

app = typer.Typer(no_args_is_help=True, help="Measure the parts that must be fast.")


app.command("probes")(probes)


@app.callback()
def _group() -> None:
    """Keep ``bench`` a group, whatever the number of its commands."""


@app.command()
def scoring(
    *,
    repeats: Annotated[int, typer.Option(min=1, help="Runs; the median counts.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Time one step's arithmetic, losses to weights, for 256 entries, 300 batches and 6 tasks.

    Exit code 0: both ways to compare take less than the limit; 1: one does not. The results are checked against a loop
    in plain Python on a smaller case first.
    """
    from pretrain import scoring_bench  # noqa: PLC0415 - `pretrain --help` answers at once

    timings = [scoring_bench.time_scoring(compare, repeats) for compare in scoring_bench.COMPARES]
    so = all(timing.seconds < scoring_bench.LIMIT for timing in timings)
    if as_json:
        emit({"limit": scoring_bench.LIMIT, "within": so, "timings": [vars(timing) for timing in timings]})
    else:
        limit = f"{scoring_bench.LIMIT * 1000:.0f} ms"
        for timing in timings:
            say(
                f"compare {timing.compare}: {timing.seconds * 1000:.1f} ms, of which the processor"
                f" {timing.cpu_seconds * 1000:.1f} ms (median of {timing.repeats}, limit {limit});"
                f" {timing.entries} entries, {timing.batches} batches, {timing.tasks} tasks;"
                f" {timing.ratio:.1f} times as fast as plain Python on a smaller case"
            )
    verdict(so=so)

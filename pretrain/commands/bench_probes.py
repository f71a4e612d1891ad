"""``pretrain bench probes``: honest models and the probes that every model passes."""

from typing import Annotated

import typer

from pretrain.commands.output import AsJson, emit, say, verdict
from pretrain.errors import ConfigError


def probes(  # noqa: PLR0913 - one parameter an option
    *,
    family: Annotated[list[str] | None, typer.Option(help="A family; repeat it for more. Default: all.")] = None,
    length: Annotated[int, typer.Option(min=2, help="Tokens of a window.")] = 4096,
    windows: Annotated[int, typer.Option(min=1, help="Windows of each of the two tasks.")] = 50,
    models: Annotated[int, typer.Option(min=1, help="Models a family and dtype; every second one is trained.")] = 2,
    batch: Annotated[int, typer.Option(min=1, help="Windows at a time.")] = 8,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
    device: Annotated[str, typer.Option(help="A torch device: cpu, cuda, cuda:1.")] = "cpu",
    as_json: AsJson = False,
) -> None:
    """Judge small honest models of each family in float32 and bfloat16, random and briefly trained, with all probes.

    Exit code 0: none is refused; 1: one is, a false alarm. "moved" is the largest change of a hidden state when later
    tokens change, as a part of its size; "cost" is the time of the probes by that of the losses.
    """
    from pretrain.models.families import FAMILIES  # noqa: PLC0415 - `pretrain --help` answers at once
    from pretrain.probe_bench import DTYPES, Setting, measure  # noqa: PLC0415 - as above

    chosen = family or list(FAMILIES)
    if unknown := set(chosen) - set(FAMILIES):
        raise ConfigError(f"--family {min(unknown)} is not known; known are {', '.join(FAMILIES)}")
    setting = Setting(length, windows, batch, threads=threads, device=device)
    if not as_json:
        say(f"{'family':<10} {'dtype':<9} {'models':>6} {'false alarms':>12} {'moved':>8} {'cost':>6}")
    rows = []
    for row in (measure(name, dtype, models, setting) for name in chosen for dtype in DTYPES):
        rows.append(row)
        if not as_json:
            facts = f"{row.models:>6} {len(row.refused):>12} {row.movement:>8.2g} {row.ratio:>6.0%}"
            say(f"{row.family:<10} {row.dtype:<9} {facts}")
            for line in row.refused:
                say(f"  {line}")
    alarms = sum(len(row.refused) for row in rows)
    if as_json:
        emit({"setting": vars(setting), "false_alarms": alarms, "rows": [vars(row) for row in rows]})
    else:
        cost = sum(row.probes_seconds for row in rows) / (sum(row.losses_seconds for row in rows) or 1)
        judged = sum(row.models for row in rows)
        say(f"{judged} models, {alarms} false alarms; the probes took {cost:.0%} of the time of the losses")
    verdict(so=not alarms)

"""``pretrain competitions``: check, show and compare competition files."""

import itertools
from pathlib import Path
from typing import Annotated, Any

import typer

from pretrain import competition_diff, competition_file, competition_view
from pretrain.commands.output import AsJson, emit, say, show, verdict
from pretrain.competition import Competition, FixedEpsilon
from pretrain.competition_diff import ABSENT, Change
from pretrain.competition_file import Examined, dotted
from pretrain.schedule import Schedule
from pretrain.types import Block
from pretrain.yaml_document import Problem, shown

app = typer.Typer(no_args_is_help=True, help="Check, show and compare competition files.")


@app.command()
def check(
    files: Annotated[list[Path], typer.Argument(help="Competition files.")],
    *,
    pinned: Annotated[bool, typer.Option("--pinned", help="Refuse sources and tokenizers without a pin.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say whether files are right: 0 all are, 1 one is not, 2 one cannot be read.

    Each problem is one line: file, line, field, value, and what would be right.
    """
    examined = [competition_file.examine(path) for path in files]
    refused = [(*file.problems, *(file.unpinned if pinned else ())) for file in examined]
    if as_json:
        emit([_check_facts(file, problems, pinned=pinned) for file, problems in zip(examined, refused, strict=True)])
    else:
        for file, problems in zip(examined, refused, strict=True):
            _tell(file, problems, pinned=pinned)
    verdict(so=not any(refused))


@app.command("show")
def show_block(
    file: Annotated[Path, typer.Argument(help="A competition file.")],
    block: Annotated[int, typer.Option(min=0, help="A block of the chain.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Show what is in force at a block, and which competition its sync window judges: 0, or 1 when nothing is."""
    schedule = competition_file.load(file)
    seen = competition_view.view(schedule, Block(block))
    if as_json:
        emit(competition_view.facts(schedule, seen))
    else:
        _show(schedule, seen)
    verdict(so=bool(seen.in_force))


@app.command()
def diff(
    old: Annotated[Path, typer.Argument(help="The file as it is.")],
    new: Annotated[Path, typer.Argument(help="The file as proposed.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Say what two files do differently, field by field and over which blocks: 0 nothing, 1 something."""
    schedules = competition_file.load(old), competition_file.load(new)
    found = competition_diff.changes(*schedules)
    if as_json:
        digests = [schedule.digest for schedule in schedules]
        emit({"same": not found, "digests": digests, "changes": [vars(change) for change in found]})
    elif not found:
        say(f"{old} and {new} do the same")
    else:
        _tell_changes(found)
    verdict(so=not found)


@app.command()
def schema(*, as_json: AsJson = False) -> None:
    """Print the JSON schema of competition files, for editors; the shipped schema.json is this output."""
    del as_json  # it is JSON either way
    emit(competition_file.json_schema())


def _check_facts(file: Examined, problems: tuple[Problem, ...], *, pinned: bool) -> dict[str, Any]:
    def told(problem: Problem) -> dict[str, Any]:
        field = dotted(problem.path)
        return {"line": problem.line, "field": field, "value": problem.value, "message": problem.message}

    return {
        "file": file.file,
        "valid": not problems,
        "digest": file.schedule.digest if file.schedule else None,
        "problems": [told(problem) for problem in problems],
        "notes": [told(note) for note in (*(() if pinned else file.unpinned), *file.notes)],
    }


def _tell(file: Examined, problems: tuple[Problem, ...], *, pinned: bool) -> None:
    for problem in problems:
        say(file.told(problem))
    for note in (*(() if pinned else file.unpinned), *file.notes):
        say(f"note: {file.told(note)}")
    if file.schedule and not problems:
        say(f"{file.file}: right; {len(file.schedule.phases)} phase(s), digest {file.schedule.digest}")


def _show(schedule: Schedule, seen: competition_view.View) -> None:
    say(f"{schedule.name}, netuid {schedule.netuid}, digest {schedule.digest}")
    until = f"until block {seen.next_start}" if seen.next_start is not None else "with no phase after it"
    if seen.phase_start is None:
        say(f"block {seen.block}: nothing is in force; the first phase starts at block {seen.next_start}")
        return
    say(f"block {seen.block}: the phase from block {seen.phase_start}, {until}")
    judged = f"{seen.judged.name} (id {seen.judged.id})" if seen.judged else "nothing: no phase has begun there"
    say(f"sync window from block {seen.sync_block}: judges {judged}")
    for competition in seen.in_force:
        _show_competition(schedule, competition)


def _show_competition(schedule: Schedule, competition: Competition) -> None:
    model, least, near = competition.model, competition.least_epsilon, competition.near_copies
    above = "above" if competition.epsilon.end >= least else "BELOW, so chance often decides"
    say(f"\n{competition.name} (id {competition.id}): {competition.share:g} of the subnet's weight")
    show(
        [
            ("digest", schedule.competition_digest(competition)),
            ("families", ", ".join(model.families)),
            ("parameters", f"{model.min_parameters:,} to {model.max_parameters:,}, at most {model.max_bytes:,} bytes"),
            ("windows", f"{competition.windows} of each task, {model.sequence_length} tokens of {model.tokenizer}"),
            ("documents", f"cut after {competition.max_document_tokens:,} tokens"),
            *(
                (f"task {name}", f"{task.weight:g} by {task.method} on {_source(schedule, task.source)}")
                for name, task in competition.tasks.items()
            ),
            ("compare", competition.compare),
            ("epsilon", _epsilon(competition)),
            ("noise", f"paired sd {competition.noise.paired_sd:g}, 3 standard errors {least:.2g}; end is {above}"),
            ("copies", f"near below {near.losses:g} by losses or {near.weights:g} by weights: {near.action}"),
            ("reward", f"{_reward(competition)}; alpha {competition.alpha:g}"),
        ]
    )


def _epsilon(competition: Competition) -> str:
    rule = competition.epsilon
    if isinstance(rule, FixedEpsilon):
        return f"fixed {rule.end:g}"
    return f"{rule.kind} {rule.start:g} to {rule.end:g} over {rule.blocks:,} blocks"


def _reward(competition: Competition) -> str:
    temperature = getattr(competition.reward, "temperature", None)
    return competition.reward.kind + (f", temperature {temperature:g}" if temperature else "")


def _source(schedule: Schedule, name: str) -> str:
    spec = schedule.sources[name].model_dump(exclude_none=True)
    where = "/".join(spec[part] for part in ("repo", "path", "config") if part in spec) or spec["kind"]
    return f"{name}: {where} at {spec.get('revision', spec.get('digest'))}"


def _tell_changes(found: tuple[Change, ...]) -> None:
    for (start, end), group in itertools.groupby(found, key=lambda change: (change.start, change.end)):
        until = "" if end is None else f" until {end - 1}"
        say("at every block" if start is None else f"from block {start}{until}")
        show([(change.path, _told(change)) for change in group])


def _told(change: Change) -> str:
    if ABSENT in (change.old, change.new):
        what, value = ("added", change.new) if change.old == ABSENT else ("removed", change.old)
        return what if isinstance(value, dict) else f"{what}: {shown(value)}"
    return f"{shown(change.old)} -> {shown(change.new)}"

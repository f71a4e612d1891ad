"""How two competition files differ in what they do, not in how they are written."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pretrain import canonical
from pretrain.schedule import Schedule
from pretrain.types import Block

ABSENT = "absent"
Tree = Mapping[str, Any]


@dataclass(frozen=True)
class Change:
    """One field whose value differs, and over which blocks."""

    path: str
    old: object
    new: object
    start: Block | None = None
    """First block; None: at every block."""
    end: Block | None = None
    """First block after; None: without end."""


def changes(old: Schedule, new: Schedule) -> tuple[Change, ...]:
    """Return what differs, by block and field, with each phase's competitions as resolved; empty when both do the same.

    Competitions are matched by id. Order of keys, anchors, how a phase is composed, definitions that no phase uses and
    local paths of pinned files make no difference.
    """
    always = [Change(path, a, b) for path, a, b in _differences(_shared(old), _shared(new))]
    starts = sorted({Block(phase.start) for schedule in (old, new) for phase in schedule.phases})
    found: list[Change] = []
    for start, end in zip(starts, [*starts[1:], None], strict=True):
        here = [Change(path, a, b, start, end) for path, a, b in _at(old, new, start)]
        found = _continued(found, here)
    return (*always, *sorted(found, key=lambda change: (change.start or 0, change.end or float("inf"), change.path)))


def _continued(found: list[Change], here: list[Change]) -> list[Change]:
    """Append the changes of one span; one that held just before goes on instead."""
    joined = list(found)
    for change in here:
        before = Change(change.path, change.old, change.new, None, change.start)
        same = [i for i, c in enumerate(joined) if Change(c.path, c.old, c.new, None, c.end) == before]
        if same:
            joined[same[0]] = Change(change.path, change.old, change.new, joined[same[0]].start, change.end)
        else:
            joined.append(change)
    return joined


def _shared(schedule: Schedule) -> Tree:
    return schedule.model_dump(
        mode="json", include={"name", "netuid", "version_key", "mechanism", "timing", "selection", "weights"}
    )


def _at(old: Schedule, new: Schedule, block: Block) -> Iterator[tuple[str, object, object]]:
    before, after = old.at(block), new.at(block)
    names = {competition.id: competition.name for competition in (*before, *after)}
    old_tree, new_tree = (
        {f"competition {c.id} ({names[c.id]})": c.model_dump(mode="json", exclude={"id"}) for c in competitions}
        for competitions in (before, after)
    )
    yield from _differences(old_tree, new_tree)
    both = {c.id for c in before} & {c.id for c in after}
    old_order, new_order = ([c.id for c in competitions if c.id in both] for competitions in (before, after))
    if old_order != new_order:
        yield "order of competitions", old_order, new_order
    yield from _differences(*_referred(old, new, block))


def _referred(old: Schedule, new: Schedule, block: Block) -> tuple[Tree, Tree]:
    """Return the sources and tokenizers that both use at a block; one that only one uses shows in its tasks."""
    used = [
        {("sources", task.source) for c in schedule.at(block) for task in c.tasks.values()}
        | {("tokenizers", c.model.tokenizer) for c in schedule.at(block)}
        for schedule in (old, new)
    ]
    both = sorted(used[0] & used[1])
    before, after = (
        {
            f"{section}.{name}": canonical.without_local_paths(getattr(schedule, section)[name].model_dump(mode="json"))
            for section, name in both
        }
        for schedule in (old, new)
    )
    return before, after


def _differences(old: Tree, new: Tree, path: str = "") -> Iterator[tuple[str, object, object]]:
    for key in sorted(old.keys() | new.keys()):
        here = f"{path}.{key}" if path else key
        before, after = (ABSENT if tree.get(key) is None else tree[key] for tree in (old, new))
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from _differences(before, after, here)
        elif before != after:
            yield here, before, after

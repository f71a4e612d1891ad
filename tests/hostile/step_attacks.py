"""Attacks on a step: repositories that change, close, stall or lie, queues that are filled, crowns that are kept."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from fakes import described
from hostile_world import BETTER, GOOD, HONEST, KILOBYTES, THIEF, Stage, crowned, two
from outside import Attack, Found, Guard

from pretrain import decision, describe, judge
from pretrain.chain import Snapshot
from pretrain.commitment import Entry
from pretrain.competition import Competition
from pretrain.decision import Decision, Facts
from pretrain.errors import Cause, HubUnavailable
from pretrain.hub import Hub, RemoteFile
from pretrain.hub.store import ModelStore
from pretrain.outcome import Outcome
from pretrain.schedule import Schedule
from pretrain.selection import select
from pretrain.state import Record, State


class Anything(str):
    """Equal to everything."""

    __slots__ = ()

    def __eq__(self, _: object) -> bool:
        return True

    def __ne__(self, _: object) -> bool:
        return False

    __hash__ = str.__hash__


def lists_others_at_the_second_look(root: Path) -> Found:
    stage = two(root)
    stage.hub.later["thief/model"] = BETTER
    return stage.found(stage.play(100))


def sends_others_of_the_same_length(root: Path) -> Found:
    stage = two(root)
    stage.world.store = ModelStore(root / "models")  # type: ignore[assignment]
    stage.hub.sent["thief/model"] = BETTER
    return stage.found(stage.play(100))


def opens_when_it_pleases(root: Path) -> Found:
    stage = two(root)
    stage.world.commit(THIEF, 20, BETTER)
    stage.hub.private.add("thief/model")
    stage.play(100)
    stage.hub.private.clear()
    return stage.found(stage.play(110))


async def forgiven(*arguments: object) -> Record:
    """Describe, and hold no refusal against anybody."""
    record: Record = await DESCRIBE(*arguments)  # type: ignore[arg-type]
    return replace(record, rejected=None, undecided=Cause.HUB if record.rejected else record.undecided)


DESCRIBE = describe._describe  # noqa: SLF001 - what is taken out


def closes_under_its_crown(root: Path) -> Found:
    stage = crowned(root)
    stage.hub.private.add("thief/model")
    return stage.found(stage.play(110))


def deletes_its_revision(root: Path) -> Found:
    stage = crowned(root)
    stage.hub.repos["thief/model"].clear()
    return stage.found(stage.play(110))


async def from_memory(_: Hub, entry: Entry) -> tuple[RemoteFile, ...]:
    """List what was committed without asking."""
    return described(BETTER if entry.hotkey == THIEF else GOOD)


def names_a_revision_of_anothers(root: Path) -> Found:
    """A model that lies under another's name, open and not committed yet."""
    stage = two(root)
    entry = stage.world.commit(THIEF, 20, BETTER, repo="victim/model")
    named = replace(entry.commitment, namespace="thief", name="empty")
    stage.world.entries[entry.hotkey] = replace(entry, commitment=named)
    stage.hub.repos["thief/empty"] = {}
    return stage.found(stage.play(100))


def one_heap(hub: object, repo: str, revision: object) -> dict[str, bytes]:  # noqa: ARG001 - a method's place
    """Find a revision in whatever repository holds it."""
    return next(files[revision] for files in hub.repos.values() if revision in files)  # type: ignore[attr-defined]


def commits_again_and_again(root: Path) -> Found:
    stage = Stage(root, {"selection": {"max_new": 1, "pool": 1}})
    for block in range(20, 420, 20):
        stage.world.commit(THIEF, block - 20, 3.0 - block / 1000)
        stage.play(block)
    stage.world.commit(THIEF, 401, 1.0)
    stage.world.commit(HONEST, 402, 2.0)
    return stage.honest(stage.play(420))


def by_block(entries: Iterable[Entry], *_: object) -> list[Entry]:
    """Take new ones as they come."""
    return sorted(entries, key=lambda entry: entry.block)


def refused_on_the_way(root: Path) -> Found:
    """Two hundred that are sound at the first look and gone at the second, before the one that stays."""
    stage = Stage(root, {"selection": {"max_new": 20}})
    for number in range(200):
        stage.world.commit(f"filler{number}", 10, 3.0)
        stage.hub.later[f"filler{number}/model"] = {}
    stage.world.commit(HONEST, 20, GOOD)
    return stage.honest(stage.play(100))


async def choose_once(
    hub: Hub, snapshot: Snapshot, schedule: Schedule, competition: Competition, known: State
) -> judge.Chosen:
    """Choose who is judged, and let a place that turns out empty be lost."""
    selected = select(snapshot, schedule, competition, known)
    return judge.Chosen(known, selected, await judge.look(hub, list(selected.entries)), (True,))


def stalls_in_every_place(root: Path) -> Found:
    stage = Stage(root, {"selection": {"max_new": 2}})
    for number in range(4):
        stage.world.commit(f"staller{number}", 10, 1.0)
        stage.hub.broken_downloads[f"staller{number}/model"] = HubUnavailable("the download stalls")
    stage.world.commit(HONEST, 20, 2.0)
    return stage.honest(stage.play(100, 110, 120))


def uncounted(record: Record, outcome: Outcome, facts: Facts, made: Decision) -> Record:
    """Remember an outcome, and no try."""
    return replace(REMEMBER(record, outcome, facts, made), tries=())


REMEMBER = decision._remember  # noqa: SLF001 - what is taken out


def stalls_under_its_crown(root: Path) -> Found:
    stage = crowned(root)
    stage.hub.down.add("thief/model")
    return stage.found(stage.play(110, 120, 130, 140))


COMMITTED_HASH = Guard("describe.listing: the committed hash", {"pretrain.describe.secure_hash": lambda *_: Anything()})
FOR_GOOD = Guard("describe._describe: a refusal is for good", {"pretrain.describe._describe": forgiven})
LOOK = Guard("judge.look: asked again in every step", {"pretrain.judge.listing": from_memory})
STEP_ATTACKS = (
    Attack(
        "other files under the same revision at the second look", "second look", "digest", KILOBYTES,
        (COMMITTED_HASH,), "champion", lists_others_at_the_second_look,
    ),
    Attack(
        "other bytes of the same length than those that were listed", "download", "hub", KILOBYTES,
        (Guard("hub.checked.check", {"pretrain.hub.store.check": lambda *_: None}),),
        "champion", sends_others_of_the_same_length,
    ),
    Attack(
        "private at its first judging, opened when threatened", "first look", "unavailable", KILOBYTES,
        (FOR_GOOD,), "champion", opens_when_it_pleases,
    ),
    Attack(
        "a champion that goes private", "second look", "unavailable", KILOBYTES,
        (LOOK,), "champion", closes_under_its_crown,
    ),
    Attack(
        "a champion that deletes its revision", "second look", "unavailable", KILOBYTES,
        (LOOK,), "champion", deletes_its_revision,
    ),
    Attack(
        "a revision of another repository", "first look", "unavailable", KILOBYTES,
        (Guard("the hub: a revision belongs to its repository", {"fakes.FakeHub._files": one_heap}),),
        "champion", names_a_revision_of_anothers,
    ),
    Attack(
        "a new commitment in every window, twenty windows long", "queue", "the honest one is champion", 10 * KILOBYTES,
        (Guard("selection.queue: who was tried less comes first", {"pretrain.selection.queue": by_block}),),
        "the honest one is queued", commits_again_and_again,
    ),
    Attack(
        "200 that are sound at the first look and gone at the second", "queue", "the honest one is champion",
        45 * KILOBYTES,
        (Guard("judge.choose: a refusal gives its place to the next", {"pretrain.step.choose": choose_once}),),
        "the honest one is queued", refused_on_the_way,
    ),
    Attack(
        "stalling downloads in every place for new ones", "queue", "the honest one is champion", 3 * KILOBYTES,
        (Guard("decision._remember: a try counts", {"pretrain.decision._remember": uncounted}),),
        "the honest one is queued", stalls_in_every_place,
    ),
    Attack(
        "a champion whose repository stalls for ever", "champion_patience", "hub", KILOBYTES,
        (Guard("decision.may_wait", {"pretrain.step.may_wait": lambda *_: True}),),
        "abandoned", stalls_under_its_crown,
    ),
)  # fmt: skip

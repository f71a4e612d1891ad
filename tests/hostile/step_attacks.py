"""Attacks on a step: repositories that change, close, stall or lie, queues that are filled, crowns that are kept."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from fakes import described, model, sketch, weights_of
from hostile_world import HONEST, THIEF, Stage
from outside import Attack, Found, Guard

from pretrain import decision, describe, judge
from pretrain.chain import Snapshot
from pretrain.commitment import Entry
from pretrain.competition import Competition
from pretrain.decision import Decision, Facts
from pretrain.errors import Cause, EvaluatorUnavailable, HubUnavailable
from pretrain.hub import Hub, RemoteFile
from pretrain.hub.store import ModelStore
from pretrain.outcome import Outcome
from pretrain.schedule import Schedule
from pretrain.selection import select
from pretrain.state import Record, State

GOOD, BETTER = model("good", prose=2.0, code=2.0), model("better", prose=1.0, code=1.0)
ADAPTIVE = {"kind": "adaptive", "start": 0.1, "end": 0.001, "blocks": 1000}
KILOBYTES = 1000
"""All that a look at the headers of the few models here takes."""


class Anything(str):
    """Equal to everything."""

    __slots__ = ()

    def __eq__(self, _: object) -> bool:
        return True

    def __ne__(self, _: object) -> bool:
        return False

    __hash__ = str.__hash__


def two(root: Path, **rules: Mapping[str, object]) -> Stage:
    """Return a stage with an honest model, and a worse one of an attacker's."""
    stage = Stage(root, rules)
    stage.world.commit(HONEST, 10, GOOD)
    stage.world.commit(THIEF, 20, model("mine", prose=3.0, code=3.0))
    return stage


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


def crowned(root: Path, **rules: Mapping[str, object]) -> Stage:
    """Return a stage in which the attacker's model is the champion."""
    stage = two(root, **rules)
    stage.world.commit(THIEF, 20, BETTER)
    assert stage.play(100).champion == THIEF
    return stage


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
    return stage.found(stage.play(420), HONEST)


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
    return stage.found(stage.play(100), HONEST)


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
    return stage.found(stage.play(100, 110, 120), HONEST)


def uncounted(record: Record, outcome: Outcome, facts: Facts, made: Decision) -> Record:
    """Remember an outcome, and no try."""
    return replace(REMEMBER(record, outcome, facts, made), tries=())


REMEMBER = decision._remember  # noqa: SLF001 - what is taken out


def stalls_under_its_crown(root: Path) -> Found:
    stage = crowned(root)
    stage.hub.down.add("thief/model")
    return stage.found(stage.play(110, 120, 130, 140))


def copied(root: Path, action: str) -> Stage:
    """Return a stage with a copy of the honest model, each weight moved by 1%, and a little better."""
    stage = Stage(root, {"competition": {"epsilon": {"kind": "fixed", "end": 0.0}, "near_copies": {"action": action}}})
    copy = model("copy", prose=1.9, code=1.9)
    stage.world.evaluator.sketches |= {weights_of(GOOD): sketch("A"), weights_of(copy): sketch("A", noise=0.01)}
    stage.world.commit(HONEST, 10, GOOD)
    stage.world.commit(THIEF, 20, copy)
    return stage


def adds_noise(root: Path) -> Found:
    stage = copied(root, "refused")
    return stage.found(stage.play(100))


def adds_noise_where_it_is_allowed(root: Path) -> Found:
    stage = copied(root, "reported")
    named = [near.later for near in stage.play(100).near_copies]
    return Found("named" if named == [THIEF] else "unseen", stage.hub.downloaded)


def unrefused(outcomes: Sequence[Outcome], _: object) -> list[Outcome]:
    """Let near copies be."""
    return list(outcomes)


def tunes_a_copy(root: Path) -> Found:
    """A copy that is 0.12% better, against the next honest model, better by 0.4%."""
    stage = Stage(root, {"competition": {"epsilon": ADAPTIVE}})
    stage.world.commit(HONEST, 10, 2.0)
    stage.world.commit(THIEF, 60, 2.0 * (1 - 0.0012))
    stage.world.commit("next", 70, 2.0 * (1 - 0.0012) * (1 - 0.004))
    return stage.found(stage.play(100), "next")


def withdraws_what_it_copied(root: Path) -> Found:
    """A launderer's copy, 0.6% better than the champion, which is its own too and is committed away."""
    stage = Stage(root, {"competition": {"epsilon": ADAPTIVE}})
    stage.world.commit(HONEST, 10, 2.0)
    stage.world.commit("mule", 20, 1.8)
    stage.play(100)
    stage.world.commit("mule", 101, 5.0)
    stage.world.commit(THIEF, 102, 1.79)
    stage.world.commit("next", 103, 1.78)
    return stage.found(stage.play(120), "next")


def gives_no_number(root: Path) -> Found:
    stage = two(root)
    stage.world.commit(THIEF, 5, float("nan"))
    return stage.found(stage.play(100))


def kills_its_child(root: Path) -> Found:
    stage = two(root)
    mine = weights_of(model("mine", prose=3.0, code=3.0))
    stage.world.evaluator.script[mine] = [EvaluatorUnavailable("killed by signal 9", Cause.CRASHED)] * 9
    report = stage.play(100, 110)
    (entry,) = (entry for entry in report.entries if entry.hotkey == THIEF)
    return replace(stage.found(report), outcome="crashed" if entry.outcome == "rejected" else "undecided for ever")


def kills_every_child(root: Path) -> Found:
    """A device that somebody else has filled: the canary is small enough for it."""
    stage = two(root)
    for files in (GOOD, model("mine", prose=3.0, code=3.0)):
        crash = EvaluatorUnavailable("killed by signal 9", Cause.CRASHED)
        stage.world.evaluator.script[weights_of(files)] = [crash] * 9
    stage.play(100, 110, 120)
    refused = [record for record in stage.state.records.values() if record.rejected]
    return Found("refused" if refused else "nobody is refused", stage.hub.downloaded)


class AlwaysFinite:
    """In place of numpy, where it looks for what is not finite."""

    @staticmethod
    def isfinite(values: object) -> "AlwaysFinite":  # noqa: ARG004 - numpy's place
        return AlwaysFinite()

    def all(self) -> bool:
        return True


COMMITTED_HASH = Guard("describe.listing: the committed hash", {"pretrain.describe.secure_hash": lambda *_: Anything()})
FOR_GOOD = Guard("describe._describe: a refusal is for good", {"pretrain.describe._describe": forgiven})
LOOK = Guard("judge.look: asked again in every step", {"pretrain.judge.listing": from_memory})
WITNESSED = ("pretrain.judge.witnessed", "pretrain.decision.witnessed")
STEP_ATTACKS = (
    Attack(
        "other files under the same revision at the second look", "second look", "digest", KILOBYTES + 500,
        (COMMITTED_HASH,), "champion", lists_others_at_the_second_look,
    ),
    Attack(
        "other bytes of the same length than those that were listed", "download", "hub", KILOBYTES + 500,
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
        "a new commitment in every window, twenty windows long", "queue", "champion", 20 * KILOBYTES,
        (Guard("selection.queue: who was tried less comes first", {"pretrain.selection.queue": by_block}),),
        "queued", commits_again_and_again,
    ),
    Attack(
        "200 that are sound at the first look and gone at the second", "queue", "champion", 200 * KILOBYTES,
        (Guard("judge.choose: a refusal gives its place to the next", {"pretrain.step.choose": choose_once}),),
        "queued", refused_on_the_way,
    ),
    Attack(
        "stalling downloads in every place for new ones", "queue", "champion", 3 * KILOBYTES,
        (Guard("decision._remember: a try counts", {"pretrain.decision._remember": uncounted}),),
        "queued", stalls_in_every_place,
    ),
    Attack(
        "a champion whose repository stalls for ever", "champion_patience", "hub", KILOBYTES,
        (Guard("decision.may_wait", {"pretrain.step.may_wait": lambda *_: True}),),
        "abandoned", stalls_under_its_crown,
    ),
    Attack(
        "a copy with 1% of noise on each weight, better by 5%", "comparison", "near_copy", KILOBYTES,
        (Guard("decision.refuse_near_copies", {"pretrain.decision.refuse_near_copies": unrefused}),),
        "champion", adds_noise,
    ),
    Attack(
        "the same where near copies are only reported", "comparison", "named", KILOBYTES,
        (Guard("fingerprint.near_pairs", {"pretrain.decision.near_pairs": lambda *_: ()}),),
        "unseen", adds_noise_where_it_is_allowed,
    ),
    Attack(
        "a copy tuned by 0.12%, against an honest 0.4%", "head start", "champion", 2 * KILOBYTES,
        (Guard("scoring.gains: it is earned", {"pretrain.scoring.gains": lambda entries, _: [1.0] * len(entries)}),),
        "scored", tunes_a_copy,
    ),
    Attack(
        "a champion withdrawn for its own copy, to seem a large step", "head start", "champion", 5 * KILOBYTES,
        (Guard("selection.living_reigns", {"pretrain.selection.living_reigns": lambda *_: ()}),),
        "scored", withdraws_what_it_copied,
    ),
    Attack(
        "losses that are NaN, committed first", "measurement", "not_finite", KILOBYTES,
        (Guard("judge.measure: finite", {"pretrain.judge.np": AlwaysFinite}),),
        "scored", gives_no_number,
    ),
    Attack(
        "a model that kills its child each time", "measurement", "crashed", KILOBYTES,
        (Guard("judge._settled", {"pretrain.judge._settled": lambda outcome, *_: outcome}),),
        "undecided for ever", kills_its_child,
    ),
    Attack(
        "a device on which every model dies", "measurement", "nobody is refused", KILOBYTES,
        (Guard("outcome.witnessed", dict.fromkeys(WITNESSED, lambda _: True)),),
        "refused", kills_every_child,
    ),
)  # fmt: skip

"""Attacks on what a step makes of models: copies in disguise, head starts that are not earned, losses, crashes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from fakes import model, schedule_of, sketch, weights_of
from hostile_world import GOOD, HONEST, KILOBYTES, THIEF, Stage, two
from outside import Attack, Found, Guard

from pretrain.competition import Competition
from pretrain.data import Samples
from pretrain.errors import Cause, EvaluatorUnavailable
from pretrain.outcome import Outcome
from pretrain.scoring import Floats, Judged
from pretrain.types import Block, Hotkey, TaskName

Losses = Mapping[TaskName, Floats]
ADAPTIVE = {"kind": "adaptive", "start": 0.1, "end": 0.0005, "blocks": 1000}


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
    """A copy that is 0.06% better, against the next honest model, better by 0.4%."""
    stage = Stage(root, {"competition": {"epsilon": ADAPTIVE}})
    stage.world.commit(HONEST, 10, 2.0)
    stage.world.commit(THIEF, 60, 2.0 * (1 - 0.0006))
    stage.world.commit("next", 70, 2.0 * (1 - 0.0006) * (1 - 0.004))
    return stage.honest(stage.play(100), "next")


def withdraws_what_it_copied(root: Path) -> Found:
    """A launderer's copy, 0.6% better than the champion, which is its own too and is committed away."""
    stage = Stage(root, {"competition": {"epsilon": ADAPTIVE}})
    stage.world.commit(HONEST, 10, 2.0)
    stage.world.commit("mule", 20, 1.8)
    stage.play(100)
    stage.world.commit("mule", 101, 5.0)
    stage.world.commit(THIEF, 102, 1.79)
    stage.world.commit("next", 103, 1.78)
    return stage.honest(stage.play(120), "next")


def knows_the_heaviest_task(root: Path) -> Found:
    """A specialist: half the loss on three quarters of the mix, and four times the loss on the rest."""
    stage = Stage(root)
    stage.world.schedule = schedule_of()
    stage.world.commit(HONEST, 10, GOOD, competition=1)
    stage.world.commit(THIEF, 20, model("prose", prose=1.0, code=8.0), competition=1)
    return stage.found(stage.play(110))


def heaviest(hotkey: Hotkey, block: Block, losses: Losses, _: Samples, competition: Competition) -> Judged:
    """Let the task with the largest weight decide."""
    task = max(competition.weights, key=lambda name: competition.weights[name])
    return Judged(hotkey, block, losses[task], float(losses[task].mean()))


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


WITNESSED = ("pretrain.judge.witnessed", "pretrain.decision.witnessed")
CROWN_ATTACKS = (
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
        "a copy tuned by 0.06%, against an honest 0.4%", "head start", "the honest one is champion", 1500,
        (Guard("scoring.gains: it is earned", {"pretrain.scoring.gains": lambda entries, _: [1.0] * len(entries)}),),
        "the honest one is scored", tunes_a_copy,
    ),
    Attack(
        "a champion withdrawn for its own copy, to seem a large step", "head start", "the honest one is champion",
        2500,
        (Guard("selection.living_reigns", {"pretrain.selection.living_reigns": lambda *_: ()}),),
        "the honest one is scored", withdraws_what_it_copied,
    ),
    Attack(
        "a specialist of the heaviest task", "comparison", "scored", KILOBYTES,
        (Guard("scoring.judged: every batch is mixed", {"pretrain.scoring.judged": heaviest}),),
        "champion", knows_the_heaviest_task,
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

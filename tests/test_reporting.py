"""What a report says of a step."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from fakes import World, model, one_competition, schedule_of
from hypothesis import given
from hypothesis import strategies as st

from pretrain.errors import Cause, EvaluatorUnavailable, HubUnavailable, ModelRejected, Reason
from pretrain.report import Difference, EntryReport, Report, difference, from_json, to_json
from pretrain.state import State


@pytest.fixture
def world(tmp_path: Path) -> World:
    epsilon = {"kind": "fixed", "end": 0.0}
    return World(tmp_path, one_competition(selection={"max_new": 3}, competition={"epsilon": epsilon}))


def row(report: Report, hotkey: str) -> EntryReport:
    return next(entry for entry in report.entries if entry.hotkey == hotkey)


def test_each_entry_has_one_row_with_what_became_of_it_and_why(world: World) -> None:
    twin = model("twin", prose=2.0)
    world.commit("A", 10, 2.0)
    world.commit("gone", 11, 2.5)
    world.commit("first", 12, twin)
    world.commit("copy", 13, twin)
    world.commit("header", 14, {**model(prose=1.0), "model.safetensors": b"\x00" * 20})
    world.commit("queued", 15, 2.0)
    world.commit("silent", 16, 2.0)
    world.hub.private.add("gone/model")
    world.hub.down.add("silent/model")

    report = world.step(100)[1]

    assert {entry.hotkey: (entry.role, entry.outcome, entry.reason) for entry in report.entries} == {
        "A": ("new", "scored", ""),
        "first": ("new", "scored", ""),
        "header": ("new", "rejected", "header"),
        "gone": ("refused", "rejected", "unavailable"),
        "copy": ("waiting", "undecided", "waits_for_earlier"),
        "queued": ("queued", "queued", ""),
        "silent": ("new", "undecided", "hub"),
    }
    assert row(report, "copy").detail == "first/model holds the same files since block 12 and is judged first"
    assert row(report, "header").detail == "model.safetensors: the header does not start with '{'"
    assert report.notes == ("1 new entries wait for a later step (max_new 3)",)


def test_a_scored_row_holds_everything_that_was_decided_of_it(world: World) -> None:
    world.commit("A", 10, 4.0)
    entry = world.commit("B", 20, 2.0)

    report = world.step(100)[1]

    found = row(report, "B")
    assert found == EntryReport(
        hotkey=entry.hotkey,
        uid=world.uids[entry.hotkey],
        repo="B/model",
        revision=entry.commitment.revision,
        block=entry.block,
        role="new",
        outcome="scored",
        score=2.0,
        tasks={"prose": 2.0},  # type: ignore[dict-item]  # a name is a string
        competitive=True,
        win_rate=1.0,
        gain=0.5,
        epsilon=0.0,
        difference=None,
        step_weight=1.0,
        average=1.0,
        weights=found.weights,
        seconds=0.0,
    )
    assert row(report, "A").difference == Difference(mean=1.0, standard_error=0.0, paired_sd=0.0, batches=(1.0,) * 4)


def test_matches_stand_in_the_order_of_the_players(world: World) -> None:
    world.commit("A", 10, 4.0)
    world.commit("B", 20, 2.0)

    report = world.step(100)[1]

    assert (report.players, report.wins) == (("A", "B"), ((0.0, 0.0), (1.0, 0.0)))


def test_the_uid_is_that_of_the_snapshot_and_minus_1_for_who_is_not_registered(world: World) -> None:
    world.commit("A", 10, 4.0)
    world.uids[world.entries[next(iter(world.entries))].hotkey] = 77

    assert row(world.step(100)[1], "A").uid == 77


def test_an_abandoned_window_says_why_and_decides_nothing(world: World) -> None:
    world.commit("A", 10, 2.0)
    world.commit("B", 20, 2.5)
    state, _ = world.step(100)
    world.hub.down.add("A/model")

    report = world.step(110, state)[1]

    assert (report.abandoned, report.entries, report.champion, report.ready, report.samples) == (
        "champion A: A/model does not answer",
        (),
        None,
        False,
        None,
    )


def test_an_undecided_entry_says_what_happened(world: World) -> None:
    world.commit("A", 10, 2.0)
    world.hub.broken_downloads["A/model"] = HubUnavailable("the download stalls")

    found = row(world.step(100)[1], "A")

    assert (found.outcome, found.reason, found.detail, found.score) == ("undecided", "hub", "the download stalls", None)


def test_a_window_without_anybody_competitive_is_noted(world: World) -> None:
    world.commit("A", 10, 2.0)
    state, first = world.step(100)
    world.evaluator.script = {key: [EvaluatorUnavailable("slow", Cause.TIMEOUT)] for key in world.evaluator.measured}

    report = world.step(110, state)[1]

    assert first.notes == ()
    assert report.notes == ("no entry is competitive; averages stay as they are",)
    assert (report.champion, row(report, "A").average) == (None, 1.0)


def test_a_measured_noise_above_the_expected_one_is_noted(tmp_path: Path) -> None:
    noise = {"paired_sd": 1e-6, "below_noise": "accepted"}
    world = World(tmp_path, schedule_of(competition={"noise": noise}))
    world.commit("A", 10, 2.0)
    world.commit("B", 20, 2.5)
    quiet = world.step(100)[1]
    world.evaluator.jitter = 0.1

    noisy = world.step(120)[1]

    assert quiet.notes == ()
    assert noisy.notes == ("B/model: paired sd a batch 0.0289 is above the expected 1e-06 of prose",)


def test_two_validators_can_see_where_they_differ(world: World) -> None:
    world.commit("A", 10, 2.0)

    one, other = world.step(100)[1], world.step(110)[1]

    assert one.samples != other.samples
    assert (one.competition_digest, one.engine) == (other.competition_digest, other.engine)
    assert len(one.seed) == len(one.samples or "") == 64


def test_a_refusal_stays_in_the_table_of_later_windows(world: World) -> None:
    world.commit("A", 10, 2.0)
    world.commit("B", 20, 2.5)
    state, first = world.step(100)
    weights = row(first, "B").weights
    assert weights
    world.evaluator.script[weights] = [ModelRejected(Reason.NOT_FINITE, "loss nan")]
    state, second = world.step(110, state)
    third = world.step(120, state)[1]

    assert [(row(r, "B").role, row(r, "B").reason, row(r, "B").detail) for r in (second, third)] == [
        ("pool", "not_finite", "loss nan"),
        ("refused", "not_finite", "loss nan"),
    ]


def test_a_report_is_one_line_of_plain_json(world: World) -> None:
    world.commit("A", 10, 2.0)
    report = world.step(100, State())[1]

    line = to_json(report)

    assert json.loads(line)["entries"][0]["hotkey"] == "A"
    assert from_json(line.encode()) == report


# Paired differences


def test_a_difference_is_relative_to_the_champions_score() -> None:
    found = difference(np.array([3.0, 1.0]), np.array([2.0, 2.0]), 2.0)

    assert found
    assert (found.mean, found.standard_error, found.paired_sd) == pytest.approx((0.0, 0.5, math.sqrt(0.5)))


def test_one_batch_or_a_score_of_nothing_has_no_difference() -> None:
    assert difference(np.array([3.0]), np.array([2.0]), 2.0) is None
    assert difference(np.array([3.0, 1.0]), np.array([0.0, 0.0]), 0.0) is None


batches = st.lists(st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)), min_size=2, max_size=20)


@given(batches)
def test_a_difference_has_the_sign_of_the_scores_and_a_standard_error_by_the_batches(
    pairs: list[tuple[float, float]],
) -> None:
    mine, theirs = np.array(pairs).T

    found, mirrored = difference(mine, theirs, 1.0), difference(theirs, mine, 1.0)

    assert found
    assert mirrored
    assert found.mean == pytest.approx(mine.mean() - theirs.mean(), abs=1e-9)
    assert found.standard_error == pytest.approx(found.paired_sd / math.sqrt(len(pairs)))
    assert (mirrored.mean, mirrored.paired_sd) == pytest.approx((-found.mean, found.paired_sd))

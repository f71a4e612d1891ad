import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from reports import (
    BLOCKS,
    COMPETITIONS,
    HOSTILE_DETAIL,
    HOSTILE_REPO,
    LABELS,
    MINERS,
    RUN,
    VALIDATORS,
    chain,
    empty_summary,
    report,
    reports,
    summary,
)

from pretrain.agreement import Agreement, agreement
from pretrain.leaderboard import Place, verdict
from pretrain.report import Difference, Report
from pretrain.summary import ChainFacts, Summary, from_json, gather, to_json
from pretrain.types import Block, CompetitionId, Digest, Hotkey

A, B = VALIDATORS


def gathered(found: Mapping[Hotkey, Sequence[Report]]) -> Summary:
    return gather(RUN, COMPETITIONS, found, chain(), LABELS)


def agreed(*steps: Report) -> Agreement:
    return agreement(steps, LABELS)


def test_a_summary_reads_back_as_it_was_written() -> None:
    assert from_json(to_json(summary())) == summary()
    assert from_json(to_json(empty_summary())) == empty_summary()
    with pytest.raises(ValidationError):
        from_json("{}")


def test_a_summary_is_json_for_any_program_even_when_a_loss_is_not_a_number() -> None:
    broken = replace(report(A, 90, 0).entries[0], score=math.inf, difference=None, tasks={})
    step = replace(report(A, 90, 0), entries=(broken,))

    def refuse(constant: str) -> float:
        raise AssertionError(constant)

    found = json.loads(to_json(gathered({A: (step,)})), parse_constant=refuse)
    (place,) = found["leaderboards"][0]["places"]
    assert (place["place"], place["score"], found["leaderboards"][0]["losses"]) == (None, None, [])


@given(st.data())
@settings(max_examples=20)
def test_the_order_of_reports_and_rows_does_not_matter(data: st.DataObject) -> None:
    found = {validator: tuple(data.draw(st.permutations(steps))) for validator, steps in reports().items()}
    rows = replace(
        chain(),
        weights=tuple(data.draw(st.permutations(chain().weights))),
        epochs=tuple(data.draw(st.permutations(chain().epochs))),
    )
    assert gather(RUN, COMPETITIONS, found, rows, LABELS) == summary()


def test_everybody_has_a_name_and_miners_keep_their_order() -> None:
    run = summary()
    assert run.validators == VALIDATORS
    assert [run.label(hotkey) for hotkey in run.miners] == [*(f"miner-{n}" for n in range(1, 6)), "5Mffffff…fFf"]
    many = {Hotkey(f"5{n:047d}"): f"miner-{n}" for n in (10, 9, 2)}
    entry = report(A, 90, 0).entries[0]
    step = replace(report(A, 90, 0), entries=tuple(replace(entry, hotkey=hotkey) for hotkey in many))
    crowd = gather(RUN, COMPETITIONS, {A: (step,)}, ChainFacts(), many).miners
    assert [many[hotkey] for hotkey in crowd] == ["miner-2", "miner-9", "miner-10"]


def test_a_report_of_a_validator_that_nobody_named_counts_too() -> None:
    run = gathered({A: (report(A, 90, 0), report(B, 90, 0))})
    assert run.validators == VALIDATORS
    assert run.agreement.holds


def test_two_validators_that_agree_are_said_to() -> None:
    run = summary()
    assert run.agreement.holds
    assert run.agreement.text == (
        "the validators drew identical samples in 5 of 5 common windows and crowned the same champion in 5"
    )
    assert [window.block for window in run.agreement.windows] == list(BLOCKS[:5])


def test_windows_in_which_nothing_was_scored_are_no_agreement() -> None:
    empty = {v: tuple(replace(step, players=(), champion=None) for step in steps) for v, steps in reports().items()}
    assert not gathered(empty).agreement.holds


def test_no_common_window_is_no_agreement() -> None:
    alone = agreed(report(A, 90, 0), report(B, 105, 1))
    assert (alone.windows, alone.holds) == ((), False)
    assert alone.text == "no common window: no two validators have decided the same competition at the same block"
    assert not agreed(report(A, 90, 0), report(B, 90, 1)).holds
    assert not agreed(report(A, 90, 0), replace(report(B, 90, 0), abandoned="the hub is down")).holds
    assert not agreed(report(A, 90, 0), report(A, 90, 0)).holds


def test_differing_windows_are_named() -> None:
    other = replace(report(B, 105, 1), samples=Digest("0" * 64), champion=MINERS[3])
    found = agreed(report(A, 90, 0), report(B, 90, 0), report(A, 105, 1), other)
    assert not found.holds
    assert (found.same_samples, found.same_champion, found.windows[1].differing) == (1, 1, ("samples", "champion"))
    assert found.text == (
        "the validators drew identical samples in 1 of 2 common windows and crowned the same champion in 1;"
        " different samples, champion at block 105 of mixed (validator-1, validator-2)"
    )


def test_another_champion_on_the_same_samples_is_no_agreement() -> None:
    assert not agreed(report(A, 90, 0), replace(report(B, 90, 0), champion=MINERS[1])).holds


def test_samples_that_nobody_knows_are_no_agreement() -> None:
    unknown = [replace(report(validator, 90, 0), samples=None) for validator in VALIDATORS]
    assert agreed(*unknown).windows[0].differing == ("samples",)


def test_a_long_list_of_differences_is_counted() -> None:
    steps = [report(A, block, 0) for block in range(15, 165, 15)]
    found = agreed(*steps, *(replace(step, validator=B, samples=Digest("0" * 64)) for step in steps))
    assert found.text.endswith("and 6 more")


def test_the_gap_between_scores_of_one_model_is_measured() -> None:
    entries = report(B, 90, 0).entries
    score = entries[0].score
    assert score is not None
    moved = replace(entries[0], score=score * 1.01)
    found = agreed(report(A, 90, 0), replace(report(B, 90, 0), entries=(moved, *entries[1:])))
    assert found.score_gap == pytest.approx(1 - 1 / 1.01)
    assert found.holds


def test_the_leaderboard_has_the_champion_first_and_who_has_no_score_last() -> None:
    prose, mixed = summary().leaderboards
    assert [(p.place, p.label, p.outcome) for p in mixed.places] == [
        (1, "miner-3", "scored"),
        (2, "miner-4", "scored"),
        (3, "miner-1", "scored"),
        (None, "miner-5", "undecided"),
        (None, "5Mffffff…fFf", "rejected"),
    ]
    assert (mixed.block, mixed.validator, mixed.champion, mixed.unit) == (165, A, MINERS[2], "nats per token")
    assert mixed.leader == mixed.places[0]
    assert [(part.task, part.weight) for part in mixed.mix] == [("code", 0.15), ("prose", 0.85)]
    assert prose.places[1].difference == report(A, 150, 0).entries[1].difference
    assert list(prose.places[0].scores) == [A, B]


def test_the_champion_stands_first_whatever_the_scores() -> None:
    step = replace(report(A, 90, 0), champion=MINERS[1])
    assert gathered({A: (step,)}).leaderboards[0].places[0].hotkey == MINERS[1]


def test_who_was_not_judged_in_the_last_step_keeps_the_numbers_of_an_older_one() -> None:
    queued = replace(report(A, 120, 0).entries[1], outcome="queued", score=None, tasks=None, difference=None)
    last = replace(report(A, 150, 0), entries=(report(A, 150, 0).entries[0], queued))
    places = gathered({A: (report(A, 120, 0), last)}).leaderboards[0].places
    older = report(A, 120, 0).entries[1].score
    assert [(p.place, p.measured, p.score) for p in places] == [(1, 150, places[0].score), (2, 120, older)]


def test_another_commitment_of_the_same_hotkey_is_another_model() -> None:
    again = replace(report(A, 120, 0).entries[1], outcome="queued", score=None, revision="f" * 40, block=Block(110))
    last = replace(report(A, 150, 0), entries=(report(A, 150, 0).entries[0], again))
    assert gathered({A: (report(A, 120, 0), last)}).leaderboards[0].places[1].score is None


def test_refusals_say_who_and_why_even_after_the_commitment_is_gone() -> None:
    later = replace(report(A, 150, 0), entries=report(A, 150, 0).entries[:2])
    (refusal,) = gathered({A: (report(A, 90, 0), later), B: (report(B, 90, 0),)}).leaderboards[0].refusals
    assert (refusal.label, refusal.reason, refusal.validators) == ("miner-5", "duplicate", VALIDATORS)
    (hostile,) = summary().leaderboards[1].refusals
    assert (hostile.repo, hostile.detail) == (HOSTILE_REPO, HOSTILE_DETAIL)


def test_what_one_validator_scored_and_another_did_not_is_named() -> None:
    entries = report(B, 90, 0).entries
    missed = replace(entries[1], outcome="undecided", reason="timeout", score=None)
    step = replace(report(B, 90, 0), entries=(entries[0], missed, *entries[2:]))
    (row,) = gathered({A: (report(A, 90, 0),), B: (step,)}).unscored
    assert (row.hotkey, row.scored_by, row.missing, row.why) == (MINERS[1], (A,), (B,), "timeout")
    assert str(row) == (
        "miner-2 (miner2/tiny-llama-prose, competition 0) was scored by validator-1 and not by validator-2: timeout"
    )
    once = gathered({A: (report(A, 90, 0),), B: (step, report(B, 120, 0))})
    assert once.unscored == ()


def test_losses_are_kept_step_by_step() -> None:
    losses = [loss for loss in summary().leaderboards[0].losses if loss.hotkey == MINERS[0]]
    assert [(loss.block, loss.validator) for loss in losses] == [(b, v) for b in (90, 120, 150) for v in VALIDATORS]


def test_the_last_row_and_the_last_epoch_are_the_newest() -> None:
    run = summary()
    assert {v: row.block for v, row in run.last_weights().items()} == {A: 152, B: 153}
    assert {row.block for row in run.last_epoch()} == {159}
    assert (empty_summary().last_weights(), empty_summary().last_epoch()) == ({}, ())


def place(label: str, score: float, committed: int, between: Difference | None, epsilon: float = 0.01) -> Place:
    return Place(
        place=1,
        hotkey=Hotkey(label),
        label=label,
        repo="a/b",
        revision="0" * 40,
        committed=Block(committed),
        outcome="scored",
        reason="",
        detail="",
        measured=Block(90),
        score=score,
        tasks={},
        competitive=True,
        win_rate=1.0,
        epsilon=epsilon,
        difference=between,
        average=1.0,
        scores={},
    )


@pytest.mark.parametrize(
    ("second", "said"),
    [
        (None, "no other entry was scored beside it"),
        (place("b", 4.5, 60, None), "b comes second with 4.5000"),
        (place("b", 4.5, 60, Difference(0.02, 0.01, 0.1)), "b comes second, 2.00% ± 1.00% worse (2.0 standard errors)"),
        (
            place("b", 4.5, 60, Difference(-0.002, 0.001, 0.1)),
            "b is 0.20% ± 0.10% better, less than the 1.00% head start of who came earlier",
        ),
        (
            place("b", 4.5, 40, Difference(-0.002, 0.001, 0.1)),
            "b is 0.20% ± 0.10% better by itself but does not win more matches",
        ),
    ],
)
def test_the_verdict_says_who_leads_and_why(second: Place | None, said: str) -> None:
    places = (place("a", 4.4, 50, None), *([second] if second else []))
    assert verdict("prose", "nats per token", Hotkey("a"), places) == (
        f"a leads prose with a loss of 4.4000 nats per token; {said}"
    )


def test_the_verdict_admits_that_nobody_leads() -> None:
    assert verdict("prose", "", None, ()) == "no step of prose has been decided yet"
    assert verdict("prose", "", None, (place("a", 4.4, 50, None),)) == "nobody leads prose: no entry is competitive"


def test_a_competition_that_no_report_knows_has_an_empty_leaderboard() -> None:
    (board,) = [b for b in empty_summary().leaderboards if b.competition == CompetitionId(1)]
    assert (board.block, board.validator, board.champion, board.places, board.losses) == (None, None, None, (), ())

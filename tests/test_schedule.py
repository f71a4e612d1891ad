"""A whole schedule: what is in force at which block, and what its digests cover."""

import json

import pytest
import yaml
from competition_texts import SMALL, changed
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pretrain import canonical
from pretrain.schedule import Schedule
from pretrain.types import Block, CompetitionId


def parsed(text: str = SMALL) -> Schedule:
    return Schedule.model_validate_json(json.dumps(yaml.safe_load(text)))


SCHEDULE = parsed()
LATER = "a model must be judged on data chosen after it was committed"
TREE = yaml.safe_load(SMALL)


def flaws(text: str) -> list[tuple[tuple[str | int, ...], object, str]]:
    with pytest.raises(ValidationError) as caught:
        parsed(text)
    return [(error["loc"], error["input"], error["msg"]) for error in caught.value.errors()]


def test_nothing_is_in_force_before_the_first_phase_and_a_phase_lasts_until_the_next() -> None:
    schedule = parsed()
    names = {block: [c.name for c in schedule.at(Block(block))] for block in (0, 99, 100, 199, 200, 10**9)}
    assert names == {
        0: [],
        99: [],
        100: ["prose"],
        199: ["prose"],
        200: ["prose", "mixed"],
        10**9: ["prose", "mixed"],
    }


def test_a_slot_overrides_its_competition_in_its_phase_only() -> None:
    schedule = parsed()
    mixed = schedule.at(Block(200))[1]
    assert (mixed.windows, mixed.alpha, mixed.share, mixed.id, list(mixed.tasks)) == (
        400,
        0.8,
        0.5,
        1,
        ["prose", "code"],
    )
    assert (schedule.at(Block(200))[0].windows, schedule.at(Block(200))[0].alpha) == (100, 0.5)


def test_sync_windows_judge_the_competitions_in_turn_in_the_file_s_order() -> None:
    schedule = parsed()
    picked = [schedule.pick(Block(block)) for block in (90, 100, 110, 200, 209, 210, 220)]
    assert [c.name if c else None for c in picked] == [None, "prose", "prose", "prose", "prose", "mixed", "prose"]


@given(st.integers(200, 10**7))
@settings(deadline=None)
def test_every_two_windows_in_a_row_judge_both_competitions(block: int) -> None:
    picked = [SCHEDULE.pick(Block(block)), SCHEDULE.pick(Block(block + 10))]
    assert {c.name for c in picked if c} == {"prose", "mixed"}


def test_in_force_follows_the_phases() -> None:
    schedule = parsed()
    assert [schedule.in_force(CompetitionId(1), Block(block)) for block in (99, 199, 200)] == [False, False, True]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "start: 200",
            "start: 100",
            (("phases", 1, "start"), 100, "must be larger than 100, where the phase before starts"),
        ),
        (
            "{source: code, weight: 0.15}",
            "{source: coed, weight: 0.15}",
            (
                ("mixes", "mixed", "code", "source"),
                "coed",
                "not defined; did you mean code? `sources` defines code, prose",
            ),
        ),
        (
            "    id: 1\n",
            "",
            (
                ("phases", 1, "competitions", 1, "competition"),
                "mixed",
                "its id 0 is also that of prose in this phase; each id may stand once",
            ),
        ),
        (
            "eval_block_delay: 15",
            "eval_block_delay: 10",
            (
                ("timing", "eval_block_delay"),
                10,
                f"must be larger than sync_cadence, which is 10: {LATER}",
            ),
        ),
        (
            "{competition: prose, share: 0.5}",
            "{competition: prose, share: 0.4}",
            (
                ("phases", 1, "competitions"),
                0.9,
                "the shares of a phase must sum to 1; these (prose 0.4, mixed 0.5) sum to 0.9",
            ),
        ),
        (
            "{min_weight: 0.001}",
            "{burn: 0.5}",
            (("weights", "burn"), 0.5, "must be 0, or have a burn_uid beside it: the uid that burns"),
        ),
        ("path: tokenizer.json, ", "", (("tokenizers", "bpe", "path"), None, "set exactly one of path and repo")),
    ],
)
def test_a_broken_rule_is_reported_at_its_own_place(old: str, new: str, expected: tuple[object, ...]) -> None:
    assert flaws(changed(old, new)) == [expected]


def test_an_override_that_falls_below_the_noise_is_reported_in_its_phase() -> None:
    found = flaws(changed("windows: 400", "windows: 4"))
    assert [loc for loc, _, _ in found] == [("phases", 1, "competitions", 1, "windows")]


def test_an_epsilon_of_a_phase_that_falls_below_the_noise_is_reported_there() -> None:
    found = flaws(changed("windows: 400,", "epsilon: {kind: fixed, end: 0.001},"))
    assert [loc for loc, _, _ in found] == [("phases", 1, "competitions", 1, "epsilon", "end")]


def test_a_competition_below_the_noise_is_reported_once_and_where_it_is_written() -> None:
    found = flaws(changed("end: 0.003", "end: 0.002"))
    assert [loc for loc, _, _ in found] == [("competitions", "prose", "epsilon", "end")]


def shuffled(value: object, data: st.DataObject) -> object:
    if isinstance(value, dict):
        return {key: shuffled(value[key], data) for key in data.draw(st.permutations(list(value)))}
    return [shuffled(part, data) for part in value] if isinstance(value, list) else value


@given(st.data())
@settings(deadline=None, max_examples=25)
def test_digests_do_not_depend_on_the_order_of_keys(data: st.DataObject) -> None:
    tree = shuffled(TREE, data)
    schedule, plain = Schedule.model_validate_json(json.dumps(tree)), SCHEDULE
    at = Block(200)
    assert (schedule.digest, [schedule.competition_digest(c) for c in schedule.at(at)]) == (
        plain.digest,
        [plain.competition_digest(c) for c in plain.at(at)],
    )


def test_digests_are_pinned_so_that_no_library_may_change_them() -> None:
    schedule = parsed()
    assert (schedule.digest, schedule.competition_digest(schedule.at(Block(100))[0])) == (
        "49f17c316a95631e52259e5676eef9a4939c1dc8dae8a85cfad9fa5864448328",
        "ed52decfebf3f3c98d9a139c43609ddbad00e558312818c88ded8c30b7773f96",
    )


def test_a_file_without_a_mechanism_is_of_the_first_and_there_are_sixteen_at_most() -> None:
    assert [parsed().mechanism, parsed(changed("version_key: 1", "version_key: 1\nmechanism: 15")).mechanism] == [0, 15]
    with pytest.raises(ValidationError, match="less than or equal to 15"):
        parsed(changed("version_key: 1", "version_key: 1\nmechanism: 16"))


def test_canonical_text_is_sorted_json_with_shortest_floats() -> None:
    value = {"b": (1, 2.5, 1e-7), "a": {"é": None, "d": True}}
    assert canonical.text(value) == '{"a":{"d":true,"\\u00e9":null},"b":[1,2.5,1e-07]}'


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("windows: 100", "windows: 101"),
        ("max_new: 4", "max_new: 5"),
        ("sync_cadence: 10", "sync_cadence: 11"),
        ("{kind: stdlib-prose}", "{kind: stdlib-prose, digest: " + "ab" * 32 + "}"),
        ("path: tokenizer.json,", "path: tokenizer.json, digest: " + "ab" * 32 + ","),
        ("{source: prose, weight: 1.0}", "{source: prose, weight: 1.0, method: bits_per_byte}"),
        ("max_bytes: 16000", "max_bytes: 16001"),
    ],
)
def test_a_competition_digest_covers_its_fields_and_all_that_it_refers_to(old: str, new: str) -> None:
    before, after = parsed(), parsed(changed(old, new))
    at = Block(100)
    assert before.competition_digest(before.at(at)[0]) != after.competition_digest(after.at(at)[0])


def test_a_competition_digest_does_not_depend_on_what_it_does_not_use() -> None:
    before, after = parsed(), parsed(changed("{kind: stdlib-code}", "{kind: stdlib-code, digest: " + "ab" * 32 + "}"))
    prose, mixed = ([s.competition_digest(s.at(Block(200))[i]) for s in (before, after)] for i in (0, 1))
    assert (prose[0] == prose[1], mixed[0] == mixed[1], before.digest == after.digest) == (True, False, False)


def test_where_a_pinned_file_lies_is_no_rule_and_where_an_unpinned_one_lies_is() -> None:
    pinned = changed("path: tokenizer.json,", "path: tokenizer.json, digest: " + "ab" * 32 + ",")
    moved = [parsed(text.replace("tokenizer.json", "/elsewhere.json")).digest for text in (pinned, SMALL)]
    assert [parsed(pinned).digest == moved[0], parsed().digest == moved[1]] == [True, False]

"""What differs between two schedules, by field and by block."""

import json

import yaml
from competition_texts import SMALL, changed

from pretrain.competition_diff import ABSENT, Change, changes
from pretrain.schedule import Schedule
from pretrain.types import Block


def parsed(text: str = SMALL) -> Schedule:
    return Schedule.model_validate_json(json.dumps(yaml.safe_load(text)))


def against_small(text: str) -> tuple[Change, ...]:
    return changes(parsed(), parsed(text))


def test_a_schedule_does_what_it_does() -> None:
    assert against_small(SMALL) == ()


def test_a_definition_that_no_phase_uses_makes_no_difference() -> None:
    assert (
        against_small(
            changed("  code: {kind: stdlib-code}", "  code: {kind: stdlib-code}\n  more: {kind: stdlib-code}")
        )
        == ()
    )


def test_a_shared_number_differs_at_every_block() -> None:
    assert against_small(changed("pool: 5", "pool: 6")) == (Change("selection.pool", 5, 6),)


def test_another_mechanism_differs_at_every_block() -> None:
    text = changed("version_key: 1", "version_key: 1\nmechanism: 1")
    assert against_small(text) == (Change("mechanism", 0, 1),)


def test_a_change_that_holds_over_several_phases_is_told_once() -> None:
    assert against_small(changed("max_document_tokens: 512", "max_document_tokens: 513")) == (
        Change("competition 0 (prose).max_document_tokens", 512, 513, Block(100), None),
        Change("competition 1 (mixed).max_document_tokens", 512, 513, Block(200), None),
    )


def test_a_new_phase_is_told_from_its_block_on() -> None:
    phase = "  - start: 300\n    competitions:\n      - {competition: prose, share: 1.0, windows: 200}\n"
    told = against_small(SMALL + phase)
    assert [(c.path, c.old, c.new, c.start, c.end) for c in told if c.path.startswith("competition 0")] == [
        ("competition 0 (prose).share", 0.5, 1.0, 300, None),
        ("competition 0 (prose).windows", 100, 200, 300, None),
    ]
    assert [(c.path, c.new) for c in told if c.path.startswith("competition 1")] == [("competition 1 (mixed)", ABSENT)]


def test_a_phase_that_starts_later_leaves_a_gap_that_is_told() -> None:
    told = against_small(changed("start: 100", "start: 150"))
    assert [(c.path, c.new, c.start, c.end) for c in told] == [("competition 0 (prose)", ABSENT, 100, 150)]


def test_a_pin_is_told_where_the_source_is_used() -> None:
    pin = "ab" * 32
    told = against_small(changed("{kind: stdlib-code}", f"{{kind: stdlib-code, digest: {pin}}}"))
    assert told == (Change("sources.code.digest", "unpinned", pin, Block(200), None),)


def test_the_order_of_competitions_is_told_for_it_decides_who_judges_when() -> None:
    first, second = SMALL.splitlines()[-2:]
    told = against_small("\n".join([*SMALL.splitlines()[:-2], second, first]))
    assert told == (Change("order of competitions", [0, 1], [1, 0], Block(200), None),)


def test_a_diff_turned_round_has_old_and_new_turned_round() -> None:
    one, other = parsed(), parsed(changed("alpha: 0.8", "alpha: 0.7", changed("pool: 5", "pool: 6")))
    turned = [(c.path, c.new, c.old, c.start, c.end) for c in changes(other, one)]
    assert turned == [(c.path, c.old, c.new, c.start, c.end) for c in changes(one, other)]

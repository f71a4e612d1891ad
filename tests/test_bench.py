"""``pretrain bench``: what is timed is right; how long it takes is no test's business."""

import json

import numpy as np
import pytest

from pretrain import cli, scoring_bench
from pretrain.scoring_bench import by_arrays, by_loops, check, make_case


@pytest.mark.parametrize("compare", scoring_bench.COMPARES)
def test_arrays_and_the_plain_loop_come_to_the_same_weights(compare: str) -> None:
    case = make_case(compare, entries=24, batches=40)
    _, fast = by_arrays(case)
    slow = by_loops(case)

    assert list(fast) == sorted(slow)
    assert [fast[hotkey] for hotkey in fast] == pytest.approx([slow[hotkey] for hotkey in fast])


def test_a_difference_between_the_two_is_a_bug_that_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring_bench, "_epsilon", lambda _age, _gain: 0.9)

    with pytest.raises(AssertionError, match="compare mean: the arrays and the plain loop differ in weights"):
        check(make_case("mean", entries=24, batches=40))


@pytest.mark.parametrize("compare", scoring_bench.COMPARES)
def test_most_entries_of_the_case_play_so_that_the_matches_are_what_is_timed(compare: str) -> None:
    result, _ = by_arrays(make_case(compare, entries=64, batches=50))

    assert sum(standing.competitive for standing in result.standings) > len(result.standings) / 2


def test_the_case_is_the_same_each_time() -> None:
    one, two = (make_case("mean", entries=3, batches=5) for _ in range(2))

    assert [[values.tolist() for values in losses.values()] for losses in one.losses] == [
        [values.tolist() for values in losses.values()] for losses in two.losses
    ]
    assert np.isfinite([list(losses.values()) for losses in one.losses]).all()


@pytest.mark.parametrize(("limit", "code"), [(1e9, 0), (0.0, 1)])
def test_the_command_says_whether_both_ways_are_within_the_limit(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, limit: float, code: int
) -> None:
    monkeypatch.setattr(scoring_bench, "LIMIT", limit)

    assert cli.run(["bench", "scoring", "--repeats", "1", "--json"]) == code
    facts = json.loads(capsys.readouterr().out)
    assert (facts["within"], [timing["compare"] for timing in facts["timings"]]) == (code == 0, ["mean", "majority"])
    sizes = {(timing["entries"], timing["batches"], timing["tasks"]) for timing in facts["timings"]}
    assert (sizes, all(timing["ratio"] > 0 for timing in facts["timings"])) == ({(256, 300, 6)}, True)


def test_people_get_a_line_for_each_way_to_compare(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring_bench, "LIMIT", 1e9)
    cli.run(["bench", "scoring", "--repeats", "1"])
    lines = capsys.readouterr().out.splitlines()

    assert [line.split(":")[0] for line in lines] == ["compare mean", "compare majority"]

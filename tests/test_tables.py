import io
from dataclasses import replace

import pytest
from reports import MINERS, VALIDATORS, empty_summary, report, summary
from rich.console import Console, RenderableType

from pretrain import plain, tables
from pretrain.report import Difference
from pretrain.summary import WeightsRow
from pretrain.types import Block, CompetitionId, Hotkey, TaskName

PROSE, MIXED = CompetitionId(0), CompetitionId(1)


def shown(table: RenderableType) -> str:
    """Return what a terminal of 100 columns gets, colours and all."""
    screen = Console(file=io.StringIO(), width=tables.WIDTH, force_terminal=True, color_system="truecolor")
    screen.print(table)
    assert isinstance(screen.file, io.StringIO)
    return screen.file.getvalue()


def read(table: RenderableType) -> str:
    """Return the words, without colours and with single spaces."""
    screen = Console(file=io.StringIO(), width=tables.WIDTH)
    screen.print(table)
    assert isinstance(screen.file, io.StringIO)
    return "\n".join(" ".join(line.split()) for line in screen.file.getvalue().splitlines())


def everything() -> list[RenderableType]:
    run = summary()
    return [
        tables.step_table(report(VALIDATORS[0], 105, 1)),
        tables.leaderboard(run, PROSE),
        tables.leaderboard(run, MIXED),
        tables.weights_table(run),
        tables.incentive_table(run),
        tables.leaderboard(empty_summary(), PROSE),
        tables.weights_table(empty_summary()),
    ]


def test_a_step_says_who_was_judged_how_and_who_was_not_and_why() -> None:
    lines = read(tables.step_table(report(VALIDATORS[0], 105, 1))).splitlines()
    assert lines[0] == "block 105 mixed (1) samples 700bc0000000 10 s"
    assert "champion miner3/tiny-llama-mixed 4.5964 leads 100% 0.35% 0.700 4.7664 4.5664" in lines
    assert "new miner4/tiny-llama-mixed 4.6157 +0.42 ± 0.31 % 50% 0.35% 0.300 4.7857 4.5857" in lines
    assert "pool miner1/tiny-llama-prose 4.8768 +6.10 ± 0.31 % none 0.35% 0.000 5.0468 4.8468" in lines
    assert "undecided 5Meeeeee…eEe slow/giant timeout: judging took longer than 60 s" in lines
    assert any(line.startswith("rejected 5Mffffff…fFf evil/[red]<script>") and "header:" in line for line in lines)
    assert lines[-2] == "near: miner4/tin…mixed and miner3/tin…mixed: 0.123% apart by losses, of other shapes"
    assert lines[-1] == "note: miner4/tiny-llama-mixed: paired sd a batch 0.0215 is above the expected 0.02 of mixed"


def test_an_abandoned_step_says_why() -> None:
    step = replace(
        report(VALIDATORS[0], 105, 1), entries=(), near_copies=(), notes=(), samples=None, abandoned="the hub\nis down"
    )
    assert read(tables.step_table(step)) == (
        "block 105 mixed (1) samples none 10 s\nnothing was decided: the hub is down"
    )


def test_a_step_without_memory_says_that_no_weights_are_set() -> None:
    step = replace(report(VALIDATORS[0], 105, 1), entries=(), near_copies=(), notes=(), ready=False)
    assert read(tables.step_table(step)).splitlines()[1:] == [
        "no entry was scored",
        "no weights yet: not everything top-weighted is decided",
    ]


def test_the_leaderboard_shows_places_verdict_and_refusals() -> None:
    text = read(tables.leaderboard(summary(), PROSE))
    assert text.splitlines()[0] == "prose 100% prose 50% of the pay"
    assert "miner-2 comes second, 1.21% ± 0.31% worse" in text
    assert "1 miner-1 miner1/tiny-llama-prose 4.2635 leads 100% 0.882" in text
    assert "2 miner-2 miner2/tiny-llama-prose 4.3151 +1.21 ± 0.31 % 0% 0.018" in text
    assert "rejected miner-5 copy/cat duplicate: same weights as miner1/tiny-llama-prose since block 40" in text
    with pytest.raises(KeyError):
        tables.leaderboard(summary(), CompetitionId(7))


def test_weights_and_incentives_are_those_in_force() -> None:
    assert "validator-2 45.0% 45.0% 10.0% 153" in read(tables.weights_table(summary()))
    paid = read(tables.incentive_table(summary()))
    assert "incentive and dividends at block 159" in paid
    assert "miner-4 10.0% 1.50" in paid
    assert "validator-1 50.0% 1,159.00" in paid


def test_a_run_in_which_nothing_happened_says_so() -> None:
    assert "no step of prose has been decided yet" in read(tables.leaderboard(empty_summary(), PROSE))
    assert "never" in read(tables.weights_table(empty_summary()))
    assert read(tables.incentive_table(empty_summary())) == "no epoch has passed: nobody was paid yet"


def test_a_miners_text_moves_no_cursor_and_is_no_markup() -> None:
    for table in everything():
        text = shown(table)
        for part in text.split("\x1b["):
            assert "\x1b" not in part
        assert not {"\x07", "\u202e", "\x9b"} & set(text)
    hostile = read(everything()[0])
    assert "[red]" in hostile
    assert "[bold]" in hostile
    assert "z" * 100 not in hostile
    assert len(hostile) < 2000


def test_a_scored_model_with_a_hostile_name_is_no_markup_either() -> None:
    step = report(VALIDATORS[0], 105, 1)
    named = replace(step, entries=tuple(replace(entry, repo="[red]a[/red]/:smile:") for entry in step.entries))
    assert "champion [red]a[/red]/:smile: 4.5964" in read(tables.step_table(named))


def test_every_table_fits_in_a_hundred_columns() -> None:
    entries = tuple(
        replace(entry, repo="n" * 60 + "/" + "m" * 60, difference=entry.difference and Difference(1.505, 0.125, 3))
        for entry in report(VALIDATORS[0], 105, 1).entries
    )
    many = {TaskName(f"a long task {n}" * 3): 4.5 for n in range(6)}
    steps = [
        replace(report(VALIDATORS[0], 10**7, 1), entries=entries),
        replace(report(VALIDATORS[0], 10**7, 1), entries=tuple(replace(e, tasks=many) for e in entries)),
    ]
    for table in [*everything(), *map(tables.step_table, steps)]:
        wide = Console(file=io.StringIO(), width=tables.WIDTH)
        wide.print(table)
        assert isinstance(wide.file, io.StringIO)
        lines = wide.file.getvalue().splitlines()
        assert max(map(len, lines), default=0) <= tables.WIDTH
    whole = read(tables.step_table(steps[0]))
    assert "+150.50 ± 12.50 %" in whole
    assert "4.5664" in whole


def test_more_miners_than_columns_are_summed_up() -> None:
    crowd = tuple(Hotkey(f"5{n:047d}") for n in range(40))
    shares = {hotkey: (0.5 if n == 39 else 0.5 / 39) for n, hotkey in enumerate(crowd)}
    run = replace(
        summary(),
        miners=crowd,
        labels={h: f"miner-{n}" for n, h in enumerate(crowd)} | {VALIDATORS[0]: "v1"},
        weights=(WeightsRow(Block(9), VALIDATORS[0], shares),),
        validators=VALIDATORS[:1],
    )
    lines = read(tables.weights_table(run)).splitlines()
    assert next(line for line in lines if line.startswith("v1")) == f"v1 {'1.3% ' * 7}50.0% 41.0% 9"


@pytest.mark.parametrize(
    ("text", "width", "line"),
    [
        ("plain", 80, "plain"),
        ("a\tb\r\nc", 80, "a b  c"),
        ("\x1b[31m\u202e\ud800\u0301", 80, "�[31m���"),
        ("x" * 10_000, 5, "xxxx…"),
        ("x" * 5, 5, "xxxxx"),
    ],
)
def test_a_line_is_plain_and_short(text: str, width: int, line: str) -> None:
    assert plain.line(text, width) == line


def test_the_middle_of_a_name_is_cut_out() -> None:
    assert plain.middle("namespace/name-of-a-model-42", 15) == "namespace/…l-42"
    assert plain.middle("x" * 15, 15) == "x" * 15
    assert plain.label(MINERS[0], {}) == "5Maaaaaa…aAa"
    assert plain.label(MINERS[0], {MINERS[0]: "\x07miner"}) == "�miner"

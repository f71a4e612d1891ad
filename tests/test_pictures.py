import hashlib
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from reports import LABELS, MINERS, VALIDATORS, empty_summary, summary

from pretrain import pictures
from pretrain.pictures import Picture
from pretrain.summary import Summary, WeightsRow
from pretrain.types import Block, Hotkey

ROOT = Path(__file__).parents[1]
SVG = "{http://www.w3.org/2000/svg}"


def drawn(run: Summary) -> dict[str, Picture | None]:
    board = run.leaderboards[1]
    return {
        "losses": pictures.losses(run, board),
        "margins": pictures.margins(run, board),
        "wins": pictures.win_matrix(run, board),
        "weights": pictures.weights(run),
        "incentive": pictures.incentive(run),
    }


def svg(picture: Picture | None) -> str:
    assert picture is not None
    return picture.svg


def words(picture: Picture | None) -> list[str]:
    return ["".join(text.itertext()) for text in ET.fromstring(svg(picture)).iter(f"{SVG}text")]  # noqa: S314 - our own


@pytest.fixture(scope="module")
def run() -> dict[str, Picture | None]:
    return drawn(summary())


def test_every_picture_is_one_svg_element_with_its_meaning_in_words(run: dict[str, Picture | None]) -> None:
    for picture in run.values():
        root = ET.fromstring(svg(picture))  # noqa: S314 - our own
        assert (root.tag, root.get("role"), "width" in root.attrib) == (f"{SVG}svg", "img", False)
        assert "miner-1" in (root.get("aria-label") or "")


def test_pictures_load_nothing_and_run_nothing(run: dict[str, Picture | None]) -> None:
    for picture in run.values():
        text = svg(picture)
        links = re.findall(r'(?:href|src)="([^"]*)"|url\(([^)]*)\)', text)
        assert {(one or other)[0] for one, other in links} <= {"#"}
        assert not re.search(r"<(script|style|image|foreignObject|metadata)|\son\w+=", text)


def test_axes_say_what_they_measure_and_in_which_unit(run: dict[str, Picture | None]) -> None:
    for name, wanted in {
        "losses": {"sync block", "loss", "code", "prose", "nats per token"},
        "margins": {"loss above that of miner-3, %", "miner-4", "miner-1"},
        "wins": {"against", "miner-3 *", "miner-4", "100%", "0%"},
        "weights": {"block", "validator-1", "validator-2", "100%"},
        "incentive": {"block of the epoch", "share of the pay", "miner-1", "miner-3", "miner-4"},
    }.items():
        assert wanted - set(words(run[name])) == set()


def test_a_miner_has_the_same_colour_everywhere(run: dict[str, Picture | None]) -> None:
    colour = pictures.colour(summary(), MINERS[2])
    others = {pictures.colour(summary(), miner) for miner in MINERS} - {colour}
    assert len(others) == len(MINERS) - 1
    assert [name for name, picture in run.items() if colour in svg(picture)] == ["losses", "weights", "incentive"]
    assert pictures.colour(summary(), VALIDATORS[0]) not in {colour, *others}


def test_pictures_take_their_ink_from_the_page(run: dict[str, Picture | None]) -> None:
    for picture in run.values():
        assert "currentColor" in svg(picture)
        assert not re.search(r"#0102\d\d|#000000|fill: black", svg(picture))


def test_ids_of_different_pictures_never_meet(run: dict[str, Picture | None]) -> None:
    ids = [found for picture in run.values() for found in set(re.findall(r'\bid="([^"]*)"', svg(picture)))]
    assert len(ids) == len(set(ids)) > 0


def test_the_same_summary_gives_the_same_bytes_in_another_process(run: dict[str, Picture | None]) -> None:
    code = (
        "import hashlib, reports, test_pictures as t;"
        "print(hashlib.sha256(''.join(p.svg for p in t.drawn(reports.summary()).values()).encode()).hexdigest())"
    )
    environment = {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", "PYTHONHASHSEED": "4711", "LANG": "C"}
    command = [sys.executable, "-c", code]
    other = subprocess.run(  # noqa: S603 - this very interpreter, on code that stands here
        command, env=os.environ | environment, capture_output=True, text=True, check=True, timeout=120
    )
    assert other.stdout.strip() == hashlib.sha256("".join(map(svg, run.values())).encode()).hexdigest()


def test_where_nothing_happened_there_is_no_picture() -> None:
    assert set(drawn(empty_summary()).values()) == {None}


@pytest.mark.parametrize("draw", [pictures.losses, pictures.margins, pictures.win_matrix])
def test_a_lone_entry_has_nobody_to_be_compared_with(draw: Callable[..., Picture | None]) -> None:
    board = summary().leaderboards[0]
    alone = replace(board, places=board.places[:1], players=board.players[:1], wins=((0.0,),))
    assert (draw(summary(), alone) is None) == (draw is not pictures.losses)


def test_labels_of_any_kind_are_drawn_as_text() -> None:
    hostile = "$\\frac$<b>\u202e日本"
    labels = {**LABELS, MINERS[0]: hostile, MINERS[2]: hostile}
    found = drawn(replace(summary(), labels=labels))
    assert "$\\frac$<b>???" in words(found["incentive"])
    assert all("<b>" not in svg(picture) for picture in found.values())


def test_a_crowd_is_cut_to_what_can_be_told_apart_and_the_rest_is_counted() -> None:
    crowd = tuple(Hotkey(f"5{n:047d}") for n in range(40))
    rows = (WeightsRow(Block(9), VALIDATORS[0], dict.fromkeys(crowd, 1 / 40)),)
    run = replace(summary(), miners=crowd, weights=rows, labels={h: f"miner-{n}" for n, h in enumerate(crowd)})
    picture = pictures.weights(run)
    assert [word for word in words(picture) if word.startswith(("miner", "others"))] == [
        *(f"miner-{n}" for n in range(8)),
        "others",
    ]
    assert picture is not None
    assert picture.caption.endswith("32 smaller ones are summed up.")

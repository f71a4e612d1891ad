import os
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from reports import HOSTILE_DETAIL, MINERS, VALIDATORS, empty_summary, report, reports, summary
from test_summary import gathered

from pretrain import pages
from pretrain.errors import ConfigError
from pretrain.summary import from_json

VOID = {"meta", "br", "link", "img", "hr", "input"}
HTML = """
html head meta title style body main header section footer div span p br h1 h2 h3 table thead tbody tr th td b code ul
li figure figcaption details summary dl dt dd svg g path text tspan defs use clippath rect
"""


class Page(HTMLParser):
    """Read a page as a browser would: its elements, their attributes, and its words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "title"} & {*self.open}:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def page() -> str:
    return pages.page(summary())


def test_the_page_is_whole_and_has_no_element_of_a_miner(page: str) -> None:
    read = Page(page)
    assert read.open == []
    assert {tag for tag, _ in read.tags} - {*HTML.split()} == set()
    assert [name for _, attributes in read.tags for name in attributes if name.startswith("on")] == []


def test_the_page_needs_no_network_and_runs_no_script(page: str) -> None:
    read = Page(page)
    links = [
        value
        for _, attributes in read.tags
        for name, value in attributes.items()
        if name in {"href", "src", "xlink:href", "action", "data", "srcset"}
    ]
    assert {(link or "")[:1] for link in links} <= {"#"}
    assert not re.search(r"@import|url\((?!#)", page)
    policies = [a["content"] for tag, a in read.tags if tag == "meta" and "http-equiv" in a]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"]


def test_a_newcomer_reads_first_who_won_and_whether_the_validators_agree(page: str) -> None:
    text = Page(page).text
    wanted = [
        "localnet · blocks 0 to 180 · 6 miners · 2 validators · seed 7",
        "miner-1 leads prose, miner-3 leads mixed",
        "The validators drew identical samples in 5 of 5 common windows and crowned the same champion in 5.",
        "miner-2 comes second, 1.21% ± 0.31% worse (3.9 standard errors).",
        "miner-4 comes second, 0.42% ± 0.31% worse (1.4 standard errors).",
        "Refused, and why",
        "duplicate same weights as miner1/tiny-llama-prose since block 40",
        "near: miner-4 and miner-3: 0.123% apart by losses, of other shapes",
        "abandoned hub is down",
    ]
    assert [words for words in wanted if words not in text] == []
    places = [text.index(words) for words in wanted]
    assert places == sorted(places)


def test_hostile_text_is_shown_cut_and_escaped(page: str) -> None:
    text = Page(page).text
    assert "�]0;owned�[bold]</td></svg><img src=x onerror=alert(2)>" in text
    assert "evil/[red]<script>alert(1)" in text
    assert HOSTILE_DETAIL[-300:] not in page
    assert not {"\x1b", "\x07", "\u202e"} & set(page)


def test_every_picture_has_words_for_who_cannot_see_it(page: str) -> None:
    read = Page(page)
    pictures = [attributes for tag, attributes in read.tags if tag == "svg"]
    assert len(pictures) == 8
    assert all(len(attributes["aria-label"] or "") > 40 for attributes in pictures)


def test_steps_are_folded_away(page: str) -> None:
    assert "Every step of every validator (12)" in page
    assert page.index("<details") < page.index("Every step of every validator") < page.index("</details>")


def test_disagreement_and_missing_scores_are_said_in_the_banner() -> None:
    entries = report(VALIDATORS[1], 90, 0).entries
    missed = replace(entries[1], outcome="undecided", reason="timeout", score=None)
    step = replace(report(VALIDATORS[1], 90, 0), champion=MINERS[1], entries=(entries[0], missed))
    text = pages.page(gathered({VALIDATORS[0]: reports()[VALIDATORS[0]][:1], VALIDATORS[1]: (step,)}))
    assert 'class="banner bad"' in text
    assert "miner-2 (miner2/tiny-llama-prose, competition 0) was scored by validator-1 and not by validator-2" in text
    assert 'class="banner bad"' not in pages.page(summary())


def test_a_run_in_which_nothing_happened_has_a_page_too() -> None:
    text = Page(pages.page(empty_summary())).text
    assert "Nobody leads yet" in text
    assert "No common window" in text
    assert "Nobody has been weighed or paid yet." in text


def test_the_same_summary_gives_the_same_page(page: str) -> None:
    assert pages.page(summary()) == page


def test_page_and_summary_are_written_and_nothing_else_stays(tmp_path: Path, page: str) -> None:
    folder = tmp_path / "run" / "report"
    pages.write(summary(), folder)
    assert sorted(path.name for path in folder.iterdir()) == ["index.html", "summary.json"]
    assert (folder / "index.html").read_text("utf-8") == page
    assert from_json((folder / "summary.json").read_bytes()) == summary()


def test_a_page_is_replaced_as_a_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages.write(empty_summary(), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(self: Path, text: str, encoding: str) -> int:
        with self.open("w", encoding=encoding) as half:
            half.write(text[: len(text) // 2])
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(ConfigError, match=r"the report cannot be written: No space left on device"):
        pages.write(summary(), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "report").write_text("in the way")
    with pytest.raises(ConfigError, match=r"report: the report cannot be written: .*; name a folder that can be"):
        pages.write(summary(), tmp_path / "report")

"""Competition files as people write them: every mistake is told with its line."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from competition_mistakes import MISTAKES, Mistake
from competition_texts import SMALL, changed, line_of
from hypothesis import given, settings
from hypothesis import strategies as st

from pretrain.competition_file import MAX_BYTES, Examined, examine, load
from pretrain.competition_notes import unused
from pretrain.errors import ConfigError
from pretrain.rules import Path as Place
from pretrain.yaml_document import MAX_VALUES, Document, Problem, read

NO_NUMBER = [(1, ("a",), "expected a plain decimal number, or text in quotes; YAML reads this as int")]


def written(folder: Path, text: str) -> Path:
    path = folder / "file.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def lines(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(written(folder, text))
    return str(caught.value).replace(f"{folder}/", "").splitlines()


def messages(document: Document) -> list[tuple[int, Place, str]]:
    return [(problem.line, problem.path, problem.message) for problem in document.problems]


def test_a_right_file_is_the_schedule_that_it_says(tmp_path: Path) -> None:
    schedule = load(written(tmp_path, SMALL))
    assert (schedule.name, schedule.competitions["mixed"].windows, schedule.models["nano"].families) == (
        "small",
        100,
        ("llama",),
    )


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.new or mistake.old.strip())
def test_a_mistake_is_one_line_with_file_line_field_value_and_what_would_be_right(
    tmp_path: Path, mistake: Mistake
) -> None:
    text = changed(mistake.old, mistake.new)
    told = [line for line in lines(tmp_path, text) if not line.split(": ")[1].startswith("competitions.mixed.")]
    assert told == [f"file.yaml:{line_of(mistake.at, text)}: {mistake.told}"]


def test_all_mistakes_are_told_at_once_in_order_of_line(tmp_path: Path) -> None:
    text = changed("pool: 5", "pool: five", changed("source: code, ", "source: coed, ", changed("id: 1", "id: 100")))
    told = [line.split(":")[1:3] for line in lines(tmp_path, text)]
    assert told == [
        [str(line_of("pool: five", text)), " selection.pool"],
        [str(line_of("coed", text)), " mixes.mixed.code.source"],
        [str(line_of("id: 100", text)), " competitions.mixed.id"],
    ]


def test_a_value_that_came_by_a_merge_key_is_told_with_the_line_where_it_is_written(tmp_path: Path) -> None:
    told = [line.split(":")[1:3] for line in lines(tmp_path, changed("windows: 100", "windows: 0"))]
    here = str(line_of("windows: 0", changed("windows: 100", "windows: 0")))
    assert told == [[here, " competitions.prose.windows"], [here, " competitions.mixed.windows"]]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "file.yaml:1: the file is empty; expected a mapping, such as `name: ...`"),
        (b"# only a comment\n", "file.yaml:1: the file is empty; expected a mapping, such as `name: ...`"),
        (b"\xff\xfe\x00", "file.yaml: byte 0 is not UTF-8; expected a YAML text file"),
        (b"a: 1\n\x00", "file.yaml:2: not YAML: character U+0000 may not stand in it"),
        (b"- 1\n", "file.yaml:1: value [1]: expected a mapping"),
        (b"x" * (MAX_BYTES + 1), f"file.yaml: more than {MAX_BYTES} bytes; expected a competition file"),
        (
            b"a: [1\n",
            "file.yaml:2: not YAML: while parsing a flow sequence expected ',' or ']', but got '<stream end>'",
        ),
        (
            b"a: 1\n---\nb: 2\n",
            "file.yaml:2: not YAML: expected a single document in the stream but found another document",
        ),
    ],
)
def test_what_is_no_competition_file_is_one_line(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "file.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(caught.value).removeprefix(f"{tmp_path}/") == expected


def test_a_missing_file_and_a_folder_are_one_line(tmp_path: Path) -> None:
    told = []
    for path in (tmp_path / "nothing.yaml", tmp_path):
        with pytest.raises(ConfigError) as caught:
            load(path)
        told.append(str(caught.value).removeprefix(str(tmp_path)))
    assert told == [
        "/nothing.yaml: no such file or directory; expected a competition file",
        ": is a directory; expected a competition file",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\na: 2\n", [(2, ("a",), "stands twice, first on line 1; keep one")]),
        ("1: 2\n", [(1, (), "the key 1 is not text; put it in quotes")]),
        ("? [a]\n: 2\n", [(1, (), "the key a collection is not text; put it in quotes")]),
        ("a: 2020-01-01\n", [(1, ("a",), "expected text in quotes; YAML reads this as timestamp")]),
        ("a: 010\n", NO_NUMBER),
        ("a: 1:30\n", NO_NUMBER),
        (
            f"a: {'9' * 5000}\n",
            NO_NUMBER,
        ),
        (
            "a: !!python/object:os.system x\n",
            [(1, ("a",), "expected text in quotes; YAML reads this as python/object:os.system")],
        ),
        ("a: !!set {b}\n", [(1, ("a",), "the tag set has no place here")]),
        ("<<: 3\n", [(1, ("<<",), "`<<` merges a mapping, such as `<<: *rules`")]),
        ('a: "\\ud800"\n', [(1, ("a",), "expected text in quotes; YAML reads this as str")]),
        ("[" * 50, [(1, (), "nested more than 20 deep")]),
        ("- a\n" * (MAX_VALUES + 1), [(MAX_VALUES - 1, (), f"more than {MAX_VALUES} values")]),
        ("a: &x [*x]\n", [(1, (), f"more than {MAX_VALUES} values or 20 levels once its anchors are followed")]),
    ],
)
def test_yaml_that_surprises_or_swells_is_refused_with_its_line(
    text: str, expected: list[tuple[int, Place, str]]
) -> None:
    assert messages(read(text)) == expected


def test_an_anchor_bomb_is_refused_before_it_unfolds() -> None:
    lists = "a0: &a0 [1, 1]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 19))
    assert [m for _, _, m in messages(read(lists))] == [
        f"more than {MAX_VALUES} values or 20 levels once its anchors are followed"
    ]


def test_a_bomb_of_merge_keys_is_read_once_each() -> None:
    merges = "a0: &a0 {k: 1}\n" + "".join(f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}]}}\n" for i in range(1, 60))
    document = read(merges)
    assert (document.problems, document.data) == ([], {f"a{i}": {"k": 1} for i in range(60)})


def test_a_long_chain_of_merge_keys_is_refused_rather_than_followed() -> None:
    chain = "".join(f"  a{i}: &a{i} {{<<: *a{i - 1}}}\n" for i in range(1, 600))
    problems = messages(read(f"top:\n  a0: &a0 {{k: 1}}\n{chain}  <<: *a599\n"))
    assert {message for _, _, message in problems} == {"`<<` merges a mapping that merges a mapping, more than 20 deep"}


def test_a_mapping_that_merges_itself_ends() -> None:
    assert read("a: &a {b: 1, <<: *a}\n").data == {"a": {"b": 1}}


def test_numbers_are_read_as_people_write_them() -> None:
    assert read("[1e-3, 1.5e3, 50_000, -2, .5, .inf, '1e-3', \"7\"]").data == [
        0.001,
        1500.0,
        50000,
        -2,
        0.5,
        float("inf"),
        "1e-3",
        "7",
    ]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=5), json_values, min_size=1, max_size=5), st.booleans())
@settings(deadline=None)
def test_what_is_written_as_yaml_is_read_back(data: dict[str, Any], flow: bool) -> None:  # noqa: FBT001 - drawn
    document = read(yaml.safe_dump(data, default_flow_style=flow))
    assert (document.problems, document.data) == ([], data)


@given(st.data())
@settings(deadline=None, max_examples=60)
def test_a_damaged_file_is_right_or_refused_line_by_line_and_nothing_else(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(SMALL)))
    cut = data.draw(st.integers(0, 30))
    text = SMALL[:start] + data.draw(st.text("[]{}:,&*!|>'\"#\n\t -?%@`0aé\x85", max_size=6)) + SMALL[start + cut :]
    document = read(text)
    told = [Examined("f", None, (), (), ()).told(problem) for problem in document.problems]
    assert all(line.isprintable() and line.startswith("f:") for line in told)
    assert all(1 <= problem.line <= text.count("\n") + 2 for problem in document.problems)


def test_a_name_that_could_drive_a_terminal_is_shown_escaped(tmp_path: Path) -> None:
    told = lines(tmp_path, changed("name: small", 'name: small\n"a\\eb\\n": 1'))
    assert [line.split(": ")[1] for line in told] == ["a\\x1bb\\n"]


def test_notes_say_what_is_unpinned_accepted_or_unused(tmp_path: Path) -> None:
    text = changed("paired_sd: 0.01", "paired_sd: 0.02, below_noise: accepted")
    text = changed(
        "  code: {kind: stdlib-code}",
        "  code: {kind: stdlib-code, digest: " + "ab" * 32 + "}\n  more: {kind: stdlib-code}",
        text,
    )
    examined = examine(written(tmp_path, text))
    told = [(p.line, p.path) for p in (*examined.unpinned, *examined.notes)]
    assert (examined.problems, told) == (
        (),
        [
            (line_of("bpe:", text), ("tokenizers", "bpe")),
            (line_of("  prose: {kind", text), ("sources", "prose")),
            (line_of("more:", text), ("sources", "more")),
            (line_of("more:", text), ("sources", "more")),
            (line_of("noise:", text), ("competitions", "prose", "noise")),
        ],
    )


def test_what_a_phase_uses_is_not_unused(tmp_path: Path) -> None:
    assert list(unused(load(written(tmp_path, SMALL)))) == []


def test_a_problem_is_written_on_one_line() -> None:
    problem = Problem(3, ("phases", 0, "competitions", 1, "share"), "must be less", "2")
    assert Examined("f.yaml", None, (), (), ()).told(problem) == (
        "f.yaml:3: phases[0].competitions[1].share: value 2: must be less"
    )


@pytest.mark.parametrize(("uses", "within"), [(150, True), (250, False)])
def test_what_an_anchor_holds_counts_as_often_as_it_is_used(uses: int, within: bool) -> None:  # noqa: FBT001 - a case
    text = f"a: &a [{', '.join('1' * 100)}]\nb: [{', '.join(['*a'] * uses)}]\n"
    assert (read(text).problems == []) == within


@pytest.mark.parametrize(("levels", "within"), [(18, True), (22, False)])
def test_levels_reached_through_anchors_count_like_any_other(levels: int, within: bool) -> None:  # noqa: FBT001 - a case
    text = "a0: &a0 [1]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, levels))
    assert (read(text).problems == []) == within

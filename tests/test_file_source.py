import asyncio
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from pretrain.data import RowGroup, text_files
from pretrain.data.in_memory import InMemory
from pretrain.data.paragraphs import pieces
from pretrain.data.text_files import open_files
from pretrain.errors import ConfigError, DataUnavailable

Split = Literal["train", "judge"]
SPLITS: tuple[Split, Split] = ("train", "judge")
TEXTS = [f"Document {number}, of some words." for number in range(40)]


def both(path: Path, column: str = "text") -> list[str]:
    """Give the documents of both sides."""
    return sorted(text for split in SPLITS for text in open_files(path, column, split).texts)


def jsonl(path: Path, *records: object) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def texts_jsonl(path: Path, texts: Sequence[str] = TEXTS) -> Path:
    return jsonl(path, *({"text": text} for text in texts))


def complaint(path: Path, column: str = "text") -> str:
    with pytest.raises(ConfigError) as caught:
        both(path, column)
    message = str(caught.value)
    assert "\n" not in message
    return message.replace(str(path.parent) + "/", "")


def test_every_document_is_on_exactly_one_side(tmp_path: Path) -> None:
    path = texts_jsonl(tmp_path / "a.jsonl")
    train, judge = (set(open_files(path, "text", split).texts) for split in SPLITS)
    assert (train & judge, train | judge, len(judge) < len(train)) == (set(), set(TEXTS), True)


def test_another_file_moves_no_document_to_the_other_side(tmp_path: Path) -> None:
    alone = open_files(texts_jsonl(tmp_path / "b.jsonl"), "text", "judge").texts
    texts_jsonl(tmp_path / "a.jsonl", [text.upper() for text in TEXTS])
    together = open_files(tmp_path, "text", "judge").texts
    assert tuple(text for text in together if text in TEXTS) == alone


def test_equal_documents_count_once(tmp_path: Path) -> None:
    texts_jsonl(tmp_path / "a.jsonl")
    texts_jsonl(tmp_path / "b.jsonl")
    assert both(tmp_path) == sorted(TEXTS)


def test_a_folder_is_read_in_the_order_of_relative_paths(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    texts_jsonl(tmp_path / "c.jsonl", TEXTS[30:])
    texts_jsonl(tmp_path / "b" / "z.jsonl", TEXTS[10:30])
    texts_jsonl(tmp_path / "a.jsonl", TEXTS[:10])
    (tmp_path / "notes.md").write_text("not read")
    (tmp_path / ".hidden.txt").write_text("not read")
    whole = {split: open_files(tmp_path, "text", split).texts for split in SPLITS}
    assert (both(tmp_path), [list(t) for t in whole.values()]) == (
        sorted(TEXTS),
        [sorted(t, key=TEXTS.index) for t in whole.values()],
    )


def test_the_place_of_the_files_changes_no_digest_and_their_text_does(tmp_path: Path) -> None:
    (tmp_path / "else").mkdir()
    one = texts_jsonl(tmp_path / "a.jsonl")
    moved = texts_jsonl(tmp_path / "else" / "b.jsonl")
    turned = texts_jsonl(tmp_path / "else" / "c.jsonl", TEXTS[::-1])
    digests = [open_files(path, "text", "train").digest for path in (one, moved, turned)]
    assert (digests[0] == digests[1], digests[0] == digests[2]) == (True, False)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=4, unique=True))
def test_the_digest_tells_texts_apart_that_read_the_same_joined(texts: list[str]) -> None:
    joined, apart = InMemory("a", ("".join(texts),)), InMemory("a", tuple(texts))
    assert (joined.digest == apart.digest) == (len(texts) == 1)


def test_the_groups_hold_every_row_once(tmp_path: Path) -> None:
    source = open_files(texts_jsonl(tmp_path / "a.jsonl", [f"{n}" for n in range(100)]), "text", "train")

    async def read() -> list[Sequence[str]]:
        return [await source.rows(group) for group in source.groups]

    rows = asyncio.run(read())
    assert ([len(texts) for texts in rows], [text for texts in rows for text in texts]) == (
        [group.rows for group in source.groups],
        list(source.texts),
    )


@pytest.mark.parametrize("group", [RowGroup("files/train/000099", 32), RowGroup("files/train/000000", 31)])
def test_a_group_of_another_index_is_refused(group: RowGroup) -> None:
    source = InMemory("files/train", tuple(str(n) for n in range(40)))
    with pytest.raises(DataUnavailable, match=f"has no group {group.name} of {group.rows} rows"):
        asyncio.run(source.rows(group))


def test_plain_text_is_cut_between_paragraphs() -> None:
    text = "\n\nOne, line one  \nline two\n \t\n\nTwo\n\nA long third one\n\nFour"
    assert list(pieces(text, 30)) == ["One, line one\nline two\n\nTwo", "A long third one\n\nFour"]


@given(st.text(st.sampled_from("ab \n\t"), max_size=200), st.integers(1, 60))
def test_pieces_keep_every_word_and_their_size(text: str, characters: int) -> None:
    found = list(pieces(text, characters))
    assert " ".join(found).split() == text.split()
    assert all(len(piece) <= characters or "\n\n" not in piece for piece in found)


def test_a_text_file_may_have_a_byte_order_mark_and_the_line_ends_of_windows(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbf" + b"one\r\n\r\n" + "zwölf".encode())
    path = tmp_path / "a.txt"
    texts_jsonl(tmp_path / "b.jsonl")
    assert path.exists()
    assert set(both(tmp_path)) - set(TEXTS) == {"one\n\nzwölf"}


def test_a_record_without_the_default_field_gives_all_its_strings(tmp_path: Path) -> None:
    records = [{"question": f"How many? {n}", "n": n, "answer": "Two."} for n in range(40)]
    assert both(jsonl(tmp_path / "a.jsonl", *records)) == sorted(f"How many? {n}\n\nTwo." for n in range(40))


def test_a_named_field_is_taken_alone(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", *({"content": text, "text": "no"} for text in TEXTS))
    assert both(path, "content") == sorted(TEXTS)


def test_blank_lines_and_blank_texts_are_skipped(tmp_path: Path) -> None:
    path = texts_jsonl(tmp_path / "a.jsonl", [*TEXTS, "", " \n"])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes() + b"\n  \n")
    assert both(path) == sorted(TEXTS)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"{", "a.jsonl, line 2, is not JSON: Expecting property name"),
        (b"[" * 100_000, "a.jsonl, line 2, is not JSON: maximum recursion depth"),
        (b"9" * 5000, "a.jsonl, line 2, is not JSON: Exceeds the limit"),
        (b'{"text": "\xff"}', "a.jsonl, line 2, is not JSON: 'utf-8' codec"),
        (b'["text"]', "a.jsonl, line 2, is a list; write one object a line"),
        (b'{"text": 3, "other": "x"}', "a.jsonl, line 2, has no text in field 'text'; its fields are 'text', 'other'"),
        (b'{"n": 1}', "a.jsonl, line 2, has no text in field 'text'; its fields are 'n'"),
        (b"{}", "a.jsonl, line 2, has no text in field 'text'; its fields are none"),
        (b'{"text": "\\ud800"}', "a.jsonl, line 2, has half a surrogate pair at character 0"),
        (b" " * (2**26 + 1), "a.jsonl, line 2, is over 67,108,864 bytes"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: bytes, expected: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "good"}\n' + line + b"\n")
    assert complaint(path).startswith(expected)


def test_a_missing_named_field_is_not_replaced_by_others(tmp_path: Path) -> None:
    assert complaint(texts_jsonl(tmp_path / "a.jsonl"), "content").startswith("a.jsonl, line 1, has no text in field")


def test_text_that_is_not_utf8_is_named_by_line(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"one\ntwo\nthree \xff\n")
    assert complaint(tmp_path / "a.txt") == "a.txt, line 3, is not UTF-8: invalid start byte; convert the file"


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_a_parquet_column_is_read_without_nulls(tmp_path: Path, kind: pa.DataType) -> None:
    column = pa.array([*TEXTS, None]).cast(kind)
    parquet.write_table(pa.table({"n": range(41), "content": column}), tmp_path / "a.parquet", row_group_size=7)
    assert both(tmp_path / "a.parquet", "content") == sorted(TEXTS)


def test_a_parquet_without_the_column_names_those_it_has(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"text": [1], "content": ["a"], "title": ["b"]}), tmp_path / "a.parquet")
    assert complaint(tmp_path / "a.parquet") == "a.parquet has no column 'text' of strings; it has 'content', 'title'"


@pytest.mark.parametrize("keep", [0, 3, 100, -20])
def test_a_broken_parquet_is_one_clear_line(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"text": TEXTS}), path)
    path.write_bytes(path.read_bytes()[:keep])
    assert complaint(path).startswith("a.parquet is not a parquet file that can be read: ")


def test_a_parquet_with_flipped_bytes_is_one_clear_line_or_text(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"text": TEXTS}), path, compression="none")
    path.write_bytes(path.read_bytes().replace(b"Document", b"\xff\xff\xff\xff\xff\xff\xff\xff"))
    assert complaint(path).startswith("a.parquet is not a parquet file that can be read: ")


def test_links_to_outside_are_refused(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    outside.mkdir()
    folder.mkdir()
    (folder / "a.jsonl").symlink_to(texts_jsonl(outside / "a.jsonl"))
    assert complaint(folder).startswith("folder/a.jsonl is a link to outside of ")
    (folder / "a.jsonl").unlink()
    (folder / "more").symlink_to(outside)
    assert complaint(folder).startswith("folder/more is a link to outside of ")


def test_links_to_inside_add_nothing(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    texts_jsonl(tmp_path / "b" / "a.jsonl")
    (tmp_path / "a.jsonl").symlink_to(tmp_path / "b" / "a.jsonl")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert both(tmp_path) == sorted(TEXTS)


def test_what_is_no_plain_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    os.mkfifo(folder / "a.txt")
    assert complaint(folder) == "folder/a.txt is not a plain file; remove it"


def test_more_text_than_memory_should_hold_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_files, "MOST_CHARACTERS", 100)
    assert complaint(texts_jsonl(tmp_path / "a.jsonl")).startswith("a.jsonl has more than 100 characters")


def test_a_file_that_cannot_be_opened_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    paths = [texts_jsonl(tmp_path / "a.jsonl"), tmp_path / "b.txt"]
    paths[1].write_text("text")
    monkeypatch.setattr(Path, "open", refuse)
    assert [complaint(path) for path in paths] == [
        "a.jsonl cannot be read (Permission denied)",
        "b.txt cannot be read (Permission denied)",
    ]


def test_a_path_that_is_no_source_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.csv").touch()
    (tmp_path / "a.txt").write_text("One document, so one side has none.")
    assert [complaint(tmp_path / name) for name in ("none", "empty", "a.csv", "a.txt")] == [
        "none is neither a file nor a folder; name one that exists",
        "folder empty has no files of a known kind; use .txt, .jsonl, .parquet",
        "a.csv is not of a known kind; use .txt, .jsonl, .parquet",
        "none of the 1 documents of a.txt is in its judge split; add text",
    ]

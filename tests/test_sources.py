import json
import sys
from pathlib import Path

import pytest

from pretrain.data import stdlib
from pretrain.data.sources import open_source
from pretrain.errors import ConfigError
from pretrain.schedule import FilesSource, ParquetSource, StdlibSource


@pytest.fixture(autouse=True)
def _a_small_standard_library(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path_factory.mktemp("library")
    for name in sorted(sys.stdlib_module_names)[:40]:
        text = f"All about {name}, and more than a line of it."
        (folder / f"{name}.py").write_text(f'"""{text}"""\nWHAT = "{text}"\n')
    monkeypatch.setattr(stdlib, "STANDARD_LIBRARY", folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    lines = (json.dumps({"text": f"Document {number}."}) for number in range(40))
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    return tmp_path


def files(**fields: object) -> FilesSource:
    return FilesSource.model_validate({"kind": "files", "path": "a.jsonl"} | fields)


def test_a_path_is_relative_to_the_competition_file(root: Path) -> None:
    paths = ("a.jsonl", str(root / "a.jsonl"))
    relative, absolute = (open_source("mine", files(path=path), root=root) for path in paths)
    assert relative == absolute


def test_the_entry_says_the_side_unless_another_is_asked_for(root: Path) -> None:
    own = open_source("mine", files(split="train"), root=root)
    asked = open_source("mine", files(split="judge"), root=root, split="train")
    other = open_source("mine", files(split="train"), root=root, split="judge")
    assert (own == asked, own == other) == (True, False)


def test_the_pinned_texts_are_opened(root: Path) -> None:
    digest = open_source("mine", files(), root=root).digest
    assert open_source("mine", files(digest=digest), root=root).digest == digest


def test_other_texts_than_the_pinned_ones_are_refused(root: Path) -> None:
    digest = open_source("mine", files(), root=root).digest
    with pytest.raises(ConfigError) as caught:
        open_source("mine", files(digest="0" * 64), root=root)
    assert str(caught.value) == (
        f"source mine: its texts have digest {digest}, but the competition file pins {'0' * 64};"
        " use the files that it was pinned with, or pin the new digest"
    )


def test_a_pin_of_the_judged_side_does_not_hold_for_the_other(root: Path) -> None:
    assert open_source("mine", files(digest="0" * 64), root=root, split="train").groups


def test_another_python_than_the_pinned_one_is_named_as_the_reason(root: Path) -> None:
    with pytest.raises(ConfigError, match=r"source prose: its texts have digest .*; use the Python version that"):
        open_source("prose", StdlibSource(kind="stdlib-prose", digest="0" * 64), root=root)


def test_the_sides_of_the_standard_library_differ(root: Path) -> None:
    kinds = [StdlibSource(kind="stdlib-prose"), StdlibSource(kind="stdlib-code")]
    names = [open_source("a", kind, root=root, split=s).groups[0].name for kind in kinds for s in ("train", "judge")]
    assert names == [
        "stdlib-prose/train/000000",
        "stdlib-prose/judge/000000",
        "stdlib-code/train/000000",
        "stdlib-code/judge/000000",
    ]


@pytest.mark.parametrize("kind", ["parquet", "software-heritage"])
def test_a_hub_dataset_is_refused_by_name(root: Path, kind: str) -> None:
    spec = ParquetSource.model_validate({"kind": kind, "repo": "a/b"})
    with pytest.raises(ConfigError, match=rf"source web: kind {kind} \(a/b\) is not built in this version"):
        open_source("web", spec, root=root)


def test_a_complaint_names_the_source(root: Path) -> None:
    with pytest.raises(ConfigError, match=r"source mine: .*/none is neither a file nor a folder"):
        open_source("mine", files(path="none"), root=root)

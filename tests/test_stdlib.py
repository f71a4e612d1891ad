import ast
import itertools
import json
import sys
import sysconfig
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pretrain.data import held_out, python_text
from pretrain.data.held_out import side, split_by_name
from pretrain.data.stdlib import open_stdlib
from pretrain.errors import ConfigError

Split = Literal["train", "judge"]
DOC = "What this does is explained at some length here."
BODY = "    return [value for value in range(1000) if value]"


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def library(folder: Path, **modules: str) -> Path:
    """Write modules, ``__`` in a name standing for a folder."""
    for name, source in modules.items():
        path = folder / (name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
    return folder


def stripped(source: str) -> str:
    return python_text.without_docstrings(source, ast.parse(source))


def both(kind: Literal["stdlib-code", "stdlib-prose"], folder: Path) -> list[str]:
    return sorted(text for split in SPLITS for text in open_stdlib(kind, split, folder).texts)


SPLITS: tuple[Split, Split] = ("train", "judge")


@pytest.mark.parametrize(
    ("source", "left"),
    [
        ('"""Doc."""\nx = 1\n', "x = 1\n"),
        ('# why\n"""Doc.\n\nMore.\n"""\n\nx = 1  # stays\n', "# why\n\nx = 1  # stays\n"),
        ('def f():\n    """Doc."""\n    return  1\n', "def f():\n    return  1\n"),
        ('def f():\n    """Doc."""\n', "def f():\n    pass\n"),
        ('def f(): "doc"\n', "def f(): pass\n"),
        ('class A: "doc"; x = 1\n', "class A: pass; x = 1\n"),
        ('class A:\n    """Doc."""  # kept\n    x = 1\n', "class A:\n    # kept\n    x = 1\n"),
        ('class A:\n    """Doc."""  # kept\n', "class A:\n    pass  # kept\n"),
        ('def f():\n    ("é"\n     "é"); return "é"\n', 'def f():\n    pass; return "é"\n'),
        ('def é(): "é"; return "é"\n', 'def é(): pass; return "é"\n'),
        ('"one"; "two"\n"three"\nx = 1\n', "x = 1\n"),
        ('class A:\n    x = 1\n    """About x."""\n    y = 2\n', "class A:\n    x = 1\n    y = 2\n"),
        ('x = 1; "odd"; y = 2; "odder"\n', "x = 1; pass; y = 2; pass\n"),
        ('if x:\n    "odd"\nelse:\n  def f():\n   "doc"\n', "if x:\n    pass\nelse:\n  def f():\n   pass\n"),
        ('def f():\n    b"bytes"\n    f"{x}"\n', 'def f():\n    b"bytes"\n    f"{x}"\n'),
        ('def f():\n    x = """not a docstring"""\n', 'def f():\n    x = """not a docstring"""\n'),
        ("def f():\n\f\n    'doc'\n    pass\n", "def f():\n\f\n    pass\n"),
        ('match x:\n    case 1:\n        "odd"\n', "match x:\n    case 1:\n        pass\n"),
    ],
)
def test_docstrings_are_cut_out_and_the_rest_stays(source: str, left: str) -> None:
    assert stripped(source) == left


def test_code_is_divided_between_top_level_statements() -> None:
    source = '"""Doc."""\nimport a\n\n# about f\n@a\ndef f():\n    """Doc."""\n    return 1\n\n\nclass B:\n    x = 1\n'
    assert list(python_text.code_documents(source, ast.parse(source), 20)) == [
        "import a",
        "# about f\n@a\ndef f():\n    return 1",
        "class B:\n    x = 1",
    ]


statements = st.sampled_from(
    [
        '"""Doc."""',
        "'a'; 'b'",
        "x = 1; 'odd'",
        "def f():\n    '''Doc.\n\n    more'''",
        "@d\nclass A:\n    'é'; y = 'é'",
        "class B:\n    'doc'  # c\n    def g(self): 'doc'",
        "if x: 'odd'",
        "try:\n    'a'\nexcept E:\n    'b'\n    'c'\nfinally:\n    z = '''\n'd'\n'''",
        "# comment",
        "",
    ]
)


@given(st.lists(statements, max_size=8).map("\n".join), st.integers(1, 200))
def test_code_without_docstrings_parses_to_the_same_code(source: str, characters: int) -> None:
    class Cut(ast.NodeTransformer):
        """The same by another way: on the syntax tree."""

        def visit_Expr(self, node: ast.Expr) -> ast.Pass | ast.Expr:
            is_text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
            return ast.Pass() if is_text else node

    def code(tree: ast.Module) -> str:
        lines = ast.unparse(Cut().visit(tree)).split("\n")
        return "\n".join(line for line in lines if line.strip() not in ("", "pass"))

    documents = "\n".join(python_text.code_documents(source, ast.parse(source), characters))
    expected = code(ast.parse(source))
    assert (code(ast.parse(stripped(source))), code(ast.parse(documents))) == (expected, expected)


def test_prose_is_the_docstrings_and_the_topics(tmp_path: Path) -> None:
    library(
        tmp_path,
        abc=f'"""{DOC} 1"""\nclass A:\n    """{DOC} 2\n\n    Indented.\n    """\n    def f(self):\n        "short"\n',
        pydoc_data__topics=f"topics = {{'if': '{DOC} 3', 'else': 'short'}}\n",
    )
    assert both("stdlib-prose", tmp_path) == [f"{DOC} 1", f"{DOC} 2\n\nIndented.", f"{DOC} 3"]


def test_a_docstring_that_no_file_could_hold_is_left_out(tmp_path: Path) -> None:
    library(tmp_path, abc=f'"""{DOC} 1"""\n', bisect=f'"""{DOC} \\ud800"""\n')
    assert both("stdlib-prose", tmp_path) == [f"{DOC} 1"]


def test_what_is_no_part_of_the_library_or_only_tests_and_tables_is_left_out(tmp_path: Path) -> None:
    function = f"def f():\n{BODY}"
    library(
        tmp_path,
        json__decoder=function,
        json__tests__test_decoder=f"{function} # 1",
        encodings__cp037=f"{function} # 2",
        sitecustomize=f"{function} # 3",
        pydoc_data__topics=f"topics = {{'if': '{DOC}'}}\n",
    )
    library(tmp_path / "site-packages", abc=f"{function} # 4")
    assert both("stdlib-code", tmp_path) == [function]


def test_nothing_of_the_library_is_run(tmp_path: Path) -> None:
    library(tmp_path, abc=f'"""{DOC}"""\nraise SystemExit("run")\n')
    assert both("stdlib-prose", tmp_path) == [DOC]


def test_a_docstring_that_training_holds_is_not_judged() -> None:
    train, judge = (next(n for n in map(str, itertools.count()) if side(n) == wanted) for wanted in SPLITS)
    shared, own = f"{DOC} " * 3, "Only here, and long enough to be told apart from all others in the library, it is."
    documents = {train: [f"A title\n\n{shared}"], judge: [f"{shared}\n\n{own}", own]}
    assert (split_by_name(documents, "train"), split_by_name(documents, "judge")) == (
        (f"A title\n\n{shared}",),
        (own,),
    )


def test_a_short_docstring_that_training_quotes_is_not_judged() -> None:
    train, judge = (next(n for n in map(str, itertools.count()) if side(n) == wanted) for wanted in SPLITS)
    documents = {train: [f"{DOC}\n\n{'And much more. ' * 10}"], judge: [DOC]}
    assert split_by_name(documents, "judge") == ()


def test_a_document_that_repeats_comes_once() -> None:
    one, other = itertools.islice((n for n in map(str, itertools.count()) if side(n) == "judge"), 2)
    assert split_by_name({one: [DOC, DOC], other: [DOC]}, "judge") == (DOC,)


@given(st.lists(st.integers(0, 999), unique=True))
def test_all_of_a_module_is_on_the_side_of_its_name(numbers: list[int]) -> None:
    documents = {str(number): [f"{DOC} {number}", f"{DOC} {number} too"] for number in numbers}
    expected = [tuple(t for n in sorted(documents) if side(n) == split for t in documents[n]) for split in SPLITS]
    assert [split_by_name(documents, split) for split in SPLITS] == expected


def test_about_a_fifth_is_for_judging() -> None:
    assert 0.18 < sum(side(str(number)) == "judge" for number in range(5000)) / 5000 < 0.22


def test_the_second_time_the_texts_come_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library(tmp_path, abc=f'"""{DOC}"""\n')
    first = [open_stdlib("stdlib-prose", split, tmp_path).digest for split in SPLITS]
    monkeypatch.setattr(ast, "parse", None)
    assert [open_stdlib("stdlib-prose", split, tmp_path).digest for split in SPLITS] == first


def test_a_changed_library_is_read_anew(tmp_path: Path) -> None:
    library(tmp_path, abc=f'"""{DOC}"""\n')
    both("stdlib-prose", tmp_path)
    library(tmp_path, abc=f'"""{DOC} Changed."""\n')
    assert both("stdlib-prose", tmp_path) == [f"{DOC} Changed."]


@pytest.mark.parametrize("damage", [lambda content: content[:-9], lambda content: content.replace(b"What", b"Fake")])
def test_a_damaged_cache_is_made_again(tmp_path: Path, damage: object) -> None:
    library(tmp_path, abc=f'"""{DOC}"""\n')
    both("stdlib-prose", tmp_path)
    (kept,) = (tmp_path / "cache" / "pretrain").iterdir()
    assert callable(damage)
    kept.write_bytes(damage(kept.read_bytes()))
    assert both("stdlib-prose", tmp_path) == [DOC]


def test_without_a_place_for_the_cache_all_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library(tmp_path, abc=f'"""{DOC}"""\n')
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "abc.py"))
    assert both("stdlib-prose", tmp_path) == [DOC]


def test_a_python_without_sources_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no sources of the standard library in"):
        open_stdlib("stdlib-code", "train", tmp_path)


def test_a_module_that_does_not_parse_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"abc.py cannot be parsed: .*line 1"):
        open_stdlib("stdlib-code", "train", library(tmp_path, abc="def :\n"))


@pytest.fixture(scope="module")
def part_of_this_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a tenth of the running Python's library, by links."""
    folder, real = tmp_path_factory.mktemp("library"), Path(sysconfig.get_path("stdlib"))
    for name in (*sorted(sys.stdlib_module_names - {"pydoc_data"})[::10], "pydoc_data"):
        for path in (real / name, real / f"{name}.py"):
            if path.exists():
                (folder / path.name).symlink_to(path)
    return folder


def test_the_code_of_this_python_parses_and_holds_no_docstring(part_of_this_python: Path) -> None:
    code = both("stdlib-code", part_of_this_python)
    assert [text for text in code if list(python_text.docstrings(ast.parse(text)))] == []


def test_no_long_paragraph_of_this_python_is_both_learnt_and_judged(part_of_this_python: Path) -> None:
    def texts(split: Split) -> set[str]:
        found = [open_stdlib(kind, split, part_of_this_python).texts for kind in ("stdlib-prose", "stdlib-code")]
        paragraphs = [p for text in itertools.chain(*found) for p in text.split("\n\n")]
        return {" ".join(p.split()) for p in paragraphs if len(" ".join(p.split())) >= held_out.SHARED_CHARACTERS}

    train, judge = texts("train"), texts("judge")
    assert (train & judge, len(train) > 100, len(judge) > 20) == (set(), True, True)


def test_the_cache_is_plain_json(tmp_path: Path) -> None:
    both("stdlib-prose", library(tmp_path, abc=f'"""{DOC}"""\n'))
    (kept,) = (tmp_path / "cache" / "pretrain").iterdir()
    assert json.loads(kept.read_bytes().partition(b"\n")[2])["stdlib-prose"] == {"abc.py": [DOC]}

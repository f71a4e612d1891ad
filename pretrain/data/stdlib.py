"""Real text with no download: the running Python's own standard library, as code and as prose.

Files are parsed, never imported. The text differs by Python version, so a run pins its digest.
"""

import ast
import hashlib
import re
import sys
import sysconfig
import tokenize
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal

from pretrain.data import held_out, paragraphs, python_text
from pretrain.data.held_out import Split
from pretrain.data.in_memory import InMemory
from pretrain.data.text_cache import Texts, cached
from pretrain.errors import ConfigError

STANDARD_LIBRARY = Path(sysconfig.get_path("stdlib"))
Kind = Literal["stdlib-code", "stdlib-prose"]
_LEAST_CHARACTERS = 40
"""Shorter documents, such as "Return self.", teach nothing and are left out."""
_LEFT_OUT = frozenset({"test", "tests", "idle_test", "idlelib", "lib2to3", "turtledemo", "encodings", "pydoc_data"})
"""Tests, programs with demo text, and generated tables."""
_TOPICS = "pydoc_data/topics.py"
_SURROGATE = re.compile("[\ud800-\udfff]")
"""What a docstring can spell by an escape and no UTF-8 can hold."""


def open_stdlib(kind: Kind, split: Split, folder: Path | None = None) -> InMemory:
    """Return one side of the standard library in ``folder`` (default: the running Python's); raises ConfigError.

    ``stdlib-code`` is the modules' sources without docstrings, ``stdlib-prose`` their docstrings and the topics of
    ``pydoc``. A module is on the same side of both kinds, and a topic counts as a module: what is judged in one kind
    stands in no training text of the other. Takes seconds the first time, then a fraction of one.
    """
    folder = folder or STANDARD_LIBRARY
    files = _read_files(folder)
    texts = cached(_fingerprint(files), lambda: _documents(folder, files))
    return InMemory(f"{kind}/{split}", held_out.split_by_name(texts[kind], split))


def _read_files(folder: Path) -> dict[str, bytes]:
    """Return the library's sources by their path in it, in order, and nothing that was installed beside them."""
    names = [name for name in sys.stdlib_module_names if name not in _LEFT_OUT]
    paths = [path for name in names for path in (folder / f"{name}.py", *(folder / name).rglob("*.py"))]
    sources = {path.relative_to(folder).as_posix(): path for path in paths if path.is_file()}
    kept = {name: path for name, path in sources.items() if not _LEFT_OUT.intersection(path.parts[len(folder.parts) :])}
    if not kept:
        raise ConfigError(f"no sources of the standard library in {folder}; use a Python that keeps them as .py files")
    if (folder / _TOPICS).is_file():
        kept[_TOPICS] = folder / _TOPICS
    try:
        return {name: kept[name].read_bytes() for name in sorted(kept)}
    except OSError as error:
        raise ConfigError(f"standard library file {error.filename} cannot be read ({error.strerror})") from error


def _fingerprint(files: Mapping[str, bytes]) -> str:
    """Return a sha256 over all that the documents follow from: the files, the Python that parses, and these modules."""
    sha256 = hashlib.sha256(f"{sys.version_info}\n".encode())
    makers = {maker: Path(maker).read_bytes() for maker in (__file__, python_text.__file__, paragraphs.__file__)}
    for name, content in (*makers.items(), *files.items()):
        sha256.update(f"{name}\0{len(content)}\n".encode() + content)
    return sha256.hexdigest()


def _documents(folder: Path, files: Mapping[str, bytes]) -> Texts:
    """Return the documents of both kinds, by module or topic."""
    code: dict[str, list[str]] = {}
    prose: dict[str, list[str]] = {}
    for name in files:
        source, tree = _parse(folder / name)
        if name == _TOPICS:
            prose |= {f"pydoc_data/topics/{topic}": list(_prose([text])) for topic, text in _topics(tree)}
        else:
            prose[name] = list(_prose(python_text.docstrings(tree)))
            pieces = python_text.code_documents(source, tree, paragraphs.DOCUMENT_CHARACTERS)
            code[name] = [piece for piece in pieces if len(piece) >= _LEAST_CHARACTERS]
    return {"stdlib-code": code, "stdlib-prose": prose}


def _prose(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        for piece in paragraphs.pieces(text):
            if len(piece) >= _LEAST_CHARACTERS and not _SURROGATE.search(piece):
                yield piece


def _topics(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield name and text of each topic of the manual, which stand in one literal dictionary."""
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Dict):
            yield from ast.literal_eval(statement.value).items()


def _parse(path: Path) -> tuple[str, ast.Module]:
    try:
        with tokenize.open(path) as file:
            source = file.read()
        return source, ast.parse(source)
    except (OSError, SyntaxError, ValueError) as error:
        raise ConfigError(f"standard library file {path} cannot be parsed: {error}; reinstall this Python") from error

"""YAML from anybody's hand, read into JSON values that remember their line, within bounds.

Stricter than YAML 1.1 where it surprises: a key stands once, keys are text, there are no dates, no octal or base-60
numbers, no tags; ``1e-3`` is a number as in YAML 1.2. Anchors and merge keys work, and are counted as often as used.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml

from pretrain.rules import Path

MAX_VALUES = 20_000
MAX_DEPTH = 20
SHOWN = 60  # characters of a value in a message
_TAG = "tag:yaml.org,2002:"
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9_]{0,30})", re.ASCII)
_FLOAT = re.compile(r"[-+]?([0-9][0-9_]*\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?", re.ASCII)
_EXPONENT = re.compile(r"[-+]?[0-9]{1,20}(\.[0-9]{0,20})?[eE][-+]?[0-9]{1,3}", re.ASCII)  # no hex digest
_SPECIAL = {".inf": "inf", "+.inf": "inf", "-.inf": "-inf", ".nan": "nan"}


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in a file."""

    line: int
    """Counted from 1."""
    path: Path
    """Keys and indices from the top; empty for the file as a whole."""
    message: str
    value: str | None = None
    """The value as written, shortened; None when none is there."""


@dataclass(frozen=True)
class Document:
    """What was read, and where it stands."""

    data: object = None
    lines: dict[Path, int] = field(default_factory=dict)
    """The line of each value; of a value with a key, the key's."""
    problems: list[Problem] = field(default_factory=list)
    """Empty when ``data`` is whole."""

    def line(self, path: Path) -> int:
        """Return the line of a value, or of the nearest thing around it that is there."""
        return next((self.lines[path[:n]] for n in range(len(path), -1, -1) if path[:n] in self.lines), 1)


_Pairs = dict[str, tuple[int, yaml.Node]]


@dataclass(frozen=True)
class _Reading:
    """A document while it is read, and the pairs of the mappings met so far, by identity of the node."""

    document: Document
    pairs: dict[int, _Pairs] = field(default_factory=dict)

    def note(self, line: int, path: Path, message: str, value: str | None = None) -> None:
        self.document.problems.append(Problem(line, path, message, None if value is None else shown(value)))

    def note_once(self, node: yaml.Node, message: str) -> None:
        if all(problem.message != message for problem in self.document.problems):
            self.note(_line(node), (), message)


def shown(value: object) -> str:
    """Write a value on one line as a file would, at most 60 characters of it."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."


def read(text: str) -> Document:
    """Read one YAML document; everything wrong with it is in its ``problems``."""
    try:
        problem = _out_of_bounds(text)
        node = None if problem else yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        return Document(problems=[_syntax(error, text)])
    if problem:
        return Document(problems=[problem])
    if node is None:
        return Document(problems=[Problem(1, (), "the file is empty; expected a mapping, such as `name: ...`")])
    document = Document(lines={(): _line(node)})
    data = _value(node, (), _Reading(document))
    return Document(data, document.lines, document.problems)


def _out_of_bounds(text: str) -> Problem | None:
    """Look at the stream of events, which takes no recursion and no memory, before a tree is built."""
    depth = 0
    for count, event in enumerate(yaml.parse(text, Loader=yaml.SafeLoader)):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            return Problem(_line(event), (), f"nested more than {MAX_DEPTH} deep")
        if count > MAX_VALUES:
            return Problem(_line(event), (), f"more than {MAX_VALUES} values")
    return None


def _syntax(error: yaml.YAMLError, text: str) -> Problem:
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        what = " ".join(part for part in (error.context, error.problem) if part)
        return Problem(mark.line + 1 if mark else 1, (), f"not YAML: {what}")
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
        return Problem(line, (), f"not YAML: character U+{ord(text[error.position]):04X} may not stand in it")
    return Problem(1, (), f"not YAML: {' '.join(str(error).split())}")


def _line(marked: yaml.Node | yaml.Event) -> int:
    return marked.start_mark.line + 1 if marked.start_mark else 1


def _value(node: yaml.Node, path: Path, reading: _Reading) -> object:
    """Turn a node into JSON values; what is wrong is noted, and stands as None."""
    lines = reading.document.lines
    if len(lines) > MAX_VALUES or len(path) > MAX_DEPTH:
        reading.note_once(node, f"more than {MAX_VALUES} values or {MAX_DEPTH} levels once its anchors are followed")
        return None
    lines.setdefault(path, _line(node))
    if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
        pairs = _pairs(node, path, reading)
        lines.update({(*path, key): line for key, (line, _) in pairs.items()})
        return {key: _value(value, (*path, key), reading) for key, (_, value) in pairs.items()}
    if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
        return [_value(value, (*path, index), reading) for index, value in enumerate(node.value)]
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node, path, reading)
    reading.note(_line(node), path, f"the tag {node.tag.removeprefix(_TAG)} has no place here")
    return None


def _pairs(node: yaml.MappingNode, path: Path, reading: _Reading) -> _Pairs:
    """Return a mapping's own pairs, and those of what it merges with ``<<``; each mapping is worked out once."""
    if id(node) in reading.pairs:
        return reading.pairs[id(node)]
    own: _Pairs = {}
    merged: _Pairs = {}
    reading.pairs[id(node)] = own  # what merges itself gets what is there by then, and no loop
    for key, value in node.value:
        line = _line(key)
        if key.tag == f"{_TAG}merge":
            for name, pair in _merged(value, (*path, "<<"), reading):
                merged.setdefault(name, pair)
        elif not isinstance(key, yaml.ScalarNode) or key.tag != f"{_TAG}str" or not _is_text(key.value):
            shown = key.value if isinstance(key, yaml.ScalarNode) else "a collection"
            reading.note(line, path, f"the key {shown} is not text; put it in quotes")
        elif key.value in own:
            reading.note(line, (*path, key.value), f"stands twice, first on line {own[key.value][0]}; keep one")
        else:
            own[key.value] = (line, value)
    reading.pairs[id(node)] = {**merged, **own}
    return reading.pairs[id(node)]


def _merged(node: yaml.Node, path: Path, reading: _Reading) -> Iterator[tuple[str, tuple[int, yaml.Node]]]:
    for part in node.value if isinstance(node, yaml.SequenceNode) else [node]:
        if len(path) > MAX_DEPTH:
            reading.note_once(node, f"`<<` merges a mapping that merges a mapping, more than {MAX_DEPTH} deep")
        elif isinstance(part, yaml.MappingNode):
            yield from list(_pairs(part, path, reading).items())
        else:
            reading.note(_line(node), path, "`<<` merges a mapping, such as `<<: *rules`")


def _scalar(node: yaml.ScalarNode, path: Path, reading: _Reading) -> object:
    kind, text = node.tag.removeprefix(_TAG), str(node.value)
    plain = node.style is None
    if kind == "bool":
        return text.lower() in {"yes", "true", "on"}
    if kind == "int" and _INTEGER.fullmatch(text):
        return int(text.replace("_", ""))
    if kind == "float" and text.lower() in _SPECIAL:
        return float(_SPECIAL[text.lower()])
    if (kind == "float" and _FLOAT.fullmatch(text)) or (kind == "str" and plain and _EXPONENT.fullmatch(text)):
        return float(text.replace("_", ""))
    if kind == "str" and _is_text(text):
        return text
    if kind != "null":
        also = "a plain decimal number, or " if kind in {"int", "float"} else ""
        reading.note(_line(node), path, f"expected {also}text in quotes; YAML reads this as {kind}", text)
    return None


def _is_text(value: str) -> bool:
    """Whether no half of a surrogate pair stands alone in it, which YAML's escapes allow and UTF-8 does not."""
    return not any("\ud800" <= character <= "\udfff" for character in value)

"""Which values of a competition file are names of something defined elsewhere in it."""

import difflib
from collections.abc import Iterator, Mapping, Sequence

from pretrain.rules import Flaw, Path

ANY = "*"
REFERENCES: tuple[tuple[Path, str], ...] = (
    (("models", ANY, "tokenizer"), "tokenizers"),
    (("mixes", ANY, ANY, "source"), "sources"),
    (("competitions", ANY, "model"), "models"),
    (("competitions", ANY, "mix"), "mixes"),
    (("phases", ANY, "competitions", ANY, "competition"), "competitions"),
    (("phases", ANY, "competitions", ANY, "mix"), "mixes"),
)
"""A pattern of places, and the section that must define the names which stand there."""


def unknown_names(data: Mapping[str, object]) -> Iterator[Flaw]:
    """Find each name that its section does not define, in data as read from a file, however broken the rest is."""
    for path, section, name in _references(data):
        defined = data.get(section)
        if isinstance(defined, Mapping) and name not in defined:
            near = difflib.get_close_matches(name, defined, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            known = ", ".join(sorted(map(str, defined))) or "nothing"
            yield Flaw(path, name, f"not defined; {hint}`{section}` defines {known}")


def unused_names(data: Mapping[str, object]) -> Iterator[Path]:
    """Find each definition that nothing names: seldom wrong, and often a phase that was forgotten."""
    used = {(section, name) for _, section, name in _references(data)}
    for section in sorted({section for _, section in REFERENCES}):
        defined = data.get(section)
        if isinstance(defined, Mapping):
            yield from ((section, name) for name in defined if (section, name) not in used)


def _references(data: Mapping[str, object]) -> Iterator[tuple[Path, str, str]]:
    for pattern, section in REFERENCES:
        for path, name in _matches(data, pattern):
            if isinstance(name, str):
                yield path, section, name


def _matches(data: object, pattern: Path, path: Path = ()) -> Iterator[tuple[Path, object]]:
    if not pattern:
        yield path, data
        return
    part, rest = pattern[0], pattern[1:]
    for key, value in _children(data):
        if part in (ANY, key):
            yield from _matches(value, rest, (*path, key))


def _children(data: object) -> Iterator[tuple[str | int, object]]:
    if isinstance(data, Mapping):
        yield from data.items()
    elif isinstance(data, Sequence) and not isinstance(data, str):
        yield from enumerate(data)

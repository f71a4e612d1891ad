"""A source of the user's own .txt, .jsonl and .parquet files, split by document."""

import os
from collections.abc import Iterator
from pathlib import Path

from pretrain.data import held_out
from pretrain.data.file_formats import READERS
from pretrain.data.held_out import Split
from pretrain.data.in_memory import InMemory
from pretrain.errors import ConfigError

MOST_CHARACTERS = 2**30
"""More text than this does not belong in memory."""


def open_files(path: Path, column: str, split: Split) -> InMemory:
    """Return one side of the documents of a file, or of all files in a folder in the order of their relative paths.

    A document is for training or for judging by the sha256 of its text, so that equal texts, which also count once,
    never stand on both sides, and another file beside them moves none. Raises ConfigError with the file, and the line
    if it has one, of whatever cannot be read rightly.
    """
    texts: dict[str, None] = {}
    characters = 0
    for file in _files(path):
        for text in READERS[file.suffix](file, column):
            characters += len(text)
            if characters > MOST_CHARACTERS:
                raise ConfigError(f"{path} has more than {MOST_CHARACTERS:,} characters up to {file}; name fewer files")
            if text.strip():
                texts[text] = None
    kept = tuple(text for text in texts if held_out.side(text) == split)
    if not kept:
        raise ConfigError(f"none of the {len(texts)} documents of {path} is in its {split} split; add text")
    return InMemory(f"files/{split}", kept)


def _files(path: Path) -> list[Path]:
    """Return the file, or the files below the folder; nothing outside of it, wherever its links point."""
    known = ", ".join(READERS)
    if path.is_file():
        if path.suffix not in READERS:
            raise ConfigError(f"{path} is not of a known kind; use {known}")
        return [path]
    if not path.is_dir():
        raise ConfigError(f"{path} is neither a file nor a folder; name one that exists")
    found = sorted(_below(path), key=lambda file: os.fsencode(file.relative_to(path).as_posix()))
    if not found:
        raise ConfigError(f"folder {path} has no files of a known kind; use {known}")
    return found


def _below(folder: Path) -> Iterator[Path]:
    inside = folder.resolve()
    for place, folders, names in os.walk(folder, onerror=_unreadable):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in (*folders, *names):
            file = Path(place, name)
            if name.startswith(".") or (name not in folders and file.suffix not in READERS):
                continue
            if not file.resolve().is_relative_to(inside):
                raise ConfigError(f"{file} is a link to outside of {folder}; copy what it points to, or remove it")
            if name in folders:
                continue
            if not file.is_file():
                raise ConfigError(f"{file} is not a plain file; remove it")
            yield file


def _unreadable(error: OSError) -> None:
    raise ConfigError(f"folder {error.filename} cannot be read ({error.strerror})") from error

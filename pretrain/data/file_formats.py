"""The texts of a .txt, .jsonl or .parquet file, each with one clear line for what is wrong in it."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from pretrain.data.paragraphs import pieces
from pretrain.errors import ConfigError

_DEFAULT_COLUMN = "text"
_MOST_LINE_BYTES = 2**26
_PARQUET_BATCH = 1024  # rows


def txt(path: Path, _column: str) -> Iterator[str]:
    """Yield the documents of a plain text file: whole paragraphs, joined up to about 2,000 characters.

    Plain text does not say where a document ends, and both an article of 20 kB, of which a competition would keep the
    beginning, and a single line would be poor ones.
    """
    try:
        content = path.read_bytes()
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}, line {line}, is not UTF-8: {error.reason}; convert the file") from error
    yield from pieces(text.replace("\r\n", "\n"))


def jsonl(path: Path, column: str) -> Iterator[str]:
    """Yield the text of each object of a file of JSON lines: its field ``column``, blank lines skipped.

    Where the default field "text" is missing, all fields that are strings are joined by a blank line in the object's
    order, as in records of ``question`` and ``answer``.
    """
    try:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(_MOST_LINE_BYTES + 1):
                number += 1
                if len(line) > _MOST_LINE_BYTES:
                    raise ConfigError(f"{path}, line {number}, is over {_MOST_LINE_BYTES:,} bytes; is it JSON lines?")
                line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
                if line.strip():
                    yield _field(line, column, f"{path}, line {number},")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror})") from error


def _field(line: bytes, column: str, where: str) -> str:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where} is not JSON: {error}; write one object a line") from error
    if not isinstance(record, dict):
        raise ConfigError(f"{where} is a {type(record).__name__}; write one object a line")
    text = record.get(column)
    if column == _DEFAULT_COLUMN and column not in record:
        text = "\n\n".join(value for value in record.values() if isinstance(value, str)) or None
    if not isinstance(text, str):
        raise ConfigError(f"{where} has no text in field {column!r}; its fields are {_names(list(record))}")
    return _checked(text, where)


def parquet_rows(path: Path, column: str) -> Iterator[str]:
    """Yield the rows of a column of strings, without those that are null."""
    try:
        with parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            if column not in schema.names or not _is_text(schema.field(column).type):
                texts = [field.name for field in schema if _is_text(field.type)]
                raise ConfigError(f"{path} has no column {column!r} of strings; it has {_names(texts)}")
            row = 0
            for batch in file.iter_batches(batch_size=_PARQUET_BATCH, columns=[column]):
                for text in batch.column(0).to_pylist():
                    row += 1
                    if text is not None:
                        yield _checked(text, f"{path}, row {row},")
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        detail = " ".join(str(error).split())[:200]
        raise ConfigError(f"{path} is not a parquet file that can be read: {detail}") from error


def _is_text(kind: pa.DataType) -> bool:
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(value) or pa.types.is_large_string(value) or pa.types.is_string_view(value))


def _checked(text: str, where: str) -> str:
    """Return text that UTF-8 can hold; JSON's escapes can spell halves of characters, which no tokenizer takes."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(f"{where} has half a surrogate pair at character {error.start}; remove it") from error
    return text


def _names(names: list[str]) -> str:
    shown = ", ".join(repr(name)[:40] for name in names[:10])
    return (shown or "none") + (", ..." if names[10:] else "")


READERS: Mapping[str, Callable[[Path, str], Iterator[str]]] = {".txt": txt, ".jsonl": jsonl, ".parquet": parquet_rows}
"""What reads a file, by the end of its name."""

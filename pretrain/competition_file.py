"""Competition files as people write them: read, checked as a whole, and every mistake told with its line."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pretrain import rules
from pretrain.competition_notes import accepted_noise, unpinned, unused
from pretrain.errors import ConfigError
from pretrain.field_guide import explain
from pretrain.references import unknown_names
from pretrain.schedule import Schedule
from pretrain.yaml_document import Document, Problem, read, shown

MAX_BYTES = 1_000_000
"""A competition file is a few kB; what is larger is something else."""


@dataclass(frozen=True)
class Examined:
    """What one file turned out to be."""

    file: str
    schedule: Schedule | None
    """None when there are problems."""
    problems: tuple[Problem, ...]
    """In order of line."""
    unpinned: tuple[Problem, ...]
    """What may still change under the file."""
    notes: tuple[Problem, ...]
    """What is allowed and worth knowing: accepted noise, definitions that nothing uses."""

    def told(self, problem: Problem) -> str:
        """Write a problem on one line: ``file:line: field: value ...: what would be right``."""
        parts = [f"{self.file}:{problem.line}", dotted(problem.path)]
        parts += [] if problem.value is None else [f"value {problem.value}"]
        line = ": ".join([*(part for part in parts if part), problem.message])
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in line)


def load(path: Path) -> Schedule:
    """Return the schedule of a competition file.

    Raises ConfigError with one line for every problem of the file, all of them at once.
    """
    examined = examine(path)
    if examined.schedule is None:
        raise ConfigError("\n".join(examined.told(problem) for problem in examined.problems))
    return examined.schedule


def examine(path: Path) -> Examined:
    """Read a file and say all that is wrong or remarkable; raises ConfigError only when it cannot be read as text."""
    document = read(_text(path))
    if document.problems:
        return _refused(path, document.problems)
    try:
        # as JSON, where strictness lets a list be a tuple; NaN passes the dump and is refused by the model
        schedule = Schedule.model_validate_json(json.dumps(document.data))
    except ValidationError as error:
        return _refused(path, _problems(error, document))
    pins, others = (
        [Problem(document.line(at), at, said) for at, said in found]
        for found in (unpinned(schedule), (*accepted_noise(schedule), *unused(schedule)))
    )
    return Examined(str(path), schedule, (), _by_line(pins), _by_line(others))


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of competition files, for editors and for the messages here."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Schedule.model_json_schema()}


def dotted(path: rules.Path) -> str:
    """Write a path as people do: ``phases[0].competitions[1].share``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


@cache
def _schema() -> dict[str, Any]:
    return json_schema()


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise ConfigError(f"{path}: more than {MAX_BYTES} bytes; expected a competition file")
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: byte {error.start} is not UTF-8; expected a YAML text file") from error
    except OSError as error:
        raise ConfigError(f"{path}: {(error.strerror or str(error)).lower()}; expected a competition file") from error


def _refused(path: Path, problems: list[Problem]) -> Examined:
    return Examined(str(path), None, _by_line(problems), (), ())


def _by_line(problems: list[Problem]) -> tuple[Problem, ...]:
    return tuple(sorted(dict.fromkeys(problems), key=lambda problem: problem.line))


def _problems(error: ValidationError, document: Document) -> list[Problem]:
    details = error.errors()
    broken = [detail["loc"] for detail in details]
    told = [
        explain(_schema(), detail)
        for detail in details  # a list is also "too short" when its items are broken: no news
        if detail["type"] != "too_short" or not any(loc[: len(detail["loc"])] == detail["loc"] != loc for loc in broken)
    ]
    if isinstance(document.data, dict):  # pydantic looks at the whole only when every part is right
        told += [(flaw.at, shown(flaw.value), flaw.message) for flaw in unknown_names(document.data)]
    return [Problem(document.line(path), path, message, value) for path, value, message in told]

"""The door of the daemons: an argument list becomes checked settings, or one clear line."""

import argparse
import difflib
import itertools
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn, TypeVar

from dotenv import dotenv_values
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import CliApp, CliSettingsSource, SettingsError

from pretrain.errors import ConfigError
from pretrain.settings import PREFIX, Settings, without_key

SettingsT = TypeVar("SettingsT", bound=Settings)


@dataclass(frozen=True)
class Program:
    """What ``--help`` says around the flags."""

    name: str
    """As it is called, such as ``neurons/miner.py train``."""
    about: str
    examples: str


def read(kind: type[SettingsT], arguments: Sequence[str], program: Program) -> SettingsT:
    """Return the settings that flags, environment and ``.env`` give.

    Raises ConfigError with one line for each wrong flag: the flag, its value, what would be right. ``--help``
    prints and exits with 0.
    """
    flags = dict(_flags(kind))
    parser = _Parser(
        prog=program.name,
        description=program.about,
        epilog=f"examples:\n{program.examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.flags = sorted(flags.values())
    _check_environment()
    _check_given(arguments, parser.flags)
    try:
        source = CliSettingsSource[argparse.ArgumentParser](kind, root_parser=parser)
        return CliApp.run(kind, list(arguments), cli_settings_source=source)
    except ValidationError as error:
        raise ConfigError("\n".join(_line(problem, flags) for problem in error.errors())) from error
    except SettingsError as error:
        raise ConfigError(" ".join(str(error).split())) from error


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, where argparse prints its usage and leaves."""

    flags: Sequence[str] = ()

    def error(self, message: str) -> NoReturn:
        unknown = message.removeprefix("unrecognized arguments: ").split()[0].partition("=")[0]
        unknown = unknown if unknown.startswith("-") else str(without_key(unknown))
        if message.startswith("unrecognized"):
            message = f"{unknown}: no such flag{_nearest(unknown, self.flags)}"
        raise ConfigError(f"{message.removeprefix('argument ')} (see {self.prog} --help)")


def _flags(kind: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield every field's place in the settings and its flag, such as ``train.start`` and ``--train.from``."""
    for name, field in kind.model_fields.items():
        shown = prefix + (field.alias or name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _flags(field.annotation, f"{shown}.")
        else:
            yield shown, f"--{shown}"


def _line(problem: ErrorDetails, flags: Mapping[str, str]) -> str:
    place = ".".join(map(str, problem["loc"]))
    flag = flags.get(place, f"--{place}")
    if problem["type"] == "missing":
        return f"{flag} is missing"
    if problem["type"] == "extra_forbidden":
        return f"{_variable(place)}: no such setting{_nearest(_variable(place), map(_variable, flags))}"
    message = problem["msg"].removeprefix("Value error, ").split(", unable")[0]
    given = without_key(problem["input"]) if place.startswith("subtensor.") else problem["input"]
    return f"{flag} {given!r}: {message.replace('Input should be', 'expected')}"


def _check_environment() -> None:
    """Refuse a misspelt variable, which would else do nothing without a word.

    One environment serves all programs, so a name that any of them knows is right for each.
    """
    places = {place for kind in _every_settings(Settings) for place, _ in _flags(kind)}
    known = {_variable(place.split(".")[0]) for place in places}
    try:
        given = {**dotenv_values(".env"), **os.environ}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f".env cannot be read: {error}; expected lines NAME=VALUE in UTF-8") from error
    for name in sorted(name for name in given if name.upper().startswith(PREFIX)):  # in small letters it is read too
        if name.split("__")[0] not in known:
            raise ConfigError(f"{name}: no such setting{_nearest(name.upper(), map(_variable, places))}")
        if not given[name]:
            raise ConfigError(f"{name} is empty: give it a value, or leave it out to have the default")


def _check_given(arguments: Sequence[str], flags: Iterable[str]) -> None:
    """Refuse a flag with an empty value: a script whose variable is not set would get the default, the main network."""
    pairs = set(itertools.pairwise(arguments))
    for flag in flags:
        if f"{flag}=" in arguments or (flag, "") in pairs:
            raise ConfigError(f"{flag} is empty: give it a value, or leave it out to have the default")


def _every_settings(kind: type[Settings]) -> set[type[Settings]]:
    return {kind}.union(*(_every_settings(child) for child in kind.__subclasses__()))


def _variable(place: str) -> str:
    return PREFIX + place.replace(".", "__").upper()


def _nearest(word: str, among: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(among), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def fail(error: Exception) -> int:
    """Print an error's message to stderr and return the exit code of a wrong question."""
    sys.stderr.writelines(f"error: {line}\n" for line in str(error).splitlines())
    return 2

"""Single fields of a stranger's config.json, each read with its type, its bounds and its family's own default.

Every function raises ModelRejected(ARCHITECTURE).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from pretrain.errors import ModelRejected, Reason
from pretrain.models.files import CONFIG

Value = int | float | bool | None
"""Of a named field; None where a family knows "without" (a cap on logits)."""

Config = Mapping[str, object]
"""A stranger's config.json, parsed and nothing more."""

Values = Mapping[str, Value]
"""Named fields that have been read."""


class Field(Protocol):
    """One named field."""

    def read(self, config: Config, name: str, earlier: Values) -> Value:
        """Return the value of the field; ``earlier`` are those of the family that stand before it."""


@dataclass(frozen=True)
class Whole:
    """A whole number from 1 to ``most``."""

    most: int
    absent: int | None = None
    """What the library takes when the field is not there; None: the same as for null."""
    null: Callable[[Values], int] | None = None
    """What null stands for; None: null is refused."""

    def read(self, config: Config, name: str, earlier: Values) -> int:
        """Return the number; see ``Field.read``."""
        value = config.get(name, self.absent)
        if value is None and self.null is not None:
            value = self.null(earlier)
        if type(value) is not int or not 1 <= value <= self.most:
            raise rejected(f"{name} is {value!a:.60}; expected a whole number from 1 to {self.most}")
        return value


@dataclass(frozen=True)
class Real:
    """A number above the first bound and not above the second."""

    bounds: tuple[float, float]
    absent: float | None
    null: bool = False
    """Whether null is a value."""

    def read(self, config: Config, name: str, earlier: Values) -> float | None:  # noqa: ARG002 - of the Protocol
        """Return the number, or None; see ``Field.read``."""
        value = config.get(name, self.absent)
        if value is None and self.null:
            return None
        return number(value, name, self.bounds)


@dataclass(frozen=True)
class Flag:
    """True or false."""

    absent: bool

    def read(self, config: Config, name: str, earlier: Values) -> bool:  # noqa: ARG002 - of the Protocol
        """Return it; see ``Field.read``."""
        value = config.get(name, self.absent)
        if not isinstance(value, bool):
            raise rejected(f"{name} is {value!a:.60}; expected true or false")
        return value


def number(value: object, name: str, bounds: tuple[float, float]) -> float:
    """Return ``value`` as a float if it is a number above the first bound and not above the second."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not bounds[0] < value <= bounds[1]:
        raise rejected(f"{name} is {value!a:.60}; expected a number above {bounds[0]} and up to {bounds[1]}")
    return float(value)


def neutral(config: Config, field: str, values: tuple[object, ...], place: str = "the config") -> None:
    """Refuse a field whose value would change the computation: it must be absent or one of the values."""
    value = config.get(field, values[0])
    if not any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in values):
        raise rejected(f"{field} {value!a:.60} in {place} is not supported; use {values[0]!r} or leave it out")


def same(config: Config, field: str, value: Value, of: str) -> None:
    """Refuse a second name of the field ``of`` under which the config says another value; absent and null say none."""
    other = config.get(field)
    if other is not None and (isinstance(other, bool) or other != value):
        raise rejected(f"{field} is {other!a:.60} and {of} is {value}; name it once")


def rejected(detail: str) -> ModelRejected:
    """Build the error of a config that is not allowed."""
    return ModelRejected(Reason.ARCHITECTURE, f"{CONFIG}: {detail}")


def whole_value(values: Values, name: str) -> int:
    """Return a value that was read by ``Whole``."""
    value = values[name]
    if type(value) is not int:
        raise TypeError(f"{name} is {value!r}, which is no whole number")
    return value


def rounded_up(number: int, multiple: int) -> int:
    """Return the smallest multiple of ``multiple`` that is not below ``number``."""
    return math.ceil(number / multiple) * multiple

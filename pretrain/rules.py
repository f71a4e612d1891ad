"""What every part of a competition file shares: strict fields, named quantities, and flaws that know their place."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

Share = Annotated[float, Field(gt=0, le=1)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[int, Field(gt=0)]
NAME = r"^[a-z0-9][a-z0-9._-]*$"
Name = Annotated[str, Field(pattern=NAME, max_length=64)]

Path = tuple[str | int, ...]
"""Where a value stands: keys and indices from the top of what is checked."""

SUM_TOLERANCE = 1e-9
"""How far decimal fractions that should sum to 1 may be from it: the rounding of binary floats, and no more."""


class Rules(BaseModel):
    """The door of every competition file: unknown fields are refused, nothing is coerced, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


@dataclass(frozen=True)
class Flaw:
    """A value that is of the right type and still wrong."""

    at: Path
    """Where it is, seen from the model that found it."""
    value: object
    message: str
    """What would be right."""


def invalid(title: str, flaws: Iterable[Flaw]) -> ValidationError:
    """Return the error that a validator raises for all of its flaws at once, each at its own place.

    Pydantic would report a ValueError at the model that raised it; a reader wants the line of the wrong value.
    """
    details = [
        InitErrorDetails(
            type=PydanticCustomError("rule", "{message}", {"message": flaw.message}), loc=flaw.at, input=flaw.value
        )
        for flaw in flaws
    ]
    return ValidationError.from_exception_data(title, details)

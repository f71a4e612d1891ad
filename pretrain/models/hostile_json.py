"""JSON written by strangers: bounded, strict, and never more than data."""

import json
import math

from pretrain.errors import ModelRejected, Reason


def parse_object(raw: bytes, *, limit: int, what: str, reason: Reason) -> dict[str, object]:
    """Return the one JSON object in ``raw``.

    Refuses more than ``limit`` bytes, anything but UTF-8, a name given twice (two readers could take different ones),
    NaN, infinities, numbers that overflow, and nesting deeper than the interpreter can follow: all raise
    ModelRejected(``reason``), naming ``what``.
    """
    if len(raw) > limit:
        raise ModelRejected(reason, f"{what} has {len(raw)} bytes; at most {limit} are read")
    try:
        parsed = json.loads(
            raw.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite_float
        )
    except RecursionError:
        raise ModelRejected(reason, f"{what} is nested too deeply to be read") from None
    except ValueError as error:
        raise ModelRejected(reason, f"{what} is not strict JSON: {_one_line(error)}") from None
    if not isinstance(parsed, dict):
        raise ModelRejected(reason, f"{what} holds a JSON {type(parsed).__name__}; expected an object")
    return parsed


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name occurs twice in one object")
    return found


def _no_constant(text: str) -> object:
    raise ValueError(f"{text} is not a JSON number")


def _finite_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is too large for a double")
    return number


def _one_line(error: ValueError) -> str:
    return ascii(str(error))[1:161]

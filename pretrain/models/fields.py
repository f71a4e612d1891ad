"""Single fields of a stranger's config.json, each read with its type and its bounds.

Every function raises ModelRejected(ARCHITECTURE).
"""

from collections.abc import Mapping
from typing import cast

from pretrain.errors import ModelRejected, Reason
from pretrain.models.files import CONFIG

DEFAULT_ROPE_THETA = 10_000.0
"""Where a config names no base: RoFormer, equation 15, and the library's own default."""

_ROPE_BOUNDS = (1.0, 1e12)


def whole(config: Mapping[str, object], field: str, most: int, default: int | None = None) -> int:
    """Read a whole number from 1 to ``most``; absent or null gives the default, if there is one."""
    value = config.get(field)
    if value is None and default is not None:
        return default
    if type(value) is not int or not 1 <= value <= most:
        raise rejected(f"{field} is {value!a:.60}; expected a whole number from 1 to {most}")
    return value


def real(config: Mapping[str, object], field: str, bounds: tuple[float, float], default: float) -> float:
    """Read a number above the first bound and not above the second."""
    value = config.get(field, default)
    if type(value) not in {int, float} or not bounds[0] < cast("float", value) <= bounds[1]:
        raise rejected(f"{field} is {value!a:.60}; expected a number above {bounds[0]} and up to {bounds[1]}")
    return float(cast("float", value))


def flag(config: Mapping[str, object], field: str) -> bool:
    """Read true or false; absent is false."""
    value = config.get(field, False)
    if not isinstance(value, bool):
        raise rejected(f"{field} is {value!a:.60}; expected true or false")
    return value


def rope_theta(config: Mapping[str, object]) -> float:
    """Read the base of the rotary embedding from each place it may stand in, and refuse every scaling of it.

    transformers 4 wrote ``rope_theta`` and ``rope_scaling``; transformers 5 writes ``rope_parameters``.
    """
    found: set[float] = set()
    if config.get("rope_theta") is not None:
        found.add(real(config, "rope_theta", _ROPE_BOUNDS, DEFAULT_ROPE_THETA))
    for place in ("rope_parameters", "rope_scaling"):
        rope = config.get(place)
        if rope is None:
            continue
        if not isinstance(rope, dict) or rope.keys() - {"rope_type", "type", "rope_theta", "partial_rotary_factor"}:
            raise rejected(f"{place} {rope!a:.60} is not supported; use rope_type 'default' with a rope_theta")
        neutral(rope, "rope_type", ("default", None), place)
        neutral(rope, "type", ("default", None), place)
        neutral(rope, "partial_rotary_factor", (1, None), place)
        if rope.get("rope_theta") is not None:
            found.add(real(rope, "rope_theta", _ROPE_BOUNDS, DEFAULT_ROPE_THETA))
    if len(found) > 1:
        raise rejected(f"rope_theta is given as {min(found)} and as {max(found)}; name it once")
    return found.pop() if found else DEFAULT_ROPE_THETA


def neutral(config: Mapping[str, object], field: str, values: tuple[object, ...], place: str = "the config") -> None:
    """Refuse a field whose value would change the computation: it must be absent or one of the values."""
    value = config.get(field, values[0])
    if not any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in values):
        raise rejected(f"{field} {value!a:.60} in {place} is not supported; use {values[0]!r} or leave it out")


def rejected(detail: str) -> ModelRejected:
    """Build the error of a config that is not allowed."""
    return ModelRejected(Reason.ARCHITECTURE, f"{CONFIG}: {detail}")

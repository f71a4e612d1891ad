"""Attacks that the first kilobytes of a model refuse as ``ARCHITECTURE``."""

from collections.abc import Callable
from typing import Any

from attack import Attack, TakeOut, has_no_loss, was_scored
from counting_hub import Files
from crafted import configured, honest

from pretrain.errors import Reason


def config(
    name: str,
    build: Callable[[], Files],
    guard: str,
    out: TakeOut | None,
    *,
    most: int = 3_100,
    **more: Any,  # noqa: ANN401 - what ``Attack`` takes
) -> Attack:
    """Refused as ``ARCHITECTURE`` by the first kilobytes."""
    return Attack(name, build, "config and headers", Reason.ARCHITECTURE, most, guard, out, **more)


def says(name: str, guard: str, out: TakeOut | None, base: Callable[[], Files] = honest, **fields: object) -> Attack:
    """Be refused for fields of config.json."""
    won = has_no_loss if "rope_theta" in fields else was_scored
    return config(name, lambda: configured(base(), **fields), guard, out, succeeds=won)

"""Attacks by the JSON of config.json, whatever it says."""

import math
from collections.abc import Callable
from typing import Any

import take_out
from attack import Attack
from config_attack import config, says
from counting_hub import Files
from crafted import honest, with_config_text
from take_out import all_of, constant

from pretrain.models import hostile_json, rotary
from pretrain.models.files import CONFIG


def _encoded(raw: Callable[[bytes], bytes]) -> Files:
    return {**honest(), CONFIG: raw(honest()[CONFIG])}


def _text(name: str, more: str, guard: str, out: take_out.TakeOut, **rest: Any) -> Attack:  # noqa: ANN401
    """Be refused for what a strict reader of JSON refuses."""
    return config(name, lambda: with_config_text(honest(), more), guard, out, **rest)


def _lenient(encoding: str | None) -> take_out.TakeOut:
    """Read any JSON, in an encoding, or in one that is guessed."""
    return take_out.json_by(lambda raw: raw if encoding is None else raw.decode(encoding, "replace"))


ATTACKS = (
    config(
        "a config nested 20,000 deep",
        lambda: with_config_text(honest(), '"x": ' + "[" * 20_000 + "]" * 20_000),
        "`hostile_json.parse_object`",
        take_out.any_json,
        most=43_000,
        succeeds=lambda tried: tried.outcome == "crash: RecursionError",
    ),
    _text(
        "a whole number of 5,000 digits",
        '"x": ' + "9" * 5_000,
        "`hostile_json.parse_object`",
        take_out.any_json,
        most=7_600,
        succeeds=lambda tried: tried.outcome == "crash: ValueError",
    ),
    _text(
        "a number that overflows a double",
        '"x": 1e999',
        "`hostile_json._finite_float`",
        constant(hostile_json, "_finite_float", float),
    ),
    says(
        "a NaN as the base of rotary embeddings",
        "`hostile_json._no_constant` and `fields.number` and every look at what is finite",
        all_of(
            constant(hostile_json, "_no_constant", float),
            constant(rotary, "number", lambda value, *_: float(value)),
            take_out.must_be_finite,
        ),
        rope_theta=math.nan,
    ),
    _text("a field twice", '"rope_theta": 5000.0', "`hostile_json._unique`", take_out.names_are_unique),
    config(
        "a config that is a list",
        lambda: _encoded(lambda raw: b"[" + raw + b"]"),
        "`hostile_json.parse_object`",
        take_out.any_json,
        succeeds=lambda tried: tried.outcome == "crash: AttributeError",
    ),
    config(
        "bytes that are no UTF-8",
        lambda: _encoded(lambda raw: raw.replace(b'"llama"', b'"llama", "x": "\xff"')),
        "`hostile_json.parse_object`",
        _lenient("utf-8"),
    ),
    config(
        "a byte order mark",
        lambda: _encoded(lambda raw: b"\xef\xbb\xbf" + raw),
        "`hostile_json.parse_object`",
        _lenient(None),
    ),
    config(
        "a config in UTF-16",
        lambda: _encoded(lambda raw: raw.decode().encode("utf-16")),
        "`hostile_json.parse_object`",
        _lenient(None),
    ),
)

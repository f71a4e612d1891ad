"""Say in words what a field should hold: pydantic's errors, told with the help of the JSON schema."""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic_core import ErrorDetails

from pretrain.rules import NAME, Path
from pretrain.yaml_document import shown

Schema = Mapping[str, Any]
_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "string_type": "text, in quotes if need be",
    "tuple_type": "a list",
    "dict_type": "a mapping of names",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}
"""What pydantic's error types mean to somebody who writes YAML."""


@dataclass(frozen=True)
class Place:
    """What the schema says about one place of a file."""

    path: Path
    """As a reader of the file would go: without the tags that pydantic adds inside a union."""
    description: str
    fields: tuple[str, ...]
    """The fields that may stand below, where there is a closed list of them."""
    around: tuple[str, ...]
    """The fields that may stand beside it."""
    tags: tuple[str, ...]
    """The kinds that may stand here, where there are several."""


def place(schema: Schema, loc: Path) -> Place:
    """Follow a pydantic location down a JSON schema."""
    path: list[str | int] = []
    node, description = schema, ""
    around: tuple[str, ...] = ()
    fields = _fields(schema, node)
    for part in loc:
        node = _resolve(schema, node)
        kinds = node.get("discriminator", {}).get("mapping", {})
        if part in kinds:
            node, around, fields = {"$ref": kinds[part]}, fields, _fields(schema, {"$ref": kinds[part]})
            continue
        if part == "[key]":
            continue
        path.append(part)
        around = fields
        node = _below(node, part)
        description = node.get("description", "")
        fields = _fields(schema, node)
    tags = tuple(_resolve(schema, node).get("discriminator", {}).get("mapping", {}))
    return Place(tuple(path), description, fields, around, tags)


def explain(schema: Schema, error: ErrorDetails) -> tuple[Path, str | None, str]:
    """Turn one error into the path of the field, its value as written (None: not there), and what would be right."""
    at = place(schema, error["loc"])
    kind = error["type"]
    if kind == "extra_forbidden":
        return at.path, None, _unknown(str(at.path[-1]), at.around)
    if kind == "missing":
        return at.path, None, f"missing; expected {at.description or 'a mapping'}"
    value = shown(error["input"])
    if kind in {"union_tag_not_found", "union_tag_invalid"}:
        given = error["input"].get("kind")
        if given is None:
            return (*at.path, "kind"), None, f"missing; expected one of {', '.join(at.tags)}"
        return (*at.path, "kind"), shown(given), f"{_near(str(given), at.tags)}expected one of {', '.join(at.tags)}"
    if kind == "rule":
        return at.path, value, error["msg"]
    message = _expected(error)
    return at.path, value, f"{message} ({at.description})" if at.description else message


def _expected(error: ErrorDetails) -> str:
    kind, unquoted = error["type"], ", without quotes" if isinstance(error["input"], str) else ""
    if kind == "string_pattern_mismatch" and error["ctx"]["pattern"] == NAME:
        return "expected a name: lower-case letters, digits, '.', '_' and '-', a letter or digit first"
    if kind in _EXPECTED:
        return f"expected {_EXPECTED[kind]}{unquoted}"
    if kind == "literal_error":
        known = re.findall(r"'([^']*)'", error["ctx"]["expected"])
        return f"{_near(str(error['input']), known)}expected one of {', '.join(known)}"
    if kind == "too_short":
        return f"expected at least {error['ctx']['min_length']}"
    text = error["msg"].replace("Input should be ", "expected ").replace("String should ", "expected text to ")
    return text[:1].lower() + text[1:]


def _unknown(name: str, known: tuple[str, ...]) -> str:
    return f"no such field; {_near(name, known)}known here: {', '.join(known) or 'nothing'}"


def _near(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}? " if near else ""


def _resolve(schema: Schema, node: Schema) -> Schema:
    """Follow references, and the one alternative of an optional field that is not null."""
    while True:
        if "$ref" in node:
            node = schema["$defs"][node["$ref"].rsplit("/", 1)[-1]]
        elif "anyOf" in node:
            node = next(option for option in node["anyOf"] if option.get("type") != "null")
        else:
            return node


def _below(node: Schema, part: str | int) -> Schema:
    if isinstance(part, int):
        found = node.get("items", {})
    else:
        named = next(iter(node.get("patternProperties", {}).values()), node.get("additionalProperties", {}))
        found = node.get("properties", {}).get(part, named)
    return found if isinstance(found, Mapping) else {}


def _fields(schema: Schema, node: Schema) -> tuple[str, ...]:
    return tuple(_resolve(schema, node).get("properties", {}))

"""Runtime metadata, version 15: how a node tells its clients what it stores, takes and answers.

No client carries the metadata of a real runtime, and none is needed: ours is written from a description of just those
items that the embedded chain has, under the real names and numbers. A client that asks for more is told by its own
library that this runtime has no such item.

Layout: frame-metadata ``v15.rs`` (RuntimeMetadataV15).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pretrain.chain.node.scale import (
    Enum,
    Field,
    Named,
    Registry,
    Variant,
    compact,
    lines,
    octets,
    sequence,
    text,
)

MAGIC = b"meta"
VERSION = 15
EXTRINSIC_VERSION = 4
_HASHERS = ("Blake2_128", "Blake2_256", "Blake2_128Concat", "Twox128", "Twox256", "Twox64Concat", "Identity")
RUNTIME = "node_subtensor_runtime"

Encode = Callable[[str, object], bytes]
"""SCALE-encodes a plain value as the type of an id, ``scale_info::N``."""


@dataclass(frozen=True)
class Item:
    """A storage item; without keys a single value."""

    name: str
    value: str
    keys: tuple[tuple[str, str], ...] = ()
    """Hasher and type of each key."""
    default: object = None
    """What a key that is not stored reads as; None: nothing (an Optional item)."""


@dataclass(frozen=True)
class Constant:
    """A constant of a pallet."""

    name: str
    type: str
    value: object


@dataclass(frozen=True)
class CallForm:
    """A call a pallet takes."""

    name: str
    index: int
    arguments: tuple[tuple[str, str], ...]
    """Name and type."""


@dataclass(frozen=True)
class Pallet:
    """A pallet; its index is part of calls, events and errors."""

    name: str
    index: int
    items: tuple[Item, ...] = ()
    calls: tuple[CallForm, ...] = ()
    events: tuple[Variant, ...] = ()
    errors: Mapping[str, int] = field(default_factory=dict)
    """Index by name."""
    constants: tuple[Constant, ...] = ()


@dataclass(frozen=True)
class Method:
    """A method of a runtime API."""

    api: str
    name: str
    inputs: tuple[tuple[str, str], ...]
    """Name and type."""
    output: str


@dataclass(frozen=True)
class Extension:
    """A signed extension: what it puts into an extrinsic, and what it adds to the signed bytes alone."""

    name: str
    type: str
    additional: str


@dataclass(frozen=True)
class Description:
    """A whole runtime."""

    types: Named
    pallets: tuple[Pallet, ...]
    methods: tuple[Method, ...]
    extensions: tuple[Extension, ...]


def outer_types(pallets: tuple[Pallet, ...]) -> Named:
    """Return the enums made of the pallets: their calls, events and errors, each alone and all together."""
    named: dict[str, Enum] = {}
    outer: dict[str, list[Variant]] = {"Call": [], "Event": [], "Error": []}
    for pallet in pallets:
        for kind, variants in _variants(pallet).items():
            if variants:
                name = f"{pallet.name}{kind}"
                named[name] = Enum(f"pallet_{pallet.name.lower()}::pallet::{kind}", variants)
                outer[kind].append(Variant(pallet.name, pallet.index, (Field(name),)))
    return named | {f"Runtime{kind}": Enum(f"{RUNTIME}::Runtime{kind}", tuple(outer[kind])) for kind in outer}


def write(description: Description, encode: Encode | None) -> bytes:
    """Return the metadata; without ``encode`` defaults and constants are left empty, to learn from it how to encode."""
    registry = Registry(description.types)
    pallets = sequence(_pallet(registry, pallet, encode) for pallet in description.pallets)
    extrinsic = _extrinsic(registry, description.extensions)
    runtime = registry.ref("()")
    apis = _apis(registry, description.methods)
    outer = registry.ref("RuntimeCall") + registry.ref("RuntimeEvent") + registry.ref("RuntimeError")
    return MAGIC + bytes([VERSION]) + registry.encode() + pallets + extrinsic + runtime + apis + outer + compact(0)


def _variants(pallet: Pallet) -> dict[str, tuple[Variant, ...]]:
    calls = tuple(
        Variant(call.name, call.index, tuple(Field(type_, name) for name, type_ in call.arguments))
        for call in pallet.calls
    )
    errors = tuple(Variant(name, index, docs=name) for name, index in pallet.errors.items())
    return {"Call": calls, "Event": pallet.events, "Error": errors}


def _pallet(registry: Registry, pallet: Pallet, encode: Encode | None) -> bytes:
    storage = b"\x00"
    if pallet.items:
        entries = sequence(_item(registry, item, encode) for item in pallet.items)
        storage = b"\x01" + text(pallet.name) + entries
    kinds = {
        kind: b"\x01" + registry.ref(f"{pallet.name}{kind}") if variants else b"\x00"
        for kind, variants in _variants(pallet).items()
    }
    constants = sequence(
        text(item.name) + registry.ref(item.type) + octets(_value(registry, encode, item.type, item.value)) + lines("")
        for item in pallet.constants
    )
    return (
        text(pallet.name) + storage + kinds["Call"] + kinds["Event"] + constants + kinds["Error"]
        + bytes([pallet.index]) + lines("")
    )  # fmt: skip


def _item(registry: Registry, item: Item, encode: Encode | None) -> bytes:
    value = registry.ref(item.value)
    if item.keys:
        types = [type_ for _, type_ in item.keys]
        key = types[0] if len(types) == 1 else f"({', '.join(types)})"
        hashers = sequence(bytes([_HASHERS.index(hasher)]) for hasher, _ in item.keys)
        form = b"\x01" + hashers + registry.ref(key) + value
    else:
        form = b"\x00" + value
    optional = item.default is None
    default = b"\x00" if optional else _value(registry, encode, item.value, item.default)
    return text(item.name) + bytes([0 if optional else 1]) + form + octets(default) + lines("")


def _extrinsic(registry: Registry, extensions: tuple[Extension, ...]) -> bytes:
    extra = f"({', '.join(extension.type for extension in extensions)})"
    return (
        bytes([EXTRINSIC_VERSION])
        + b"".join(map(registry.ref, ("MultiAddress", "RuntimeCall", "MultiSignature", extra)))
        + sequence(text(e.name) + registry.ref(e.type) + registry.ref(e.additional) for e in extensions)
    )


def _apis(registry: Registry, methods: tuple[Method, ...]) -> bytes:
    names = list(dict.fromkeys(method.api for method in methods))
    return sequence(
        text(api) + sequence(_method(registry, method) for method in methods if method.api == api) + lines("")
        for api in names
    )


def _method(registry: Registry, method: Method) -> bytes:
    inputs = sequence(text(name) + registry.ref(type_) for name, type_ in method.inputs)
    return text(method.name) + inputs + registry.ref(method.output) + lines("")


def _value(registry: Registry, encode: Encode | None, type_: str, value: object) -> bytes:
    return encode(f"scale_info::{registry.id_of(type_)}", value) if encode else b""

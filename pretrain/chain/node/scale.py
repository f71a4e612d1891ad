"""Writing a type registry in SCALE, as the metadata of a Substrate runtime carries it (scale-info's PortableRegistry).

A type is named as Rust writes it: ``u16``, ``Vec<(u16, u16)>``, ``[u8; 32]``, ``Option<AccountId32>``, or by the name
of a ``Composite`` or an ``Enum``. Ids are handed out in the order of first use, so that one description always makes
the same bytes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pretrain.chain.node.type_names import Parsed, parse

_PRIMITIVES = (
    "bool", "char", "str", "u8", "u16", "u32", "u64", "u128", "u256", "i8", "i16", "i32", "i64", "i128", "i256",
)  # fmt: skip


@dataclass(frozen=True)
class Field:
    """A field of a composite or of a variant."""

    type: str
    name: str | None = None
    """None where Rust has a tuple struct."""


@dataclass(frozen=True)
class Variant:
    """One case of an enum."""

    name: str
    index: int
    fields: tuple[Field, ...] = ()
    docs: str = ""


@dataclass(frozen=True)
class Composite:
    """A struct; ``path`` as ``a::b::Name``, which decides how a client shows it."""

    path: str
    fields: tuple[Field, ...]


@dataclass(frozen=True)
class Enum:
    """An enum."""

    path: str
    variants: tuple[Variant, ...]


Named = Mapping[str, Composite | Enum]
"""What the names in type expressions stand for."""


def compact(value: int) -> bytes:
    """Return a compact integer, the prefix of every sequence."""
    if value < 1 << 6:
        return bytes([value << 2])
    if value < 1 << 14:
        return (value << 2 | 1).to_bytes(2, "little")
    if value < 1 << 30:
        return (value << 2 | 2).to_bytes(4, "little")
    size = (value.bit_length() + 7) // 8
    return bytes([(size - 4) << 2 | 3]) + value.to_bytes(size, "little")


def read_compact(data: bytes, offset: int) -> tuple[int, int]:
    """Return the compact integer at an offset and the offset behind it; raises ValueError when it is cut.

    So it does, as a node, for one that is written longer than it needs: each integer has one form.
    """
    if offset >= len(data):
        raise ValueError("the data ends before a compact integer")
    mode = data[offset] & 3
    size = (1, 2, 4)[mode] if mode < 3 else (data[offset] >> 2) + 4  # noqa: PLR2004 - mode 3 is the big one
    start = offset + (mode == 3)  # noqa: PLR2004
    if start + size > len(data):
        raise ValueError("the data ends within a compact integer")
    written = int.from_bytes(data[start : start + size], "little")
    value = written if mode == 3 else written >> 2  # noqa: PLR2004
    if compact(value) != data[offset : start + size]:
        raise ValueError("the data has a compact integer that is longer than it needs")
    return value, start + size


def sequence(items: Iterable[bytes]) -> bytes:
    """Return a Vec of encoded items."""
    listed = list(items)
    return compact(len(listed)) + b"".join(listed)


def text(value: str) -> bytes:
    """Return a String."""
    return octets(value.encode())


def octets(value: bytes) -> bytes:
    """Return a Vec<u8>."""
    return compact(len(value)) + value


def lines(docs: str) -> bytes:
    """Return documentation as a Vec of Strings."""
    return sequence([text(docs)] if docs else [])


class Registry:
    """Types by id, filled while expressions are looked up."""

    def __init__(self, named: Named) -> None:
        self._named = named
        self._ids: dict[str, int] = {}
        self._types: dict[int, bytes] = {}

    def ref(self, expression: str) -> bytes:
        """Return the encoded id of a type; raises ValueError for a name that nothing stands for."""
        return compact(self.id_of(expression))

    def id_of(self, expression: str) -> int:
        """Return the id of a type, after adding it and what it is made of."""
        return self._add(parse(expression))

    def encode(self) -> bytes:
        """Return the registry: every type used so far."""
        return sequence(compact(number) + self._types[number] for number in sorted(self._types))

    def _add(self, parsed: Parsed) -> int:
        known = self._ids.get(parsed.text)
        if known is not None:
            return known
        number = self._ids[parsed.text] = len(self._ids)
        self._types[number] = self._definition(parsed)
        return number

    def _definition(self, parsed: Parsed) -> bytes:
        """Return path, parameters, definition and docs of one type."""
        inner = [self._add(part) for part in parsed.parts]
        match parsed.kind:
            case "Vec":
                written = _anonymous(2, compact(inner[0]))
            case "array":
                written = _anonymous(3, parsed.length.to_bytes(4, "little") + compact(inner[0]))
            case "tuple":
                written = _anonymous(4, sequence(map(compact, inner)))
            case "Compact":
                written = _anonymous(6, compact(inner[0]))
            case "Option":
                some = Variant("Some", 1, (Field(parsed.parts[0].text),))
                parameter = text("T") + b"\x01" + compact(inner[0])
                written = self._enum(Enum("Option", (Variant("None", 0), some)), sequence([parameter]))
            case kind if kind in _PRIMITIVES:
                written = _anonymous(5, bytes([_PRIMITIVES.index(kind)]))
            case _:
                written = self._named_type(parsed)
        return written

    def _named_type(self, parsed: Parsed) -> bytes:
        if parsed.kind not in self._named:
            raise ValueError(f"the type {parsed.text!r}: nothing is described under {parsed.kind!r}")
        named = self._named[parsed.kind]
        return self._enum(named) if isinstance(named, Enum) else self._composite(named)

    def _composite(self, composite: Composite) -> bytes:
        return _path(composite.path) + sequence([]) + b"\x00" + self._fields(composite.fields) + sequence([])

    def _enum(self, enum: Enum, parameters: bytes = b"\x00") -> bytes:
        variants = sequence(
            text(variant.name) + self._fields(variant.fields) + bytes([variant.index]) + lines(variant.docs)
            for variant in enum.variants
        )
        return _path(enum.path) + parameters + b"\x01" + variants + sequence([])

    def _fields(self, fields: Iterable[Field]) -> bytes:
        return sequence(
            (b"\x01" + text(field.name) if field.name else b"\x00")
            + self.ref(field.type)
            + b"\x01" + text(field.type)
            + sequence([])
            for field in fields
        )  # fmt: skip


def _path(path: str) -> bytes:
    return sequence(text(segment) for segment in path.split("::"))


def _anonymous(kind: int, body: bytes) -> bytes:
    return sequence([]) + sequence([]) + bytes([kind]) + body + sequence([])

"""The fields of a commitment: what of them can be encoded, how much they count, and which of them is a text.

As in the real runtime (pallet_commitments, ``Data``). A step reads a commitment of exactly one Raw field, which stands
there in the clear; all other forms are stored, and are no entries.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict

from pretrain.chain.calls import CommitmentField
from pretrain.commitment import MAX_BYTES
from pretrain.errors import Refused

Fields = tuple[CommitmentField, ...]

_HASH = range(32, 33)
_SIZES = {
    "None": range(1),
    "Raw": range(MAX_BYTES + 1),
    "BlakeTwo256": _HASH,
    "Sha256": _HASH,
    "Keccak256": _HASH,
    "ShaThree256": _HASH,
    "TimelockEncrypted": range(1_024 + 1),
    "ResetBondsFlag": range(1),
    "BigRaw": range(512 + 1),
}
"""Bytes that each kind can hold."""


def from_text(text: str) -> Fields:
    """Return the usual commitment, one Raw field; raises Refused over 128 bytes, for there is no Raw129."""
    fields = (CommitmentField("Raw", text.encode().hex()),)
    check_encodable(fields)
    return fields


def clear(fields: Sequence[CommitmentField]) -> bytes | None:
    """Return the bytes of a commitment of one Raw field; None for any other form."""
    if len(fields) != 1 or fields[0].kind != "Raw":
        return None
    return bytes.fromhex(fields[0].data)


def size(fields: Sequence[CommitmentField]) -> int:
    """Return the bytes that fields take of an epoch's space; a lone commitment counts as more (``rules``)."""
    return sum(len(field.data) // 2 for field in fields)


def check_encodable(fields: Sequence[CommitmentField]) -> None:
    """Refuse a field that has no form on a real chain, so that no call with it could even be built there."""
    for field in fields:
        length, sizes = len(field.data) // 2, _SIZES[field.kind]
        if length not in sizes:
            allowed = f"{sizes[0]} to {sizes[-1]}" if len(sizes) > 1 else f"{sizes[0]}"
            raise Refused(f"a {field.kind} field of {length} bytes: expected {allowed}", code="NotEncodable")
        if (field.reveal_round is None) is (field.kind == "TimelockEncrypted"):
            raise Refused(
                f"a {field.kind} field with reveal_round {field.reveal_round}: TimelockEncrypted alone has one",
                code="NotEncodable",
            )


def shown(fields: Sequence[CommitmentField]) -> str:
    """Return a commitment for people: the text of one Raw field, else each field's kind with its hex."""
    data = clear(fields)
    if data is not None:
        return data.decode(errors="backslashreplace")
    return ", ".join(f"{field.kind} {field.data}".strip() for field in fields)


def dump(fields: Sequence[CommitmentField]) -> str:
    """Return fields as they are stored, canonical JSON."""
    return json.dumps([asdict(field) for field in fields], sort_keys=True, separators=(",", ":"))


def load(text: str) -> Fields:
    """Read stored fields."""
    return tuple(CommitmentField(**field) for field in json.loads(text))

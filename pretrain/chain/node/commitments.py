"""Commitments as storage shows them, and as a call brings them: the pallet's ``Data`` to our fields and back."""

from collections.abc import Mapping
from typing import Literal, cast

from pretrain.chain.calls import CommitmentField
from pretrain.chain.node.past import Past
from pretrain.chain.state import newest_commitments
from pretrain.commitment import MAX_BYTES

_RAW = "Raw"
_SEALED = "TimelockEncrypted"
_EMPTY = ("None", "ResetBondsFlag")
_Kind = Literal["Raw", "BlakeTwo256", "Sha256", "Keccak256", "ShaThree256", "BigRaw"]
_KINDS: Mapping[str, _Kind] = {
    **{f"Raw{size}": "Raw" for size in range(MAX_BYTES + 1)},
    "BlakeTwo256": "BlakeTwo256", "Sha256": "Sha256", "Keccak256": "Keccak256", "ShaThree256": "ShaThree256",
    "BigRaw": "BigRaw",
}  # fmt: skip
"""Kinds by the names of the variants that hold bytes alone."""


def commitment_of(past: Past) -> dict[tuple[object, ...], object]:
    """Return every hotkey's commitment, registered or not."""
    return {
        (past.netuid, hotkey): {"deposit": 0, "block": block, "info": {"fields": [to_data(field) for field in made]}}
        for hotkey, (block, made) in newest_commitments(past.database, past.block).items()
    }


def last_commitment(past: Past) -> dict[tuple[object, ...], object]:
    """Return the block of every hotkey's commitment."""
    return {
        (past.netuid, hotkey): block
        for hotkey, (block, _) in newest_commitments(past.database, past.block).items()
    }  # fmt: skip


def used_space(past: Past) -> dict[tuple[object, ...], object]:
    """Return the bytes that each hotkey has committed in its last period; as they are now, whatever the block."""
    rows = past.database.execute("SELECT hotkey, epoch, used FROM space ORDER BY hotkey")
    return {(past.netuid, hotkey): {"last_epoch": epoch, "used_space": used} for hotkey, epoch, used in rows}


def to_data(field: CommitmentField) -> object:
    """Return a field as a client decodes it."""
    if field.kind in _EMPTY:
        return field.kind
    content = f"0x{field.data}"
    if field.kind == _SEALED:
        return {_SEALED: {"encrypted": content, "reveal_round": field.reveal_round}}
    if field.kind == _RAW:
        return {f"{_RAW}{len(field.data) // 2}": content}
    return {field.kind: content}


def from_info(info: object) -> tuple[CommitmentField, ...]:
    """Return the fields of a call's ``info``; raises ValueError when it is no commitment."""
    match info:
        case {"fields": [*fields]}:
            return tuple(map(_from_data, fields))
    raise ValueError(f"a commitment without fields: {info!r}")


def octets(value: object) -> bytes:
    """Return the bytes that the codec has decoded to hex, to text where they are UTF-8, or to a list of numbers."""
    match value:
        case str() if value.startswith("0x"):
            return bytes.fromhex(value.removeprefix("0x"))
        case str():
            return value.encode()
        case bytes():
            return value
        case [*numbers] if all(isinstance(number, int) for number in numbers):
            return bytes(cast("list[int]", numbers))
    raise ValueError(f"no bytes: {value!r}")


def _from_data(data: object) -> CommitmentField:
    match data:
        case "None" | "ResetBondsFlag":
            return CommitmentField(data)
        case {"TimelockEncrypted": {"encrypted": encrypted, "reveal_round": int(reveal_round)}}:
            return CommitmentField("TimelockEncrypted", octets(encrypted).hex(), reveal_round)
        case {**one} if len(one) == 1:
            ((kind, content),) = one.items()
            if str(kind) in _KINDS:
                return CommitmentField(_KINDS[str(kind)], octets(content).hex())
    raise ValueError(f"no field of a commitment: {data!r}")

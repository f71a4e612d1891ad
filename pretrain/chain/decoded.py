"""What a node's decoded answers say, in this subnet's own words; pure.

A node is as hostile as anything outside: it may be broken, of another version, or lying. What does not have the form
below raises Malformed, and whoever asked turns to another endpoint. What a *miner* put on chain never raises: a
commitment that is none is left out.
"""

import re
from collections.abc import Mapping, Sequence

from pretrain.chain.calls import U16_MAX, CommitmentField
from pretrain.chain.state import Row, Slot
from pretrain.types import Block, Hotkey, Uid

_RAW = re.compile(r"Raw(?:[0-9]{1,2}|1[01][0-9]|12[0-8])", re.ASCII)  # Raw0 to Raw128, the only form in the clear
_HASH = re.compile(r"0x[0-9a-f]{64}", re.ASCII)
_ADDRESS = re.compile(r"[1-9A-HJ-NP-Za-km-z]{46,48}", re.ASCII)
_LARGEST = 2**64


class Malformed(ValueError):
    """A node's answer does not have the form that every node of this network gives."""


def whole(value: object, what: str) -> int:
    """Return a whole number from 0 on."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _LARGEST:
        raise Malformed(f"{what} {_shown(value)}: expected a whole number")
    return value


def hash_bytes(value: object, what: str) -> bytes:
    """Return the 32 bytes of a hash."""
    if not isinstance(value, str) or not _HASH.fullmatch(value):
        raise Malformed(f"{what} {_shown(value)}: expected 0x and 64 hex digits")
    return bytes.fromhex(value[2:])


def slots(graph: object, rows: Mapping[Uid, Row]) -> tuple[Slot, ...]:
    """Return the subnet's neurons in the order of uids: its metagraph, with each one's row of weights.

    A row is as old as its slot's last update. On a subnet with commit-reveal that is the block of the newest commit,
    and the row shown an earlier one: a neuron that came in between is counted as meant, as the chain itself does it.
    """
    if not isinstance(graph, dict):
        raise Malformed(f"metagraph {_shown(graph)}: expected a record")
    hotkeys = [_address(value) for value in _list(graph, "hotkeys")]
    if len(set(hotkeys)) < len(hotkeys):
        raise Malformed("metagraph: a hotkey has two uids")
    numbers = {
        name: [whole(value, name) for value in _list(graph, name, len(hotkeys))]
        for name in ("total_stake", "incentives", "last_update", "block_at_registration")
    }
    permits = _list(graph, "validator_permit", len(hotkeys))
    if not all(isinstance(permit, bool) for permit in permits):
        raise Malformed("metagraph: validator_permit: expected a list of true and false")
    return tuple(
        Slot(
            uid=Uid(uid),
            hotkey=hotkey,
            registered=Block(numbers["block_at_registration"][uid]),
            stake=numbers["total_stake"][uid],
            last_update=Block(numbers["last_update"][uid]),
            weights_block=Block(numbers["last_update"][uid]) if uid in rows else None,
            weights=rows.get(Uid(uid), ()),
            permit=permits[uid] is True,
            incentive=min(numbers["incentives"][uid], U16_MAX),
            pruning_score=0,
            bonds=(),
        )
        for uid, hotkey in enumerate(hotkeys)
    )


def weight_rows(pairs: object) -> dict[Uid, Row]:
    """Return the stored rows of a ``Weights`` map, by uid."""
    return {Uid(whole(uid, "uid")): tuple(map(_weight, _items(row))) for uid, row in _pairs(pairs)}


def commitments(pairs: object) -> dict[Hotkey, tuple[Block, tuple[CommitmentField, ...]]]:
    """Return every hotkey's commitment and its block, from a ``CommitmentOf`` map."""
    found = {}
    for hotkey, record in _pairs(pairs):
        one = commitment(record)
        if one is not None:
            found[_address(hotkey)] = one
    return found


def commitment(record: object) -> tuple[Block, tuple[CommitmentField, ...]] | None:
    """Return one commitment's block and fields, from its ``Registration``; None when there is none."""
    if record is None:
        return None
    if not isinstance(record, dict):
        raise Malformed(f"commitment {_shown(record)}: expected a record")
    info = record.get("info")
    fields = info.get("fields") if isinstance(info, dict) else None
    return Block(whole(record.get("block"), "commitment block")), tuple(map(_field, _flat(fields)))


def _field(entry: object) -> CommitmentField:
    """Return a field by its variant; only one in the clear keeps its bytes, since no other is ever read."""
    variant, value = next(iter(entry.items()), ("", None)) if isinstance(entry, dict) else (entry, None)
    if isinstance(variant, str) and _RAW.fullmatch(variant):
        data = _bytes(value)
        if data is not None and len(data) == int(variant.removeprefix("Raw")):
            return CommitmentField("Raw", data.hex())
    return CommitmentField("None")


def _bytes(value: object) -> bytes | None:
    """Return the bytes of hex with 0x, the form in which a decoder gives an array of them."""
    if not isinstance(value, str) or not value.startswith("0x"):
        return None
    try:
        return bytes.fromhex(value[2:])
    except ValueError:
        return None


def _flat(fields: object) -> list[object]:
    """Return a bounded vector's items; some decoders wrap it in a list of one."""
    if not isinstance(fields, (list, tuple)):
        return []
    inner = fields[0] if len(fields) == 1 and isinstance(fields[0], (list, tuple)) else fields
    return list(inner)


def _items(row: object) -> Sequence[object]:
    if not isinstance(row, (list, tuple)):
        raise Malformed(f"row of weights {_shown(row)}: expected a list")
    return row


def _weight(item: object) -> tuple[int, int]:
    if not isinstance(item, (list, tuple)) or len(item) != 2:  # noqa: PLR2004 - uid and value
        raise Malformed(f"weight {_shown(item)}: expected a uid and a value")
    return whole(item[0], "uid"), min(whole(item[1], "weight"), U16_MAX)


def _pairs(pairs: object) -> Sequence[tuple[object, object]]:
    if not isinstance(pairs, (list, tuple)) or not all(isinstance(p, (list, tuple)) and len(p) == 2 for p in pairs):  # noqa: PLR2004
        raise Malformed(f"map {_shown(pairs)}: expected keys with values")
    return pairs


def _list(graph: Mapping[str, object], name: str, length: int | None = None) -> list[object]:
    values = graph.get(name)
    if not isinstance(values, (list, tuple)) or (length is not None and len(values) != length):
        raise Malformed(f"metagraph: {name} {_shown(values)}: expected a list of {length or 'all'} neurons")
    return list(values)


def _address(value: object) -> Hotkey:
    if not isinstance(value, str) or not _ADDRESS.fullmatch(value):
        raise Malformed(f"address {_shown(value)}: expected ss58")
    return Hotkey(value)


def _shown(value: object) -> str:
    """Return a value in a few characters: a node's answer may be a gigabyte."""
    return repr(value)[:60] if isinstance(value, (str, int, float, bool, type(None))) else type(value).__name__

"""Parameters of a request, checked one by one; each function raises RpcError for what it does not find."""

import binascii
from collections.abc import Sequence
from reprlib import repr as short

from pretrain.chain.node.extrinsics import address_of
from pretrain.chain.node.rpc import INVALID_PARAMS, Json, RpcError
from pretrain.types import Hotkey

Params = Sequence[Json]
_HASH_BYTES = 32
_NUMBER_BYTES = 8


def at(params: Params, index: int) -> Json:
    """Return a parameter; None for one that was left out."""
    return params[index] if index < len(params) else None


def hash_at(params: Params, index: int) -> str | None:
    """Return a block's hash, in one form however it was written; None for the newest block."""
    value = at(params, index)
    return None if value is None else f"0x{digest_of(value).hex()}"


def digest_of(value: Json) -> bytes:
    """Return the 32 bytes of a block's hash."""
    digest = from_hex(value)
    if len(digest) != _HASH_BYTES:
        raise _invalid("a block's hash of 32 bytes", value)
    return digest


def address_at(params: Params, index: int) -> Hotkey:
    """Return an account's address as this network writes it."""
    value = text_at(params, index)
    try:
        return address_of(value)
    except ValueError as error:
        raise _invalid("an account's address", value) from error


def text_at(params: Params, index: int) -> str:
    """Return a text."""
    value = at(params, index)
    if isinstance(value, str):
        return value
    raise _invalid("a text", value)


def as_number(value: Json) -> int:
    """Return a number, which some clients send as hex."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and value.startswith("0x"):
        written = from_hex(value)
        if len(written) <= _NUMBER_BYTES:
            return int.from_bytes(written, "big")
    raise _invalid("a number", value)


def bytes_at(params: Params, index: int) -> bytes:
    """Return bytes from hex."""
    return from_hex(at(params, index))


def from_hex(value: Json) -> bytes:
    """Return bytes from hex, with or without 0x."""
    if not isinstance(value, str):
        raise _invalid("hex", value)
    digits = value.removeprefix("0x")
    try:
        return binascii.unhexlify(digits.zfill(len(digits) + len(digits) % 2))  # unlike fromhex it takes no blanks
    except ValueError as error:
        raise _invalid("hex", value) from error


def _invalid(expected: str, value: Json) -> RpcError:
    """Return the answer to a parameter; a value may be long or deep, so only its beginning is shown."""
    return RpcError(INVALID_PARAMS, f"Invalid params: expected {expected}, not {short(value)}")

"""Parameters of a request, checked one by one; each function raises RpcError for what it does not find."""

from collections.abc import Sequence

from pretrain.chain.node.rpc import INVALID_PARAMS, Json, RpcError

Params = Sequence[Json]


def at(params: Params, index: int) -> Json:
    """Return a parameter; None for one that was left out."""
    return params[index] if index < len(params) else None


def hash_at(params: Params, index: int) -> str | None:
    """Return a block's hash; None for the newest block."""
    value = at(params, index)
    if value is None or isinstance(value, str):
        return value
    raise RpcError(INVALID_PARAMS, f"Invalid params: expected a block's hash, not {value!r:.80}")


def text_at(params: Params, index: int) -> str:
    """Return a text."""
    value = at(params, index)
    if isinstance(value, str):
        return value
    raise RpcError(INVALID_PARAMS, f"Invalid params: expected a text, not {value!r:.80}")


def as_number(value: Json) -> int:
    """Return a number, which some clients send as hex."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and value.startswith("0x"):
        return int.from_bytes(from_hex(value), "big")
    raise RpcError(INVALID_PARAMS, f"Invalid params: expected a number, not {value!r:.80}")


def bytes_at(params: Params, index: int) -> bytes:
    """Return bytes from hex."""
    return from_hex(at(params, index))


def from_hex(value: Json) -> bytes:
    """Return bytes from hex, with or without 0x."""
    if isinstance(value, str):
        digits = value.removeprefix("0x")
        try:
            return bytes.fromhex(digits.zfill(len(digits) + len(digits) % 2))
        except ValueError as error:
            raise RpcError(INVALID_PARAMS, f"Invalid params: no hex: {value!r:.80}") from error
    raise RpcError(INVALID_PARAMS, f"Invalid params: expected hex, not {value!r:.80}")

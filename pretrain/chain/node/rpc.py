"""JSON-RPC 2.0: what a frame asks for, and how answers and errors are written."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

PARSE_ERROR, INVALID_REQUEST, UNKNOWN_METHOD, INVALID_PARAMS = -32_700, -32_600, -32_601, -32_602
INTERNAL_ERROR = -32_603
SERVER_ERROR = -32_000
TOO_BIG = -32_008
TOO_MANY = -32_005
"""Clients of this kind of node take it, with a policy in its data, as an order to slow down."""
INVALID_COUNT, STATE_ERROR = 4_002, 4_003
INVALID_TRANSACTION = 1_010
UNKNOWN_TRANSACTION = 1_011
ALREADY_IMPORTED = 1_013

Json = object
"""Whatever a JSON document holds."""


class RpcError(Exception):
    """An answer that says no; it concerns one request alone."""

    def __init__(self, code: int, message: str, data: Json = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data

    def body(self) -> dict[str, Json]:
        """Return the error object."""
        body: dict[str, Json] = {"code": self.code, "message": self.message}
        return body if self.data is None else body | {"data": self.data}


def too_big(most: int) -> RpcError:
    """Return the answer in the place of one that is too long."""
    return RpcError(TOO_BIG, "Response is too big", f"Exceeded max limit of {most}")


@dataclass(frozen=True)
class Malformed:
    """What should have been a request, and why it is none."""

    error: RpcError
    id: Json
    """What could be read of it."""


@dataclass(frozen=True)
class Request:
    """One request; without an id it is a notification, which nobody waits for."""

    method: str
    params: Sequence[Json]
    id: Json = None


def read_frame(frame: str | bytes, most: int) -> tuple[list[Request | Malformed], bool]:
    """Return what a frame asks for, at most so much, and whether it is a batch; raises RpcError when it is none."""
    try:
        document = json.loads(frame, parse_constant=_no_number, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise RpcError(PARSE_ERROR, "Parse error") from error
    if isinstance(document, list):
        if not 1 <= len(document) <= most:
            raise RpcError(INVALID_REQUEST, "Invalid request", f"a batch of {len(document)}: expected 1 to {most}")
        return [_request(entry) for entry in document], True
    return [_request(document)], False


def result(request: Request, value: Json) -> dict[str, Json]:
    """Return an answer."""
    return {"jsonrpc": "2.0", "id": request.id, "result": value}


def failure(error: RpcError, id_: Json = None) -> dict[str, Json]:
    """Return an error's answer."""
    return {"jsonrpc": "2.0", "id": id_, "error": error.body()}


def notification(method: str, subscription: str, value: Json) -> dict[str, Json]:
    """Return what is pushed to a subscriber."""
    return {"jsonrpc": "2.0", "method": method, "params": {"subscription": subscription, "result": value}}


def dump(document: Json) -> str:
    """Return a frame's text."""
    return json.dumps(document, separators=(",", ":"))


def _request(entry: Json) -> Request | Malformed:
    """Return one request of a frame, or why it is none, so that the others of its batch are still answered."""
    if not isinstance(entry, Mapping):
        return Malformed(RpcError(INVALID_REQUEST, "Invalid request", "expected an object with a method"), None)
    id_ = entry.get("id")
    if isinstance(id_, bool) or not isinstance(id_, str | int | float | None):
        return Malformed(RpcError(INVALID_REQUEST, "Invalid request", "expected a text or a number as its id"), None)
    if not isinstance(entry.get("method"), str):
        return Malformed(RpcError(INVALID_REQUEST, "Invalid request", "expected an object with a method"), id_)
    params = entry.get("params", [])
    if not isinstance(params, list):
        return Malformed(RpcError(INVALID_PARAMS, "Invalid params", "expected a list"), id_)
    return Request(entry["method"], params, id_)


def _no_number(name: str) -> Json:
    raise ValueError(f"{name} is no JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text:.80} is too large")
    return number

"""What the child that judged a model sends back; it touched a stranger's files, so it is read as a stranger's words.

Layout: 4 bytes big-endian N, N bytes of JSON, then the losses as little-endian float64, task by task in order of name,
then the sketch's values as little-endian float32.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from pretrain.data import Samples
from pretrain.errors import Cause, EvaluatorUnavailable, ModelRejected, Reason
from pretrain.evaluate import Measurement
from pretrain.fingerprint import SKETCHED, Sketch
from pretrain.types import Digest, TaskName

_LENGTH_BYTES = 4
_MAX_HEADER_BYTES = 64_000
_LOSS = np.dtype("<f8")
_WEIGHT = np.dtype("<f4")
_SKETCH_BYTES = _WEIGHT.itemsize * SKETCHED
_Hex = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class GarbageError(ValueError):
    """An answer that no child of ours gives."""


class _Measured(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    outcome: Literal["measured"]
    weights: _Hex
    samples: _Hex
    engine: Annotated[str, Field(max_length=400)]
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    windows: dict[str, Annotated[int, Field(ge=0)]]
    shapes: _Hex


class _Rejected(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    outcome: Literal["rejected"]
    reason: Literal["files", "header", "architecture", "not_finite", "not_causal"]
    detail: Annotated[str, Field(max_length=2000)]


class _Fits(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    outcome: Literal["fits"]


class _NoMemory(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    outcome: Literal["no_memory"]
    detail: Annotated[str, Field(max_length=2000)]


_Answer = _Measured | _Rejected | _Fits | _NoMemory
_Header: TypeAdapter[_Answer] = TypeAdapter(Annotated[_Answer, Field(discriminator="outcome")])


MOST_FIT_BYTES = _LENGTH_BYTES + _MAX_HEADER_BYTES
"""How long an honest answer about config and headers can be."""


def most_bytes(samples: Samples) -> int:
    """Return how long an honest answer for these samples can be."""
    losses = _LOSS.itemsize * sum(len(tokens) for tokens in samples.tokens.values())
    return _LENGTH_BYTES + _MAX_HEADER_BYTES + losses + _SKETCH_BYTES


def encode_measurement(measurement: Measurement) -> bytes:
    """Return the answer of a child that scored its model."""
    losses = {task: measurement.losses[task] for task in sorted(measurement.losses)}
    header = {
        "outcome": "measured",
        "weights": measurement.weights,
        "samples": measurement.samples,
        "engine": measurement.engine,
        "seconds": measurement.seconds,
        "windows": {task: len(values) for task, values in losses.items()},
        "shapes": measurement.sketch.shapes,
    }
    body = b"".join(values.astype(_LOSS).tobytes() for values in losses.values())
    return _frame(header) + body + measurement.sketch.values.astype(_WEIGHT).tobytes()


def encode_fit() -> bytes:
    """Return the answer of a child that found config and headers to be those of an allowed model."""
    return _frame({"outcome": "fits"})


def encode_rejection(rejection: ModelRejected) -> bytes:
    """Return the answer of a child whose model breaks a rule."""
    return _frame({"outcome": "rejected", "reason": rejection.reason, "detail": rejection.detail[:2000]})


def encode_no_memory(detail: str) -> bytes:
    """Return the answer of a child that judging took more memory than it may have."""
    return _frame({"outcome": "no_memory", "detail": detail[:2000]})


def decode(raw: bytes, samples: Samples, engine: str) -> Measurement:
    """Read an answer for these samples from this engine.

    Raises ModelRejected or EvaluatorUnavailable(MEMORY) when that is what it says, and GarbageError when it is
    malformed, is about other samples, is from another engine, or holds a loss that no mean of float32 losses can be, or
    a weight that is not finite.
    """
    answer, body = _read(raw)
    if not isinstance(answer, _Measured):
        raise GarbageError("no losses, which were asked for")
    _check(answer, samples, engine)
    windows = {task: len(samples.tokens[task]) for task in sorted(samples.tokens)}
    losses = _losses(body[: _LOSS.itemsize * sum(windows.values())], windows)
    sketch = _sketch(body[_LOSS.itemsize * sum(windows.values()) :], Digest(answer.shapes))
    weights, scored = Digest(answer.weights), Digest(answer.samples)
    return Measurement(losses, weights, scored, answer.engine, answer.seconds, sketch)


def decode_fit(raw: bytes) -> None:
    """Read an answer about config and headers.

    Raises ModelRejected when they do not fit, EvaluatorUnavailable(MEMORY) when they took too much to look at, and
    GarbageError for another.
    """
    answer, body = _read(raw)
    if not isinstance(answer, _Fits) or body:
        raise GarbageError("losses, which were not asked for")


def _read(raw: bytes) -> tuple[_Measured | _Fits, bytes]:
    length = int.from_bytes(raw[:_LENGTH_BYTES], "big")
    header, body = raw[_LENGTH_BYTES : _LENGTH_BYTES + length], raw[_LENGTH_BYTES + length :]
    if len(raw) < _LENGTH_BYTES + length or length > _MAX_HEADER_BYTES:
        raise GarbageError(f"an answer of {len(raw)} bytes announces a header of {length}")
    try:
        answer = _Header.validate_json(header)
    except ValidationError as error:
        raise GarbageError(f"a header that is not ours: {error.error_count()} errors in it") from None
    if isinstance(answer, _Rejected):
        raise ModelRejected(Reason(answer.reason), answer.detail)
    if isinstance(answer, _NoMemory):
        raise EvaluatorUnavailable(f"a child had too little memory: {answer.detail!a:.200}", Cause.MEMORY)
    return answer, body


def _frame(header: Mapping[str, object]) -> bytes:
    raw = json.dumps(header).encode()
    return len(raw).to_bytes(_LENGTH_BYTES, "big") + raw


def _check(answer: _Measured, samples: Samples, engine: str) -> None:
    if answer.samples != samples.digest:
        raise GarbageError(f"samples {answer.samples} were scored; {samples.digest} were sent")
    if answer.engine != engine:
        raise GarbageError(f"engine {answer.engine!a} scored; expected {engine!r}")
    sent = {str(task): len(tokens) for task, tokens in samples.tokens.items()}
    if answer.windows != sent:
        raise GarbageError(f"losses for {answer.windows!a:.200} windows; expected {sent}")


def _losses(body: bytes, windows: Mapping[TaskName, int]) -> dict[TaskName, npt.NDArray[np.float64]]:
    if len(body) != _LOSS.itemsize * sum(windows.values()):
        raise GarbageError(f"{len(body)} bytes of losses for {sum(windows.values())} windows")
    losses: dict[TaskName, npt.NDArray[np.float64]] = {}
    values = np.frombuffer(body, dtype=_LOSS).astype(np.float64)
    if not ((values >= 0) & (values <= np.finfo(np.float32).max)).all():
        raise GarbageError("a loss that is negative, or not finite in float32")
    for task, count in windows.items():
        losses[task], values = values[:count], values[count:]
    return losses


def _sketch(body: bytes, shapes: Digest) -> Sketch:
    if len(body) != _SKETCH_BYTES:
        raise GarbageError(f"{len(body)} bytes of weights for a sketch of {SKETCHED}")
    values = np.frombuffer(body, dtype=_WEIGHT).astype(np.float32)
    if not np.isfinite(values).all():
        raise GarbageError("a sampled weight that is not finite")
    return Sketch(shapes, values)

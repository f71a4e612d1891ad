"""What children do that models of the gallery have taken over: each model's config.json names its act.

A fork server imports this without torch; a model's losses are its tensors, as in ``fakes``.
"""

import json
import os
import signal
import socket
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import isolated_children
import numpy as np

from pretrain.evaluate import Measurement
from pretrain.evaluate.answer import encode_fit, encode_measurement
from pretrain.evaluate.engine import engine_version
from pretrain.evaluate.request import Request, read_samples
from pretrain.fingerprint import SKETCHED, Sketch
from pretrain.models.files import CONFIG, WEIGHTS
from pretrain.models.header import read_header, weights_digest
from pretrain.types import Digest

MUCH = 24 << 20
"""Bytes of an answer without measure."""
_OTHER = Digest("1" * 64)
Lie = Callable[[Measurement], Measurement]


def acts(raw: bytes, samples: BinaryIO, answer: socket.socket) -> None:
    """Do what the model says, or try all that is forbidden where there are aims for it."""
    request = Request.model_validate_json(raw)
    if (request.model / "aims.json").exists():
        return isolated_children.tries(raw, samples, answer)
    act = json.loads((request.model / CONFIG).read_text()).get("act", "honest")
    if request.work == "inspect":
        return answer.sendall(encode_fit())
    if act in LIES:
        return answer.sendall(encode_measurement(LIES[act](measured(request.model, samples))))
    if act == "answers without measure":
        return answer.sendall(bytes(MUCH))
    if act == "hangs":
        return isolated_children.ignores_signals(raw, samples, answer)
    answer.sendall(encode_measurement(measured(request.model, samples)))
    if act == "dies":
        os.kill(os.getpid(), signal.SIGSEGV)
    return None


def measured(model: Path, file: BinaryIO) -> Measurement:
    """Return the losses that a model's tensors say."""
    samples, content = read_samples(file), (model / WEIGHTS).read_bytes()
    levels = {t.name: struct.unpack("<d", content[t.start : t.start + t.size])[0] for t in read_header(model / WEIGHTS)}
    losses = {task: np.full(len(tokens), levels[task]) for task, tokens in samples.tokens.items()}
    weights = weights_digest(model)
    values = np.random.default_rng(int(weights, 16)).standard_normal(SKETCHED).astype(np.float32)
    return Measurement(losses, weights, samples.digest, engine_version("cpu"), 0.0, Sketch(_OTHER, values))


LIES: dict[str, Lie] = {
    "less than nothing": lambda true: replace(true, losses={task: -values for task, values in true.losses.items()}),
    "other samples": lambda true: replace(true, samples=_OTHER),
    "other weights": lambda true: replace(true, weights=_OTHER),
}

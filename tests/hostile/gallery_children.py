"""What children do that models of the gallery have taken over: each model's config.json names its act.

A fork server imports this without torch; a model's losses are its tensors, as in ``fakes``.
"""

import contextlib
import json
import mmap
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
from pretrain.evaluate.answer import encode_fit, encode_measurement, encode_no_memory
from pretrain.evaluate.engine import engine_version
from pretrain.evaluate.limits import limit
from pretrain.evaluate.request import Request, read_samples
from pretrain.fingerprint import SKETCHED, Sketch
from pretrain.models.files import CONFIG, WEIGHTS
from pretrain.models.header import read_header, weights_digest
from pretrain.types import Digest

MUCH = 24 << 20
"""Bytes of an answer, or an output, without measure."""
_OTHER = Digest("1" * 64)
Lie = Callable[[Measurement], Measurement]


def acts(raw: bytes, samples: BinaryIO, answer: socket.socket) -> None:
    """Do what the model says, or try all that is forbidden where there are aims for it."""
    request = Request.model_validate_json(raw)
    if (request.model / "aims.json").exists():
        isolated_children.tries(raw, samples, answer)
    elif request.work == "inspect":
        answer.sendall(encode_fit())
    else:
        act = json.loads((request.model / CONFIG).read_text()).get("act", "honest")
        BEFORE.get(act, nothing)(request, answer)
        answer.sendall(encode_measurement(LIES.get(act, honestly)(measured(request.model, samples))))
        if act == "dies":
            os.kill(os.getpid(), signal.SIGSEGV)


def honestly(true: Measurement) -> Measurement:
    return true


def nothing(_request: Request, _answer: socket.socket) -> None:
    """Judge at once."""


def hangs(_request: Request, _answer: socket.socket) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while True:
        signal.pause()


def answers_much(_request: Request, answer: socket.socket) -> None:
    answer.sendall(bytes(MUCH))


def floods(_request: Request, _answer: socket.socket) -> None:
    """Write as much as it may, and die."""
    with contextlib.suppress(OSError):
        for _ in range(MUCH >> 20):
            os.write(1, b"x" * (1 << 20))
    os._exit(3)


def takes(request: Request, answer: socket.socket) -> None:
    """Take addresses alone, which no machine runs out of; say so where they are denied, as the real child does."""
    limit(request)
    private, anonymous, unreserved = 0x02, 0x20, 0x4000
    try:
        mmap.mmap(-1, 1 << 44, flags=private | anonymous | unreserved).close()
    except OSError as error:
        answer.sendall(encode_no_memory(str(error)))
        os._exit(0)


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
BEFORE: dict[str, Callable[[Request, socket.socket], None]] = {
    "hangs": hangs,
    "answers without measure": answers_much,
    "floods its output": floods,
    "takes 16 TiB": takes,
}
"""What is done before a judgement, if there is to be one."""

"""What a hostile or broken child might do, each as a target of the evaluator; none of it needs torch.

A request's model folder is where a child leaves a note for the test.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from pretrain.errors import ModelRejected, Reason
from pretrain.evaluate import Measurement
from pretrain.evaluate.answer import encode_measurement, encode_rejection
from pretrain.evaluate.engine import engine_version
from pretrain.evaluate.request import Request, read_samples
from pretrain.fingerprint import SKETCHED, Sketch
from pretrain.types import Digest


def note(raw: bytes, text: str) -> Path:
    path = Request.model_validate_json(raw).model / "note"
    path.with_suffix(".tmp").write_text(text)
    return path.with_suffix(".tmp").rename(path)


def honest(file: BinaryIO) -> Measurement:
    samples = read_samples(file)
    losses = {task: np.arange(len(tokens), dtype=np.float64) for task, tokens in samples.tokens.items()}
    sketch = Sketch(Digest("0" * 64), np.ones(SKETCHED, np.float32))
    return Measurement(losses, Digest("0" * 64), samples.digest, engine_version("cpu"), 0.5, sketch)


def answers(_raw: bytes, samples: BinaryIO, answer: socket.socket) -> None:
    answer.sendall(encode_measurement(honest(samples)))


def answers_then_hangs(raw: bytes, samples: BinaryIO, answer: socket.socket) -> None:
    answers(raw, samples, answer)
    hangs(raw, samples, answer)


def hangs(raw: bytes, _samples: BinaryIO, _answer: socket.socket) -> None:
    note(raw, str(os.getpid()))
    while True:
        signal.pause()


def stops_itself(raw: bytes, _samples: BinaryIO, _answer: socket.socket) -> None:
    note(raw, str(os.getpid()))
    os.kill(os.getpid(), signal.SIGSTOP)


def is_killed(_raw: bytes, _samples: BinaryIO, _answer: socket.socket) -> None:
    print("about to die", file=sys.stderr, flush=True)  # noqa: T201 - its last words
    os.kill(os.getpid(), signal.SIGKILL)


def raises(_raw: bytes, _samples: BinaryIO, _answer: socket.socket) -> None:
    raise MemoryError("no room \x1b[31m for this model")


def leaves_a_grandchild(raw: bytes, _samples: BinaryIO, _answer: socket.socket) -> None:
    grandchild = subprocess.Popen(["sleep", "1000"])  # noqa: S607 - any sleep does
    note(raw, str(grandchild.pid))
    os._exit(3)


def kills_the_server_once(raw: bytes, samples: BinaryIO, answer: socket.socket) -> None:
    if (Request.model_validate_json(raw).model / "note").exists():
        answers(raw, samples, answer)
        return
    note(raw, str(os.getpid()))
    os.kill(os.getppid(), signal.SIGKILL)
    signal.pause()


def stops_the_server(raw: bytes, _samples: BinaryIO, _answer: socket.socket) -> None:
    note(raw, str(os.getpid()))
    os.kill(os.getppid(), signal.SIGSTOP)
    signal.pause()


def floods(_raw: bytes, _samples: BinaryIO, answer: socket.socket) -> None:
    while True:
        answer.sendall(b"\0" * 65536)


def says_nothing(_raw: bytes, _samples: BinaryIO, _answer: socket.socket) -> None:
    pass


def says_garbage(_raw: bytes, _samples: BinaryIO, answer: socket.socket) -> None:
    answer.sendall(b"\x80\x04\x95 a pickle, perhaps")


def scores_other_samples(_raw: bytes, samples: BinaryIO, answer: socket.socket) -> None:
    answer.sendall(encode_measurement(replace(honest(samples), samples=Digest("1" * 64))))


def tells_its_environment(_raw: bytes, _samples: BinaryIO, answer: socket.socket) -> None:
    leads = os.getsid(0) == os.getpid()
    told = json.dumps([dict(os.environ), str(Path.cwd()), leads, sys.modules["__main__"].__file__])
    answer.sendall(encode_rejection(ModelRejected(Reason.HEADER, told)))


def writes_much(raw: bytes, samples: BinaryIO, answer: socket.socket) -> None:
    (Request.model_validate_json(raw).model / "note").write_bytes(b"x" * (32 << 20))
    answers(raw, samples, answer)


def meets_the_other(raw: bytes, samples: BinaryIO, answer: socket.socket) -> None:
    """Answer once a child for the other end of the fifo runs too."""
    model = Request.model_validate_json(raw).model
    with (model.parent / "fifo").open("rb" if model.name == "a" else "wb"):
        pass
    answers(raw, samples, answer)

"""What runs in the process that judges one model; the only side of the worker that imports torch."""

import socket
import time
from typing import BinaryIO

import torch

from pretrain.competition import Constraints
from pretrain.data import Samples
from pretrain.errors import ModelRejected
from pretrain.evaluate import Measurement
from pretrain.evaluate.answer import encode_fit, encode_measurement, encode_no_memory, encode_rejection
from pretrain.evaluate.engine import engine_version
from pretrain.evaluate.limits import is_out_of_memory, limit
from pretrain.evaluate.loss import window_losses
from pretrain.evaluate.probes import probe
from pretrain.evaluate.request import Request, read_preview, read_samples
from pretrain.evaluate.sketch import sketch_of
from pretrain.models.architectures import check_header, read_config
from pretrain.models.header import parse_header
from pretrain.models.load import load_with_digest
from pretrain.preview import Preview


def judge(raw: bytes, samples: BinaryIO, answer: socket.socket) -> None:
    """Judge the model that a request names on the samples in a file; send the losses or the reason of its refusal.

    Or, where that is asked, look at its config and headers alone; send that they fit, or why not. Or, when there is too
    little memory for either, send that.

    Anything else that happens here is an exception, so a traceback on stderr and an exit status that is not 0.
    """
    request = Request.model_validate_json(raw)
    limit(request)
    try:
        message = _answered(request, samples)
    except (MemoryError, RuntimeError, OSError) as error:
        if not is_out_of_memory(error):
            raise
        missing = f"{type(error).__name__}: {error}"
    else:
        answer.sendall(message)
        return
    answer.sendall(encode_no_memory(missing))  # by now all that the model took is given back


def _answered(request: Request, samples: BinaryIO) -> bytes:
    try:
        if request.work == "inspect":
            inspect(read_preview(request.model), request.constraints, request.vocabulary)
            return encode_fit()
        return encode_measurement(measure(request, read_samples(samples)))
    except ModelRejected as rejection:
        return encode_rejection(rejection)


def inspect(preview: Preview, constraints: Constraints, vocabulary: int) -> None:
    """See that a model, when it is downloaded, will be one that the competition allows; raises ModelRejected."""
    headers = [(name, parse_header(header.raw, header.data_bytes, name)) for name, header in preview.headers.items()]
    architecture = read_config(preview.config, constraints, vocabulary)
    check_header([tensor for _, tensors in headers for tensor in tensors], architecture, constraints)


def measure(request: Request, samples: Samples) -> Measurement:
    """Load the model, score it on every task and probe it; raises ModelRejected."""
    begun = time.monotonic()
    torch.set_num_threads(request.threads)
    torch.set_float32_matmul_precision("highest")  # float32 means float32, also where TF32 is faster
    model, weights = load_with_digest(request.model, request.constraints, request.vocabulary, request.device)
    losses = {
        task: window_losses(model, tokens, batch=request.batch, chunk=request.chunk)
        for task, tokens in sorted(samples.tokens.items())
    }
    probe(model, samples, request.vocabulary, batch=request.batch, chunk=request.chunk)
    sketch = sketch_of(model, samples.digest)
    engine = engine_version(request.device)
    return Measurement(losses, weights, samples.digest, engine, time.monotonic() - begun, sketch)

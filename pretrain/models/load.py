"""A model folder becomes a network, and a network becomes the folder that a miner publishes."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import PreTrainedModel

from pretrain.competition import Constraints
from pretrain.errors import ModelRejected, Reason
from pretrain.models.architectures import (
    DTYPES,
    Architecture,
    check_header,
    describe,
    read_config,
    restore,
    stored_parameters,
)
from pretrain.models.files import CONFIG, MAX_CONFIG_BYTES, WEIGHTS, shard_paths
from pretrain.models.header import StoredTensor, digest_of_tensors, read_header
from pretrain.types import Digest


def load(folder: Path, constraints: Constraints, vocabulary: int, device: str | torch.device) -> PreTrainedModel:
    """Return the model of a folder in evaluation mode, without gradients, in the dtype its weights are stored in.

    Raises ModelRejected: FILES, ARCHITECTURE or HEADER when the files are not exactly a model that the competition
    allows, NOT_FINITE when a weight is NaN or infinite.
    """
    return load_with_digest(folder, constraints, vocabulary, device)[0]


def load_with_digest(
    folder: Path, constraints: Constraints, vocabulary: int, device: str | torch.device
) -> tuple[PreTrainedModel, Digest]:
    """Load as ``load`` does, and return with it the weights digest of the very bytes that were loaded.

    The digest is taken from memory, not from a second look at the files: it says what is scored. Our own reader is used
    so that the header that was checked and the header that decides what is loaded cannot be two readings of one file.
    """
    shards = [(path, read_header(path)) for path in shard_paths(folder)]
    stored = [tensor for _, header in shards for tensor in header]
    with (folder / CONFIG).open("rb") as file:
        architecture = read_config(file.read(MAX_CONFIG_BYTES + 1), constraints, vocabulary)
    check_header(stored, architecture, constraints)
    dtype = common_dtype({DTYPES[tensor.dtype] for tensor in stored})
    weights: dict[str, torch.Tensor] = {}
    hashes: list[tuple[StoredTensor, str]] = []
    for path, header in shards:
        for tensor, data in _read(path, header):
            hashes.append((tensor, hashlib.sha256(data).hexdigest()))
            weights[tensor.name] = _finite(tensor, data, device).to(dtype)
    return _assemble(architecture, constraints, weights, torch.device(device)), digest_of_tensors(hashes)


def common_dtype(dtypes: set[torch.dtype]) -> torch.dtype:
    """Return the narrowest dtype that holds every given one exactly: one is itself, two different ones need float32."""
    return next(iter(dtypes)) if len(dtypes) == 1 else torch.float32


def save(model: PreTrainedModel, folder: Path, constraints: Constraints) -> None:
    """Write what a miner publishes: config.json with the named fields, and model.safetensors; nothing else.

    Each file is written beside its place and renamed, the weights first: a folder with a config.json is complete.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stored = stored_parameters(model)
    tensors = {name: parameter.detach().to("cpu").contiguous() for name, parameter in stored.items()}
    waiting = folder / f"{WEIGHTS}.tmp"
    save_file(tensors, waiting, metadata={"format": "pt"})
    waiting.replace(folder / WEIGHTS)
    waiting = folder / f"{CONFIG}.tmp"
    waiting.write_bytes(describe(model).config_json(constraints))
    waiting.replace(folder / CONFIG)


def _read(path: Path, header: tuple[StoredTensor, ...]) -> Iterator[tuple[StoredTensor, bytearray]]:
    with path.open("rb") as file:
        for tensor in header:
            data = bytearray(tensor.size)
            file.seek(tensor.start)
            if file.readinto(data) != tensor.size:
                raise ModelRejected(Reason.HEADER, f"{path.name} ends before the data of {tensor.name} does")
            yield tensor, data


def _finite(tensor: StoredTensor, data: bytearray, device: str | torch.device) -> torch.Tensor:
    """Place one tensor on the device; an empty buffer cannot be wrapped, but no architecture has an empty tensor."""
    placed = torch.frombuffer(data, dtype=DTYPES[tensor.dtype]).view(tensor.shape).to(device)
    if not torch.isfinite(placed).all():
        raise ModelRejected(Reason.NOT_FINITE, f"{tensor.name} holds a weight that is NaN or infinite")
    return placed


def _assemble(
    architecture: Architecture, constraints: Constraints, weights: dict[str, torch.Tensor], device: torch.device
) -> PreTrainedModel:
    model = architecture.build(constraints)
    restore(model, weights, device)
    on_meta = [name for name, tensor in model.state_dict(keep_vars=True).items() if tensor.is_meta]
    on_meta += [name for name, buffer in model.named_buffers() if buffer.is_meta]
    if on_meta:
        raise ModelRejected(Reason.HEADER, f"{on_meta[0]} is given by no file")
    model.train(mode=False)
    model.requires_grad_(requires_grad=False)
    return model

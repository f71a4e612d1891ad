"""What the child that judges a model is told, and the samples that it reads: JSON and safetensors, never a pickle."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict
from safetensors.numpy import load, save

from pretrain.competition import Constraints
from pretrain.data import Samples
from pretrain.models.files import CONFIG
from pretrain.preview import Preview, RawHeader
from pretrain.types import TaskName

_SIZES = "sizes"


@dataclass(frozen=True)
class EngineSettings:
    """How a child judges; none of it decides what a loss is, but for the device."""

    device: str = "cpu"
    """A torch device: cpu, cuda, cuda:1."""
    batch: int = 8
    """Windows at a time."""
    chunk: int = 1024
    """Positions that pass through the head at a time."""
    threads: int = 1
    """CPU threads of one child."""
    deadline: float = 3600.0
    """Seconds that one model may take, from its child's start."""
    memory: int | None = None
    """Bytes of address space of a child on the CPU; none: what the machine has left (``pretrain.evaluate.limits``)."""
    isolated: bool = True
    """Whether a child gives up what judging does not take (``pretrain.evaluate.isolation``)."""


class Request(BaseModel):
    """One model to judge, as it is sent to the child."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    work: Literal["judge", "inspect"]
    """inspect: the folder holds what ``write_preview`` wrote, and no weights."""
    model: Path
    constraints: Constraints
    vocabulary: int
    device: str
    batch: int
    chunk: int
    threads: int
    memory: int | None
    seconds: float
    """The deadline."""


def write_preview(preview: Preview, folder: Path) -> None:
    """Write what is known of a model before its weights, for ``read_preview``, into an empty folder."""
    (folder / CONFIG).write_bytes(preview.config)
    for number, header in enumerate(preview.headers.values()):
        (folder / f"{number}.header").write_bytes(header.raw)
    sizes = [[name, header.data_bytes] for name, header in preview.headers.items()]
    (folder / _SIZES).write_text(json.dumps(sizes), encoding="utf-8")


def read_preview(folder: Path) -> Preview:
    """Read what ``write_preview`` wrote."""
    sizes: list[tuple[str, int]] = json.loads((folder / _SIZES).read_text(encoding="utf-8"))
    headers = {
        name: RawHeader((folder / f"{number}.header").read_bytes(), data_bytes)
        for number, (name, data_bytes) in enumerate(sizes)
    }
    return Preview((folder / CONFIG).read_bytes(), headers)


def write_samples(samples: Samples, file: BinaryIO) -> None:
    """Write samples for ``read_samples`` to the start of a file."""
    tensors = {f"tokens/{task}": np.ascontiguousarray(ids, dtype=np.int32) for task, ids in samples.tokens.items()}
    tensors |= {f"bytes/{task}": np.ascontiguousarray(counts, dtype=np.int64) for task, counts in samples.bytes.items()}
    file.seek(0)
    file.write(save(tensors))
    file.flush()


def read_samples(file: BinaryIO) -> Samples:
    """Read what ``write_samples`` wrote, from the start of a file wherever its other readers are."""
    file.seek(0)
    tensors = load(file.read())
    tokens = {TaskName(name.removeprefix("tokens/")): array for name, array in tensors.items() if name.startswith("t")}
    counts = {TaskName(name.removeprefix("bytes/")): array for name, array in tensors.items() if name.startswith("b")}
    return Samples(tokens, counts)

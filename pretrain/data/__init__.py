"""Text as a step sees it: sources of rows, and the samples that are drawn from them."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt

from pretrain.types import Digest, TaskName


@dataclass(frozen=True)
class RowGroup:
    """Rows that are read together."""

    name: str
    """Unique in its source, such as a file's path and the group's number."""
    rows: int


class Source(Protocol):
    """A dataset at a pinned revision."""

    @property
    def groups(self) -> Sequence[RowGroup]:
        """The pinned index: every row group, in a fixed order."""

    @property
    def digest(self) -> Digest:
        """Lower-case hex of a sha256 over the index and, where they are at hand, all texts."""

    async def rows(self, group: RowGroup) -> Sequence[str]:
        """Return the texts of a group, ``group.rows`` of them; raises DataUnavailable."""


@dataclass(frozen=True)
class Samples:
    """The windows that every model of a step is judged on."""

    tokens: Mapping[TaskName, npt.NDArray[np.int32]]
    """(windows, sequence_length) for each task."""
    bytes: Mapping[TaskName, npt.NDArray[np.int64]]
    """(windows,) for each task: UTF-8 bytes of tokens 2..T, EOS counting 0."""

    @cached_property
    def digest(self) -> Digest:
        """Lower-case hex of a sha256 over tasks in order of name, shapes, tokens and byte counts."""
        sha256 = hashlib.sha256()
        for task in sorted(self.tokens):
            sha256.update(f"{task}\0{self.tokens[task].shape}\n".encode())
            sha256.update(np.ascontiguousarray(self.tokens[task], dtype="<i4").tobytes())
            sha256.update(np.ascontiguousarray(self.bytes[task], dtype="<i8").tobytes())
        return Digest(sha256.hexdigest())

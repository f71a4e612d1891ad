"""Documents to windows: joined with one EOS after each, cut to equal length, the last partial window dropped."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class Document:
    """One encoded text."""

    tokens: npt.NDArray[np.int32]
    """(n,) token ids, without BOS or EOS."""
    bytes: npt.NDArray[np.int32]
    """(n,) UTF-8 bytes that each token stands for."""


@dataclass(frozen=True, eq=False)
class Windows:
    """Windows of one task, in order."""

    tokens: npt.NDArray[np.int32]
    """(windows, sequence_length)."""
    bytes: npt.NDArray[np.int64]
    """(windows,) UTF-8 bytes of tokens 2..T, the ones that are predicted; EOS counts 0."""


def stream(documents: Sequence[Document], eos: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Return all tokens, one EOS after each document, and the bytes of each; both are (total,).

    A document without tokens adds nothing, not even its EOS. The result is filled once, front to back: growing and
    slicing a list would cost the square of its length.
    """
    documents = [document for document in documents if document.tokens.size]
    total = stream_length(documents)
    tokens = np.full(total, eos, dtype=np.int32)
    sizes = np.zeros(total, dtype=np.int32)
    at = 0
    for document in documents:
        end = at + document.tokens.size
        tokens[at:end] = document.tokens
        sizes[at:end] = document.bytes
        at = end + 1
    return tokens, sizes


def stream_length(documents: Sequence[Document]) -> int:
    """Return the number of tokens of ``stream(documents)``."""
    return sum(document.tokens.size + 1 for document in documents if document.tokens.size)


def pack(documents: Sequence[Document], eos: int, sequence_length: int) -> Windows:
    """Return every full window of ``sequence_length`` tokens of the documents in their order."""
    tokens, sizes = stream(documents, eos)
    count = tokens.size // sequence_length
    kept = count * sequence_length
    predicted = sizes[:kept].reshape(count, sequence_length)[:, 1:]
    return Windows(tokens[:kept].reshape(count, sequence_length), predicted.sum(axis=1, dtype=np.int64))

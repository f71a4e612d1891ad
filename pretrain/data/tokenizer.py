"""Text to tokens with the competition's own tokenizer, a byte-level BPE in a tokenizer.json."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from pretrain import schedule
from pretrain.data.pack import Document
from pretrain.errors import ConfigError
from pretrain.types import Digest

_BATCH = 256
"""Texts encoded by one call: enough for all cores, few enough to hold their results."""


@dataclass(frozen=True, eq=False)
class Tokenizer:
    """A tokenizer whose file, vocabulary and EOS were checked."""

    model: tokenizers.Tokenizer
    eos: int
    """The token id that ends a document."""
    vocabulary: int
    """Number of token ids, one more than the largest; some may stand for nothing."""
    digest: Digest
    """Lower-case hex of the sha256 of tokenizer.json."""
    byte_lengths: npt.NDArray[np.int32]
    """(vocabulary,) UTF-8 bytes that each id stands for; special tokens 0."""

    def encode(self, texts: Sequence[str], max_tokens: int | None = None) -> list[Document]:
        """Return the documents of texts, each cut after ``max_tokens``; no BOS, no EOS, nothing added.

        Text that spells a special token is ordinary text: else a page could end its own document. A text is cut before
        encoding to as many characters as ``max_tokens`` of the longest tokens could cover, so that one endless line
        costs no more than a page; a token is at least a byte, so nothing that counts is lost.
        """
        end = None if max_tokens is None else max_tokens * int(self.byte_lengths.max())
        documents = []
        for at in range(0, len(texts), _BATCH):
            batch = [text[:end] for text in texts[at : at + _BATCH]]
            for encoding in self.model.encode_batch_fast(batch, add_special_tokens=False):
                ids = np.array(encoding.ids[:max_tokens], dtype=np.int32)
                documents.append(Document(ids, self.byte_lengths[ids]))
        return documents


def load(path: Path, spec: schedule.Tokenizer) -> Tokenizer:
    """Return the tokenizer in a tokenizer.json; raises ConfigError if it is not the one that ``spec`` describes.

    Only byte-level BPE is taken: there the bytes of a token are the characters of its name, so that bits per byte are
    exact. EOS must be a special token of the file, or a document could spell it.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"tokenizer {path} cannot be read ({error.strerror}); name a tokenizer.json") from error
    digest = Digest(hashlib.sha256(content).hexdigest())
    if spec.digest not in (schedule.UNPINNED, digest):
        raise ConfigError(
            f"tokenizer {path} has digest {digest}, but the competition file pins {spec.digest}; use the pinned file"
        )
    try:
        model = tokenizers.Tokenizer.from_buffer(content)
    except ValueError as error:
        raise ConfigError(f"tokenizer {path} is no tokenizer.json: {' '.join(str(error).split())[:200]}") from error
    _check_model(path, json.loads(content))
    model.no_truncation()
    model.no_padding()
    model.encode_special_tokens = True
    lengths = _byte_lengths(path, model, spec.vocabulary)
    return Tokenizer(model, _eos(path, model, spec), spec.vocabulary, digest, lengths)


def train(texts: Iterable[str], vocabulary: int, path: Path, eos: str) -> Tokenizer:
    """Train a byte-level BPE of ``vocabulary`` ids, EOS included, and write it to ``path``; return it loaded.

    The same texts give the same bytes, whatever their order and the number of threads. Raises ConfigError if there is
    too little text for so many tokens, or if ``path`` cannot be written.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    if vocabulary < len(alphabet) + 1:
        raise ConfigError(f"vocabulary {vocabulary} is too small for byte-level BPE; use at least {len(alphabet) + 1}")
    model = tokenizers.Tokenizer(models.BPE())
    model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=[eos], initial_alphabet=alphabet, show_progress=False
    )
    model.train_from_iterator(texts, trainer)
    if (reached := model.get_vocab_size()) < vocabulary:
        raise ConfigError(f"the text gives only {reached} of {vocabulary} tokens; use more text or fewer tokens")
    temporary = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(model.to_str().encode())
        temporary.replace(path)
    except OSError as error:
        raise ConfigError(f"tokenizer {path} cannot be written ({error.strerror}); name another place") from error
    return load(path, schedule.Tokenizer(path=str(path), vocabulary=vocabulary, eos=eos))


def _check_model(path: Path, parts: dict[str, Any]) -> None:
    """Raise ConfigError unless the bytes of each token are known and every text has one encoding."""
    decoder = parts.get("decoder") or {}
    decoders_used = [step.get("type") for step in decoder.get("decoders", [decoder])]
    if parts["model"].get("type") != "BPE" or "ByteLevel" not in decoders_used:
        found = f"{parts['model'].get('type')} with decoder {'/'.join(map(str, decoders_used))}"
        raise ConfigError(f"tokenizer {path} is {found}; only byte-level BPE gives exact bytes a token")
    if parts["model"].get("dropout"):
        raise ConfigError(
            f"tokenizer {path} encodes by chance, with dropout {parts['model']['dropout']}; set it to null"
        )


def _eos(path: Path, model: tokenizers.Tokenizer, spec: schedule.Tokenizer) -> int:
    specials = {token.content: i for i, token in model.get_added_tokens_decoder().items() if token.special}
    if spec.eos not in specials:
        known = ", ".join(sorted(specials)) or "none"
        raise ConfigError(f"tokenizer {path} has no special token {spec.eos!r} for eos; its special tokens are {known}")
    return specials[spec.eos]


def _byte_lengths(path: Path, model: tokenizers.Tokenizer, vocabulary: int) -> npt.NDArray[np.int32]:
    surfaces = model.get_vocab(with_added_tokens=True)
    ids = max(surfaces.values(), default=-1) + 1
    if ids != vocabulary:
        raise ConfigError(f"tokenizer {path} has {ids} token ids, the competition file says vocabulary {vocabulary}")
    lengths = np.zeros(vocabulary, dtype=np.int32)
    for surface, i in surfaces.items():
        lengths[i] = len(surface)
    for i, token in model.get_added_tokens_decoder().items():
        lengths[i] = 0 if token.special else len(token.content.encode())
    return lengths

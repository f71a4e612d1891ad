"""Which documents are for training and which for judging, so that none is in both."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Literal

from pretrain.data.paragraphs import paragraphs

Split = Literal["train", "judge"]
JUDGED_OF = 5
"""One of so many modules or documents is for judging."""
SHARED_CHARACTERS = 80
"""A paragraph of at least this size that stands on both sides was copied, not written twice."""


def side(name: str) -> Split:
    """Return the split of a module or document by the sha256 of its name or text; about 1 in 5 is for judging."""
    return "judge" if int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % JUDGED_OF == 0 else "train"


def split_by_name(documents: Mapping[str, Sequence[str]], split: Split) -> tuple[str, ...]:
    """Return one side's documents of modules by name, in order of name, without those that repeat.

    A module's documents all go to one side. A training document is dropped when all of its paragraphs stood in earlier
    ones, a judging document when any of them does in training text: modules copy docstrings from each other and topics
    of the manual quote each other, and a model must not be judged on what it was given to learn by heart.
    """
    names = sorted(documents)
    seen: set[str] = set()
    kept = [text for name in names if side(name) == "train" for text in documents[name] if _is_new(text, seen)]
    if split == "train":
        return tuple(kept)
    learnt = frozenset(seen)
    return tuple(
        text
        for name in names
        if side(name) == "judge"
        for text in documents[name]
        if learnt.isdisjoint(_fingerprint(text)) and _is_new(text, seen)
    )


def _is_new(text: str, seen: set[str]) -> bool:
    """Whether a document has a paragraph that none before had; ``seen`` takes up all of them."""
    new = not _fingerprint(text) <= seen
    seen |= {_evened(text), *map(_evened, paragraphs(text))}
    return new


def _fingerprint(text: str) -> set[str]:
    """Return the long paragraphs of a document, white space evened out, or all of it when none is long."""
    evened = {_evened(paragraph) for paragraph in paragraphs(text)}
    return {paragraph for paragraph in evened if len(paragraph) >= SHARED_CHARACTERS} or {_evened(text)}


def _evened(text: str) -> str:
    return " ".join(text.split())

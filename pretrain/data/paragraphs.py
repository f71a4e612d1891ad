"""Long texts to documents of some kB, cut between paragraphs."""

import itertools
from collections.abc import Iterator

DOCUMENT_CHARACTERS = 2000
"""Paragraphs are joined up to this size: about as much as a small competition keeps of a document, so that the whole
of a long text can be judged and not only its beginning."""


def paragraphs(text: str) -> list[str]:
    """Return the runs of lines between blank lines (empty or white space only), without trailing white space."""
    runs = itertools.groupby(text.split("\n"), key=lambda line: bool(line.strip()))
    return ["\n".join(line.rstrip() for line in lines) for filled, lines in runs if filled]


def pieces(text: str, characters: int = DOCUMENT_CHARACTERS) -> Iterator[str]:
    """Yield documents of whole paragraphs with a blank line between them, in order, none empty.

    A document is at most ``characters`` long unless it is a single paragraph, which is never cut.
    """
    held: list[str] = []
    size = 0
    for paragraph in paragraphs(text):
        if held and size + len(paragraph) > characters:
            yield "\n\n".join(held)
            held, size = [], 0
        held.append(paragraph)
        size += len(paragraph) + 2
    if held:
        yield "\n\n".join(held)

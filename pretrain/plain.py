"""Other people's text, made fit for one line: a repository's name or a refusal's detail is written by a miner."""

import unicodedata
from collections.abc import Mapping

from pretrain.types import Hotkey

UNPRINTABLE = "\N{REPLACEMENT CHARACTER}"
"""Stands for each control, direction or combining character, so that it is seen and does nothing."""


def line(text: str, width: int = 80) -> str:
    """Return a text as one line of at most ``width`` characters, without any that moves a cursor or stacks up."""
    shown = "".join(map(_printable, text[: width + 1]))
    return shown if len(shown) <= width else shown[: width - 1] + "…"


def middle(text: str, width: int) -> str:
    """Return one line that keeps both ends of a text: what tells two repositories apart is often at the end."""
    if len(text) <= width:
        return line(text, width)
    tail = (width - 1) // 3
    return line(text[: width - 1 - tail], width) + "…" + line(text[-tail:], width)


def label(hotkey: Hotkey, labels: Mapping[Hotkey, str]) -> str:
    """Return what people call a hotkey, or the ends of its address."""
    return line(labels.get(hotkey, ""), 24) or middle(hotkey, 12)


def _printable(character: str) -> str:
    if character in "\t\n\r":
        return " "
    return character if character.isprintable() and not unicodedata.combining(character) else UNPRINTABLE

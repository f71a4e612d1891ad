"""Names of types as Rust writes them, taken apart: ``Vec<(u16, u16)>``, ``[u8; 32]``, ``Option<AccountId32>``."""

import re
from dataclasses import dataclass

_WORD = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*|\d+|[<>\[\](),;])")


@dataclass(frozen=True)
class Parsed:
    """A type's name, taken apart."""

    kind: str
    parts: tuple["Parsed", ...] = ()
    length: int = 0
    """Of an array."""

    @property
    def text(self) -> str:
        """The expression in one spelling."""
        inner = ", ".join(part.text for part in self.parts)
        match self.kind:
            case "tuple":
                return f"({inner})"
            case "array":
                return f"[{inner}; {self.length}]"
        return f"{self.kind}<{inner}>" if self.parts else self.kind


class _Reader:
    """Reads one type expression by recursive descent."""

    def __init__(self, expression: str) -> None:
        self._expression = expression
        self._words = _WORD.findall(expression)
        self._next = 0

    def whole(self) -> Parsed:
        parsed = self._type()
        if self._next != len(self._words):
            raise ValueError(f"the type {self._expression!r} goes on after its end")
        return parsed

    def _type(self) -> Parsed:
        word = self._take()
        if word == "(":
            return Parsed("tuple", self._list(")"))
        if word == "[":
            inner = self._type()
            self._take(";")
            length = int(self._take())
            self._take("]")
            return Parsed("array", (inner,), length)
        if self._peek() == "<":
            self._take()
            return Parsed(word, self._list(">"))
        return Parsed(word)

    def _list(self, end: str) -> tuple[Parsed, ...]:
        parts: list[Parsed] = []
        while self._peek() != end:
            parts.append(self._type())
            if self._peek() != end:
                self._take(",")
        self._take(end)
        return tuple(parts)

    def _peek(self) -> str:
        return self._words[self._next] if self._next < len(self._words) else ""

    def _take(self, expected: str = "") -> str:
        word = self._peek()
        if not word or (expected and word != expected):
            raise ValueError(f"the type {self._expression!r}: expected {expected or 'a type'} at part {self._next}")
        self._next += 1
        return word


def parse(expression: str) -> Parsed:
    """Take a type's name apart; raises ValueError when it is none."""
    return _Reader(expression).whole()

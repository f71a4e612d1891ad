"""What goes wrong on the loopback hub: rules, each for some requests, looked at in order."""

import itertools
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal[
    "status", "reset", "stall", "short", "wrong", "extra", "lost", "hold reading", "hold", "hold after", "drip",
    "cut", "flood", "page", "bomb",
]  # fmt: skip
"""An answer with a status; none; headers and nothing more; half the body; other bytes; more bytes; done, but no answer;
held until the test goes on and then dropped: before its body is read, before it is done, after it is done; a byte at a
time; half the body as if it were all; ``FLOOD`` bytes more; a page for people; packed, and ``FLOOD`` bytes unpacked."""
FLOOD = 24 << 20


@dataclass
class Rule:
    kind: Kind
    match: str = ""
    """Part of ``METHOD path`` of the requests that it holds for."""
    status: int = 503
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b'{"error": "a rule of the test"}'
    """Of an answer with a status; this one is as the hub itself tells an error."""
    every: int = 1
    """Only each so many of them."""
    times: int | None = None
    """Only so many of them."""
    reached: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)
    _seen: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _hit: int = 0

    def holds(self, request: str) -> bool:
        if self.match not in request or next(self._seen) % self.every:
            return False
        if self.times is not None and self._hit >= self.times:
            return False
        self._hit += 1
        self.reached.set()
        return True


@dataclass
class Faults:
    rules: list[Rule] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def find(self, request: str) -> Rule | None:
        with self._lock:
            return next((rule for rule in self.rules if rule.holds(request)), None)

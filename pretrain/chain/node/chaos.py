"""Faults drawn from a seed, for a node to be lived with: the same requests meet the same faults."""

import hashlib
import itertools
from collections.abc import Mapping

from pretrain.chain.node.faults import Fault, Kind, When

RATES: Mapping[Kind, float] = {
    Kind.DROP: 0.01,
    Kind.HANG: 0.002,
    Kind.GARBAGE: 0.002,
    Kind.HALF: 0.005,
    Kind.SLOW: 0.02,
    Kind.REFUSE: 0.1,
    Kind.ERROR: 0.01,
    Kind.BEHIND: 0.01,
    Kind.FORK: 0.005,
    Kind.PRUNED: 0.002,
}
"""How often each happens: of requests, and for refusing of connections."""


class Chaos:
    """Draws a fault, or none, for each request from sha256 of the seed and how many were drawn before."""

    def __init__(self, seed: int, rates: Mapping[Kind, float] = RATES) -> None:
        self._seed = seed
        self._rates = {kind: rate for kind, rate in rates.items() if kind is not Kind.REFUSE}
        self._refusals = rates.get(Kind.REFUSE, 0.0)
        self._drawn = itertools.count()

    def next(self, method: str) -> Fault | None:  # noqa: ARG002 - every method is as likely
        """Return the next request's fault."""
        chance, choice = self._draw()
        for kind, rate in self._rates.items():
            chance -= rate
            if chance < 0:
                return Fault(kind, when=When.AFTER if choice % 2 else When.BEFORE, blocks=1 + choice % 3)
        return None

    def refuses(self) -> bool:
        """Whether the next connection is turned away."""
        return self._draw()[0] < self._refusals

    def _draw(self) -> tuple[float, int]:
        """Return a number in [0, 1) and a whole one."""
        digest = hashlib.sha256(f"{self._seed}:{next(self._drawn)}".encode()).digest()
        return int.from_bytes(digest[:8], "big") / 2**64, digest[8]

"""Faults drawn from a seed, for a node to be lived with: the same requests meet the same faults."""

import hashlib
import itertools
from collections.abc import Mapping

from pretrain.chain.node.faults import HASH_METHODS, Fault, Kind, When

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

_ONLY: Mapping[Kind, tuple[str, ...]] = {Kind.FORK: HASH_METHODS, Kind.PRUNED: ("state_",)}
"""Beginnings of the methods to which a kind happens; to all where it is not named."""


class Chaos:
    """Draws a fault, or none, for each request from sha256 of the seed and how many were drawn before."""

    def __init__(self, seed: int, rates: Mapping[Kind, float] = RATES) -> None:
        self._seed = seed
        self._rates = {kind: rate for kind, rate in rates.items() if kind is not Kind.REFUSE}
        self._refusals = rates.get(Kind.REFUSE, 0.0)
        self._drawn = itertools.count()

    def next(self, method: str) -> Fault | None:
        """Return the next request's fault; what has no meaning for its method does not happen to it."""
        chance, choice = self._draw()
        for kind, rate in self._rates.items():
            chance -= rate
            if chance < 0:
                if not method.startswith(_ONLY.get(kind, "")):
                    return None
                return Fault(kind, when=When.AFTER if choice % 2 else When.BEFORE, blocks=1 + choice % 3)
        return None

    def refuses(self) -> bool:
        """Whether the next connection is turned away."""
        return self._draw()[0] < self._refusals

    def _draw(self) -> tuple[float, int]:
        """Return a number in [0, 1) and a whole one."""
        digest = hashlib.sha256(f"{self._seed}:{next(self._drawn)}".encode()).digest()
        return int.from_bytes(digest[:8], "big") / 2**64, digest[8]

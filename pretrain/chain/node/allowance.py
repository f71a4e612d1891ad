"""What one client may ask for in a time, and what all of them may leave lying."""

import time

from pretrain.chain.node import rpc
from pretrain.chain.node.rpc import RpcError


class Rate:
    """So many requests a second, and as many at once after a pause."""

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._left = float(per_second)
        self._then = time.monotonic()

    def take(self, count: float = 1) -> None:
        """Count requests; raises RpcError when it is too many."""
        self._fill()
        if self._left < count:
            limit = {"policy": f"{self._per_second} requests a second", "retry_after": 1}
            self._left = min(self._left, 0.0)
            raise RpcError(rpc.TOO_MANY, "Too many requests", limit)
        self._left -= count

    @property
    def is_used_up(self) -> bool:
        """Whether the next request is one too many."""
        self._fill()
        return self._left < 1

    def _fill(self) -> None:
        now = time.monotonic()
        self._left = min(float(self._per_second), self._left + (now - self._then) * self._per_second)
        self._then = now


class Held:
    """Answers of all connections that nobody has taken yet, in characters."""

    def __init__(self, most: int) -> None:
        self._left = most

    def take(self, size: int) -> bool:
        """Count an answer, unless it is one too many."""
        if size > self._left:
            return False
        self._left -= size
        return True

    def give_back(self, size: int) -> None:
        """Say that so much has been taken, or dropped."""
        self._left += size

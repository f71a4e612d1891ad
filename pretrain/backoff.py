"""How long to wait before asking again: longer each time, and not all at the same moment."""

import hashlib


def delay(who: str, attempt: int, first: float, longest: float) -> float:
    """Return seconds before a further attempt (1 is the first): ``first``, doubled each time, up to ``longest``.

    Half of it is spread by who asks, so that a hundred validators do not come back in the same second; the same one
    always gets the same number, and no generator is shared.
    """
    full = min(longest, first * 2.0 ** min(attempt - 1, 62))
    spread = int.from_bytes(hashlib.sha256(f"{who} {attempt}".encode()).digest()[:8], "big") / 2**64
    return full * (0.5 + 0.5 * spread)

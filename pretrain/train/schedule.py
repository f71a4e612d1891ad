"""The learning rate as a function of tokens: warm-up, a plateau, and a decay to zero.

The warmup-stable-decay schedule of Hu et al., "MiniCPM" (2024, section 4); the ``1-sqrt`` form of the decay is from
Haegele et al., "Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations" (2024, equation 1).
"""

import math
from dataclasses import dataclass
from typing import Literal, assert_never

DecayForm = Literal["linear", "1-sqrt", "cosine"]


@dataclass(frozen=True)
class LearningRate:
    """A schedule in tokens, so that the batch size does not change its shape."""

    peak: float
    warmup: int
    """Tokens over which the rate rises linearly from 0 to ``peak``."""
    decay: int
    """Tokens at the end over which it falls from ``peak`` to 0."""
    total: int
    """Tokens of the whole run; where warm-up and decay overlap, the smaller rate holds."""
    form: DecayForm = "1-sqrt"

    def at(self, tokens: float) -> float:
        """Return the rate after so many tokens: never negative, never above ``peak``."""
        rising = min(1.0, tokens / self.warmup) if self.warmup else 1.0
        left = max(0.0, self.total - tokens)
        falling = _fall(1 - left / self.decay, self.form) if left < self.decay else 1.0
        return self.peak * min(rising, falling) if left else 0.0


def _fall(done: float, form: DecayForm) -> float:
    """Return what is left of the peak when this share of the decay is done: 1 at 0, 0 at 1."""
    match form:
        case "linear":
            return 1 - done
        case "1-sqrt":
            return 1 - math.sqrt(done)
        case "cosine":
            return 0.5 * (1 + math.cos(math.pi * done))
        case _:
            assert_never(form)

"""How long judging one model may take on this machine: from its shape, and from the speed that the canary showed."""

from dataclasses import dataclass
from pathlib import Path

from pretrain.data import Samples

_FIXED = 120.0  # seconds to start a child and to load a model, whatever its size
_SLACK = 20.0  # a model may be so many times slower for its size than the canary
_LEAST_BYTES = 2  # of a parameter, in the smallest dtype that is allowed


@dataclass(frozen=True)
class Speed:
    """What this machine does."""

    operations: float
    """Multiplications and additions a second in a forward pass, loading included."""

    def seconds(self, model: Path, samples: Samples) -> float:
        """Return how long judging a model folder on samples may take.

        A forward pass takes 2 operations a parameter and token (Kaplan et al. 2020, arXiv 2001.08361, section 2.1); a
        parameter takes 2 bytes at least, so the files bound their number. The canary is small, which makes a machine
        look slower than it is: this is a bound on what cannot end well, beside the operator's own limit.
        """
        size = sum(file.stat().st_size for file in model.glob("*.safetensors"))
        return _FIXED + _SLACK * work(size, samples) / self.operations


@dataclass(frozen=True)
class Health:
    """What the canary says of this validator."""

    difference: float
    """Largest difference of the canary's losses from the known ones, in nats."""
    speed: Speed


def work(size: int, samples: Samples) -> float:
    """Return the operations of a forward pass of a model of ``size`` bytes over all samples."""
    return 2.0 * size / _LEAST_BYTES * sum(tokens.size for tokens in samples.tokens.values())

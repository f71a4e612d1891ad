"""One model against an earlier one: by how much it is better after the head start, and who wins the match.

Asked by a miner who has not committed yet, so with the head start given: what an incumbent earned is known to
validators alone.
"""

import math
from dataclasses import dataclass

import numpy as np

from pretrain import scoring
from pretrain.competition import Competition, Epsilon, FixedEpsilon, LinearEpsilon
from pretrain.scoring import Judged


@dataclass(frozen=True)
class Challenge:
    """What comes of a match between a later model and an earlier one."""

    epsilon: float
    """The earlier one's head start, as a share of its losses."""
    margin: float
    """How much lower the later one's score is than the other's with its head start, relative; negative: higher."""
    margin_se: float
    """Standard error of the margin over the batches; infinite for a single batch."""
    wins: bool
    """Whether the later one wins."""


def largest_head_start(rule: Epsilon, age: int) -> float:
    """Return the largest epsilon that a commitment of this age in blocks can have; what it earned may be less."""
    largest = rule.end if isinstance(rule, FixedEpsilon) else rule.start
    return scoring.epsilon_at(rule, age, largest)


def challenge(later: Judged, earlier: Judged, epsilon: float, rules: Competition) -> Challenge:
    """Play the match by the validator's own code; ``later.block`` must be above ``earlier.block``."""
    handicapped = earlier.score * (1 - epsilon)
    differences = later.batches - earlier.batches * (1 - epsilon)
    se = float(np.std(differences, ddof=1)) / math.sqrt(differences.size) if differences.size > 1 else math.inf
    at_age_0 = LinearEpsilon(kind="linear", start=epsilon, end=rules.epsilon.end, blocks=1)  # `end` filters as it does
    given = rules.model_copy(update={"epsilon": at_age_0})
    champion = scoring.decide([earlier, later], [], {}, given, earlier.block).champion
    return Challenge(
        epsilon=epsilon,
        margin=1 - later.score / handicapped,
        margin_se=se / handicapped,
        wins=champion == later.hotkey,
    )

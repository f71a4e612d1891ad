"""One competition: what is judged, on which mix, who wins, and what it pays.

Every number of the protocol is a field here, in ``step_rules.py`` or in ``schedule.py``; none is a constant in code.
"""

import math
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from pretrain.rules import SUM_TOLERANCE, Flaw, Fraction, Name, Positive, Rules, Share, invalid
from pretrain.types import CompetitionId, TaskName

Family = Literal["llama", "mistral", "qwen2", "gemma", "gemma2", "phi", "gpt_neox", "falcon", "bart", "gpt2"]
"""Architectures that a file may name: each has an entry in ``models.families``, which builds it."""


class Task(Rules):
    """One part of a mix: a source, its weight in the score, and how its windows are measured."""

    source: Name = Field(description="name of an entry of `sources`")
    weight: Share = Field(description="share of this task in the score; the weights of a mix sum to 1")
    method: Literal["text_loss", "bits_per_byte"] = Field(
        default="text_loss", description="text_loss: nats per token; bits_per_byte: nats / ln 2 / UTF-8 bytes"
    )
    rows_a_visit: Positive = Field(
        default=8, description="rows of a row group that are read before the plan goes on to the next group"
    )


def _sums_to_one(tasks: dict[str, Task]) -> dict[str, Task]:
    total = math.fsum(task.weight for task in tasks.values())
    if abs(total - 1) > SUM_TOLERANCE:
        parts = ", ".join(f"{name} {task.weight:.12g}" for name, task in tasks.items()) or "no task"
        message = f"the weights of a mix must sum to 1; these ({parts}) sum to {total:.12g}"
        raise invalid("Mix", [Flaw((), float(f"{total:.12g}"), message)])
    return tasks


Mix = Annotated[dict[Name, Task], AfterValidator(_sums_to_one)]


class Constraints(Rules):
    """Which models may enter."""

    families: Annotated[tuple[Family, ...], Field(min_length=1)] = Field(description="allowed architectures")
    tokenizer: Name = Field(description="name of an entry of `tokenizers`")
    sequence_length: Annotated[int, Field(ge=2)] = Field(description="tokens a window")
    min_parameters: Positive = Field(description="fewest parameters")
    max_parameters: Positive = Field(description="most parameters")
    max_bytes: Positive = Field(description="most bytes of all files together")

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if self.max_parameters < self.min_parameters:
            message = f"must be at least min_parameters, which is {self.min_parameters}"
            raise invalid("Constraints", [Flaw(("max_parameters",), self.max_parameters, message)])
        return self


class FixedEpsilon(Rules):
    """The earlier of two always has the same head start."""

    kind: Literal["fixed"]
    end: Fraction = Field(description="head start as a share of the loss")


class FallingEpsilon(Rules):
    """What both kinds of falling head start share."""

    start: Fraction = Field(description="head start at age 0, as a share of the loss")
    end: Fraction = Field(description="head start from `blocks` on, as a share of the loss")
    blocks: Positive = Field(description="age at which `end` is reached, in blocks")

    @model_validator(mode="after")
    def _falls(self) -> Self:
        if self.start < self.end:
            message = f"must be at least end, which is {self.end}: a head start never grows"
            raise invalid("Epsilon", [Flaw(("start",), self.start, message)])
        return self


class LinearEpsilon(FallingEpsilon):
    """The head start falls with the age of the earlier one."""

    kind: Literal["linear"]


class AdaptiveEpsilon(FallingEpsilon):
    """The head start is earned by the gain over what was there before, and falls with age (protocol, section 7)."""

    kind: Literal["adaptive"]


Epsilon = Annotated[FixedEpsilon | LinearEpsilon | AdaptiveEpsilon, Field(discriminator="kind")]


class SoftmaxReward(Rules):
    """Step weights are the softmax of win rates."""

    kind: Literal["softmax"]
    temperature: Annotated[float, Field(gt=0)] = Field(default=0.01, description="in units of win rate")


class WinnerTakesAllReward(Rules):
    """The champion takes everything."""

    kind: Literal["winner_takes_all"]


class DescentReward(Rules):
    """Shares proportional to the gain of each competitive entry over what was there before."""

    kind: Literal["descent"]


Reward = Annotated[SoftmaxReward | WinnerTakesAllReward | DescentReward, Field(discriminator="kind")]


class Noise(Rules):
    """How far chance moves the difference of two models on one batch."""

    paired_sd: Annotated[float, Field(gt=0)] = Field(
        description="expected standard deviation of two models' difference on a batch, as a share of the loss"
    )
    below_noise: Literal["refused", "accepted"] = Field(
        default="refused", description="accepted: epsilon's `end` may be below 3 x paired_sd / sqrt(windows)"
    )


class NearCopies(Rules):
    """When two models of a step are too close to be independent, and what becomes of the later one."""

    losses: Annotated[float, Field(ge=0)] = Field(
        default=0.002,
        description="near below this rms of the windows' differences, as a share of the mean loss; 0: never",
    )
    weights: Annotated[float, Field(ge=0)] = Field(
        default=0.05,
        description="near below this rms of the sampled weights' differences, as a share of theirs; 0: never",
    )
    action: Literal["reported", "refused"] = Field(
        default="reported", description="reported: named and judged as any other; refused: the later one is rejected"
    )


class Competition(Rules):
    """One competition as it is in force at some block."""

    id: Annotated[int, Field(ge=0, le=99)] = Field(description="the number that commitments carry")
    name: Name
    model: Constraints
    tasks: Mix = Field(description="the mix; each task's weight is its share of the score")
    windows: Positive = Field(description="windows of each task in a step, so also the number of batches")
    max_document_tokens: Positive = Field(description="a document is cut after this many tokens")
    compare: Literal["mean", "majority"] = Field(default="mean", description="how a match is decided")
    epsilon: Epsilon
    reward: Reward
    alpha: Fraction = Field(default=0.5, description="share of the old average kept at each step")
    noise: Noise
    near_copies: NearCopies = Field(default_factory=NearCopies, description="models too close to be independent")
    share: Annotated[float, Field(ge=0, le=1)] = Field(description="share of the subnet's weight")

    @model_validator(mode="after")
    def _above_noise(self) -> Self:
        end, least = self.epsilon.end, self.least_epsilon
        if self.noise.below_noise == "refused" and end < least:
            enough = f", {math.ceil((3 * self.noise.paired_sd / end) ** 2)} windows" if end else ""
            message = (
                f"chance decides below 3 x paired_sd / sqrt(windows) ="
                f" 3 x {self.noise.paired_sd} / sqrt({self.windows}) = {least:.3g};"
                f" use end >= {math.ceil(least * 1e4) / 1e4:g}{enough}, or say `below_noise: accepted`"
            )
            raise invalid("Competition", [Flaw(("epsilon", "end"), end, message)])
        return self

    @property
    def competition_id(self) -> CompetitionId:
        """The id with its type."""
        return CompetitionId(self.id)

    @property
    def weights(self) -> dict[TaskName, float]:
        """Each task's share of the score, in order of name."""
        return {TaskName(name): self.tasks[name].weight for name in sorted(self.tasks)}

    @property
    def least_epsilon(self) -> float:
        """Three standard errors of the mean paired difference: 3 x paired_sd / sqrt(windows)."""
        return float(3 * self.noise.paired_sd / self.windows**0.5)

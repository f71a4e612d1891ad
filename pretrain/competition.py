"""One competition: what is judged, on which mix, who wins, and what it pays.

Every number of the protocol is a field here or in ``schedule.py``, none is a constant in code.
"""

import hashlib
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pretrain.types import CompetitionId, Digest, TaskName

Share = Annotated[float, Field(gt=0, le=1)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[int, Field(gt=0)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=64)]


class Rules(BaseModel):
    """The door of every competition file: unknown fields are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Task(Rules):
    """One part of a mix: a source, its weight in the score, and how its windows are measured."""

    source: Name = Field(description="name of an entry of `sources`")
    weight: Share = Field(description="share of this task in the score; the weights of a mix sum to 1")
    method: Literal["text_loss", "bits_per_byte"] = Field(
        default="text_loss", description="text_loss: nats per token; bits_per_byte: nats / ln 2 / UTF-8 bytes"
    )


class Constraints(Rules):
    """Which models may enter."""

    families: tuple[Literal["llama"], ...] = Field(description="allowed architectures")
    tokenizer: Name = Field(description="name of an entry of `tokenizers`")
    sequence_length: Annotated[int, Field(ge=2)] = Field(description="tokens a window")
    min_parameters: Positive = Field(description="fewest parameters")
    max_parameters: Positive = Field(description="most parameters")
    max_bytes: Positive = Field(description="most bytes of all files together")

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if self.max_parameters < self.min_parameters:
            raise ValueError(f"max_parameters {self.max_parameters} is below min_parameters {self.min_parameters}")
        if not self.families:
            raise ValueError("families is empty; name at least one, such as [llama]")
        return self


class FixedEpsilon(Rules):
    """The earlier of two always has the same head start."""

    kind: Literal["fixed"]
    end: Fraction = Field(description="head start as a share of the loss")


class LinearEpsilon(Rules):
    """The head start falls with the age of the earlier one."""

    kind: Literal["linear"]
    start: Fraction = Field(description="head start at age 0, as a share of the loss")
    end: Fraction = Field(description="head start from `blocks` on, as a share of the loss")
    blocks: Positive = Field(description="age at which `end` is reached, in blocks")

    @model_validator(mode="after")
    def _falls(self) -> Self:
        if self.start < self.end:
            raise ValueError(f"start {self.start} is below end {self.end}; a head start never grows")
        return self


class AdaptiveEpsilon(LinearEpsilon):
    """The head start is earned by the gain over what was there before, and falls with age (protocol.md section 7)."""

    kind: Literal["adaptive"]  # type: ignore[assignment]  # narrows the parent's tag


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
        description="expected standard deviation of the paired difference of two models on a batch, relative to the loss"
    )
    below_noise: Literal["refused", "accepted"] = Field(
        default="refused", description="accepted: `end` may be below 3 paired_sd / sqrt(windows)"
    )


class Competition(Rules):
    """One competition as it is in force at some block."""

    id: Annotated[int, Field(ge=0, le=99)] = Field(description="the number that commitments carry")
    name: Name
    model: Constraints
    tasks: dict[Name, Task] = Field(description="the mix; each task's weight is its share of the score")
    windows: Positive = Field(description="windows of each task in a step, so also the number of batches")
    max_document_tokens: Positive = Field(description="a document is cut after this many tokens")
    compare: Literal["mean", "majority"] = Field(default="mean", description="how a match is decided")
    epsilon: Epsilon
    reward: Reward
    alpha: Fraction = Field(default=0.5, description="share of the old average kept at each step")
    noise: Noise
    share: Annotated[float, Field(ge=0, le=1)] = Field(description="share of the subnet's weight")

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        total = sum(task.weight for task in self.tasks.values())
        if abs(total - 1) > 1e-9:  # noqa: PLR2004 - the rounding of decimal fractions
            raise ValueError(f"the weights of the tasks sum to {total:.12g}; they must sum to 1")
        end, least = self.epsilon.end, self.least_epsilon
        if self.noise.below_noise == "refused" and end < least:
            windows = int((3 * self.noise.paired_sd / end) ** 2) + 1 if end else 0
            mend = f"use {windows} windows" if end else "raise it"
            raise ValueError(
                f"epsilon end {end} is below 3 x {self.noise.paired_sd} / sqrt({self.windows}) = {least:.2g}, so chance decides;"
                f" {mend}, end >= {least:.2g}, or say `below_noise: accepted`"
            )
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

    @property
    def digest(self) -> Digest:
        """Lower-case hex of sha256 over the canonical JSON of every field."""
        return Digest(hashlib.sha256(self.model_dump_json().encode()).hexdigest())

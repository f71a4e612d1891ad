"""The numbers of a validator's step that all competitions share: when, who is judged, how weights are set."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from pretrain.rules import Flaw, Fraction, Positive, Rules, Share, invalid


class Timing(Rules):
    """When things happen, in blocks."""

    sync_cadence: Positive = Field(description="blocks between two sync blocks")
    eval_block_delay: Positive = Field(description="blocks before a commitment may be judged; more than sync_cadence")
    weights_interval: Positive = Field(description="blocks between two settings of weights")
    max_weights_age: Positive = Field(description="blocks after which averages are too old to be set again")

    @model_validator(mode="after")
    def _judged_on_later_data(self) -> Self:
        if self.eval_block_delay <= self.sync_cadence:
            message = (
                f"must be larger than sync_cadence, which is {self.sync_cadence}:"
                " a model must be judged on data chosen after it was committed"
            )
            raise invalid("Timing", [Flaw(("eval_block_delay",), self.eval_block_delay, message)])
        return self


class Selection(Rules):
    """Who is judged in a step (protocol, section 9)."""

    top_stake: Annotated[float, Field(ge=0)] = Field(
        description="total stake that a validator needs for its weights to count, in alpha"
    )
    top_weight: Share = Field(description="stake-weighted share of weight that makes an entry a top one")
    pool: Positive = Field(description="best entries judged again at every step")
    max_new: Positive = Field(description="most entries judged for the first time in a step")
    max_returns: Annotated[int, Field(ge=0)] = Field(description="most entries that come back in a step")
    fairness_blocks: Positive = Field(description="how far back a hotkey's tries count against it, in blocks")
    champion_patience: Positive = Field(description="windows in a row abandoned for a champion that cannot be had")


class Weights(Rules):
    """How averages become the row that is set on chain."""

    burn: Fraction = Field(default=0.0, description="share that goes to burn_uid")
    burn_uid: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="the uid that is paid to burn; leave it out when nobody is"
    )
    min_weight: Fraction = Field(default=0.0, description="smaller weights are dropped")

    @model_validator(mode="after")
    def _burn_has_uid(self) -> Self:
        if self.burn and self.burn_uid is None:
            message = "must be 0, or have a burn_uid beside it: the uid that burns"
            raise invalid("Weights", [Flaw(("burn",), self.burn, message)])
        return self

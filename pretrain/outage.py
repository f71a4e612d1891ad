"""What a daemon says while something outside does not answer, for hours if need be: each thing once, and how often."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pretrain.errors import ChainUnavailable, DataUnavailable, EvaluatorUnavailable, HubUnavailable, Unavailable

CHAIN, HUB, DATA, ENGINE = "the chain", "the hub", "a dataset", "the engine"
_THINGS = {ChainUnavailable: CHAIN, HubUnavailable: HUB, DataUnavailable: DATA, EvaluatorUnavailable: ENGINE}
_REASONS_KEPT = 32
_MINUTE, _HOUR = 60, 3600  # seconds


@dataclass(frozen=True)
class Outage:
    """Tries in a row that failed for want of one thing; replaced by the next one, never changed."""

    what: str
    """Such as ``the chain``."""
    why: str
    """The newest reason, in one line."""
    since: float
    """When the first try failed, in seconds since the Unix epoch."""
    by: Mapping[str, int] = field(default_factory=dict)
    """How often each of those who ask for it failed: two loops that try once each are not two tries to a person."""
    worth_a_line: bool = True
    """Whether this try is to be told: its reason is a new one, or the tries have doubled since the last line."""
    said: tuple[str, ...] = ()
    """Reasons given so far, without their numbers."""

    @property
    def tries(self) -> int:
        """How often it was tried, by whoever tried most."""
        return max(self.by.values(), default=1)

    def told(self, now: float) -> str:
        """Return what is wrong in one line, with the number of tries when it is not the first."""
        if self.tries == 1:
            return self.why
        return f"{self.why} ({self.tries} tries in {spoken(now - self.since)})"

    def over(self, now: float) -> str:
        """Return the line that says that it is over."""
        count = "1 try" if self.tries == 1 else f"{self.tries} tries"
        return f"{self.what} is back after {spoken(now - self.since)} ({count} failed)"


def thing(error: Unavailable) -> str:
    """Return what did not answer, in words."""
    return _THINGS.get(type(error), "something outside")


def failed(before: Outage | None, what: str, why: str, who: str, now: float) -> Outage:
    """Return the outage of a thing after a further failed try by ``who``."""
    if before is None:
        return Outage(what, why, now, {who: 1}, said=remembered((), why))
    after = replace(before, why=why, by={**before.by, who: before.by.get(who, 0) + 1})
    doubled = after.tries > before.tries and after.tries & (after.tries - 1) == 0
    return replace(after, worth_a_line=is_new(before.said, why) or doubled, said=remembered(before.said, why))


def is_new(said: tuple[str, ...], why: str) -> bool:
    """Whether a reason differs from those said by more than its numbers, which a chain's blocks change each time."""
    return _without_numbers(why) not in said


def remembered(said: tuple[str, ...], why: str) -> tuple[str, ...]:
    """Return the reasons said with one more; the ones not heard for longest are forgotten at last."""
    plain = _without_numbers(why)
    return (*(reason for reason in said if reason != plain), plain)[-_REASONS_KEPT:]


def spoken(seconds: float) -> str:
    """Return a duration as a person says it: ``45 s``, ``12 min``, ``3 h 5 min``."""
    if seconds < 2 * _MINUTE:
        return f"{seconds:.0f} s"
    if seconds < 2 * _HOUR:
        return f"{seconds / _MINUTE:.0f} min"
    hours, rest = divmod(round(seconds / _MINUTE), _MINUTE)
    return f"{hours} h {rest} min" if rest else f"{hours} h"


def _without_numbers(why: str) -> str:
    return re.sub(r"\d+", "", why)

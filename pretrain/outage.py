"""What a daemon says while something outside does not answer, for hours if need be: each thing once, and how often."""

from dataclasses import dataclass, replace

from pretrain.errors import ChainUnavailable, DataUnavailable, EvaluatorUnavailable, HubUnavailable, Unavailable

_WHAT = {
    ChainUnavailable: "the chain",
    HubUnavailable: "the hub",
    DataUnavailable: "a dataset",
    EvaluatorUnavailable: "the engine",
}
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
    tries: int = 1
    said: frozenset[str] = frozenset()
    """Reasons given by earlier tries."""

    @property
    def worth_a_line(self) -> bool:
        """Whether this try is to be told: its reason is a new one, or the tries have doubled since the last line."""
        return self.why not in self.said or self.tries & (self.tries - 1) == 0

    def told(self, now: float) -> str:
        """Return what is wrong in one line, with the number of tries when it is not the first."""
        if self.tries == 1:
            return self.why
        return f"{self.why} ({self.tries} tries in {spoken(now - self.since)})"

    def over(self, now: float) -> str:
        """Return the line that says that it is over."""
        count = "1 try" if self.tries == 1 else f"{self.tries} tries"
        return f"{self.what} is back after {spoken(now - self.since)} ({count} failed)"


def failed(before: Outage | None, error: Unavailable, now: float) -> Outage:
    """Return the outage after a further failed try; another thing that is missing is another outage."""
    what, why = _WHAT.get(type(error), "something outside"), str(error)
    if before is None or before.what != what:
        return Outage(what, why, now)
    return replace(before, why=why, tries=before.tries + 1, said=before.said | {before.why})


def spoken(seconds: float) -> str:
    """Return a duration as a person says it: ``45 s``, ``12 min``, ``3 h 5 min``."""
    if seconds < 2 * _MINUTE:
        return f"{seconds:.0f} s"
    if seconds < 2 * _HOUR:
        return f"{seconds / _MINUTE:.0f} min"
    hours, rest = divmod(round(seconds / _MINUTE), _MINUTE)
    return f"{hours} h {rest} min" if rest else f"{hours} h"

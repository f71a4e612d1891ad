"""A competition at the end of a run, as people look at it: who leads, by how much, and why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pretrain.report import Difference
from pretrain.types import Block, CompetitionId, Hotkey, TaskName


@dataclass(frozen=True)
class Part:
    """One task of a mix."""

    task: TaskName
    weight: float
    unit: str


@dataclass(frozen=True)
class Place:
    """One commitment on the leaderboard."""

    place: int | None
    """From 1; None for who has no score."""
    hotkey: Hotkey
    label: str
    repo: str
    revision: str
    committed: Block
    outcome: str
    """As of the last step: ``scored``, ``rejected``, ``undecided`` or ``queued``."""
    reason: str
    detail: str
    measured: Block | None
    """Sync block of the step that the numbers below are from: the last in which it was scored."""
    score: float | None
    tasks: Mapping[TaskName, float]
    competitive: bool
    win_rate: float
    epsilon: float
    difference: Difference | None
    """To the champion of that step; negative: a smaller loss than the champion's."""
    average: float
    """Moving average of step weights after the last step: what it is paid by."""
    scores: Mapping[Hotkey, float]
    """Score by validator, in that same step."""


@dataclass(frozen=True)
class Refusal:
    """A commitment that was refused in any step, with the validators that refused it."""

    hotkey: Hotkey
    label: str
    repo: str
    committed: Block
    reason: str
    detail: str
    validators: tuple[Hotkey, ...]


@dataclass(frozen=True)
class Loss:
    """One measured loss, for a curve."""

    block: Block
    validator: Hotkey
    hotkey: Hotkey
    score: float
    tasks: Mapping[TaskName, float]


@dataclass(frozen=True)
class Leaderboard:
    """One competition at the end of a run."""

    competition: CompetitionId
    name: str
    share: float
    """Of the subnet's weight."""
    mix: tuple[Part, ...]
    unit: str
    """Of the score; ``mixed units`` where the tasks differ."""
    block: Block | None
    """Sync block of the last decided step; None: there was none."""
    validator: Hotkey | None
    """Whose report of that step the order is from: the first named of those that decided it."""
    champion: Hotkey | None
    verdict: str
    """One sentence: who leads and why."""
    places: tuple[Place, ...]
    """In order: the champion, then by win rate and score; who has no score last."""
    players: tuple[Hotkey, ...]
    wins: tuple[tuple[float, ...], ...]
    """Share of the match that row won against column, in that step, in the order of ``players``."""
    refusals: tuple[Refusal, ...]
    losses: tuple[Loss, ...]

    @property
    def leader(self) -> Place | None:
        """The champion's place."""
        return next((place for place in self.places if place.hotkey == self.champion), None)


def verdict(name: str, unit: str, champion: Hotkey | None, places: Sequence[Place]) -> str:
    """Say in one sentence who leads and why; the runner-up is the best of the others by win rate, then score."""
    if not places:
        return f"no step of {name} has been decided yet"
    leader = next((place for place in places if place.hotkey == champion and place.score is not None), None)
    if leader is None:
        return f"nobody leads {name}: no entry is competitive"
    text = f"{leader.label} leads {name} with a loss of {leader.score:.4f} {unit}"
    others = [p for p in places if p.score is not None and p.hotkey != champion and p.measured == leader.measured]
    if not others:
        return f"{text}; no other entry was scored beside it"
    return f"{text}; {_runner_up(others[0], leader)}"


def _runner_up(second: Place, leader: Place) -> str:
    between = second.difference
    if between is None:
        return f"{second.label} comes second with {second.score:.4f}"
    margin = f"{abs(between.mean):.2%} ± {between.standard_error:.2%}"
    if between.mean >= 0:
        errors = f" ({between.mean / between.standard_error:.1f} standard errors)" if between.standard_error else ""
        return f"{second.label} comes second, {margin} worse{errors}"
    if second.committed > leader.committed and -between.mean < leader.epsilon:
        return f"{second.label} is {margin} better, less than the {leader.epsilon:.2%} head start of who came earlier"
    return f"{second.label} is {margin} better by itself but does not win more matches"

"""What a validator remembers, keyed by hotkey and commitment: frozen values, replaced and never changed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from pretrain.commitment import Entry
from pretrain.errors import Cause, Reason
from pretrain.ownership import Owner
from pretrain.types import Block, CompetitionId, Digest, Hotkey

CHAMPIONS_KEPT = 3
"""The last distinct champions that stay a reference (protocol.md section 7)."""


@dataclass(frozen=True)
class Record:
    """What is known of one commitment."""

    entry: Entry
    content: Digest | None = None
    """Content digest, once the hub's listing fitted the commitment."""
    weights: Digest | None = None
    """Weights digest, once downloaded."""
    rejected: Reason | None = None
    """For good; None: not refused."""
    undecided: Cause | None = None
    """Why the last try ended without an outcome; None: it ended with one, or there was none."""
    detail: str = ""
    """One line for people about the refusal or the cause."""
    score: float | None = None
    """Of the last step in which it was scored."""
    ratio: float | None = None
    """Its score / the champion's in that step."""
    win_rate: float = 0.0
    """Of that step."""
    gain: float | None = None
    """The smallest g measured."""
    judged: Block | None = None
    """Sync block of that step."""
    tries: tuple[Block, ...] = ()
    """Sync blocks of the steps in which it was tried as a new one."""
    crashes: int = 0
    """Tries in a row in which the evaluating process died."""

    @property
    def decided(self) -> bool:
        """Whether it has been scored or refused."""
        return self.rejected is not None or self.score is not None


@dataclass(frozen=True)
class Reign:
    """A champion and when it last won."""

    entry: Entry
    content: Digest
    last_win: Block


@dataclass(frozen=True)
class Standings:
    """What is remembered of one competition."""

    averages: Mapping[Hotkey, float] = field(default_factory=dict)
    """Moving average of step weights."""
    updated: Block | None = None
    """Sync block of the last step that gave weight to somebody: how old the averages are."""
    reigns: tuple[Reign, ...] = ()
    """The last distinct champions, latest first."""
    ready: bool = False
    """Whether weights may be set: false until everything top-weighted is decided."""
    waited: tuple[Block, ...] = ()
    """Sync blocks in a row abandoned because the champion could not be had."""

    def crowned(self, entry: Entry, content: Digest, now: Block) -> tuple[Reign, ...]:
        """Return the reigns after a win."""
        others = [reign for reign in self.reigns if reign.entry != entry]
        return (Reign(entry, content, now), *others)[:CHAMPIONS_KEPT]


@dataclass(frozen=True)
class State:
    """Everything a validator remembers between steps; never changed, only replaced."""

    step: Block | None = None
    """Sync block of the last step."""
    records: Mapping[Entry, Record] = field(default_factory=dict)
    owners: Mapping[Digest, Owner] = field(default_factory=dict)
    """By weights digest."""
    standings: Mapping[CompetitionId, Standings] = field(default_factory=dict)

    def record(self, entry: Entry) -> Record:
        """Return what is known of a commitment; an empty record when nothing is."""
        return self.records.get(entry) or Record(entry)

    def standing(self, competition: CompetitionId) -> Standings:
        """Return what is known of a competition; empty when nothing is."""
        return self.standings.get(competition, Standings())

    def with_records(self, records: Iterable[Record]) -> "State":
        """Return the state with these records in place of what was known of their commitments."""
        return replace(self, records={**self.records, **{record.entry: record for record in records}})

    def with_standings(self, competition: CompetitionId, standings: Standings) -> "State":
        """Return the state with one competition's memory replaced."""
        return replace(self, standings={**self.standings, competition: standings})

    def forget(self, before: Block, present: frozenset[Entry]) -> "State":
        """Drop records of commitments that left the chain and were last tried before a block; owners stay for good."""
        kept = {
            entry: record
            for entry, record in self.records.items()
            if entry in present or max(*record.tries, record.judged or 0, entry.block) >= before
        }
        return replace(self, records=kept)

"""Who may be judged, and who is judged in a step (protocol.md sections 3 and 9). Pure."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from pretrain.chain import Snapshot
from pretrain.commitment import Entry
from pretrain.competition import AdaptiveEpsilon, Competition, DescentReward, FixedEpsilon
from pretrain.ownership import precedence
from pretrain.schedule import Schedule
from pretrain.scoring import epsilon_at, hotkey_order
from pretrain.state import Record, Reign, State
from pretrain.step_rules import Selection
from pretrain.types import Block, CompetitionId, Digest, Hotkey


class Role(StrEnum):
    """Why an entry is judged in a step."""

    CHAMPION = "champion"
    TOP = "top"
    POOL = "pool"
    NEW = "new"
    RETURN = "return"
    REFERENCE = "reference"


@dataclass(frozen=True)
class Selected:
    """The entries of a step, each with its role, in order of precedence; and what is left for later."""

    entries: Mapping[Entry, Role]
    queued: tuple[Entry, ...]
    """New ones beyond ``max_new``, in the order in which they will be taken."""
    waiting: Mapping[Entry, Entry]
    """New ones whose files an earlier commitment has too, which is not downloaded yet: later -> earlier."""
    references: tuple[Reign, ...]
    """Past champions that gains are measured against, whether or not they are entries of this step."""


def eligible(snapshot: Snapshot, schedule: Schedule, competition: CompetitionId) -> tuple[Entry, ...]:
    """Return the entries of a competition that may be judged at S, whatever is known of them."""
    delay = schedule.timing.eval_block_delay
    return tuple(
        entry
        for entry in snapshot.entries
        if entry.competition == competition
        and snapshot.block - entry.block >= delay
        and schedule.in_force(competition, entry.block)
        and schedule.in_force(competition, snapshot.block)
    )


def top_entries(snapshot: Snapshot, competition: CompetitionId, rules: Selection) -> tuple[Entry, ...]:
    """Return those to which the large validators give at least ``top_weight`` of what they give to them all."""
    entries = [entry for entry in snapshot.entries if entry.competition == competition]
    voters = [n for n in snapshot.neurons if n.permit and n.stake >= rules.top_stake]
    given = [
        math.fsum(voter.stake * snapshot.weights.get(voter.hotkey, {}).get(entry.hotkey, 0.0) for voter in voters)
        for entry in entries
    ]
    least = rules.top_weight * math.fsum(given)
    return tuple(entry for entry, weight in zip(entries, given, strict=True) if weight > 0 and weight >= least)


def champion_of(state: State, competition: CompetitionId, entries: Iterable[Entry]) -> Entry | None:
    """Return the entry that won the last decided step, when it is still one."""
    reigns = state.standing(competition).reigns
    return reigns[0].entry if reigns and reigns[0].entry in set(entries) else None


def crowned(state: State, schedule: Schedule) -> frozenset[Digest]:
    """Return the content digests of the last champions of every competition that the file names: they stay on disk."""
    numbers = {contest.id for contest in schedule.competitions.values()}
    return frozenset(reign.content for number in numbers for reign in state.standing(CompetitionId(number)).reigns)


def champion_epsilon(state: State, competition: Competition, champion: Entry, now: Block) -> float:
    """Return the head start the champion has at S."""
    gain = state.record(champion).gain or 0.0
    return epsilon_at(competition.epsilon, now - champion.block, gain)


def living_reigns(state: State, competition: Competition, now: Block) -> tuple[Reign, ...]:
    """Return the past champions that still are a reference: within the epsilon's ``blocks`` of their last win.

    A fixed epsilon has no ``blocks``; there they stay until others take their place.
    """
    reigns = state.standing(competition.competition_id).reigns
    if isinstance(competition.epsilon, FixedEpsilon):
        return reigns
    return tuple(reign for reign in reigns if now - reign.last_win <= competition.epsilon.blocks)


def needs_references(competition: Competition) -> bool:
    """Whether past champions decide anything: by gains (an adaptive head start, pay by descent), or as originals."""
    by_gain = isinstance(competition.epsilon, AdaptiveEpsilon) or isinstance(competition.reward, DescentReward)
    return by_gain or competition.near_copies.action == "refused"


def select(snapshot: Snapshot, schedule: Schedule, competition: Competition, state: State) -> Selected:
    """Choose who is judged at S: champion and top-weighted, pool, new ones, returns, past champions still committed."""
    rules = schedule.selection
    entries = [e for e in eligible(snapshot, schedule, competition.competition_id) if not _refused(state, e)]
    described = [e for e in entries if state.record(e).content]
    waiting = waits(snapshot, schedule, [e for e in described if state.record(e).weights is None], state)
    chosen: dict[Entry, Role] = {}
    champion = champion_of(state, competition.competition_id, entries)
    if champion:
        chosen[champion] = Role.CHAMPION
    for entry in top_entries(snapshot, competition.competition_id, rules):
        if entry in described and entry not in waiting:
            chosen.setdefault(entry, Role.TOP)
    scored = [e for e in entries if state.record(e).score is not None]
    for entry in [e for e in _best(scored, competition, state) if e not in chosen][: rules.pool]:
        chosen[entry] = Role.POOL
    fresh = [e for e in described if state.record(e).score is None and e not in chosen and e not in waiting]
    fresh = queue(fresh, state, snapshot.block, rules.fairness_blocks)
    for entry in fresh[: rules.max_new]:
        chosen[entry] = Role.NEW
    if champion:
        head_start = champion_epsilon(state, competition, champion, snapshot.block)
        for entry in _returns([e for e in scored if e not in chosen], state, head_start)[: rules.max_returns]:
            chosen[entry] = Role.RETURN
    reigns = living_reigns(state, competition, snapshot.block) if needs_references(competition) else ()
    for reign in reigns:
        if reign.entry in entries:
            chosen.setdefault(reign.entry, Role.REFERENCE)
    return Selected(
        entries={e: chosen[e] for e in sorted(chosen, key=lambda e: precedence(e, snapshot.tie_hashes))},
        queued=tuple(fresh[rules.max_new :]),
        waiting=waiting,
        references=tuple(reigns),
    )


def queue(entries: Iterable[Entry], state: State, now: Block, fairness_blocks: int) -> list[Entry]:
    """Order new entries by (tries of that hotkey in the last ``fairness_blocks``, commit block, sha256(hotkey))."""
    tried: dict[Hotkey, int] = {}
    for record in state.records.values():
        recent = sum(now - block < fairness_blocks for block in record.tries)
        tried[record.entry.hotkey] = tried.get(record.entry.hotkey, 0) + recent
    return sorted(entries, key=lambda e: (tried.get(e.hotkey, 0), e.block, hotkey_order(e.hotkey)))


def waits(snapshot: Snapshot, schedule: Schedule, entries: Iterable[Entry], state: State) -> dict[Entry, Entry]:
    """Return the entries whose files an earlier commitment holds too, not downloaded yet and still to be judged."""
    first: dict[Digest, Entry] = {}
    for entry in sorted(snapshot.entries, key=lambda e: precedence(e, snapshot.tie_hashes)):
        record = state.record(entry)
        to_come = record.weights is None and record.rejected is None
        judgeable = all(schedule.in_force(entry.competition, block) for block in (entry.block, snapshot.block))
        if record.content and to_come and judgeable:
            first.setdefault(record.content, entry)
    result = {}
    for entry in entries:
        earlier = first.get(state.record(entry).content or Digest(""), entry)
        if precedence(earlier, snapshot.tie_hashes) < precedence(entry, snapshot.tie_hashes):
            result[entry] = earlier
    return result


def _refused(state: State, entry: Entry) -> bool:
    return state.record(entry).rejected is not None


def _best(entries: Iterable[Entry], competition: Competition, state: State) -> list[Entry]:
    """Order by average weight, last win rate, last score, earlier block, hotkey."""
    averages = state.standing(competition.competition_id).averages

    def key(entry: Entry) -> tuple[float, float, float, int, bytes]:
        record: Record = state.record(entry)
        score = math.inf if record.score is None else record.score
        average = averages.get(entry.hotkey, 0.0)
        return (-average, -record.win_rate, score, entry.block, hotkey_order(entry.hotkey))

    return sorted(entries, key=key)


def _returns(entries: Iterable[Entry], state: State, head_start: float) -> list[Entry]:
    """Order those whose last ratio to the champion now beats its head start, smallest first."""
    ratios = {entry: state.record(entry).ratio for entry in entries}
    back = [(r, e.block, hotkey_order(e.hotkey), e) for e, r in ratios.items() if r is not None and r < 1 - head_start]
    return [entry for *_, entry in sorted(back)]

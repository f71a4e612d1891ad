"""The time of one step's arithmetic, beside a plain loop of the same rule that must come to the same result."""

import json
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pretrain import scoring
from pretrain.competition import Competition
from pretrain.data import Samples
from pretrain.scoring import Floats, Result
from pretrain.types import Block, Hotkey, TaskName

LIMIT = 0.2  # seconds
COMPARES = ("mean", "majority")
NOW = Block(100_000)
_SEED = 9
_START, _END, _BLOCKS = 0.005, 0.001, 50_400
_WEIGHTS = {"fineweb": 0.3, "fineweb-edu": 0.25, "code": 0.35, "papers": 0.05, "finemath": 0.03, "infiwebmath": 0.02}
"""The mix of subnet 9."""

Losses = dict[TaskName, Floats]


@dataclass(frozen=True)
class Timing:
    """What one way to compare takes."""

    compare: str
    entries: int
    batches: int
    tasks: int
    repeats: int
    seconds: float
    """Median, for ``judged`` of every entry, ``decide`` and ``step_weights``."""
    cpu_seconds: float
    """The same in time of the processor, which a busy machine moves less."""
    ratio: float
    """How many times as long the plain loop takes on the smaller case, by the processor's time."""
    ratio_entries: int
    ratio_batches: int


@dataclass(frozen=True)
class Case:
    """One step's losses, of entries whose blocks rise."""

    competition: Competition
    losses: tuple[Losses, ...]
    samples: Samples

    def block(self, index: int) -> Block:
        """Return the block of an entry; two neighbours share one."""
        return Block(1_000 + index // 2 * 150)


def time_scoring(compare: str, repeats: int, entries: int = 256, batches: int = 300) -> Timing:
    """Return the times of one way to compare; checked against the plain loop first."""
    small = make_case(compare, entries=max(2, entries // 8), batches=max(2, batches // 3))
    check(small)
    _, fast = _median(lambda: by_arrays(small), repeats)
    _, slow = _median(lambda: by_loops(small), repeats)
    whole = make_case(compare, entries, batches)
    seconds, cpu_seconds = _median(lambda: by_arrays(whole), repeats)
    return Timing(
        compare=compare,
        entries=entries,
        batches=batches,
        tasks=len(_WEIGHTS),
        repeats=repeats,
        seconds=seconds,
        cpu_seconds=cpu_seconds,
        ratio=slow / fast,
        ratio_entries=len(small.losses),
        ratio_batches=small.competition.windows,
    )


def make_case(compare: str, entries: int, batches: int) -> Case:
    """Return losses of models of nearly equal skill that improve with time, so that many are competitive."""
    generator = np.random.default_rng(_SEED)
    names = [TaskName(name) for name in _WEIGHTS]
    hard = {name: 2 + generator.random(batches) for name in names}
    losses = tuple(
        {name: hard[name] * (1 - 0.002 * index + 0.014 * generator.standard_normal(batches)) for name in names}
        for index in range(entries)
    )
    tokens = {name: np.zeros((batches, 8), np.int32) for name in names}
    samples = Samples(tokens, {name: np.full(batches, 30, np.int64) for name in names})
    return Case(_competition(compare, batches), losses, samples)


def by_arrays(case: Case) -> tuple[Result, dict[Hotkey, float]]:
    """Return one step's result and weights as a validator comes to them."""
    judged = [
        scoring.judged(_hotkey(index), case.block(index), losses, case.samples, case.competition)
        for index, losses in enumerate(case.losses)
    ]
    result = scoring.decide(judged, [], {}, case.competition, NOW)
    return result, scoring.step_weights(result, case.competition.reward)


def by_loops(case: Case) -> dict[Hotkey, float]:
    """Return the same weights by protocol.md sections 5, 7 and 8 read aloud: no arrays, one match after another."""
    players = [_mix(case, index) for index in range(len(case.losses))]
    best: dict[int, float] = {}  # of the strictly earlier ones
    for _, block, _, _ in players:
        best[block] = min((score for _, other, score, _ in players if other < block), default=math.inf)
    gains = [1 - score / best[block] if best[block] < math.inf else 0.0 for _, block, score, _ in players]
    heads = [_epsilon(NOW - block, gain) for (_, block, _, _), gain in zip(players, gains, strict=True)]
    playing = [i for i, (_, block, score, _) in enumerate(players) if score < (1 - _END) * best[block]]
    rates: dict[Hotkey, float] = {}
    for i in playing:
        won = [_match(players[i], players[j], heads[i], heads[j], case.competition.compare) for j in playing if j != i]
        rates[players[i][0]] = math.fsum(won) / len(won) if won else 1.0
    top = max(rates.values())
    shares = {hotkey: math.exp((rate - top) / 0.01) for hotkey, rate in rates.items()}
    total = math.fsum(shares.values())
    return {hotkey: share / total for hotkey, share in shares.items() if share > 0}


def check(case: Case) -> None:
    """Raise AssertionError, for it is a bug, unless both ways come to the same weights: else no time means anything."""
    _, fast = by_arrays(case)
    slow = by_loops(case)
    same = fast.keys() == slow.keys() and all(
        math.isclose(fast[hotkey], slow[hotkey], rel_tol=1e-9, abs_tol=1e-12) for hotkey in fast
    )
    if not same:
        raise AssertionError(f"compare {case.competition.compare}: the arrays and the plain loop differ in weights")


Player = tuple[Hotkey, Block, float, list[float]]
"""Hotkey, block, score, batch losses."""


def _mix(case: Case, index: int) -> Player:
    losses = {name: values.tolist() for name, values in case.losses[index].items()}
    size = case.competition.windows
    batches = [sum(_WEIGHTS[name] * losses[TaskName(name)][k] for name in sorted(_WEIGHTS)) for k in range(size)]
    score = math.fsum(_WEIGHTS[name] * math.fsum(losses[TaskName(name)]) / size for name in sorted(_WEIGHTS))
    return _hotkey(index), case.block(index), score, batches


def _epsilon(age: int, gain: float) -> float:
    return _END + (min(max(gain, _END), _START) - _END) * max(0.0, 1 - age / _BLOCKS)


def _match(mine: Player, theirs: Player, my_head: float, their_head: float, compare: str) -> float:
    """Return the share of one match that the first of two wins."""
    own = 1 - my_head if mine[1] < theirs[1] else 1.0
    other = 1 - their_head if theirs[1] < mine[1] else 1.0
    if compare == "mean":
        return _share(theirs[2] * other, mine[2] * own)
    pairs = [(a * own, b * other) for a, b in zip(mine[3], theirs[3], strict=True)]
    return _share(sum(a < b for a, b in pairs), sum(a > b for a, b in pairs))


def _share(mine: float, theirs: float) -> float:
    """Return 1 for the larger, half for equals."""
    return 1.0 if mine > theirs else 0.5 if mine == theirs else 0.0


def _median(work: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Return the median seconds of some calls, by the wall and by the processor; one more beforehand is not counted."""
    work()
    times = [_seconds(work) for _ in range(repeats)]
    return statistics.median(wall for wall, _ in times), statistics.median(cpu for _, cpu in times)


def _seconds(work: Callable[[], object]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def _hotkey(index: int) -> Hotkey:
    return Hotkey(f"hotkey-{index}")


def _competition(compare: str, windows: int) -> Competition:
    fields = {
        "id": 2,
        "name": "bench",
        "model": {
            "families": ["llama"],
            "tokenizer": "any",
            "sequence_length": 8,
            "min_parameters": 1,
            "max_parameters": 1,
            "max_bytes": 1,
        },
        "tasks": {name: {"source": name, "weight": weight} for name, weight in _WEIGHTS.items()},
        "windows": windows,
        "max_document_tokens": 8,
        "compare": compare,
        "epsilon": {"kind": "adaptive", "start": _START, "end": _END, "blocks": _BLOCKS},
        "reward": {"kind": "softmax", "temperature": 0.01},
        "noise": {"paired_sd": 0.014, "below_noise": "accepted"},
        "share": 1.0,
    }
    return Competition.model_validate_json(json.dumps(fields))

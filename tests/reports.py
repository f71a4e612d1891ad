"""A whole small run built by hand: 2 validators, 2 competitions, 6 miners, a duplicate, an undecided, hostile names."""

import math
from collections.abc import Mapping
from dataclasses import replace

from pretrain.competition import Competition
from pretrain.report import Difference, EntryReport, NearCopy, Report
from pretrain.summary import ChainFacts, EpochRow, Run, Summary, WeightsRow, gather
from pretrain.types import Block, CompetitionId, Digest, Hotkey, TaskName, Uid

VALIDATORS = tuple(Hotkey(f"5V{letter * 44}{letter.upper() * 2}") for letter in "ab")
MINERS = tuple(Hotkey(f"5M{letter * 44}{letter.upper()}{letter}") for letter in "abcdef")
LABELS = {
    **{hotkey: f"validator-{index}" for index, hotkey in enumerate(VALIDATORS, 1)},
    **{hotkey: f"miner-{index}" for index, hotkey in enumerate(MINERS[:5], 1)},
}
HOSTILE_REPO = "evil/[red]<script>alert(1)</script>\x1b[2J\u202e" + "z" * 10_000
HOSTILE_DETAIL = "\x1b]0;owned\x07[bold]</td></svg><img src=x onerror=alert(2)>\n" + "w" * 10_000
NOTE = "miner4/tiny-llama-mixed: paired sd a batch 0.0215 is above the expected 0.02 of mixed"
PROSE, CODE = TaskName("prose"), TaskName("code")
BLOCKS = (90, 105, 120, 135, 150, 165)


def competition(number: int, name: str, tasks: Mapping[TaskName, float], share: float) -> Competition:
    """Return a competition with usual rules."""
    return Competition.model_validate(
        {
            "id": number,
            "name": name,
            "model": {
                "families": ("llama",),
                "tokenizer": "bpe",
                "sequence_length": 128,
                "min_parameters": 1,
                "max_parameters": 10**7,
                "max_bytes": 10**8,
            },
            "tasks": {task: {"source": task, "weight": weight} for task, weight in tasks.items()},
            "windows": 48,
            "max_document_tokens": 512,
            "epsilon": {"kind": "adaptive", "start": 0.01, "end": 0.001, "blocks": 600},
            "reward": {"kind": "softmax", "temperature": 0.01},
            "noise": {"paired_sd": 0.02, "below_noise": "accepted"},
            "share": share,
        }
    )


COMPETITIONS = (competition(0, "prose", {PROSE: 1.0}, 0.5), competition(1, "mixed", {PROSE: 0.85, CODE: 0.15}, 0.5))


def scored(miner: int, role: str, score: float, best: float, rank: tuple[float, float]) -> EntryReport:
    """Return a scored entry; ``rank`` is its win rate and step weight."""
    win_rate, weight = rank
    return EntryReport(
        hotkey=MINERS[miner],
        uid=miner + 2,
        repo=f"miner{miner + 1}/tiny-llama-{'prose' if miner < 2 else 'mixed'}",
        revision=f"{miner:040x}",
        block=Block(40 + miner),
        role=role,
        outcome="scored",
        score=score,
        tasks={PROSE: score - 0.03, CODE: score + 0.17},
        competitive=win_rate > 0,
        win_rate=win_rate,
        gain=0.004,
        epsilon=0.0035,
        difference=None if score == best else Difference(score / best - 1, 0.0031, 0.0215),
        step_weight=weight,
        average=weight * 0.9,
        weights=Digest(f"{miner:064x}"),
        seconds=1.25,
    )


def unscored(miner: int, outcome: str, reason: str, detail: str, repo: str) -> EntryReport:
    """Return an entry without a score."""
    return EntryReport(
        hotkey=MINERS[miner],
        uid=miner + 2,
        repo=repo,
        revision=f"{miner:040x}",
        block=Block(60 + miner),
        role="refused" if outcome == "rejected" else "new",
        outcome=outcome,
        reason=reason,
        detail=detail,
    )


def _prose_alone(entry: EntryReport) -> EntryReport:
    return replace(entry, tasks={PROSE: entry.score}) if entry.score else entry


def report(validator: Hotkey, block: int, number: int) -> Report:
    """Return a step: in competition 0 miner-1 leads and a copy is refused, in 1 miner-3 leads and two have no score."""
    drift = 0.4 * math.exp(-(block - 90) / 40) + 0.05 * math.sin(block)
    if number == 0:
        best = 4.21 + drift
        entries = tuple(
            _prose_alone(entry)
            for entry in (
                scored(0, "champion", best, best, (1.0, 0.98)),
                scored(1, "pool", best * 1.0121, best, (0.0, 0.02)),
                unscored(
                    4, "rejected", "duplicate", "same weights as miner1/tiny-llama-prose since block 40", "copy/cat"
                ),
            )
        )
    else:
        best = 4.37 + drift
        entries = (
            scored(2, "champion", best, best, (1.0, 0.7)),
            scored(3, "new", best * 1.0042, best, (0.5, 0.3)),
            scored(0, "pool", best * 1.061, best, (0.0, 0.0)),
            unscored(4, "undecided", "timeout", "judging took longer than 60 s", "slow/giant"),
            unscored(5, "rejected", "header", HOSTILE_DETAIL, HOSTILE_REPO),
        )
    players = tuple(entry.hotkey for entry in entries if entry.outcome == "scored")
    wins = ((0.0, 1.0, 1.0), (0.0, 0.0, 1.0), (0.0, 0.0, 0.0))
    return Report(
        validator=validator,
        block=Block(block),
        seed=f"{block:064x}",
        competition=CompetitionId(number),
        name=COMPETITIONS[number].name,
        competition_digest=Digest("c" * 64),
        engine="torch 2.13 cpu float32",
        samples=Digest(f"{block * 7919:064x}"[::-1]),
        champion=players[0],
        entries=entries,
        players=players,
        wins=tuple(row[: len(players)] for row in wins[: len(players)]),
        references=(MINERS[1],) if number else (),
        near_copies=(NearCopy(MINERS[3], MINERS[2], 0.00123, None, refused=False),) if number else (),
        notes=(NOTE,) if number else (),
        ready=True,
        canary=1e-7,
        seconds=9.5,
    )


def reports() -> dict[Hotkey, tuple[Report, ...]]:
    """Return what both validators reported: the second one abandoned its last step."""
    steps = {v: [report(v, block, index % 2) for index, block in enumerate(BLOCKS)] for v in VALIDATORS}
    last = steps[VALIDATORS[1]].pop()
    abandoned = replace(last, samples=None, champion=None, entries=(), players=(), wins=(), abandoned="hub is down")
    return {VALIDATORS[0]: tuple(steps[VALIDATORS[0]]), VALIDATORS[1]: (*steps[VALIDATORS[1]], abandoned)}


RUN = Run(
    seed=7,
    started=Block(0),
    ended=Block(180),
    block_seconds=1.0,
    versions={"pretrain": "0.1.0", "python": "3.11.9", "torch": "2.13.0"},
    schedule="localnet",
    schedule_digest=Digest("5c" * 32),
    data={"prose": Digest("aa" * 32), "code": Digest("bb" * 32), "tokenizer": Digest("cc" * 32)},
)


def chain() -> ChainFacts:
    """Return rows and epochs in which miner-1 and miner-3 share the pay, more to miner-3 with time."""
    weights = tuple(
        WeightsRow(Block(block + index), validator, {MINERS[0]: 0.6 - x, MINERS[2]: 0.3 + x, MINERS[3]: 0.1})
        for index, validator in enumerate(VALIDATORS)
        for block, x in ((100, 0.0), (126, 0.1), (152, 0.15))
    )
    epochs = tuple(
        row
        for block, x in ((117, 0.0), (138, 0.1), (159, 0.15))
        for row in (
            *(EpochRow(Block(block), Uid(i), v, 0.0, 0.5, 1000.0 + block) for i, v in enumerate(VALIDATORS)),
            EpochRow(Block(block), Uid(2), MINERS[0], 0.6 - x, 0.0, 12.5),
            EpochRow(Block(block), Uid(4), MINERS[2], 0.3 + x, 0.0, 9.25),
            EpochRow(Block(block), Uid(5), MINERS[3], 0.1, 0.0, 1.5),
        )
    )
    return ChainFacts(weights, epochs)


def summary() -> Summary:
    """Return the run."""
    return gather(RUN, COMPETITIONS, reports(), chain(), LABELS)


def empty_summary() -> Summary:
    """Return a run that ended before anything happened."""
    return gather(RUN, COMPETITIONS, {VALIDATORS[0]: ()}, ChainFacts(), {})

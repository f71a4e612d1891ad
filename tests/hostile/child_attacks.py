"""Attacks by a model that has taken over the child that judges it: real children, and whole steps around them."""

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import pytest
from fakes import model, outcomes_of, run
from hostile_world import HONEST, KILOBYTES, THIEF, Stage
from outside import Attack, Found, Guard
from test_isolation import TRACING, YAMA, judge, need_layers, put_up

from pretrain.evaluate import Evaluator, Measurement, children
from pretrain.evaluate.request import EngineSettings
from pretrain.evaluate.worker import Bounds, ProcessEvaluator
from pretrain.judge import Job
from pretrain.models.files import CONFIG
from pretrain.step import step
from pretrain.types import Digest, Hotkey, TaskName

SIZES = {"bytes": 256, "tiny": 256}
DEADLINE, PATIENCE = 2.0, 8.0
ISOLATED = True
TARGET = "gallery_children:acts"
servers: dict[tuple[bool, str], ProcessEvaluator] = {}
"""Evaluators by whether their children are isolated, and by what they do; started when they are needed."""
done: dict[bool, set[str]] = {}
"""What a child managed to do, isolated or not."""


def evaluator(*, isolated: bool = True, deadline: float = 60.0) -> ProcessEvaluator:
    settings, key = EngineSettings(isolated=isolated, deadline=deadline), (isolated, TARGET)
    if key not in servers:
        servers[key] = ProcessEvaluator(settings, SIZES, target=TARGET)
    servers[key]._settings = settings  # noqa: SLF001 - one server for all
    return servers[key]


def close() -> None:
    """End all fork servers."""
    for server in servers.values():
        server.close()
    servers.clear()
    done.clear()


def acting(root: Path, act: str, *, deadline: float = 60.0) -> Stage:
    """Return a stage with an honest model, and a better one whose child acts as it is told."""
    stage = Stage(root)
    stage.world.evaluator = evaluator(deadline=deadline)  # type: ignore[assignment]
    stage.world.commit(HONEST, 10, model("A", prose=2.0, code=2.0))
    taken = {**model("thief", prose=1.0, code=1.0), CONFIG: json.dumps({"act": act}).encode()}
    stage.world.commit(THIEF, 20, taken)
    return stage


def acts_twice(root: Path, act: str) -> Found:
    stage = acting(root, act)
    report = stage.play(100, 110)
    assert outcomes_of(report)[HONEST] == "scored"
    refused = stage.state.record(stage.world.entries[Hotkey(THIEF)]).rejected
    return Found(refused or stage.found(report).outcome, stage.hub.downloaded)


def answers_without_measure(root: Path) -> Found:
    stage = acting(root, "answers without measure")
    (entry,) = (entry for entry in stage.play(100).entries if entry.hotkey == THIEF)
    return Found("crashed" if "answered more than" in entry.detail else "swallowed", stage.hub.downloaded)


def floods_its_output(root: Path) -> Found:
    sizes: list[int] = []

    def counted(output: BinaryIO) -> str:
        sizes.append(os.fstat(output.fileno()).st_size)
        return ""

    stage = acting(root, "floods its output")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pretrain.evaluate.worker.last_line", counted)
        report = stage.play(100)
    return replace(stage.found(report), outcome="crashed" if max(sizes) <= 16 << 20 else "floods")


def hangs(root: Path) -> Found:
    stage = acting(root, "hangs", deadline=DEADLINE)
    stage.world.chain.now = stage.world.at(100)
    try:
        _, report = run(lambda: asyncio.wait_for(step(stage.world.node, stage.state), PATIENCE))
    except TimeoutError:
        return Found("the step goes on", stage.hub.downloaded)
    assert report is not None
    return stage.found(report)


def flees(root: Path, ways: Sequence[str]) -> Found:
    if ISOLATED not in done:
        chosen = evaluator(isolated=ISOLATED)
        with ExitStack() as stack:
            done[ISOLATED] = set(json.loads(judge(chosen, put_up(root, stack))))
        if ISOLATED:
            need_layers(chosen.isolation)
    tried = {way for way in ways if not (way in TRACING and YAMA.exists())}
    found = tried & done[ISOLATED]
    return Found("done" if found == tried else f"only {sorted(found)}" if found else "denied")


def looks_for_a_token(root: Path) -> Found:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_TOKEN", "hf_secret")
        settings = EngineSettings(isolated=False)
        with ProcessEvaluator(settings, SIZES, target="hostile_children:tells_its_environment") as own:
            return Found("found" if "hf_secret" in judge(own, root) else "nothing")


def any_losses(body: bytes, windows: Mapping[TaskName, int]) -> dict[TaskName, npt.NDArray[np.float64]]:
    """Believe whatever numbers come."""
    values = np.frombuffer(body, "<f8")
    return {task: values[index * count : (index + 1) * count] for index, (task, count) in enumerate(windows.items())}


async def believed(chosen: Evaluator, path: Path, _: Digest, job: Job) -> Measurement:
    """Measure, and do not look of what."""
    return await chosen.losses(path, job.samples, job.competition.model)


def with_all(starter: Mapping[str, str], threads: int) -> dict[str, str]:
    """Give a fork server its starter's environment."""
    return {"HF_TOKEN": starter["HF_TOKEN"], **ENVIRONMENT(starter, threads)}


ENVIRONMENT = children.environment


async def to_the_end(child: children.Child, _: int) -> bytes:
    """Take an answer, however its child ended."""
    received = bytearray()
    while block := await asyncio.get_running_loop().sock_recv(child.answer, 1 << 16):
        received += block
    return bytes(received)


RIGHT_MODEL = Guard("judge.measure: the digests", {"pretrain.judge.measure": believed})
RIGHT_SAMPLES = Guard("answer._check", {"pretrain.evaluate.answer._check": lambda *_: None})
UNBOUNDED = {"child_attacks.TARGET": "unbounded_children:acts"}
CHILD_ATTACKS = (
    *(
        Attack(name, "answer", "crashed", KILOBYTES, guards, "champion", partial(acts_twice, act=act))
        for act, name, guards in (
            (
                "less than nothing",
                "an answer of negative losses",
                (Guard("answer._losses", {"pretrain.evaluate.answer._losses": any_losses}),),
            ),
            ("other samples", "an answer about other samples", (RIGHT_SAMPLES, RIGHT_MODEL)),
            ("other weights", "an answer about other weights, to stop every step", (RIGHT_MODEL,)),
            (
                "dies",
                "an answer of a child that dies after it",
                (Guard("Child.result: the status", {"pretrain.evaluate.children.Child.result": to_the_end}),),
            ),
        )
    ),
    Attack(
        "an answer of 24 MiB", "answer", "crashed", KILOBYTES,
        (Guard("answer.most_bytes", {"pretrain.evaluate.worker.most_bytes": lambda _: 1 << 40}),),
        "swallowed", answers_without_measure,
    ),
    Attack(
        "24 MiB of output", "limits", "crashed", KILOBYTES,
        (Guard("forkserver: RLIMIT_FSIZE", UNBOUNDED),), "floods", floods_its_output,
    ),
    Attack(
        "16 TiB of addresses", "limits", "memory", KILOBYTES,
        (Guard("limits.limit", UNBOUNDED),), "champion", partial(acts_twice, act="takes 16 TiB"),
    ),
    Attack(
        "a child that hangs and hears no signal", "deadline", "timeout", KILOBYTES,
        (Guard("worker: the deadline", {"pretrain.evaluate.worker.Bounds": lambda size, _: Bounds(size, 3600.0)}),),
        "the step goes on", hangs,
    ),
    Attack(
        "a look for the token in its environment", "isolation", "nothing", 0,
        (
            Guard(
                "children.environment", {"pretrain.evaluate.worker.environment": with_all}
            ),
        ),
        "found", looks_for_a_token,
    ),
    *(
        Attack(
            name, "isolation", "denied", 0,
            (Guard("isolation.isolate", {"child_attacks.ISOLATED": False}),), "done", partial(flees, ways=ways),
        )
        for name, ways in {
            "a connection, a datagram, a local socket": ("connects", "sends_a_datagram", "connects_abstractly"),
            "a look at wallets, homes, other models and a validator's environment": (
                "reads_a_secret", "lists_a_home", "reads_another_model", "reads_an_environment",
            ),
            "a signal to the validator, to the fork server; tracing": (
                "signals_the_validator", "signals_the_fork_server", "traces_a_process", "reads_anothers_memory",
            ),
            "another content or mode of its model's files": (
                "writes_into_the_model", "adds_to_the_model", "changes_rights", "truncates",
            ),
            "a program, a fork, a daemon": ("starts_a_program", "forks"),
        }.items()
    ),
)  # fmt: skip

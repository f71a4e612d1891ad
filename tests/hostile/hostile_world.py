"""A scripted world whose hub counts bytes and changes its mind, and models made out of another's weights."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fakes import FakeHub, World, model, one_competition, outcomes_of
from outside import Found

from pretrain.hub import RemoteFile
from pretrain.models.files import CONFIG, INDEX, WEIGHTS
from pretrain.report import Report
from pretrain.state import State
from pretrain.types import Revision

Files = dict[str, bytes]
HONEST, THIEF = "A", "thief"
GOOD, BETTER = model("good", prose=2.0, code=2.0), model("better", prose=1.0, code=1.0)
KILOBYTES = 1000
"""More than two of the models here have, with their headers read once more."""


@dataclass
class ChangingHub(FakeHub):
    """Counts the bytes of files, and serves other ones when it was asked often enough."""

    downloaded: int = 0
    """Bytes of files."""
    looks: dict[str, int] = field(default_factory=dict)
    later: dict[str, Files] = field(default_factory=dict)
    """By repository: what every revision holds from the second look on."""
    sent: dict[str, Files] = field(default_factory=dict)
    """By repository: what comes in place of a download, whatever was listed."""

    async def describe(self, repo: str, revision: Revision) -> tuple[RemoteFile, ...]:
        self.looks[repo] = self.looks.get(repo, 0) + 1
        if self.looks[repo] > 1 and repo in self.later:
            self.repos[repo][revision] = self.later[repo]
        return await super().describe(repo, revision)

    async def read(self, repo: str, revision: Revision, file: RemoteFile) -> bytes:
        raw = await super().read(repo, revision, file)
        self.downloaded += len(raw)
        return raw

    async def read_part(self, repo: str, revision: Revision, file: RemoteFile, start: int, stop: int) -> bytes:
        raw = await super().read_part(repo, revision, file, start, stop)
        self.downloaded += len(raw)
        return raw

    async def fetch(self, repo: str, revision: Revision, files: Sequence[RemoteFile], into: Path) -> None:
        self.downloaded += sum(file.size for file in files)
        await super().fetch(repo, revision, files, into)
        for name, content in self.sent.get(repo, {}).items():
            (into / name).write_bytes(content)


@dataclass
class Stage:
    """A world in which attacks are played, with what one validator remembers."""

    root: Path
    rules: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    state: State = field(default_factory=State)

    def __post_init__(self) -> None:
        self.hub = ChangingHub()
        self.world = World(self.root, one_competition(**self.rules), hub=self.hub)

    def play(self, *blocks: int) -> Report:
        """Take the steps at some sync blocks and return the report of the last one."""
        for block in blocks:
            self.state, report = self.world.step(block, self.state)
        return report

    def honest(self, report: Report, hotkey: str = HONEST) -> Found:
        """Return what became of one that does nothing wrong."""
        found = self.found(report, hotkey)
        return replace(found, outcome=f"the honest one is {found.outcome}")

    def found(self, report: Report, hotkey: str = THIEF) -> Found:
        """Return what became of one hotkey."""
        outcome = "champion" if report.champion == hotkey else outcomes_of(report).get(hotkey, "no entry")
        return Found("abandoned" if report.abandoned else outcome, self.hub.downloaded)


def rebuilt(files: Files, *, metadata: Mapping[str, str] | None = None, backwards: bool = False) -> Files:
    """Return the same weights in another file: tensors, and what is said of each, in the opposite order."""
    raw = files[WEIGHTS]
    start = 8 + int.from_bytes(raw[:8], "little")
    header, data = json.loads(raw[8:start]), b""
    made: dict[str, object] = {} if metadata is None else {"__metadata__": metadata}
    for name in reversed(header) if backwards else header:
        first, last = header[name]["data_offsets"]
        told = {**header[name], "data_offsets": [len(data), len(data) + last - first]}
        made[name] = dict(reversed(told.items())) if backwards else told
        data += raw[start + first : start + last]
    head = json.dumps(made).encode()
    return {**files, WEIGHTS: len(head).to_bytes(8, "little") + head + data}


def sharded(files: Files) -> Files:
    """Return the same weights behind an index."""
    names = json.loads(files[WEIGHTS][8 : 8 + int.from_bytes(files[WEIGHTS][:8], "little")])
    index = json.dumps({"weight_map": dict.fromkeys(names, "x.safetensors")}).encode()
    return {CONFIG: files[CONFIG], INDEX: index, "x.safetensors": files[WEIGHTS]}


def two(root: Path, **rules: Mapping[str, object]) -> Stage:
    """Return a stage with an honest model, and a worse one of an attacker's."""
    stage = Stage(root, rules)
    stage.world.commit(HONEST, 10, GOOD)
    stage.world.commit(THIEF, 20, model("mine", prose=3.0, code=3.0))
    return stage


def crowned(root: Path, **rules: Mapping[str, object]) -> Stage:
    """Return a stage in which the attacker's model is the champion."""
    stage = two(root, **rules)
    stage.world.commit(THIEF, 20, BETTER)
    assert stage.play(100).champion == THIEF
    return stage

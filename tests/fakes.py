"""A whole outside world in memory, scripted: for the tests of scoring and of the step alone.

Models are real folders (config.json and safetensors), so the rules about files, digests and owners are the real ones; a
model's only tensors are the losses that it is to be measured with, one for each task.
"""

import asyncio
import hashlib
import json
import struct
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pretrain.chain import Head, Network, Neuron, Snapshot, Standing
from pretrain.commitment import Commitment, Entry, content_digest, secure_hash
from pretrain.competition import Competition, Constraints
from pretrain.data import Samples
from pretrain.errors import (
    ChainUnavailable,
    DataUnavailable,
    EvaluatorUnavailable,
    HubUnavailable,
    ModelRejected,
    PretrainError,
    Reason,
)
from pretrain.evaluate import Measurement
from pretrain.evaluate.deadline import Health, Speed
from pretrain.fingerprint import SKETCHED, Sketch
from pretrain.hub import Hub, RemoteFile
from pretrain.models.files import CONFIG, WEIGHTS, index_file, model_files, shard_paths
from pretrain.models.header import StoredTensor, digest_of_tensors, parse_header, read_header, weights_digest
from pretrain.node import Node
from pretrain.preview import Preview
from pretrain.report import Report
from pretrain.schedule import Schedule
from pretrain.state import State
from pretrain.step import step
from pretrain.types import Block, CompetitionId, Digest, Hotkey, Revision, TaskName, Uid

CADENCE = 10
"""Blocks between two sync blocks."""
DELAY = 15
"""Blocks before a commitment may be judged."""
VALIDATOR = Hotkey("validator")

Json = Mapping[str, object]


def schedule_of(
    *, competition: Json | None = None, selection: Json | None = None, weights: Json | None = None, **parts: object
) -> Schedule:
    """Return a small schedule: two competitions, on prose and on prose with code; ``parts`` replaces whole sections."""
    rules: dict[str, object] = {
        "model": "nano",
        "windows": 4,
        "max_document_tokens": 64,
        "epsilon": {"kind": "fixed", "end": 0.01},
        "reward": {"kind": "softmax"},
        "noise": {"paired_sd": 0.01, "below_noise": "accepted"},
        **(competition or {}),
    }
    fields: dict[str, object] = {
        "name": "tiny",
        "netuid": 9,
        "version_key": 1,
        "timing": {
            "sync_cadence": CADENCE,
            "eval_block_delay": DELAY,
            "weights_interval": 20,
            "max_weights_age": 100,
        },
        "selection": {
            "top_stake": 100,
            "top_weight": 0.1,
            "pool": 5,
            "max_new": 20,
            "max_returns": 2,
            "fairness_blocks": 1000,
            "champion_patience": 3,
            **(selection or {}),
        },
        "weights": weights or {},
        "tokenizers": {"bytes": {"path": "tokenizer.json", "vocabulary": 256, "eos": "<eos>"}},
        "sources": {"prose": {"kind": "stdlib-prose"}, "code": {"kind": "stdlib-code"}},
        "models": {
            "nano": {
                "families": ("llama",),
                "tokenizer": "bytes",
                "sequence_length": 8,
                "min_parameters": 1,
                "max_parameters": 1000,
                "max_bytes": 2000,
            }
        },
        "mixes": {
            "prose": {"prose": {"source": "prose", "weight": 1.0}},
            "mixed": {"prose": {"source": "prose", "weight": 0.75}, "code": {"source": "code", "weight": 0.25}},
        },
        "competitions": {"prose": {"id": 0, "mix": "prose", **rules}, "mixed": {"id": 1, "mix": "mixed", **rules}},
        "phases": (phase(0, "prose", "mixed"),),
    }
    return Schedule.model_validate({**fields, **parts})


def phase(start: int, *names: str) -> dict[str, object]:
    """Return a phase in which these competitions share the weight equally."""
    slots = tuple({"competition": name, "share": 1 / len(names)} for name in names)
    return {"start": start, "competitions": slots}


def one_competition(**parts: Json) -> Schedule:
    """Return a schedule with competition 0 alone, so that every window judges it."""
    rules = schedule_of(**parts)
    names = {"competitions": {"prose": rules.competitions["prose"].model_dump()}, "phases": (phase(0, "prose"),)}
    return Schedule.model_validate({**rules.model_dump(), **names})


def model(salt: str = "", **losses: float) -> dict[str, bytes]:
    """Return the files of a model with these mean losses by task; ``salt`` changes the weights and no loss."""
    tensors = {**losses, "salt": float(int.from_bytes(hashlib.sha256(salt.encode()).digest()[:4], "big"))}
    header = {
        name: {"dtype": "F64", "shape": [1], "data_offsets": [8 * index, 8 * index + 8]}
        for index, name in enumerate(tensors)
    }
    raw = json.dumps(header).encode()
    data = struct.pack(f"<{len(tensors)}d", *tensors.values())
    return {CONFIG: b"{}", WEIGHTS: struct.pack("<Q", len(raw)) + raw + data}


def described(files: Mapping[str, bytes]) -> tuple[RemoteFile, ...]:
    """Return what a hub tells of files."""
    return tuple(
        RemoteFile(name, len(content), hashlib.sha256(content).hexdigest()) for name, content in sorted(files.items())
    )


def revision_of(files: Mapping[str, bytes]) -> Revision:
    """Return a content address of 40 hex digits."""
    return Revision(hashlib.sha1(repr(sorted(files.items())).encode(), usedforsecurity=False).hexdigest())


@dataclass
class FakeChain:
    """Answers with one snapshot; the head is nothing a step may look at."""

    now: Snapshot
    down: bool = False
    cadences: list[int] = field(default_factory=list)

    async def network(self) -> Network:
        raise AssertionError("a step is the same on every network")

    async def standing(self, coldkey: str | None = None) -> Standing:
        raise AssertionError(f"a step decides on the state at S, never on the newest block, nor on {coldkey}")

    async def head(self) -> Head:
        raise AssertionError("a step decides on the state at S, never on the head")

    async def snapshot(self, cadence: int) -> Snapshot:
        self.cadences.append(cadence)
        if self.down:
            raise ChainUnavailable("the sync block cannot be read")
        return self.now

    async def commitment(self) -> Entry | None:
        raise AssertionError("a step reads all commitments in one snapshot")

    async def commit(self, text: str) -> Block:
        raise AssertionError(f"a step commits nothing, and not {text}")

    async def set_weights(self, weights: Mapping[Hotkey, float], version_key: int) -> Block:
        raise AssertionError(f"a step sets no weights, and not {weights} under {version_key}")


@dataclass
class FakeHub:
    """Repositories in memory; ``down`` and ``private`` name repositories, ``all_down`` is the whole hub."""

    repos: dict[str, dict[Revision, dict[str, bytes]]] = field(default_factory=dict)
    down: set[str] = field(default_factory=set)
    private: set[str] = field(default_factory=set)
    all_down: bool = False
    broken_downloads: dict[str, PretrainError] = field(default_factory=dict)
    fetched: list[str] = field(default_factory=list)
    """Repositories in the order of their downloads."""

    def _files(self, repo: str, revision: Revision) -> dict[str, bytes]:
        if self.all_down or repo in self.down:
            raise HubUnavailable(f"{repo} does not answer")
        if repo in self.private or revision not in self.repos.get(repo, {}):
            raise ModelRejected(Reason.UNAVAILABLE, f"{repo} at {revision} cannot be read without a token")
        return self.repos[repo][revision]

    async def describe(self, repo: str, revision: Revision) -> tuple[RemoteFile, ...]:
        return described(self._files(repo, revision))

    async def read(self, repo: str, revision: Revision, file: RemoteFile) -> bytes:
        return self._files(repo, revision)[file.name][: file.size]

    async def read_part(self, repo: str, revision: Revision, file: RemoteFile, start: int, stop: int) -> bytes:
        return self._files(repo, revision)[file.name][start:stop]

    async def fetch(self, repo: str, revision: Revision, files: Sequence[RemoteFile], into: Path) -> None:
        content = self._files(repo, revision)
        if repo in self.broken_downloads:
            raise self.broken_downloads[repo]
        self.fetched.append(repo)
        for file in files:
            (into / file.name).write_bytes(content[file.name])

    async def publish(self, folder: Path, repo: str) -> Revision:
        raise AssertionError(f"a step publishes nothing: {folder} to {repo}")

    async def is_public(self, repo: str) -> bool:
        return repo in self.repos and repo not in self.private

    async def open(self, repo: str) -> None:
        self.private.discard(repo)


@dataclass
class FakeStore:
    """Folders by content digest; ``script`` holds what happens first, one a call, None being nothing."""

    root: Path
    script: dict[Digest, list[PretrainError | None]] = field(default_factory=dict)
    told: list[tuple[frozenset[Digest], tuple[Digest, ...]]] = field(default_factory=list)
    """What each step said it needs, and needs soon."""
    fetched: list[Digest] = field(default_factory=list)
    """What was fetched and not released."""

    def path(self, content: Digest) -> Path | None:
        folder = self._folder(content)
        return folder if folder.is_dir() else None

    async def sound(self, content: Digest) -> Path | None:
        folder = self.path(content)
        if folder and content_of({path.name: path.read_bytes() for path in folder.iterdir()}) != content:
            self.lose(content)
        return self.path(content)

    def keep(self, needed: Collection[Digest], soon: Sequence[Digest] = ()) -> None:
        self.told.append((frozenset(needed), tuple(soon)))
        self.fetched.clear()

    def release(self, content: Digest) -> None:
        assert content in self.fetched, "only what was fetched is released"
        self.fetched.remove(content)

    async def fetch(
        self, hub: Hub, repo: str, revision: Revision, files: Sequence[RemoteFile], content: Digest
    ) -> Path:
        error = self.script[content].pop(0) if self.script.get(content) else None
        if error:
            raise error
        if await self.sound(content) is None:
            arriving = self.root / "arriving" / repo.replace("/", "-")
            arriving.mkdir(parents=True, exist_ok=True)
            await hub.fetch(repo, revision, files, arriving)
            arriving.rename(self._folder(content))
        self.fetched.append(content)
        return self._folder(content)

    def lose(self, content: Digest) -> None:
        """Forget a model's bytes, as a disk does."""
        self._folder(content).rename(self.root / "arriving" / f"lost-{len(list(self.root.iterdir()))}")

    def _folder(self, content: Digest) -> Path:
        return self.root / hashlib.sha256(content.encode()).hexdigest()


@dataclass
class FakeSampler:
    """Draws windows from the seed and the competition alone."""

    down: bool = False

    async def draw(self, competition: Competition, seed: int) -> Samples:
        if self.down:
            raise DataUnavailable("a row of the plan did not come")
        shape = (competition.windows, competition.model.sequence_length)
        tokens = {task: _tokens(f"{seed} {task}", shape) for task in competition.weights}
        counts = {task: np.full(competition.windows, 2 * (shape[1] - 1), np.int64) for task in tokens}
        return Samples(tokens, counts)


def _tokens(text: str, shape: tuple[int, int]) -> npt.NDArray[np.int32]:
    stream = hashlib.shake_256(text.encode()).digest(shape[0] * shape[1])
    return np.frombuffer(stream, np.uint8).astype(np.int32).reshape(shape)


@dataclass
class FakeEvaluator:
    """Measures a model by what its tensors say: the same in every window. ``script`` holds what happens first."""

    script: dict[Digest, list[PretrainError]] = field(default_factory=dict)
    """Weights digest -> errors, one a call, before it is measured rightly."""
    down: bool = False
    misread: Digest | None = None
    """A weights digest to claim for whatever was asked."""
    outside: dict[bytes, list[PretrainError]] = field(default_factory=dict)
    """config.json -> errors, one a call, before a model is found to fit by its config and headers."""
    inspected: list[Preview] = field(default_factory=list)
    measured: list[Digest] = field(default_factory=list)
    limits: list[float | None] = field(default_factory=list)
    sketches: dict[Digest, Sketch] = field(default_factory=dict)
    """Weights digest -> what to show in place of a sketch that is like no other's."""
    jitter: float = 0.0
    """How far the windows of a model lie from what its tensors say, up and down by turns, as a share of it."""

    @property
    def engine(self) -> str:
        return "fake engine 1"

    async def inspect(self, preview: Preview, constraints: Constraints) -> None:
        assert constraints.families
        if self.down:
            raise EvaluatorUnavailable("no device")
        self.inspected.append(preview)
        if self.outside.get(preview.config):
            raise self.outside[preview.config].pop(0)

    async def losses(
        self, model: Path, samples: Samples, constraints: Constraints, seconds: float | None = None
    ) -> Measurement:
        self.limits.append(seconds)
        assert constraints.sequence_length == next(iter(samples.tokens.values())).shape[1]
        if self.down:
            raise EvaluatorUnavailable("no device")
        weights = weights_digest(model)
        self.measured.append(weights)
        if self.script.get(weights):
            raise self.script[weights].pop(0)
        levels = {tensor.name: _value(path, tensor) for path in shard_paths(model) for tensor in read_header(path)}
        swing = np.resize([1 + self.jitter, 1 - self.jitter], next(iter(samples.tokens.values())).shape[0])
        losses = {task: levels[task] * swing for task in samples.tokens}
        shown = self.sketches.get(weights) or sketch(weights)
        return Measurement(losses, self.misread or weights, samples.digest, self.engine, 0.0, shown)


def sketch(salt: str, *, noise: float = 0.0) -> Sketch:
    """Return a sketch that only equal salts share, moved by ``noise`` as a share of its weights."""
    rng = np.random.default_rng(list(salt.encode()))
    values = rng.standard_normal(SKETCHED) + noise * rng.standard_normal(SKETCHED)
    return Sketch(Digest("5" * 64), values.astype(np.float32))


def _value(path: Path, tensor: StoredTensor) -> float:
    raw = path.read_bytes()[tensor.start : tensor.start + tensor.size]
    return float(struct.unpack("<d", raw)[0])


@dataclass
class FakeCanary:
    """Right, until ``wrong`` counts down to 0."""

    wrong_after: int = 1_000_000
    checks: int = 0

    async def check(self) -> Health:
        self.checks += 1
        if self.checks > self.wrong_after:
            raise EvaluatorUnavailable("the canary's losses are off by 0.5 nats")
        return Health(0.0, Speed(1e9))


@dataclass
class World:
    """One subnet with its hub, and one validator in it."""

    root: Path
    schedule: Schedule
    hub: FakeHub = field(default_factory=FakeHub)
    sampler: FakeSampler = field(default_factory=FakeSampler)
    evaluator: FakeEvaluator = field(default_factory=FakeEvaluator)
    canary: FakeCanary = field(default_factory=FakeCanary)
    entries: dict[Hotkey, Entry] = field(default_factory=dict)
    uids: dict[Hotkey, int] = field(default_factory=dict)
    stakes: dict[Hotkey, float] = field(default_factory=dict)
    weights: dict[Hotkey, dict[Hotkey, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.store = FakeStore(self.root)
        self.chain = FakeChain(self.at(0))
        self.register(VALIDATOR)

    def register(self, hotkey: str, *, uid: int | None = None, stake: float = 0.0) -> Hotkey:
        """Give a hotkey a uid; who had it before leaves."""
        slot = len(self.uids) if uid is None else uid
        for other in [other for other, taken in self.uids.items() if taken == slot]:
            del self.uids[other]
            self.entries.pop(other, None)
        self.uids[Hotkey(hotkey)] = slot
        self.stakes[Hotkey(hotkey)] = stake
        return Hotkey(hotkey)

    def commit(
        self, name: str, block: int, files: Mapping[str, bytes] | float, *, competition: int = 0, repo: str = ""
    ) -> Entry:
        """Publish a model and commit it; a number stands for a model with that loss on prose and code."""
        hotkey = Hotkey(name)
        if hotkey not in self.uids:
            self.register(name)
        content = dict(model(salt=name, prose=files, code=files) if isinstance(files, float | int) else files)
        namespace, _, title = (repo or f"{name}/model").partition("/")
        revision = revision_of(content)
        self.hub.repos.setdefault(f"{namespace}/{title}", {})[revision] = content
        digest = secure_hash(content_of(content), hotkey)
        entry = Entry(hotkey, Block(block), Commitment(namespace, title, revision, digest, CompetitionId(competition)))
        self.entries[hotkey] = entry
        return entry

    def at(self, block: int) -> Snapshot:
        """Return the chain as it is at a sync block."""
        present = [e for e in self.entries.values() if e.hotkey in self.uids and e.block <= block]
        neurons = sorted((uid, hotkey) for hotkey, uid in self.uids.items())
        return Snapshot(
            block=Block(block),
            block_hash=block_hash(block),
            neurons=tuple(
                Neuron(Uid(uid), hotkey, self.stakes[hotkey], self.stakes[hotkey] > 0, 0.0, Block(0))
                for uid, hotkey in neurons
            ),
            entries=tuple(sorted(present, key=lambda e: (e.block, e.hotkey))),
            tie_hashes={e.block: block_hash(e.block) for e in present},
            weights=self.weights,
        )

    @property
    def node(self) -> Node:
        """Return the collaborators of the validator."""
        return Node(
            VALIDATOR, self.chain, self.hub, self.store, self.sampler, self.evaluator, self.canary, self.schedule
        )

    def step(self, block: int, state: State | None = None) -> tuple[State, Report]:
        """Run one whole step at a sync block, with nothing left running behind it."""
        self.chain.now = self.at(block)
        state, report = run(lambda: step(self.node, state or State()))
        assert report is not None
        return state, report


def run(work: Callable[[], Awaitable[tuple[State, Report | None]]]) -> tuple[State, Report | None]:
    """Run a step to its end and make sure that it leaves no task behind, however it ends."""

    async def whole() -> tuple[State, Report | None]:
        try:
            return await work()
        finally:
            assert asyncio.all_tasks() == {asyncio.current_task()}

    return asyncio.run(whole())


def block_hash(block: int) -> bytes:
    """Return a block's hash."""
    return hashlib.sha256(f"block {block}".encode()).digest()


def content_of(files: Mapping[str, bytes]) -> Digest:
    """Return the content digest of the model among some files."""
    listed = described(files)
    index = index_file(listed)
    return content_digest(model_files(listed, files[index.name] if index else None))


def weights_of(files: Mapping[str, bytes]) -> Digest:
    """Return the weights digest of a model in one file."""
    raw = files[WEIGHTS]
    start = 8 + int.from_bytes(raw[:8], "little")
    tensors = parse_header(raw[8:start], len(raw) - start, WEIGHTS)
    return digest_of_tensors((t, hashlib.sha256(raw[t.start : t.start + t.size]).hexdigest()) for t in tensors)


def timeless(report: Report) -> Report:
    """Return a report without what a clock put into it."""
    return replace(report, seconds=0.0)


def outcomes_of(report: Report) -> dict[str, str]:
    """Return what became of each hotkey: its reason, or ``scored`` or ``queued``."""
    return {entry.hotkey: entry.reason or entry.outcome for entry in report.entries}


def task(name: str) -> TaskName:
    """Return a task's name with its type."""
    return TaskName(name)

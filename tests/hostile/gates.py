"""The gates of a validator in their order, its own code in one process, and a hub that serves any bytes and counts.

What only a child process adds (no network, no files, limits of memory and time) is tested in ``test_isolation`` and its
neighbours.
"""

import asyncio
import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import numpy as np
from cheats import natural
from fakes import one_competition
from tiny import tiny_constraints

from pretrain import describe, judge
from pretrain.commitment import Commitment, Entry, content_digest, secure_hash
from pretrain.competition import Constraints
from pretrain.data import Samples
from pretrain.errors import EvaluatorUnavailable, HubUnavailable, ModelRejected, Reason
from pretrain.evaluate import Measurement, child
from pretrain.evaluate.request import Request
from pretrain.hub import RemoteFile, names
from pretrain.hub.store import ModelStore
from pretrain.models.files import CONFIG, INDEX, WEIGHTS
from pretrain.models.header import weights_digest
from pretrain.ownership import Owner, claim
from pretrain.preview import Preview
from pretrain.types import Block, CompetitionId, Digest, Hotkey, Revision

Files = Mapping[str, bytes]

VOCABULARY = 256
LENGTH = 32  # tokens a window
CONSTRAINTS = tiny_constraints(sequence_length=LENGTH, max_parameters=2_500_000).model_copy(
    update={"min_parameters": 10_000, "max_bytes": 100_000_000}
)
SAMPLES = natural(LENGTH, windows=4)
SCORED = "scored"
"""The outcome of a model that passed every gate."""

GATES = {
    "listing": "listing",
    "_look_inside": "size",
    "preview": "first kilobytes",
    "inspect": "config and headers",
    "fetch": "download",
    "weights_digest": "weights digest",
    "owned": "ownership",
    "load_with_digest": "loading",
    "window_losses": "losses",
    "probe": "probes",
}
"""What a gate is called, by the function that keeps it; the innermost one on the way to an error refused."""

_REPO, _REVISION, _MINER = "alice/model", Revision("a" * 40), Hotkey("miner")


@dataclass
class CountingHub:
    """A hub that says and serves what it was given; a request after ``most_bytes`` or ``most_requests`` fails."""

    files: Files
    twice: str = ""
    """A name that it lists two times."""
    links: frozenset[str] = frozenset()
    """Files that it brings as links to what lies outside the folder."""
    most_bytes: float = math.inf
    most_requests: float = math.inf
    bytes_of: Counter[str] = field(default_factory=Counter)
    """Bytes that were read, by file."""
    read_bytes: int = 0
    requests: int = 0
    escaped: list[Path] = field(default_factory=list)
    """Where it wrote that was not in the folder it was told."""

    async def describe(self, repo: str, revision: Revision) -> tuple[RemoteFile, ...]:  # noqa: ARG002 - there is one
        listed = [name for name in [*self.files, self.twice] if name and names.may_be_of_a_model(name)]
        return tuple(sorted(described(self.files, listed)))

    async def read(self, repo: str, revision: Revision, file: RemoteFile) -> bytes:  # noqa: ARG002
        return self._given(file.name, self.files[file.name])

    async def read_part(
        self,
        repo: str,  # noqa: ARG002
        revision: Revision,  # noqa: ARG002
        file: RemoteFile,
        start: int,
        stop: int,
    ) -> bytes:
        return self._given(file.name, self.files[file.name][start:stop])

    async def fetch(self, repo: str, revision: Revision, files: Sequence[RemoteFile], into: Path) -> None:  # noqa: ARG002
        for file in files:
            self._write(into, file.name, self._given(file.name, self.files[file.name]))

    async def publish(self, folder: Path, repo: str) -> Revision:
        raise AssertionError(f"a validator publishes nothing: {folder} to {repo}")

    async def is_public(self, repo: str) -> bool:
        return repo == _REPO

    async def open(self, repo: str) -> None:
        raise AssertionError(f"a validator opens nothing: {repo}")

    def _given(self, name: str, content: bytes) -> bytes:
        self.requests += 1
        self.read_bytes += len(content)
        self.bytes_of[name] += len(content)
        if self.read_bytes > self.most_bytes or self.requests > self.most_requests:
            raise HubUnavailable("this is enough to see that nothing stops the attack")
        return content

    def _write(self, folder: Path, name: str, content: bytes) -> None:
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if name in self.links:
            place.symlink_to(folder.with_suffix(".outside"))
        place.write_bytes(content)
        if not place.resolve().is_relative_to(folder.resolve()):
            self.escaped.append(place.resolve())


@dataclass(frozen=True)
class InProcess:
    """What a child runs, without the child."""

    engine: str = "in process"

    async def inspect(self, preview: Preview, constraints: Constraints) -> None:
        child.inspect(preview, constraints, VOCABULARY)

    async def losses(
        self, model: Path, samples: Samples, constraints: Constraints, seconds: float | None = None
    ) -> Measurement:
        request = Request(
            work="judge", model=model, constraints=constraints, vocabulary=VOCABULARY, device="cpu", batch=8, chunk=1024,
            threads=1, memory=None, seconds=seconds or 60.0,
        )  # fmt: skip
        return child.measure(request, samples)


@dataclass(frozen=True)
class Attempt:
    """How far a repository came."""

    gate: str
    """Where it ended: a value of ``GATES``, or ``SCORED``."""
    outcome: str
    """A ``Reason``, ``SCORED``, whose fault it was thought to be, or the exception that would crash a validator."""
    detail: str
    hub: CountingHub
    loss: float | None = None
    """In nats a token, when it was scored."""
    weights: Digest | None = None
    """The weights digest, when it was scored."""


def described(files: Files, listed: Sequence[str]) -> list[RemoteFile]:
    """Return names, sizes and hashes of files, as a hub knows them."""
    return [RemoteFile(name, len(files[name]), hashlib.sha256(files[name]).hexdigest()) for name in listed]


def attempt(hub: CountingHub, committed: Files, root: Path, owner: Digest, constraints: Constraints) -> Attempt:
    """Lead a repository, of which ``committed`` was committed, through the gates of a validator whose disk is ``root``.

    ``owner`` is a weights digest that another miner's earlier commitment owns.
    """
    try:
        measured = asyncio.run(_pass(hub, committed, root, owner, constraints))
    except ModelRejected as error:
        return Attempt(_gate(error.__traceback__), error.reason, error.detail, hub)
    except HubUnavailable as error:
        return Attempt(_gate(error.__traceback__), "undecided: the hub's", str(error), hub)
    except EvaluatorUnavailable as error:
        return Attempt(_gate(error.__traceback__), "undecided: the validator's", str(error), hub)
    except (ArithmeticError, LookupError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        return Attempt(_gate(error.__traceback__), f"crash: {type(error).__name__}", str(error), hub)
    loss = float(np.mean([losses.mean() for losses in measured.losses.values()]))
    return Attempt(SCORED, SCORED, "", hub, loss, measured.weights)


async def _pass(hub: CountingHub, committed: Files, root: Path, owner: Digest, constraints: Constraints) -> Measurement:
    store = ModelStore(root)
    digest = content_digest(described(committed, _named(committed)))
    commitment = Commitment("alice", "model", _REVISION, secure_hash(digest, _MINER), CompetitionId(1))
    entry = Entry(_MINER, Block(100), commitment)
    files = await describe.listing(hub, entry)
    await describe._look_inside(hub, InProcess(), entry, files, constraints)  # noqa: SLF001 - a gate, as it is
    path = await store.fetch(hub, _REPO, _REVISION, files, content_digest(files))
    weights = weights_digest(path)
    owned(weights, entry, owner)
    competition = one_competition().at(Block(0))[0].model_copy(update={"model": constraints})
    return await judge.measure(InProcess(), path, weights, judge.Job(competition, SAMPLES))


def owned(weights: Digest, entry: Entry, owner: Digest) -> None:
    """Refuse a copy of weights that were committed before."""
    earlier = Entry(Hotkey("victim"), Block(1), entry.commitment)
    if claim({owner: Owner(earlier, since=earlier)}, weights, entry, {}).duplicate_of:
        raise ModelRejected(Reason.DUPLICATE, "the same weights were committed earlier")


def _named(files: Files) -> list[str]:
    """Return the names that a miner who breaks no rule would commit; of anything else all of them."""
    try:
        shards = set(json.loads(files[INDEX])["weight_map"].values()) if INDEX in files else {WEIGHTS}
    except (RecursionError, ValueError):
        return list(files)
    chosen = {CONFIG, *shards, *([INDEX] if INDEX in files else [])}
    return list(chosen & set(files))


def _gate(traceback: TracebackType | None) -> str:
    found = ""
    while traceback is not None:
        found = GATES.get(traceback.tb_frame.f_code.co_name, found)
        traceback = traceback.tb_next
    return found

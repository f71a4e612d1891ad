"""The gates of a validator in their order, its own code in one process.

What only a child process adds (no network, no files, limits of memory and time) is tested in ``test_isolation`` and its
neighbours.
"""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from cheats import natural
from counting_hub import REPO, REVISION, CountingHub, Files, described
from fakes import one_competition
from tiny import tiny_constraints

from pretrain import describe, judge
from pretrain.commitment import Commitment, Entry, content_digest, secure_hash
from pretrain.competition import Constraints
from pretrain.data import Samples
from pretrain.errors import EvaluatorUnavailable, HubUnavailable, ModelRejected, Reason
from pretrain.evaluate import Measurement, child
from pretrain.evaluate.request import Request
from pretrain.hub.store import ModelStore
from pretrain.models.files import CONFIG, INDEX, WEIGHTS
from pretrain.models.header import weights_digest
from pretrain.ownership import Owner, claim
from pretrain.preview import Preview
from pretrain.types import Block, CompetitionId, Digest, Hotkey

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
    "look_inside": "size",
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

_MINER = Hotkey("miner")


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
            work="judge", model=model, constraints=constraints, vocabulary=VOCABULARY,
            device="cpu", batch=8, chunk=1024, threads=1, memory=None, seconds=seconds or 60.0,
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
    except (ArithmeticError, AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
        return Attempt(_gate(error.__traceback__), f"crash: {type(error).__name__}", str(error), hub)
    loss = float(np.mean([losses.mean() for losses in measured.losses.values()]))
    return Attempt(SCORED, SCORED, "", hub, loss, measured.weights)


async def _pass(hub: CountingHub, committed: Files, root: Path, owner: Digest, constraints: Constraints) -> Measurement:
    store = ModelStore(root)
    digest = content_digest(described(committed, _named(committed)))
    commitment = Commitment("alice", "model", REVISION, secure_hash(digest, _MINER), CompetitionId(1))
    entry = Entry(_MINER, Block(100), commitment)
    files = await describe.listing(hub, entry)
    look = describe.Look(hub, InProcess(), constraints, frozenset())
    await describe.look_inside(look, entry, files)
    path = await store.fetch(hub, REPO, REVISION, files, content_digest(files))
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
    except (AttributeError, RecursionError, ValueError):
        return list(files)
    chosen = {CONFIG, *shards, *([INDEX] if INDEX in files else [])}
    return list(chosen & set(files))


def _gate(traceback: TracebackType | None) -> str:
    found = ""
    while traceback is not None:
        found = GATES.get(traceback.tb_frame.f_code.co_name, found)
        traceback = traceback.tb_next
    return found

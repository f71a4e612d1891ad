"""Everything that a model passes before a validator spends a minute on it, in order, for one model: ``pretrain check``.

Each gate is the validator's own code. What only the chain knows (whose commitment it is, whether the same weights were
committed before) is not asked here.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pretrain.commitment import content_digest
from pretrain.competition import Competition
from pretrain.data import Samples
from pretrain.errors import ModelRejected, Reason
from pretrain.evaluate import Evaluator
from pretrain.hub import Hub, RemoteFile
from pretrain.judge import Job, measure
from pretrain.models.files import index_file, local_files, model_files
from pretrain.models.header import weights_digest
from pretrain.node import Store
from pretrain.preview import local_preview, preview
from pretrain.types import Digest, Revision


@dataclass(frozen=True)
class Published:
    """A model on a hub."""

    repo: str
    revision: Revision


@dataclass(frozen=True)
class Passed:
    """A gate that let the model through."""

    gate: str
    detail: str


@dataclass(frozen=True)
class Gates:
    """The guards, and what they judge by."""

    competition: Competition
    samples: Samples
    """A few windows of the competition."""
    evaluator: Evaluator
    hub: Hub
    store: Store


async def check(model: Path | Published, gates: Gates) -> AsyncIterator[Passed]:
    """Yield each gate that the model passes, until it has passed all.

    Raises ModelRejected at the first that refuses it; Unavailable when the hub, the disk or the engine is.
    """
    constraints = gates.competition.model
    if isinstance(model, Published):
        files = await _listed(model, gates.hub)
        yield Passed("readable", f"{model.repo} at {model.revision}, without a token")
    else:
        files = await asyncio.to_thread(local_files, model)
    total = sum(file.size for file in files)
    if total > constraints.max_bytes:
        raise ModelRejected(Reason.FILES, f"{total} bytes; the competition allows {constraints.max_bytes}")
    content = content_digest(files)
    yield Passed("files", f"{len(files)} files, {total} of {constraints.max_bytes} bytes; content digest {content}")
    if isinstance(model, Published):
        seen = await preview(gates.hub, model.repo, model.revision, files)
    else:
        seen = await asyncio.to_thread(local_preview, model)
    await gates.evaluator.inspect(seen, constraints)
    read = len(seen.config) + sum(len(header.raw) for header in seen.headers.values())
    yield Passed("config and headers", f"as the competition allows, by {read} bytes")
    folder = await _fetched(model, files, content, gates)
    weights = await asyncio.to_thread(weights_digest, folder)
    yield Passed("weights", f"every byte as listed; weights digest {weights}")
    measured = await measure(gates.evaluator, folder, weights, Job(gates.competition, gates.samples))
    mean = ", ".join(f"{task} {losses.mean():.4f}" for task, losses in sorted(measured.losses.items()))
    yield Passed("probes and losses", f"finite, and blind to what comes next; nats a token: {mean}")


def few_windows(competition: Competition, windows: int) -> Competition:
    """Return the competition with so many windows of each task: enough to see that a model works, none to rank it."""
    return competition.model_copy(update={"windows": min(windows, competition.windows)})


async def _listed(model: Published, hub: Hub) -> tuple[RemoteFile, ...]:
    described = await hub.describe(model.repo, model.revision)
    index = index_file(described)
    raw = await hub.read(model.repo, model.revision, index) if index else None
    return await asyncio.to_thread(model_files, described, raw)


async def _fetched(model: Path | Published, files: Sequence[RemoteFile], content: Digest, gates: Gates) -> Path:
    if isinstance(model, Path):
        return model
    return await gates.store.fetch(gates.hub, model.repo, model.revision, files, content)

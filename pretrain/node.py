"""A validator's collaborators: the seams to everything outside, chosen once at start."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pretrain.chain import Chain
from pretrain.competition import Competition
from pretrain.data import Samples
from pretrain.evaluate import Evaluator
from pretrain.evaluate.deadline import Health
from pretrain.hub import Hub, RemoteFile
from pretrain.schedule import Schedule
from pretrain.types import Digest, Hotkey, Revision


class Store(Protocol):
    """Models on this machine's disk, by content digest."""

    async def sound(self, content: Digest) -> Path | None:
        """Return the folder of a model that is here with every byte as it came, None when it is not."""

    def keep(self, needed: Collection[Digest], soon: Sequence[Digest] = ()) -> None:
        """Need these until the next call, and nothing else; those needed ``soon`` are dropped only for want of room."""

    def release(self, content: Digest) -> None:
        """Need a model that was fetched no longer, unless ``keep`` named it."""

    async def fetch(
        self, hub: Hub, repo: str, revision: Revision, files: Sequence[RemoteFile], content: Digest
    ) -> Path:
        """Return a model's folder, downloaded unless it is here unspoilt; it is needed until ``release``.

        Nothing half-written is ever left. Raises ModelRejected, HubUnavailable; EvaluatorUnavailable when there is no
        room for it.
        """


class Sampler(Protocol):
    """Draws the windows of a step."""

    async def draw(self, competition: Competition, seed: int) -> Samples:
        """Return the same samples on every validator; raises DataUnavailable."""


class Canary(Protocol):
    """A pinned model of known losses."""

    async def check(self) -> Health:
        """Return how well this validator judges; raises EvaluatorUnavailable when it judges wrongly."""


@dataclass(frozen=True)
class Node:
    """Everything a step talks to."""

    hotkey: Hotkey
    chain: Chain
    hub: Hub
    store: Store
    sampler: Sampler
    evaluator: Evaluator
    canary: Canary
    schedule: Schedule

"""A hub on this machine with one model, the real client, and what a download from it ends in."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hub_faults import Rule
from hub_server import Loopback, running
from outside import Found

from pretrain.errors import HubUnavailable, ModelRejected
from pretrain.hub.huggingface import HuggingFaceHub, Limits
from pretrain.types import Revision

REPO, TOKEN = "alice/model", "alice's-token"
FILES = {"config.json": b" " * 2000, "model.safetensors": bytes(range(250)) * 200}
"""All of them large, so that the hub's listing alone tells their sha256."""
LARGE = hashlib.sha256(FILES["model.safetensors"]).hexdigest()
LIMITS = Limits(connect=5, stall=5, answer=20, fetch=20, tries=1, pause=0.001, longest_pause=0.5)
PATIENCE = 3.0
"""Seconds after which a call without an end is taken for one."""
LISTING, ALL, FLOODED = 1000, 60_000, 9 << 20


@dataclass
class Scene:
    """A hub on this machine with one public model, and the real client."""

    site: Loopback
    revision: Revision
    into: Path
    taken: list[int]
    """Bytes of each piece of an answer that came."""
    limits: Limits = LIMITS

    @property
    def hub(self) -> HuggingFaceHub:
        return HuggingFaceHub(TOKEN, endpoint=self.site.endpoint, limits=self.limits)

    async def describe(self) -> None:
        await self.hub.describe(REPO, self.revision)

    async def download(self) -> None:
        await self.hub.fetch(REPO, self.revision, await self.hub.describe(REPO, self.revision), self.into)

    def found(self, work: Coroutine[Any, Any, None]) -> Found:
        """Return what a call ends in, and the bytes of all answers that the client took until then."""
        try:
            asyncio.run(asyncio.wait_for(work, PATIENCE))
            outcome = "read"
        except ModelRejected as error:
            outcome = error.reason
        except HubUnavailable:
            outcome = "hub"
        except TimeoutError:
            outcome = "goes on"
        except ValueError:
            outcome = "crashes"
        return Found("floods" if sum(self.taken) > FLOODED else outcome, sum(self.taken))


@contextmanager
def scene(root: Path) -> Iterator[Scene]:
    taken: list[int] = []

    async def counted(response: httpx2.Response) -> AsyncIterator[bytes]:
        async for chunk in RAW(response):
            taken.append(len(chunk))
            yield chunk

    with running({TOKEN: "alice"}) as site, pytest.MonkeyPatch.context() as patch:
        patch.setattr(httpx2.Response, "aiter_raw", counted)
        site.page = 1000
        yield Scene(site, Revision(site.state.publish(REPO, FILES)), root / "into", taken)


RAW = httpx2.Response.aiter_raw


def changed(root: Path, change: Callable[[Scene], None]) -> Found:
    """Download a model whose repository was changed."""
    with scene(root) as made:
        change(made)
        return made.found(made.download())


def spoilt(root: Path, rule: Rule, limits: Limits = LIMITS) -> Found:
    """Download a model while a rule of the hub's spoils some answers."""
    with scene(root) as made:
        made.site.faults.rules.append(
            Rule(rule.kind, rule.match, rule.status, rule.headers)
        )  # one that nothing met yet
        made.limits = limits
        return made.found(made.download())

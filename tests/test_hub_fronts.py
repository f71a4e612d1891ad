"""What stands before a hub, and headers that nobody can read: the world's fault, and no verdict on a repository."""

import asyncio
import hashlib
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import hub_server
import pytest
from hub_faults import Rule

from pretrain.errors import HubUnavailable, ModelRejected, Reason
from pretrain.hub import RemoteFile
from pretrain.hub.huggingface import HuggingFaceHub, Limits
from pretrain.types import Revision

REPO = "alice/model"
CONTENT = bytes(range(250)) * 20
FILES = {"config.json": b"{}", "model.safetensors": CONTENT}
LARGE = RemoteFile("model.safetensors", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
QUICK = Limits(connect=5, stall=2, answer=20, fetch=20, tries=2, pause=0.001, longest_pause=0.5)
PAGE = b"<!DOCTYPE html><title>Back soon</title>"

Ask = Callable[[HuggingFaceHub, Revision, Path], Coroutine[Any, Any, object]]
ASKS: dict[str, Ask] = {
    "describe": lambda hub, revision, _: hub.describe(REPO, revision),
    "read_part": lambda hub, revision, _: hub.read_part(REPO, revision, LARGE, 0, 8),
    "fetch": lambda hub, revision, into: hub.fetch(REPO, revision, [LARGE], into),
    "is_public": lambda hub, _revision, _into: hub.is_public(REPO),
}
FILE_ASKS = ("read_part", "fetch")


@pytest.fixture
def site() -> Iterator[hub_server.Loopback]:
    with hub_server.running({}) as made:
        yield made


@pytest.fixture
def revision(site: hub_server.Loopback) -> Revision:
    return Revision(site.state.publish(REPO, FILES))


def _to(location: str, match: str = "") -> Rule:
    return Rule("status", match, status=302, headers={"Location": location}, body=b"")


@pytest.mark.parametrize(
    "location",
    [
        "https://status.example.org/api/models/alice/other",
        "/login",
        "/maintenance?of=/api/models/alice/other",
        "/api/models/alice/model",
        "STORAGE/api/models/alice/other",
        "http://[::1",
        "https://x:99999999/",
        "https://%ff/",
    ],
)
@pytest.mark.parametrize("ask", ["describe", "is_public"])
def test_a_redirect_of_the_api_to_no_other_repository_is_the_worlds_fault(
    site: hub_server.Loopback, revision: Revision, tmp_path: Path, ask: str, location: str
) -> None:
    site.faults.rules.append(_to(location.replace("STORAGE", site.storage)))
    with pytest.raises(HubUnavailable):
        asyncio.run(ASKS[ask](HuggingFaceHub(endpoint=site.endpoint, limits=QUICK), revision, tmp_path))


@pytest.mark.parametrize(
    "location",
    [
        "/login",
        "/alice/other",
        "/alice/model/resolve/main/model.safetensors",
        "/api/models/alice/other",
        "http://[::1",
        "https://x:99999999/",
        f"http://{'a' * 70}.example/",
    ],
)
@pytest.mark.parametrize("ask", FILE_ASKS)
def test_a_redirect_of_a_file_to_no_other_repository_is_the_worlds_fault(
    site: hub_server.Loopback, revision: Revision, tmp_path: Path, ask: str, location: str
) -> None:
    site.faults.rules.append(_to(location, "/resolve/"))
    with pytest.raises(HubUnavailable):
        asyncio.run(ASKS[ask](HuggingFaceHub(endpoint=site.endpoint, limits=QUICK), revision, tmp_path))


@pytest.mark.parametrize(
    ("ask", "location"),
    [
        ("describe", "/api/models/alice/other"),
        ("describe", "/api/models/alice/Model/revision/main?expand=sha"),
        ("read_part", "/alice/other/resolve/main/model.safetensors"),
        ("fetch", "/api/resolve-cache/models/alice/other/main/model.safetensors"),
    ],
)
def test_a_redirect_to_another_repository_of_the_hub_is_the_miners_fault(
    site: hub_server.Loopback, revision: Revision, tmp_path: Path, ask: str, location: str
) -> None:
    site.faults.rules.append(_to(location))
    with pytest.raises(ModelRejected) as rejected:
        asyncio.run(ASKS[ask](HuggingFaceHub(endpoint=site.endpoint, limits=QUICK), revision, tmp_path))
    assert rejected.value.reason is Reason.UNAVAILABLE


@pytest.mark.parametrize("status", [401, 403, 404, 410, 451])
@pytest.mark.parametrize("ask", ASKS)
def test_a_no_of_something_before_the_hub_is_the_worlds_fault(
    site: hub_server.Loopback, revision: Revision, tmp_path: Path, ask: str, status: int
) -> None:
    site.faults.rules.append(Rule("status", status=status, headers={"Server": "CloudFront"}, body=PAGE))
    with pytest.raises(HubUnavailable):
        asyncio.run(ASKS[ask](HuggingFaceHub(endpoint=site.endpoint, limits=QUICK), revision, tmp_path))


@pytest.mark.parametrize(
    ("ask", "rule"),
    [
        ("describe", Rule("status", "/tree/", status=200, headers={"Link": '<http://[::1>; rel="next"'}, body=b"[]")),
        ("describe", Rule("status", status=429, headers={"RateLimit": f'"api";r=0;t={"9" * 5000}'})),
        ("describe", Rule("status", status=429, headers={"RateLimit": f'"api";r=0;t={"9" * 400}'})),
        ("describe", Rule("status", status=503, headers={"Retry-After": "9" * 5000})),
        ("read_part", Rule("status", "/resolve/", status=200, headers={"X-Linked-Size": "9" * 5000}, body=b"x")),
        ("read_part", Rule("status", "/resolve/", status=200, headers={"X-Linked-Size": "\xb2"}, body=b"x")),
        ("fetch", Rule("status", "/resolve/", status=200, headers={"X-Linked-Size": "9" * 5000}, body=b"x")),
    ],
)
def test_a_header_that_nobody_can_read_is_the_worlds_fault(
    site: hub_server.Loopback, revision: Revision, tmp_path: Path, ask: str, rule: Rule
) -> None:
    site.faults.rules.append(replace(rule))
    with pytest.raises(HubUnavailable):
        asyncio.run(ASKS[ask](HuggingFaceHub(endpoint=site.endpoint, limits=QUICK), revision, tmp_path))


def test_a_hub_that_asked_for_a_long_wait_is_left_alone_by_later_calls_too(
    site: hub_server.Loopback, revision: Revision, tmp_path: Path
) -> None:
    site.faults.rules.append(Rule("status", status=429, headers={"RateLimit": '"api";r=0;t=250'}, times=1))
    hub = HuggingFaceHub(endpoint=site.endpoint, limits=QUICK)
    with pytest.raises(HubUnavailable, match="asks to wait 250 s"):
        asyncio.run(hub.describe(REPO, revision))
    for ask in ASKS.values():
        with pytest.raises(HubUnavailable, match="asked not to be asked"):
            asyncio.run(ask(hub, revision, tmp_path))
    assert len(site.requests) == 1


def test_a_short_wait_that_the_hub_asked_for_is_kept_by_a_call_beside(
    site: hub_server.Loopback, revision: Revision
) -> None:
    site.faults.rules.append(Rule("status", status=429, headers={"RateLimit": '"api";r=0;t=1'}, times=1))
    hub = HuggingFaceHub(endpoint=site.endpoint, limits=replace(QUICK, tries=1, longest_pause=5))
    with pytest.raises(HubUnavailable):
        asyncio.run(hub.is_public(REPO))
    began = time.monotonic()
    assert asyncio.run(hub.read_part(REPO, revision, LARGE, 0, 8)) == CONTENT[:8]
    assert time.monotonic() - began > 0.8

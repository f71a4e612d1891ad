"""Publishing to the real hub by its own client: one revision whatever happens, and a token that never leaves."""

import asyncio
import fcntl
import hashlib
import logging
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import hub_server
import pytest
from hub_faults import Kind, Rule
from huggingface_hub import HfApi
from huggingface_hub.utils import _http

from pretrain.errors import HubUnavailable, Refused
from pretrain.hub.huggingface import HuggingFaceHub, Limits
from pretrain.types import Revision

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")  # huggingface_hub's upload
TOKEN = "hf_the-secret-of-alice"  # noqa: S105 - of a hub that lives for one test
REPO = "alice/model"
FILES = {
    "config.json": b'{"hidden_size": 8}',
    "model-1.safetensors": bytes(range(251)) * 2000,
    "model-2.safetensors": bytes(range(241)) * 3000,
    "model.safetensors.index.json": b'{"weight_map": {}}',
}
QUICK = Limits(connect=5, stall=0.5, answer=20, publish=60, tries=4, pause=0.001, longest_pause=0.5, parallel=1)
PROGRAM = """
import asyncio, sys
from pathlib import Path
from pretrain.hub.huggingface import HuggingFaceHub, Limits
one_by_one = HuggingFaceHub(sys.argv[1], sys.argv[2], Limits(parallel=1))
print(asyncio.run(one_by_one.publish(Path(sys.argv[3]), sys.argv[4])))
"""


@pytest.fixture
def site() -> Iterator[hub_server.Loopback]:
    with hub_server.running({TOKEN: "alice", "hf_bob": "bob"}) as made:
        yield made


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return written(tmp_path / "model", FILES)


@pytest.fixture
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the seconds out of the client's own retries."""
    monkeypatch.setattr(time, "sleep", lambda _: None)


def written(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def hub(site: hub_server.Loopback, limits: Limits = QUICK, token: str = TOKEN) -> HuggingFaceHub:
    return HuggingFaceHub(token, site.endpoint, limits)


def committed(site: hub_server.Loopback) -> dict[str, dict[str, bytes]]:
    """Return what each revision but the empty first one holds of a model."""
    commits = list(site.state.repositories[REPO].commits.items())[1:]
    return {
        sha: {name: blob.content for name, blob in files.items() if name != ".gitattributes"} for sha, files in commits
    }


REQUESTS = [
    "GET /api/models/alice/model",
    "POST /api/repos/create",
    "GET /api/models/alice/model/tree/",
    "POST /api/models/alice/model/preupload/",
    "POST /alice/model.git/info/lfs/objects/batch",
    "PUT /objects/",
    "POST /api/models/alice/model/verify",
    "POST /api/models/alice/model/commit/",
]


@pytest.mark.usefixtures("_hurried")
@pytest.mark.parametrize("kind", ["status", "reset", "lost", "short", "wrong"])
@pytest.mark.parametrize("match", REQUESTS)
def test_what_happens_once_makes_no_second_revision(
    site: hub_server.Loopback, model: Path, match: str, kind: Kind
) -> None:
    site.faults.rules.append(Rule(kind, match, times=1))
    revision = asyncio.run(hub(site).publish(model, REPO))
    assert site.faults.rules[0].reached.is_set()
    assert committed(site) == {revision: FILES}
    assert site.state.repositories[REPO].private


@pytest.mark.usefixtures("_hurried")
@pytest.mark.parametrize("kind", ["status", "reset", "stall", "short", "wrong"])
def test_a_hub_that_never_answers_rightly_is_unavailable(site: hub_server.Loopback, model: Path, kind: Kind) -> None:
    site.faults.rules.append(Rule(kind))
    for ask in (hub(site).publish(model, REPO), hub(site).open(REPO)):
        with pytest.raises(HubUnavailable):
            asyncio.run(ask)


@pytest.mark.parametrize("status", [400, 401, 402, 403, 413, 422])
def test_a_hub_that_says_no_to_a_write_refuses_it(site: hub_server.Loopback, model: Path, status: int) -> None:
    site.faults.rules.append(Rule("status", "POST /api/repos/create", status=status))
    with pytest.raises(Refused, match=f"HTTP {status}") as refused:
        asyncio.run(hub(site).publish(model, REPO))
    assert (refused.value.code == "Unauthorized") is (status in {401, 403})


def test_a_token_that_the_hub_does_not_know_is_refused(site: hub_server.Loopback, model: Path) -> None:
    for ask in (hub(site, token="hf_stranger").publish(model, REPO), hub(site, token="hf_stranger").open(REPO)):  # noqa: S106
        with pytest.raises(Refused, match="Invalid credentials") as refused:
            asyncio.run(ask)
        assert refused.value.code == "Unauthorized"


def test_a_namespace_of_another_is_refused(site: hub_server.Loopback, model: Path) -> None:
    asyncio.run(hub(site).publish(model, REPO))
    for repo in (REPO, "alice/new"):
        with pytest.raises(Refused) as refused:
            asyncio.run(hub(site, token="hf_bob").publish(model, repo))  # noqa: S106
        assert refused.value.code == "Unauthorized"
    assert len(committed(site)) == 1


@pytest.mark.parametrize("repo", ["alice/Model", "Alice/model"])
def test_another_spelling_of_a_repository_is_refused(site: hub_server.Loopback, model: Path, repo: str) -> None:
    asyncio.run(hub(site).publish(model, REPO))
    with pytest.raises(Refused, match="not so spelt") as refused:
        asyncio.run(hub(site).publish(model, repo))
    assert refused.value.code == "Unauthorized"


def test_a_renamed_repository_takes_nothing_under_its_old_name(site: hub_server.Loopback, model: Path) -> None:
    asyncio.run(hub(site).publish(model, REPO))
    moved = site.state.repositories.pop(REPO)
    moved.id = "alice/new"
    site.state.repositories["alice/new"] = moved
    site.state.renamed[REPO] = "alice/new"
    for ask in (hub(site).publish(model, REPO), hub(site).open(REPO)):
        with pytest.raises(Refused, match="not so spelt"):
            asyncio.run(ask)


@pytest.mark.parametrize("repo", ["alice/a--b", "alice/a..b", "alice/a.git"])
def test_a_name_that_no_repository_there_can_have_is_refused(site: hub_server.Loopback, model: Path, repo: str) -> None:
    with pytest.raises(Refused) as refused:
        asyncio.run(hub(site).publish(model, repo))
    assert (refused.value.code, site.requests) == ("InvalidName", [])


def test_what_is_open_takes_nothing_new(site: hub_server.Loopback, model: Path) -> None:
    revision = asyncio.run(hub(site).publish(model, REPO))
    asyncio.run(hub(site).open(REPO))
    assert asyncio.run(hub(site).publish(model, REPO)) == revision
    written(model, {"config.json": b"{}"})
    with pytest.raises(Refused) as refused:
        asyncio.run(hub(site).publish(model, REPO))
    assert (refused.value.code, list(committed(site))) == ("AlreadyPublic", [revision])


def test_a_gated_repository_is_opened_to_all(site: hub_server.Loopback, model: Path) -> None:
    asyncio.run(hub(site).publish(model, REPO))
    site.state.repositories[REPO].gated = "manual"
    asyncio.run(hub(site).open(REPO))
    assert asyncio.run(hub(site).is_public(REPO))


def test_an_empty_repository_is_not_opened(site: hub_server.Loopback) -> None:
    site.state.make(REPO)
    with pytest.raises(Refused) as refused:
        asyncio.run(hub(site).open(REPO))
    assert (refused.value.code, site.state.repositories[REPO].private) == ("NothingPublished", True)


def test_a_file_of_an_older_model_does_not_stay(site: hub_server.Loopback, model: Path, tmp_path: Path) -> None:
    asyncio.run(hub(site).publish(model, REPO))
    other = {"config.json": b"{}", "model.safetensors": b"whole" * 1000}
    revision = asyncio.run(hub(site).publish(written(tmp_path / "other", other), REPO))
    assert committed(site)[revision] == other


def test_a_shard_too_many_is_another_model(site: hub_server.Loopback, model: Path) -> None:
    first = asyncio.run(hub(site).publish(model, REPO))
    (model / "model-2.safetensors").unlink()
    second = asyncio.run(hub(site).publish(model, REPO))
    fewer = {name: content for name, content in FILES.items() if name != "model-2.safetensors"}
    assert committed(site) == {first: FILES, second: fewer}


def test_a_revision_is_made_on_no_other_head_than_the_one_that_was_seen(site: hub_server.Loopback, model: Path) -> None:
    held = Rule("hold after", "POST /api/models/alice/model/preupload", times=1)
    site.faults.rules.append(held)

    def meanwhile() -> None:
        assert held.reached.wait(20)
        site.state.publish(REPO, {"README.md": b"by another hand"})
        held.go_on.set()

    other = threading.Thread(target=meanwhile)
    other.start()
    revision = asyncio.run(hub(site, replace(QUICK, stall=20)).publish(model, REPO))
    other.join(20)
    assert committed(site)[revision] == {**FILES, "README.md": b"by another hand"}
    assert (site.count("POST /api/models/alice/model/commit/"), len(committed(site))) == (2, 2)


def test_a_file_that_the_hub_leaves_out_is_told(site: hub_server.Loopback, model: Path) -> None:
    site.state.make(REPO)
    site.state.publish(REPO, {".gitignore": b"config.json"})
    with pytest.raises(Refused, match="gitignore"):
        asyncio.run(hub(site).publish(model, REPO))


def test_what_is_up_already_is_not_sent_again(site: hub_server.Loopback, model: Path) -> None:
    asyncio.run(hub(site).publish(model, REPO))
    assert site.count("PUT /objects/") == 2
    written(model, {"config.json": b"{}"})
    asyncio.run(hub(site).publish(model, REPO))
    assert (site.count("PUT /objects/"), site.count("GET /objects/")) == (2, 0), "and nothing is read back"


@pytest.mark.usefixtures("_hurried")
@pytest.mark.parametrize("match", ["nothing", "PUT /parts/", "POST /api/complete_multipart/"])
def test_a_very_large_file_goes_up_in_parts(site: hub_server.Loopback, model: Path, match: str) -> None:
    site.part = 200_000
    site.faults.rules.append(Rule("reset", match, times=1))
    revision = asyncio.run(hub(site).publish(model, REPO))
    assert committed(site) == {revision: FILES}
    assert (site.count("PUT /objects/"), len(site.state.parts)) == (0, 3 + 4)
    assert {request.token for request in site.requests if request.host == "storage"} == {None}


def test_the_token_is_shown_to_the_hub_alone_and_told_to_nobody(
    site: hub_server.Loopback, model: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    site.verify = f"{site.storage}/verify"
    writer = hub(site)
    asyncio.run(writer.publish(model, REPO))
    asyncio.run(writer.open(REPO))
    site.faults.rules.append(Rule("status", "PUT", status=403))
    with pytest.raises(Refused) as refused:
        asyncio.run(writer.open(REPO))
    told = "".join(traceback.format_exception(refused.value)) + repr(writer) + caplog.text + "".join(capfd.readouterr())
    assert {request.token for request in site.requests if request.host == "storage"} == {None}
    assert {request.token for request in site.requests if request.method != "GET"} == {None, TOKEN}
    assert site.count("POST /verify") == 2
    assert TOKEN not in told


def test_a_long_wait_that_the_hub_asks_for_ends_a_publication(site: hub_server.Loopback, model: Path) -> None:
    headers = {"Retry-After": "900"}
    site.faults.rules.append(Rule("status", "POST /api/models/alice/model/preupload", 429, headers))
    began = time.monotonic()
    with pytest.raises(HubUnavailable, match="asks to wait 900 s"):
        asyncio.run(hub(site).publish(model, REPO))
    assert time.monotonic() - began < 5
    assert site.count("preupload") == 1


@pytest.mark.parametrize("kind", ["hold reading", "hold"])
def test_a_publication_meets_its_deadline_and_sends_nothing_after_it(
    site: hub_server.Loopback, model: Path, kind: Kind
) -> None:
    site.faults.rules.append(Rule(kind, "PUT /objects/"))
    began = time.monotonic()
    with pytest.raises(HubUnavailable, match="not done within"):
        asyncio.run(hub(site, replace(QUICK, publish=0.5, stall=2)).publish(model, REPO))
    assert time.monotonic() - began < 5, "the thread ends too, by the stall at the latest"
    assert site.count("PUT /objects/") == 1
    assert committed(site) == {}


def test_a_write_that_was_left_behind_does_nothing_on_the_client_of_the_next(
    site: hub_server.Loopback, model: Path
) -> None:
    site.page = 1000
    asyncio.run(hub(site).publish(model, REPO))
    site.requests.clear()
    site.faults.rules.append(Rule("status", "/tree/", status=503, times=1))  # the client sleeps for a second

    async def twice() -> None:
        with pytest.raises(HubUnavailable, match="not done within"):
            await hub(site, replace(QUICK, answer=0.5)).open(REPO)
        site.faults.rules.append(Rule("drip", "GET /api/models/alice/model", times=1))
        await hub(site, replace(QUICK, stall=5, tries=1)).open(REPO)

    asyncio.run(twice())
    asked = [f"{request.method} {request.path.rpartition('/')[0]}" for request in site.requests]
    once = ["GET /api/models/alice", "GET /api/models/alice/model/tree"]
    assert asked == [*once, *once, "PUT /api/models/alice/model"]
    assert _http._GLOBAL_CLIENT_FACTORY is _http.default_client_factory  # noqa: SLF001


def test_a_write_begins_only_when_one_that_was_left_behind_has_ended(site: hub_server.Loopback, model: Path) -> None:
    asyncio.run(hub(site).publish(model, REPO))
    held = Rule("hold after", "PUT /api/models/alice/model/settings", times=1)
    site.faults.rules.append(held)

    async def one_after_the_other() -> None:
        with pytest.raises(HubUnavailable, match="not done within"):
            await hub(site, replace(QUICK, answer=0.5, stall=20)).open(REPO)
        sent = len(site.requests)
        with pytest.raises(HubUnavailable, match="an earlier write"):
            await hub(site, replace(QUICK, stall=0.2, longest_pause=0.2, tries=1)).open(REPO)
        assert len(site.requests) == sent
        held.go_on.set()
        await hub(site, replace(QUICK, stall=5)).open(REPO)

    asyncio.run(one_after_the_other())
    assert site.count("PUT /api/models/alice/model/settings") == 2


def test_the_client_is_left_as_it_was_for_whoever_else_uses_it(site: hub_server.Loopback, model: Path) -> None:
    asyncio.run(hub(site).publish(model, REPO))
    assert HfApi(site.endpoint, token=TOKEN).model_info(REPO).id == REPO


def _said(site: hub_server.Loopback, model: Path, stderr: int) -> int:
    command = [sys.executable, "-c", PROGRAM, TOKEN, site.endpoint, str(model), REPO]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, stderr=stderr, check=False)  # noqa: S603
    return done.returncode


def test_large_files_show_how_far_they_are_on_a_terminal_and_nowhere_else(
    site: hub_server.Loopback, model: Path, tmp_path: Path
) -> None:
    terminal, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    assert _said(site, model, end) == 0
    os.close(end)
    assert b"model-1.safetensors: 100%" in os.read(terminal, 65536)
    os.close(terminal)
    written(model, {"model-1.safetensors": b"another" * 1000})
    with (tmp_path / "log").open("wb") as log:
        assert _said(site, model, log.fileno()) == 0
    assert (tmp_path / "log").read_bytes() == b""


def _wait(ready: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not ready():
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("match", "kind", "nth", "left"),
    [
        ("POST /api/repos/create", "hold after", 1, 2),
        ("POST /api/models/alice/model/preupload/main", "hold after", 1, 2),
        ("PUT /objects/", "hold reading", 1, 2),
        ("PUT /objects/", "hold", 2, 1),
        ("POST /api/models/alice/model/commit/main", "hold", 1, 0),
        ("POST /api/models/alice/model/commit/main", "hold after", 1, 0),
    ],
    ids=["made", "asked how", "first file", "second file", "before the commit", "after the commit"],
)
def test_a_publication_that_is_killed_goes_on_and_makes_one_revision(
    site: hub_server.Loopback, model: Path, match: str, kind: Kind, nth: int, left: int
) -> None:
    held = Rule(kind, match, every=nth, times=1)
    site.faults.rules.append(held)
    command = [sys.executable, "-c", PROGRAM, TOKEN, site.endpoint, str(model), REPO]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[1]) as publisher:  # noqa: S603
        assert held.reached.wait(60)
        if kind == "hold after":
            _wait(lambda: REPO in site.state.repositories and ("commit" not in match or bool(committed(site))))
        publisher.send_signal(signal.SIGKILL)
        assert publisher.wait(20) == -signal.SIGKILL
    held.go_on.set()
    sent = site.count("PUT /objects/")
    revision = asyncio.run(hub(site).publish(model, REPO))
    assert committed(site) == {revision: FILES}
    assert site.count("PUT /objects/") - sent == left
    assert asyncio.run(hub(site).publish(model, REPO)) == revision
    asyncio.run(hub(site).open(REPO))
    described = asyncio.run(HuggingFaceHub(endpoint=site.endpoint, limits=QUICK).describe(REPO, Revision(revision)))
    assert {file.name: file.sha256 for file in described} == {
        name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()
    }

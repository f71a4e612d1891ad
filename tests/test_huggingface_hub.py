"""Reading from the real hub: what goes wrong, whose fault it is, and what it costs."""

import asyncio
import contextlib
import hashlib
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import hub_server
import pytest
from hub_faults import Kind, Rule
from huggingface_hub import HfApi, constants
from huggingface_hub.hf_api import RepoFile

from pretrain.commitment import content_digest
from pretrain.errors import ConfigError, HubUnavailable, ModelRejected, Reason
from pretrain.hub import RemoteFile, huggingface
from pretrain.hub.huggingface import HuggingFaceHub, Limits
from pretrain.hub.store import ModelStore
from pretrain.types import Revision

REPO = "alice/model"
FILES = {
    "config.json": b'{"hidden_size": 8}',
    "model-1.safetensors": bytes(range(251)) * 2000,
    "model-2.safetensors": bytes(range(241)) * 3000,
    "model.safetensors.index.json": b'{"weight_map": {}}',
}
QUICK = Limits(connect=5, stall=0.25, answer=20, fetch=20, tries=2, pause=0.001, longest_pause=0.5)


def _remote(name: str) -> RemoteFile:
    return RemoteFile(name, len(FILES[name]), hashlib.sha256(FILES[name]).hexdigest())


CONFIG, LARGE = _remote("config.json"), _remote("model-1.safetensors")
ALL = tuple(_remote(name) for name in sorted(FILES))


@pytest.fixture
def site() -> Iterator[hub_server.Loopback]:
    with hub_server.running({"alice's-token": "alice"}) as made:
        yield made


@pytest.fixture
def revision(site: hub_server.Loopback) -> Revision:
    return Revision(site.state.publish(REPO, {**FILES, "README.md": b"# A model"}))


Ask = Callable[[HuggingFaceHub, Revision, Path], Coroutine[Any, Any, object]]
ASKS: dict[str, Ask] = {
    "describe": lambda hub, revision, _: hub.describe(REPO, revision),
    "read": lambda hub, revision, _: hub.read(REPO, revision, CONFIG),
    "read_part": lambda hub, revision, _: hub.read_part(REPO, revision, LARGE, 1000, 300_000),
    "fetch": lambda hub, revision, into: hub.fetch(REPO, revision, ALL, into),
    "is_public": lambda hub, _revision, _into: hub.is_public(REPO),
}
RIGHT = {
    "describe": ALL,
    "read": FILES["config.json"],
    "read_part": FILES["model-1.safetensors"][1000:300_000],
    "fetch": None,
    "is_public": True,
}
THE_WORLDS = [
    Rule("status", status=500),
    Rule("status", status=502),
    Rule("status", status=503, headers={"Retry-After": "0"}),
    Rule("status", status=504),
    Rule("status", status=429),
    Rule("status", status=429, headers={"RateLimit": '"api";r=0;t=0'}),
    Rule("status", status=408),
    Rule("reset"),
    Rule("stall"),
    Rule("short"),
    Rule("wrong"),
    Rule("extra"),
]
THE_MINERS = [Rule("status", status=status) for status in (401, 403, 404, 410, 451)]


def _name(value: object) -> str:
    return f"{value.kind} {value.status}" if isinstance(value, Rule) else str(value)


NOTICED = [
    (ask, fault)
    for ask in ASKS
    for fault in THE_WORLDS
    if ask != "read_part" or fault.kind not in {"wrong", "extra"}  # no digest covers a part
]


def run(coroutine: Coroutine[Any, Any, object], limit: float = 15.0) -> object:
    """Run what must end by itself."""
    began = time.monotonic()
    try:
        return asyncio.run(coroutine)
    finally:
        assert time.monotonic() - began < limit


def _always(rule: Rule) -> Rule:
    return Rule(rule.kind, status=rule.status, headers=rule.headers)


@pytest.mark.parametrize(("ask", "fault"), NOTICED, ids=_name)
def test_what_is_the_worlds_fault_is_nobodys_here(
    site: hub_server.Loopback, revision: Revision, tmp_path: Path, ask: str, fault: Rule
) -> None:
    site.faults.rules.append(_always(fault))
    with pytest.raises(HubUnavailable):
        run(ASKS[ask](HuggingFaceHub(endpoint=site.endpoint, limits=QUICK), revision, tmp_path / "into"))
    assert not [path for path in (tmp_path / "into").glob("*") if path.suffix != ".tmp"]


@pytest.mark.parametrize(("ask", "fault"), NOTICED, ids=_name)
def test_what_happens_once_is_not_noticed(
    site: hub_server.Loopback, revision: Revision, tmp_path: Path, ask: str, fault: Rule
) -> None:
    site.faults.rules.append(replace(_always(fault), times=1))
    hub = HuggingFaceHub(endpoint=site.endpoint, limits=QUICK)
    assert run(ASKS[ask](hub, revision, tmp_path / "into")) == RIGHT[ask]


@pytest.mark.parametrize("fault", THE_MINERS, ids=_name)
@pytest.mark.parametrize("ask", ASKS)
def test_a_repository_that_the_hub_denies_is_the_miners_fault(
    site: hub_server.Loopback, revision: Revision, tmp_path: Path, ask: str, fault: Rule
) -> None:
    site.faults.rules.append(_always(fault))
    hub = HuggingFaceHub(endpoint=site.endpoint, limits=QUICK)
    if ask == "is_public":
        assert run(ASKS[ask](hub, revision, tmp_path)) is False
        return
    with pytest.raises(ModelRejected) as rejected:
        run(ASKS[ask](hub, revision, tmp_path / "into"))
    assert rejected.value.reason is Reason.UNAVAILABLE
    assert len(site.requests) <= len(ALL), "and it is not asked again"


@pytest.mark.parametrize("fault", [*THE_MINERS, Rule("status", status=400), *THE_WORLDS], ids=_name)
def test_the_storage_behind_the_hub_says_nothing_about_a_repository(
    site: hub_server.Loopback, revision: Revision, tmp_path: Path, fault: Rule
) -> None:
    site.faults.rules.append(replace(_always(fault), match="GET /objects"))
    hub = HuggingFaceHub(endpoint=site.endpoint, limits=QUICK)
    with pytest.raises(HubUnavailable):
        run(hub.fetch(REPO, revision, ALL, tmp_path))
    site.faults.rules[:] = [replace(_always(fault), match="GET /objects", times=1)]
    run(hub.fetch(REPO, revision, ALL, tmp_path))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == FILES


def _gate(site: hub_server.Loopback) -> None:
    site.state.repositories[REPO].gated = "auto"


def _disable(site: hub_server.Loopback) -> None:
    site.state.repositories[REPO].disabled = True


def _close(site: hub_server.Loopback) -> None:
    site.state.repositories[REPO].private = True


def _rename(site: hub_server.Loopback) -> None:
    moved = site.state.repositories.pop(REPO)
    moved.id = "alice/other"
    site.state.repositories["alice/other"] = moved
    site.state.renamed[REPO] = "alice/other"


def _respell(site: hub_server.Loopback) -> None:
    site.state.repositories[REPO].id = "alice/Model"


def _rewrite(site: hub_server.Loopback) -> None:
    head = site.state.repositories[REPO]
    head.commits.pop(head.head)


@pytest.mark.parametrize("change", [_gate, _disable, _close, _rename, _respell, _rewrite])
@pytest.mark.parametrize("ask", ASKS)
def test_what_is_gated_disabled_private_renamed_or_gone_is_unavailable(
    site: hub_server.Loopback,
    revision: Revision,
    tmp_path: Path,
    ask: str,
    change: Callable[[hub_server.Loopback], None],
) -> None:
    change(site)
    hub = HuggingFaceHub("alice's-token", endpoint=site.endpoint, limits=QUICK)
    if ask == "is_public":
        assert run(hub.is_public(REPO)) is (change is _rewrite)
        return
    with pytest.raises(ModelRejected) as rejected:
        run(ASKS[ask](hub, revision, tmp_path / "into"))
    assert rejected.value.reason is Reason.UNAVAILABLE
    assert not (tmp_path / "into").exists()


@pytest.mark.parametrize("kind", ["reset", "status", "short", "lost"])
def test_a_hub_that_fails_every_third_request_gives_the_same_bytes(
    site: hub_server.Loopback, revision: Revision, tmp_path: Path, kind: Kind
) -> None:
    site.faults.rules.append(Rule(kind, every=3))
    hub = HuggingFaceHub(endpoint=site.endpoint, limits=replace(QUICK, tries=5))
    described = asyncio.run(hub.describe(REPO, revision))
    run(hub.fetch(REPO, revision, described, tmp_path))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == FILES


def test_a_download_that_broke_off_goes_on_where_it_was(
    site: hub_server.Loopback, revision: Revision, tmp_path: Path
) -> None:
    site.faults.rules.append(Rule("short", "GET /objects", times=1))
    run(HuggingFaceHub(endpoint=site.endpoint, limits=QUICK).fetch(REPO, revision, [LARGE], tmp_path))
    assert (tmp_path / LARGE.name).read_bytes() == FILES[LARGE.name]
    assert (site.count("GET /objects"), site.served) == (2, {LARGE.sha256: LARGE.size})


def test_a_download_that_gets_on_is_not_given_up(site: hub_server.Loopback, revision: Revision, tmp_path: Path) -> None:
    site.faults.rules.append(Rule("short", "GET /objects", times=6))
    run(HuggingFaceHub(endpoint=site.endpoint, limits=QUICK).fetch(REPO, revision, [LARGE], tmp_path))
    assert (site.count("GET /objects"), site.served) == (7, {LARGE.sha256: LARGE.size})


@pytest.mark.parametrize("change", [{"sha256": "0" * 64}, {"size": 5}])
def test_a_large_file_that_the_revision_does_not_hold_costs_no_download(
    site: hub_server.Loopback, revision: Revision, tmp_path: Path, change: dict[str, Any]
) -> None:
    hub = HuggingFaceHub(endpoint=site.endpoint, limits=QUICK)
    with pytest.raises(ModelRejected, match="holds no such file"):
        run(hub.fetch(REPO, revision, [replace(LARGE, **change)], tmp_path / "into"))
    assert ([path.stat().st_size for path in (tmp_path / "into").glob("*")], site.count("GET")) == ([], 2)


def test_a_later_call_goes_on_where_an_earlier_one_broke_off(
    site: hub_server.Loopback, revision: Revision, tmp_path: Path
) -> None:
    site.faults.rules.append(Rule("short", "GET /objects", times=1))
    with pytest.raises(HubUnavailable):
        run(
            HuggingFaceHub(endpoint=site.endpoint, limits=replace(QUICK, tries=1)).fetch(
                REPO, revision, [LARGE], tmp_path
            )
        )
    run(HuggingFaceHub(endpoint=site.endpoint, limits=QUICK).fetch(REPO, revision, [LARGE], tmp_path))
    assert (tmp_path / LARGE.name).read_bytes() == FILES[LARGE.name]
    assert site.served[LARGE.sha256] == LARGE.size


def test_what_is_there_is_not_believed_when_it_is_gone_on_with(
    site: hub_server.Loopback, revision: Revision, tmp_path: Path
) -> None:
    (tmp_path / f"{LARGE.name}.tmp").write_bytes(b"x" * 1000)
    run(HuggingFaceHub(endpoint=site.endpoint, limits=QUICK).fetch(REPO, revision, [LARGE], tmp_path))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {LARGE.name: FILES[LARGE.name]}
    assert site.served == {LARGE.sha256: 2 * LARGE.size - 1000}


def test_wrong_bytes_of_the_right_length_never_get_their_name(
    site: hub_server.Loopback, revision: Revision, tmp_path: Path
) -> None:
    site.faults.rules.append(Rule("wrong", "GET /objects"))
    with pytest.raises(HubUnavailable, match="not those of its sha256"):
        run(HuggingFaceHub(endpoint=site.endpoint, limits=QUICK).fetch(REPO, revision, [LARGE], tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_whole_file_with_wrong_bytes_is_downloaded_once_more_and_no_oftener(
    site: hub_server.Loopback, revision: Revision, tmp_path: Path
) -> None:
    site.faults.rules.append(Rule("wrong", "GET /objects"))
    with pytest.raises(HubUnavailable, match="not those of its sha256"):
        run(
            HuggingFaceHub(endpoint=site.endpoint, limits=replace(QUICK, tries=5)).fetch(
                REPO, revision, [LARGE], tmp_path
            )
        )
    assert site.served == {LARGE.sha256: 2 * LARGE.size}


def test_wrong_bytes_of_a_small_file_are_the_hubs_and_no_other_digest_of_the_miners(
    site: hub_server.Loopback, revision: Revision
) -> None:
    site.faults.rules.append(Rule("wrong", "GET /api/resolve-cache"))
    with pytest.raises(HubUnavailable, match="not those that it lists"):
        run(HuggingFaceHub(endpoint=site.endpoint, limits=QUICK).describe(REPO, revision))


@pytest.mark.parametrize("change", [_rename, _respell])
def test_a_repository_that_answers_to_another_name_is_unavailable_also_without_a_redirect(
    site: hub_server.Loopback, revision: Revision, change: Callable[[hub_server.Loopback], None]
) -> None:
    change(site)
    site.redirects = False
    hub = HuggingFaceHub(endpoint=site.endpoint, limits=QUICK)
    with pytest.raises(ModelRejected):
        run(hub.describe(REPO, revision))
    assert run(hub.is_public(REPO)) is False


def test_a_download_that_trickles_meets_its_deadline(
    site: hub_server.Loopback, revision: Revision, tmp_path: Path
) -> None:
    site.faults.rules.append(Rule("drip", "GET /objects"))
    hub = HuggingFaceHub(endpoint=site.endpoint, limits=replace(QUICK, fetch=0.6, stall=10))
    with pytest.raises(HubUnavailable, match="not done within"):
        run(hub.fetch(REPO, revision, [LARGE], tmp_path), limit=3)


def test_a_listing_that_trickles_meets_its_deadline(site: hub_server.Loopback, revision: Revision) -> None:
    site.faults.rules.append(Rule("drip"))
    hub = HuggingFaceHub(endpoint=site.endpoint, limits=replace(QUICK, answer=0.6, stall=10))
    with pytest.raises(HubUnavailable, match="not done within"):
        run(hub.describe(REPO, revision), limit=3)


def test_a_stall_is_noticed_long_before_the_deadline(
    site: hub_server.Loopback, revision: Revision, tmp_path: Path
) -> None:
    site.faults.rules.append(Rule("stall", "GET /objects"))
    hub = HuggingFaceHub(endpoint=site.endpoint, limits=replace(QUICK, fetch=1000))
    with pytest.raises(HubUnavailable, match="ReadTimeout"):
        run(hub.fetch(REPO, revision, [LARGE], tmp_path), limit=3)


def test_a_hub_is_not_asked_sooner_than_it_says(site: hub_server.Loopback, revision: Revision) -> None:
    site.faults.rules.append(Rule("status", status=429, headers={"Retry-After": "1"}, times=1))
    hub = HuggingFaceHub(endpoint=site.endpoint, limits=replace(QUICK, longest_pause=5))
    began = time.monotonic()
    assert asyncio.run(hub.read(REPO, revision, CONFIG)) == FILES[CONFIG.name]
    assert time.monotonic() - began >= 1


def test_a_hub_that_asks_for_a_long_wait_is_not_asked_again(site: hub_server.Loopback, revision: Revision) -> None:
    site.faults.rules.append(Rule("status", status=429, headers={"Retry-After": "600"}))
    hub = HuggingFaceHub(endpoint=site.endpoint, limits=QUICK)
    with pytest.raises(HubUnavailable, match="asks to wait 600 s"):
        run(hub.read(REPO, revision, CONFIG), limit=3)
    assert len(site.requests) == 1


def test_a_bandwidth_holds_for_all_files_together(
    site: hub_server.Loopback, revision: Revision, tmp_path: Path
) -> None:
    total = sum(file.size for file in ALL)
    hub = HuggingFaceHub(endpoint=site.endpoint, limits=replace(QUICK, bandwidth=total / 0.8, stall=10))
    began = time.monotonic()
    asyncio.run(hub.fetch(REPO, revision, ALL, tmp_path))
    assert time.monotonic() - began >= 0.8


def test_only_so_many_files_come_at_a_time(site: hub_server.Loopback, tmp_path: Path) -> None:
    files = {f"model-{number}.safetensors": bytes([number]) * 2000 for number in range(6)}
    revision = Revision(site.state.publish(REPO, files))
    held = Rule("hold", "GET /objects", times=2)
    site.faults.rules.append(held)
    hub = HuggingFaceHub(endpoint=site.endpoint, limits=replace(QUICK, parallel=2, stall=10))
    seen = []

    def look() -> None:
        assert held.reached.wait(5)
        time.sleep(0.4)
        seen.append(site.count("GET /objects"))
        held.go_on.set()

    looking = threading.Thread(target=look)
    looking.start()
    described = asyncio.run(hub.describe(REPO, revision))
    run(hub.fetch(REPO, revision, described, tmp_path))
    looking.join(5)
    assert seen == [2]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files


def test_no_read_shows_a_token(
    site: hub_server.Loopback, revision: Revision, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "alice's-token")
    hub = HuggingFaceHub("alice's-token", endpoint=site.endpoint, limits=QUICK)
    for ask in ASKS.values():
        asyncio.run(ask(hub, revision, tmp_path))
    assert {request.token for request in site.requests} == {None}
    assert {request.host for request in site.requests} == {"hub", "storage"}


def test_a_folder_of_strangers_costs_nothing_and_too_many_files_are_refused(site: hub_server.Loopback) -> None:
    junk = {f"old/{number}.safetensors": b"x" for number in range(300)}
    revision = Revision(site.state.publish(REPO, {**FILES, **junk}))
    hub = HuggingFaceHub(endpoint=site.endpoint, limits=QUICK)
    assert asyncio.run(hub.describe(REPO, revision)) == ALL
    assert len(site.requests) < 12
    revision = Revision(site.state.publish(REPO, {f"{number}.txt": b"x" for number in range(100)}))
    with pytest.raises(ModelRejected, match="pages of files") as rejected:
        asyncio.run(hub.describe(REPO, revision))
    assert rejected.value.reason is Reason.FILES
    site.page = 1000
    assert asyncio.run(hub.describe(REPO, revision)) == ALL


@pytest.mark.parametrize("count", [1, 300])
def test_weights_that_are_not_stored_as_large_files_are_refused_unread(site: hub_server.Loopback, count: int) -> None:
    site.page = 1000
    small = {f"{number}.safetensors": b"x" for number in range(count)}
    revision = Revision(site.state.publish(REPO, {**FILES, **small}, plain=small))
    with pytest.raises(ModelRejected, match=rf"\({count} such files\) without LFS") as rejected:
        asyncio.run(HuggingFaceHub(endpoint=site.endpoint, limits=QUICK).describe(REPO, revision))
    assert (rejected.value.reason, len(site.requests)) == (Reason.FILES, 2)


def test_files_that_must_be_read_for_their_sha256_are_bounded(site: hub_server.Loopback) -> None:
    site.page = 1000
    large = {"config.json": bytes(2 << 20), "model.safetensors.index.json": bytes(16 << 20)}
    revision = Revision(site.state.publish(REPO, large, plain=large))
    with pytest.raises(ModelRejected, match="at most 17825792 are read") as rejected:
        asyncio.run(HuggingFaceHub(endpoint=site.endpoint, limits=QUICK).describe(REPO, revision))
    assert (rejected.value.reason, len(site.requests)) == (Reason.FILES, 2)


def test_an_empty_file_which_no_hub_stores_as_a_large_one_is_listed_unread(site: hub_server.Loopback) -> None:
    site.page = 1000
    revision = Revision(site.state.publish(REPO, {"empty.safetensors": b"", "model.safetensors": b"x"}))
    listed = asyncio.run(HuggingFaceHub(endpoint=site.endpoint, limits=QUICK).describe(REPO, revision))
    assert [(file.name, file.size) for file in listed] == [("empty.safetensors", 0), ("model.safetensors", 1)]
    assert listed[0].sha256 == hashlib.sha256(b"").hexdigest()
    assert len(site.requests) == 2


def test_the_clients_own_functions_say_the_same_of_this_hub(
    site: hub_server.Loopback, revision: Revision, tmp_path: Path
) -> None:
    """So that what is tested here is what the client would meet."""
    api = HfApi(site.endpoint, token=False)
    info = api.model_info(REPO, revision=revision)
    listed = {entry.path: entry for entry in api.list_repo_tree(REPO, revision=revision, recursive=True)}
    fetched = {name: Path(api.hf_hub_download(REPO, name, revision=revision, cache_dir=tmp_path)) for name in FILES}
    assert (info.id, info.sha, info.private) == (REPO, revision, False)
    assert set(listed) == {*FILES, "README.md", ".gitattributes"}
    large = {name: entry.lfs.sha256 for name, entry in listed.items() if isinstance(entry, RepoFile) and entry.lfs}
    assert large == {file.name: file.sha256 for file in ALL if file.name in large}
    assert len(large) == 2
    assert {name: path.read_bytes() for name, path in fetched.items()} == FILES


@pytest.mark.parametrize("endpoint", ["huggingface.co", "ftp://x", "https://x/path", "https://user@x", "https://"])
def test_an_address_that_can_be_no_hub_is_told_at_the_door(endpoint: str) -> None:
    with pytest.raises(ConfigError, match="HF_ENDPOINT"):
        HuggingFaceHub(endpoint=endpoint)


@pytest.mark.parametrize("token", ["hf_secret\n", "hf_se cret", "", "hf_secrät"])
def test_a_token_that_can_be_none_is_told_at_the_door_without_showing_it(token: str) -> None:
    with pytest.raises(ConfigError, match="HF_TOKEN") as wrong:
        HuggingFaceHub(token)
    assert "hf_se" not in str(wrong.value)


def test_a_token_is_read_from_the_file_of_the_hubs_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    assert huggingface.stored_token() is None
    (tmp_path / "token").write_text("hf_stored\n")
    assert huggingface.stored_token() == "hf_stored"
    (tmp_path / "token").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="cannot be read"):
        huggingface.stored_token()


def test_a_disk_that_refuses_is_not_the_hubs_fault(
    site: hub_server.Loopback, revision: Revision, tmp_path: Path
) -> None:
    (tmp_path / f"{LARGE.name}.tmp").mkdir()
    with pytest.raises(IsADirectoryError):
        run(HuggingFaceHub(endpoint=site.endpoint, limits=QUICK).fetch(REPO, revision, [LARGE], tmp_path))


def test_a_store_takes_a_model_from_the_real_hub(site: hub_server.Loopback, revision: Revision, tmp_path: Path) -> None:
    hub, store = HuggingFaceHub(endpoint=site.endpoint, limits=QUICK), ModelStore(tmp_path / "models")
    place = run(store.fetch(hub, REPO, revision, ALL, content_digest(ALL)))
    assert isinstance(place, Path)
    assert {path.name: path.read_bytes() for path in place.iterdir()} == FILES
    assert run(store.fetch(hub, REPO, revision, ALL, content_digest(ALL))) == place


def test_a_cancelled_download_ends_at_once(site: hub_server.Loopback, revision: Revision, tmp_path: Path) -> None:
    site.faults.rules.append(Rule("stall", "GET /objects"))
    hub = HuggingFaceHub(endpoint=site.endpoint, limits=replace(QUICK, stall=30))

    async def cancelled() -> None:
        task = asyncio.create_task(hub.fetch(REPO, revision, ALL, tmp_path))
        await asyncio.sleep(0.3)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    run(cancelled(), limit=3)

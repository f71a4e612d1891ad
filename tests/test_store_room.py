"""What a store drops, and what it never does: real files, real locks, real processes that are killed."""

import asyncio
import errno
import fcntl
import gc
import hashlib
import itertools
import logging
import multiprocessing
import os
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pretrain.commitment import content_digest
from pretrain.errors import EvaluatorUnavailable, HubUnavailable
from pretrain.hub import Hub, RemoteFile, leases, room
from pretrain.hub.folder import FolderHub
from pretrain.hub.layout import model_name, strangers
from pretrain.hub.room import GB, Budget, dropping_order, gb
from pretrain.hub.store import ModelStore
from pretrain.types import Digest, Revision

FORK = multiprocessing.get_context("fork")
SIZE = 1000  # bytes of a model


@dataclass(frozen=True)
class Made:
    """A model of one file."""

    number: int
    size: int = SIZE

    @property
    def content(self) -> bytes:
        return bytes([self.number]) * self.size

    @property
    def files(self) -> tuple[RemoteFile, ...]:
        return (RemoteFile("model.safetensors", self.size, hashlib.sha256(self.content).hexdigest()),)

    @property
    def digest(self) -> Digest:
        return content_digest(self.files)


@dataclass
class OneHub(FolderHub):
    """Serves one model; ``before`` happens when its bytes are half there."""

    made: Made
    before: Callable[[Path], None] = lambda _: None
    asked: int = 0

    async def fetch(self, repo: str, revision: Revision, files: Sequence[RemoteFile], into: Path) -> None:  # noqa: ARG002
        self.asked += 1
        path = into / files[0].name
        path.write_bytes(self.made.content[: self.made.size // 2])
        self.before(path)
        await asyncio.sleep(0)
        path.write_bytes(self.made.content)


A, B, C, D = (Made(number) for number in range(1, 5))
THREE = Budget(max_bytes=3 * SIZE)


def get(store: ModelStore, made: Made, *, hub: Hub | None = None, release: bool = True) -> Path:
    fetched = store.fetch(hub or OneHub(made), "a/model", Revision("0" * 40), made.files, made.digest)
    place = asyncio.run(fetched)
    if release:
        store.release(made.digest)
    return place


def here(root: Path, among: Iterable[Made] = (A, B, C, D)) -> list[int]:
    return [made.number for made in among if (root / model_name(made.digest)).is_dir()]


def leftovers(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir() if path.name.startswith(".tmp-"))


def test_what_was_needed_least_recently_goes_first_also_after_a_restart(tmp_path: Path) -> None:
    store = ModelStore(tmp_path, THREE)
    for made in (A, B, C, A):
        get(store, made)
    get(ModelStore(tmp_path, THREE), D)
    assert here(tmp_path) == [1, 3, 4]
    assert leftovers(tmp_path) == []


def test_what_is_dropped_is_downloaded_again_when_it_is_needed(tmp_path: Path) -> None:
    store, hub = ModelStore(tmp_path, Budget(max_bytes=SIZE)), OneHub(A)
    for made, source in ((A, hub), (B, OneHub(B)), (A, hub), (A, hub)):
        get(store, made, hub=source)
    assert (here(tmp_path), hub.asked) == ([1], 2)


def test_without_a_budget_nothing_is_dropped(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    for made in (A, B, C, D):
        get(store, made)
    assert here(tmp_path) == [1, 2, 3, 4]


def test_what_is_kept_or_not_released_is_never_dropped_and_the_error_says_what_to_set(tmp_path: Path) -> None:
    store, hub = ModelStore(tmp_path, THREE), OneHub(D)
    for made in (A, B):
        get(store, made)
    store.keep([A.digest])
    get(store, B, release=False)
    get(store, C)
    get(store, D)
    assert here(tmp_path) == [1, 2, 4]
    larger = Made(5, 2 * SIZE)
    with pytest.raises(EvaluatorUnavailable) as no_room:
        get(store, larger, hub=hub)
    assert str(no_room.value) == (
        f"no room for a model of 0.000002 GB in {tmp_path}: 0.000002 GB are needed by others (champions, past"
        " champions, what is being judged or downloaded); --store.max_gb must be at least 0.000004"
    )
    assert no_room.value.cause is None
    assert (here(tmp_path), hub.asked, leftovers(tmp_path)) == ([1, 2, 4], 0, [])


def test_each_use_is_released_and_what_is_kept_stays_whoever_releases_it(tmp_path: Path) -> None:
    store = ModelStore(tmp_path, Budget(max_bytes=SIZE))
    get(store, A, release=False)
    get(store, A)
    with pytest.raises(EvaluatorUnavailable):
        get(store, B)
    store.keep([A.digest])
    for _ in range(3):
        store.release(A.digest)
    with pytest.raises(EvaluatorUnavailable):
        get(store, B)
    store.keep([])
    get(store, B)
    assert here(tmp_path) == [2]


def test_what_was_fetched_before_is_needed_no_longer_when_a_step_says_what_it_needs(tmp_path: Path) -> None:
    store = ModelStore(tmp_path, Budget(max_bytes=SIZE))
    get(store, A, release=False)
    store.keep([])
    get(store, A)
    get(store, B)
    assert here(tmp_path) == [2]


def test_what_a_step_names_is_needed_then_also_what_it_judges_later(tmp_path: Path) -> None:
    store = ModelStore(tmp_path, THREE)
    for made in (A, B, C):
        get(store, made)
    store.keep([A.digest], soon=[B.digest])
    store.keep([])
    get(store, D)
    assert here(tmp_path) == [1, 2, 4]


def test_what_is_noted_of_models_that_never_came_is_forgotten_at_the_start(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    store.keep([A.digest])
    noted = [f"{model_name(A.digest)}.need"]
    ModelStore(tmp_path)
    assert [path.name for path in tmp_path.glob("*.need")] == noted
    del store
    gc.collect()
    ModelStore(tmp_path)
    assert list(tmp_path.glob("*.need")) == []


def test_a_need_whose_file_is_removed_before_it_is_locked_is_told_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, lock = model_name(A.digest), fcntl.flock
    held = leases.Leases(tmp_path)

    def late(descriptor: int, how: int) -> None:
        monkeypatch.undo()
        leases.forget(tmp_path, name)
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    held.take(name)
    assert leases.claim(tmp_path, name) is None


def test_room_is_made_by_one_process_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage, seen = shutil.disk_usage, []

    def look(path: Path) -> object:
        with (tmp_path / ".lock").open("ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                seen.append("locked")
        return usage(path)

    store = ModelStore(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", look)
    get(store, A)
    assert seen == ["locked"]


def test_a_failed_download_is_needed_by_nobody(tmp_path: Path) -> None:
    store = ModelStore(tmp_path, Budget(max_bytes=SIZE))
    with pytest.raises(HubUnavailable):
        get(store, A, hub=OneHub(B))
    get(store, A)
    get(store, B)
    assert here(tmp_path) == [2]


def test_what_is_needed_soon_goes_last_and_of_that_the_last_first(tmp_path: Path) -> None:
    store = ModelStore(tmp_path, THREE)
    for made in (A, B, C):
        get(store, made)
    store.keep([], soon=[A.digest, B.digest])
    get(store, D)
    assert here(tmp_path) == [1, 2, 4]
    get(store, C)
    assert here(tmp_path) == [1, 2, 3]
    get(store, Made(5, 2 * SIZE))
    assert here(tmp_path) == [1]
    store.release(A.digest)  # judged: it is not needed soon any more
    get(store, B)
    assert here(tmp_path) == [2]


class Disk:
    """A disk of a given size that holds a store's folder and nothing else."""

    def __init__(self, root: Path, size: int) -> None:
        self.root, self.size = root, size

    def __call__(self, _: Path) -> "Free":
        used = sum(path.stat().st_size for path in self.root.rglob("*.safetensors"))
        return Free(self.size - used)


class Free(NamedTuple):
    free: int


def test_the_disk_keeps_its_free_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", Disk(tmp_path, 3 * SIZE))
    store = ModelStore(tmp_path, Budget(min_free=SIZE))
    for made in (A, B, C):
        get(store, made)
    assert here(tmp_path) == [2, 3]
    store.keep([B.digest, C.digest])
    with pytest.raises(EvaluatorUnavailable) as no_room:
        get(store, D)
    assert str(no_room.value) == (
        f"no room for a model of 0.000001 GB in {tmp_path}: 0.000001 GB more must be free on that disk, so"
        " that 0.000001 GB stay free; make room there, or lower --store.min_free_gb"
    )
    assert here(tmp_path) == [2, 3]


def test_a_disk_with_too_little_free_is_told_at_the_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ModelStore(tmp_path, Budget.of_gb(None, 1e9))
    (record,) = caplog.records
    assert record.getMessage().partition(" free and ")[2] == (
        "should keep 1000000000.0 GB: models will be dropped, or none downloaded, until more is free or"
        " --store.min_free_gb is lower"
    )


@pytest.mark.parametrize("on_disk", [False, True], ids=["by the budget", "by the disk"])
def test_downloads_at_once_do_not_overshoot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, on_disk: bool) -> None:
    monkeypatch.setattr(shutil, "disk_usage", Disk(tmp_path, 5 * SIZE // 2 if on_disk else 100 * SIZE))
    budget = Budget() if on_disk else Budget(max_bytes=5 * SIZE // 2)
    stores = [ModelStore(tmp_path, budget) for _ in range(2)]
    most: list[int] = []

    def note(_: Path) -> None:
        most.append(len(list(tmp_path.rglob("model.safetensors"))))

    async def all_at_once() -> list[Path | BaseException]:
        downloads = [
            stores[made.number % 2].fetch(OneHub(made, note), "a/model", Revision("0" * 40), made.files, made.digest)
            for made in (A, B, C)
        ]
        return await asyncio.gather(*downloads, return_exceptions=True)

    results = asyncio.run(all_at_once())
    assert sorted(type(result) is EvaluatorUnavailable for result in results) == [False, False, True]
    assert max(most) <= 2
    assert len(here(tmp_path)) == 2
    assert leftovers(tmp_path) == []


def test_bytes_still_to_come_are_not_given_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", Disk(tmp_path, 3 * SIZE // 2))
    store = ModelStore(tmp_path)
    refused: list[str] = []

    def other(_: Path) -> None:  # when A has half of its bytes, as many as B has are free
        wanted = room.Wanted(model_name(B.digest), SIZE, (tmp_path / "unused").open("ab"))
        with wanted.lock:
            try:
                room.make_room(tmp_path, Budget(), wanted)
            except EvaluatorUnavailable as error:
                refused.append(str(error))

    get(store, A, hub=OneHub(A, other))
    assert [told.partition(": ")[2].partition(",")[0] for told in refused] == [
        "0.0000005 GB more must be free on that disk"
    ]


@pytest.mark.parametrize(
    "raised",
    [
        lambda: OSError(errno.ENOSPC, "No space left on device"),
        lambda: caused(HubUnavailable("the client failed"), OSError(errno.ENOSPC, "No space left on device")),
        lambda: caused(HubUnavailable("the client failed"), OSError(errno.EDQUOT, "Disk quota exceeded")),
    ],
    ids=["plainly", "behind the hub's error", "quota"],
)
def test_a_disk_that_is_full_in_the_middle_is_not_the_hubs_fault_and_leaves_nothing(
    tmp_path: Path, raised: Callable[[], Exception]
) -> None:
    def fail(_: Path) -> None:
        raise raised()

    with pytest.raises(EvaluatorUnavailable, match=r"(No space|quota).*; make room on that disk") as full:
        get(ModelStore(tmp_path), A, hub=OneHub(A, fail))
    assert full.value.cause is None
    assert (here(tmp_path), leftovers(tmp_path)) == ([], [])


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def test_a_hub_that_fails_is_still_the_hubs_fault(tmp_path: Path) -> None:
    def fail(_: Path) -> None:
        raise caused(HubUnavailable("the client failed"), OSError(errno.ECONNRESET, "reset"))

    with pytest.raises(HubUnavailable, match="the client failed"):
        get(ModelStore(tmp_path), A, hub=OneHub(A, fail))


@contextmanager
def process(work: Callable[..., None], *args: object) -> Iterator[tuple[BaseProcess, Connection]]:
    """Run a child until the end of the block, and kill it then."""
    ours, theirs = FORK.Pipe()
    child = FORK.Process(target=work, args=(theirs, *args), daemon=True)
    child.start()
    theirs.close()
    try:
        yield child, ours
    finally:
        if child.is_alive():
            kill(child)
        ours.close()


def kill(child: BaseProcess) -> None:
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    child.join()


def _need(answers: Connection, root: Path, kept: bool) -> None:  # noqa: FBT001 - of a child
    store = ModelStore(root, THREE)
    if kept:
        store.keep([A.digest])
    else:
        get(store, A, release=False)
    answers.send("needed")
    answers.recv()


@pytest.mark.parametrize("kept", [True, False])
def test_what_another_process_needs_is_not_dropped_until_that_process_dies(tmp_path: Path, *, kept: bool) -> None:
    store = ModelStore(tmp_path, THREE)
    for made in (A, B, C):
        get(store, made)
    with process(_need, tmp_path, kept) as (child, answers):
        answers.recv()
        get(store, Made(5, 2 * SIZE))
        assert here(tmp_path) == [1]
        with pytest.raises(EvaluatorUnavailable, match="are needed by others"):
            get(store, Made(6, 3 * SIZE))
        assert here(tmp_path) == [1]
        kill(child)
    get(store, Made(6, 3 * SIZE))
    assert here(tmp_path) == []


def test_what_a_store_needs_is_given_back_when_the_store_goes(tmp_path: Path) -> None:
    store = ModelStore(tmp_path, Budget(max_bytes=SIZE))
    get(store, A, release=False)
    del store
    gc.collect()
    get(ModelStore(tmp_path, Budget(max_bytes=SIZE)), B)
    assert here(tmp_path) == [2]


def _download_for_ever(answers: Connection, root: Path) -> None:
    def hang(path: Path) -> None:
        answers.send(path.parent.name)
        signal.pause()

    get(ModelStore(root, THREE), Made(9, 2 * SIZE), hub=OneHub(Made(9, 2 * SIZE), hang))


def test_room_that_a_killed_download_held_is_free_again_at_once(tmp_path: Path) -> None:
    store = ModelStore(tmp_path, THREE)
    get(store, A, release=False)
    with process(_download_for_ever, tmp_path) as (child, answers):
        answers.recv()
        with pytest.raises(EvaluatorUnavailable, match=r"at least 0\.000004"):
            get(store, B)
        kill(child)
    get(store, B)
    get(store, C)
    assert (here(tmp_path), leftovers(tmp_path)) == ([1, 2, 3], [])


def _drop_and_hang(answers: Connection, root: Path, place: str) -> None:
    def hang(*_: object, **__: object) -> None:
        answers.send("dropping")
        signal.pause()

    after = {"claimed": (Path, "rename"), "moved": (leases, "forget"), "removing": (shutil, "rmtree")}
    setattr(*after[place], hang)
    get(ModelStore(root, Budget(max_bytes=SIZE)), B)


@pytest.mark.parametrize("place", ["claimed", "moved", "removing"])
def test_a_process_killed_while_it_drops_a_model_leaves_a_whole_one_or_none(tmp_path: Path, place: str) -> None:
    get(ModelStore(tmp_path), A)
    with process(_drop_and_hang, tmp_path, place) as (child, answers):
        answers.recv()
        kill(child)
    store, hub = ModelStore(tmp_path, Budget(max_bytes=SIZE)), OneHub(A)
    assert (here(tmp_path), leftovers(tmp_path)) == ([1] if place == "claimed" else [], [])
    assert (get(store, A, hub=hub) / "model.safetensors").read_bytes() == A.content
    assert hub.asked == (0 if place == "claimed" else 1)
    get(store, B)
    assert here(tmp_path) == [2]
    del store
    gc.collect()
    ModelStore(tmp_path)
    assert [path.name for path in tmp_path.glob("*.need")] == [f"{model_name(B.digest)}.need"]


def _use_and_check(answers: Connection, root: Path, first: int) -> None:
    """Judge models by turns in a store that is too small, each of them whole while it is needed."""
    store, own, refused = ModelStore(root, Budget(max_bytes=2 * SIZE)), Made(first + 10), 0
    store.keep([own.digest])
    for turn in range(40):
        made = own if turn % 4 == 0 else Made(1 + (turn * first) % 5)
        try:
            place = get(store, made, release=False)
        except EvaluatorUnavailable:
            refused += 1
            continue
        assert (place / "model.safetensors").read_bytes() == made.content
        store.release(made.digest)
    answers.send(refused)


def test_two_processes_that_drop_and_need_by_turns_never_see_a_part_of_a_model(tmp_path: Path) -> None:
    with process(_use_and_check, tmp_path, 1) as (_, one), process(_use_and_check, tmp_path, 3) as (_, other):
        for answers in (one, other):
            assert answers.poll(60)
            assert answers.recv() < 40
    total = sum(path.stat().st_size for path in tmp_path.rglob("*.safetensors"))
    assert total <= 2 * SIZE
    assert leftovers(tmp_path) == []


def _use_for_ever(answers: Connection, root: Path, first: int) -> None:
    store = ModelStore(root, Budget(max_bytes=3 * SIZE))
    store.keep([Made(first % 5 + 1).digest], soon=[Made(first % 3 + 1).digest])
    for turn in itertools.count(first):
        made = Made(turn * turn % 5 + 1)
        with suppress(EvaluatorUnavailable):
            place = get(store, made, release=False)
            assert (place / "model.safetensors").read_bytes() == made.content
            store.release(made.digest)
        answers.send("used")


def test_processes_killed_at_any_moment_leave_whole_models_within_the_budget(tmp_path: Path) -> None:
    with process(_use_for_ever, tmp_path, 0) as (survivor, steady):
        for number in range(1, 16):
            with process(_use_for_ever, tmp_path, number) as (child, answers):
                for _ in range(number % 4):
                    answers.recv()
                kill(child)
            assert steady.recv() == "used"
        assert survivor.is_alive()
    store, models = ModelStore(tmp_path, Budget(max_bytes=3 * SIZE)), [Made(number) for number in range(1, 6)]
    present = [made for made in models if store.path(made.digest)]
    assert [asyncio.run(store.sound(made.digest)) for made in present] == [store.path(made.digest) for made in present]
    assert len(present) <= 3
    assert leftovers(tmp_path) == []


def test_a_model_that_is_dropped_while_one_looks_is_no_foreign_thing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    listed = [tmp_path / "mine", tmp_path / model_name(A.digest)]
    monkeypatch.setattr(Path, "iterdir", lambda _: iter(listed))
    assert strangers(tmp_path) == ["mine"]


@dataclass
class Simple:
    """What a store should do, told in a list: the least recently needed first."""

    most: int
    sizes: dict[str, int]
    order: list[str] = field(default_factory=list)
    kept: set[str] = field(default_factory=set)
    users: Counter[str] = field(default_factory=Counter)
    soon: list[str] = field(default_factory=list)

    def touch(self, names: Iterable[str]) -> None:
        found = sorted(names)
        self.order = [name for name in self.order if name not in found] + found

    def fetch(self, name: str) -> bool:
        self.users[name] += 1
        if name not in self.order:
            lack = sum(self.sizes[each] for each in self.order) + self.sizes[name] - self.most
            lasting = [each for each in self.order if each in self.soon]
            lasting.sort(key=self.soon.index, reverse=True)
            leaving = [each for each in self.order if each not in self.soon] + lasting
            gone: list[str] = []
            for each in leaving:
                if sum(self.sizes[other] for other in gone) >= lack:
                    break
                if each not in self.kept and not self.users[each]:
                    gone.append(each)
            if sum(self.sizes[other] for other in gone) < lack:
                self.users[name] -= 1
                return False
            self.order = [each for each in self.order if each not in gone]
        self.touch([name])
        return True

    def release(self, name: str) -> None:
        self.users[name] = max(0, self.users[name] - 1)
        self.soon = [each for each in self.soon if each != name]

    def keep(self, kept: Iterable[str], soon: Sequence[str]) -> None:
        self.kept, self.soon = set(kept), list(soon)
        self.users.clear()
        self.touch(name for name in {*kept, *soon} if name in self.order)

    def restart(self) -> None:
        self.kept, self.soon = set(), []
        self.users.clear()


MODELS = [Made(number, size) for number, size in enumerate((1, 2, 3, 4, 5), 1)]
Step = tuple[str, list[Made], list[Made]]
"""What is done, with which models, and for ``keep`` those that are needed soon."""
one = st.lists(st.sampled_from(MODELS), min_size=1, max_size=1)
some = st.lists(st.sampled_from(MODELS), unique=True, max_size=3)
actions: st.SearchStrategy[Step] = st.one_of(
    st.tuples(st.sampled_from(["fetch", "judge", "release"]), one, st.just([])),
    st.tuples(st.just("keep"), some, some),
    st.tuples(st.just("restart"), st.just([]), st.just([])),
)


@settings(max_examples=60)
@given(st.lists(actions, max_size=12), st.integers(3, 12))
def test_a_store_drops_what_a_simple_list_says(steps: list[Step], most: int) -> None:
    names = {made: model_name(made.digest) for made in MODELS}
    simple = Simple(most, {names[made]: made.size for made in MODELS})
    with tempfile.TemporaryDirectory() as folder:
        root, store = Path(folder), ModelStore(Path(folder), Budget(max_bytes=most))
        for action, models, soon in steps:
            match action:
                case "fetch" | "judge":
                    assert fits(store, models[0]) == simple.fetch(names[models[0]])
                case "keep":
                    store.keep([made.digest for made in models], [made.digest for made in soon])
                    simple.keep([names[made] for made in models], [names[made] for made in soon])
                case "restart":
                    store.keep([])  # as a process does that ends
                    store = ModelStore(root, Budget(max_bytes=most))
                    simple.restart()
            if action in {"judge", "release"}:
                store.release(models[0].digest)
                simple.release(names[models[0]])
            assert {names[made] for made in MODELS if store.path(made.digest)} == set(simple.order)


def fits(store: ModelStore, made: Made) -> bool:
    try:
        get(store, made, release=False)
    except EvaluatorUnavailable:
        return False
    return True


@given(st.dictionaries(st.text("abcdef", min_size=1, max_size=1), st.integers(0, 3)), st.permutations("abcdef"))
def test_the_order_holds_each_model_once_and_those_needed_soon_last(counts: dict[str, int], order: list[str]) -> None:
    soon = order[:3]
    dropped = dropping_order(counts, soon)
    others = [name for name in dropped if name not in soon]
    assert sorted(dropped) == sorted(counts)
    assert dropped == others + [name for name in reversed(soon) if name in counts]
    assert others == sorted(others, key=lambda name: (counts[name], name))


def test_foreign_things_are_left_alone_and_reported_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "backup").mkdir()
    (tmp_path / model_name(D.digest)).symlink_to(tmp_path / "backup")
    with caplog.at_level(logging.WARNING):
        store = ModelStore(tmp_path, Budget(max_bytes=SIZE))
        for made in (A, B, C):
            get(store, made)
    told = ", ".join(sorted(["notes.txt", "backup", model_name(D.digest)]))
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path} holds 3 things of others, which are left alone: {told}"
    ]
    hub = OneHub(D)
    with pytest.raises(EvaluatorUnavailable, match="in the way of a model: move it away"):
        get(store, D, hub=hub)
    assert (here(tmp_path, [A, B, C]), hub.asked, store.path(D.digest)) == ([3], 0, None)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert (tmp_path / model_name(D.digest)).is_symlink()


def test_a_root_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "models").symlink_to(tmp_path / "disk")
    store = ModelStore(tmp_path / "models", Budget(max_bytes=SIZE))
    get(store, A)
    get(store, B)
    assert here(tmp_path / "disk") == [2]


def test_a_link_to_nowhere_is_this_machines_fault(tmp_path: Path) -> None:
    (tmp_path / "models").symlink_to(tmp_path / "unmounted")
    with pytest.raises(EvaluatorUnavailable, match=r"model store in .*models cannot be used"):
        ModelStore(tmp_path / "models")


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_root_that_cannot_be_written_is_this_machines_fault(tmp_path: Path) -> None:
    get(ModelStore(tmp_path), A)
    tmp_path.chmod(0o555)
    try:
        store, hub = ModelStore(tmp_path), OneHub(B)
        with pytest.raises(EvaluatorUnavailable, match="Permission denied"):
            get(store, B, hub=hub)
        assert (store.path(A.digest), hub.asked) == (tmp_path / model_name(A.digest), 0)
    finally:
        tmp_path.chmod(0o755)


def _flip(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"!")


@pytest.mark.parametrize(
    "spoil",
    [
        _flip,
        Path.unlink,
        lambda path: path.with_name("extra.json").write_text("{}"),
        lambda path: path.with_name("link.json").symlink_to("/dev/null"),
    ],
    ids=["a byte changed", "a file gone", "a file more", "a link more"],
)
def test_what_the_disk_spoilt_is_removed_and_downloaded_again(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    store, hub = ModelStore(tmp_path), OneHub(A)
    for _ in range(2):
        spoil(get(store, A, hub=hub) / "model.safetensors")
    place = get(store, A, hub=hub)
    assert ([path.name for path in place.iterdir()], hub.asked) == (["model.safetensors"], 3)
    spoil(place / "model.safetensors")
    assert asyncio.run(store.sound(A.digest)) is None
    assert (here(tmp_path), leftovers(tmp_path)) == ([], [])


def _cancelled_while_checking(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = hashlib.file_digest

    async def cancelled() -> None:
        fetched = ModelStore(root).fetch(OneHub(A), "a/model", Revision("0" * 40), A.files, A.digest)
        task, loop = asyncio.create_task(fetched), asyncio.get_running_loop()

        def cancel(*args: object) -> object:
            loop.call_soon_threadsafe(task.cancel)
            return digest(*args)  # type: ignore[arg-type]

        monkeypatch.setattr(hashlib, "file_digest", cancel)
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())  # the thread that checks is waited for at the end


def test_a_download_cancelled_while_its_bytes_are_checked_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _cancelled_while_checking(tmp_path, monkeypatch)
    assert (here(tmp_path), leftovers(tmp_path)) == ([], [])


def test_a_cancelled_download_becomes_no_model_however_late_its_files_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)
    _cancelled_while_checking(tmp_path, monkeypatch)
    assert here(tmp_path) == []


@pytest.mark.parametrize(
    ("size", "text"),
    [(29 * GB, "29.0 GB"), (29 * GB + 1, "29.1 GB"), (GB // 10, "0.1 GB"), (1, "0.000000001 GB"), (0, "0 GB")],
)
def test_sizes_are_told_in_gb_and_never_too_small(size: int, text: str) -> None:
    assert gb(size) == text


def test_flags_in_gb_make_a_budget_in_bytes() -> None:
    assert (Budget.of_gb(None, 10), Budget.of_gb(0.5, 0)) == (Budget(None, 10 * GB), Budget(GB // 2, 0))
    assert room.GB == 10**9

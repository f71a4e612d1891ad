"""Real children that do what a hostile model would: every attack succeeds on a child with all rights, and none behind
what ``pretrain.evaluate.isolation`` puts in force.
"""

import asyncio
import json
import logging
import os
import socket
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import isolated_children
import pytest
from fakes import World, model, one_competition, outcomes_of, weights_of
from test_worker import CONSTRAINTS, VOCABULARIES, children_of, is_gone, samples

from pretrain.errors import Cause, EvaluatorUnavailable, ModelRejected, Reason
from pretrain.evaluate import isolation
from pretrain.evaluate.canary import Canary
from pretrain.evaluate.request import EngineSettings
from pretrain.evaluate.worker import ProcessEvaluator
from pretrain.state import State

Done = Callable[[bool], set[str]]
TRACING = {"reads_a_memory", "traces_a_process"}  # Yama, where a kernel has it, denies them to everybody
YAMA = Path("/proc/sys/kernel/yama/ptrace_scope")


def taken_over(target: str, *, isolated: bool = True, deadline: float = 60.0) -> ProcessEvaluator:
    settings = EngineSettings(deadline=deadline, isolated=isolated)
    return ProcessEvaluator(settings, VOCABULARIES, target=target if ":" in target else f"isolated_children:{target}")


def judge(evaluator: ProcessEvaluator, folder: Path) -> str:
    """Return what a child says as the reason of a refusal."""
    with pytest.raises(ModelRejected) as caught:
        asyncio.run(evaluator.losses(folder, samples(), CONSTRAINTS))
    return caught.value.detail


def listening(
    stack: ExitStack, kind: int, address: str | tuple[str, int], family: int = socket.AF_UNIX
) -> socket.socket:
    one = stack.enter_context(socket.socket(family, kind))
    one.bind(address)
    if kind == socket.SOCK_STREAM:
        one.listen()
    return one


def put_up(root: Path, stack: ExitStack) -> Path:
    """Return a model's folder with everything around it that a child could reach for."""
    own, other, home = root / "model", root / "other", root / "home"
    for folder in (own, other, home):
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"weights")
    for name in ("spare", "name", "emptied"):
        (own / name).write_text(name)
    secret = home / "hotkey"
    secret.write_text("secret")
    bystander = subprocess.Popen(["sleep", "1000"], start_new_session=True)  # noqa: S607 - any sleep does
    stack.callback(bystander.wait)
    stack.callback(bystander.kill)
    abstract = f"pretrain-{os.getpid()}-{root.name}"
    tcp = listening(stack, socket.SOCK_STREAM, ("127.0.0.1", 0), socket.AF_INET)
    udp = listening(stack, socket.SOCK_DGRAM, ("127.0.0.1", 0), socket.AF_INET)
    listening(stack, socket.SOCK_STREAM, "\0" + abstract)
    listening(stack, socket.SOCK_STREAM, str(root / "path"))
    listening(stack, socket.SOCK_DGRAM, str(root / "datagrams"))
    aims = {
        "model": str(own),
        "secret": str(secret),
        "validator": os.getpid(),
        "bystander": bystander.pid,
        "group": bystander.pid,
        "tcp": tcp.getsockname()[1],
        "udp": udp.getsockname()[1],
        "abstract": abstract,
        "path": str(root / "path"),
        "datagrams": str(root / "datagrams"),
    }
    (own / "aims.json").write_text(json.dumps(aims))
    return own


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """Return what a child managed to do, isolated or not."""
    found: dict[bool, set[str]] = {}

    def of(isolated: bool) -> set[str]:  # noqa: FBT001 - a key
        if isolated not in found:
            with ExitStack() as stack, taken_over("tries", isolated=isolated) as evaluator:
                told = judge(evaluator, put_up(tmp_path_factory.mktemp("i"), stack))
                if isolated:
                    need_layers(evaluator.isolation)
            found[isolated] = set(json.loads(told))
        return found[isolated]

    return of


def need_layers(report: str | None) -> None:
    if report is None or not ("landlock" in report and "seccomp" in report.partition("; missing")[0]):
        pytest.skip(f"this kernel offers: {report}")


@pytest.mark.parametrize("attack", [attack.__name__ for attack in isolated_children.ATTACKS])
def test_an_attack_succeeds_only_on_a_child_that_has_all_rights(done: Done, attack: str) -> None:
    without = (os.getuid() != 0 and attack == "keeps_a_capability") or (attack in TRACING and YAMA.exists())
    assert (attack in done(False), attack in done(True)) == (not without, False)  # noqa: FBT003 - keys


@pytest.mark.parametrize("need", [need.__name__ for need in isolated_children.NEEDS])
def test_what_judging_takes_is_left_to_a_child(done: Done, need: str) -> None:
    assert need in done(True)  # noqa: FBT003 - a key


@pytest.mark.parametrize("isolated", [True, False])
def test_a_child_holds_nothing_of_its_server_and_dies_with_it(tmp_path: Path, isolated: bool) -> None:  # noqa: FBT001
    with taken_over("tells_what_it_holds", isolated=isolated) as evaluator:
        told = json.loads(judge(evaluator, tmp_path))
    assert told == [9, 2, [0, 16 << 20, 60 * 2 + 60], True]  # SIGKILL; samples and answer; no core, 16 MiB, seconds


def test_a_path_that_cannot_be_opened_is_left_out_and_landlock_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    reports = []
    for told in ("", f"{tmp_path}/file/below:{tmp_path}/loop:{tmp_path}/{'long' * 99}:{tmp_path}/none"):
        monkeypatch.setenv("LD_LIBRARY_PATH", told)
        with taken_over("tells_what_it_holds") as evaluator:
            judge(evaluator, tmp_path)
            reports.append(evaluator.isolation)
    assert reports[0] == reports[1]


def test_a_child_has_an_ipc_of_its_own(tmp_path: Path) -> None:
    with taken_over("tells_its_ipc") as evaluator:
        told = judge(evaluator, tmp_path)
        if "namespaces" not in (evaluator.isolation or "").partition("; missing")[0]:
            pytest.skip(f"this kernel offers: {evaluator.isolation}")
    assert told != str(Path("/proc/self/ns/ipc").readlink())


def test_a_killed_server_takes_an_isolated_child_along(tmp_path: Path) -> None:
    async def watched(evaluator: ProcessEvaluator) -> None:
        task = asyncio.ensure_future(evaluator.losses(tmp_path, samples(), CONSTRAINTS))
        while evaluator.isolation is None:  # noqa: ASYNC110 - another process sets it
            await asyncio.sleep(0.01)
        server = evaluator.server_pid
        assert server is not None
        child = int(children_of(server))
        os.kill(server, 9)
        with pytest.raises(EvaluatorUnavailable, match="the fork server is gone"):
            await task
        assert is_gone(child)

    with taken_over("ignores_signals") as evaluator:
        asyncio.run(watched(evaluator))


def error_of(evaluator: ProcessEvaluator, folder: Path) -> EvaluatorUnavailable:
    with pytest.raises(EvaluatorUnavailable) as caught:
        asyncio.run(evaluator.losses(folder, samples(), CONSTRAINTS))
    return caught.value


@pytest.mark.parametrize(
    ("target", "cause", "says", "pays"),
    [
        ("greedy_children:takes_many_addresses", Cause.MEMORY, "Cannot allocate memory", None),
        ("greedy_children:takes_a_large_object", Cause.MEMORY, "MemoryError", None),
        ("greedy_children:takes_a_large_tensor", Cause.MEMORY, "DefaultCPUAllocator", None),
        ("greedy_children:errs", Cause.CRASHED, "mat1 and mat2 shapes", Reason.CRASHED),
        ("burns_time", Cause.CRASHED, "killed by signal", Reason.CRASHED),
        ("answers_then_crashes", Cause.CRASHED, "killed by signal 11", Reason.CRASHED),
        ("sends_a_gigabyte", Cause.CRASHED, "answered more than", Reason.CRASHED),
        ("reaches_for_more", Cause.CRASHED, "Permission denied", Reason.CRASHED),
        ("sends_for_ever", Cause.TIMEOUT, "outlasted its deadline", None),
        ("closes_everything", Cause.TIMEOUT, "outlasted its deadline", None),
        ("ignores_signals", Cause.TIMEOUT, "outlasted its deadline", None),
    ],
)
def test_what_a_child_does_twice_is_charged_to_whom_it_belongs(
    tmp_path: Path, target: str, cause: Cause, says: str, pays: Reason | None
) -> None:
    """What real children ended with is what a whole step's models then end with, beside one that is scored."""
    with taken_over(target, deadline=0.5 if cause is Cause.TIMEOUT else 60.0) as evaluator:
        errors = [error_of(evaluator, tmp_path) for _ in range(2)]
        need_layers(evaluator.isolation)
    assert [(error.cause, says in str(error)) for error in errors] == [(cause, True)] * 2, str(errors)

    world, state = World(tmp_path, one_competition()), State()
    world.commit("A", 10, 2.0)
    files = model(prose=1.0)
    entry = world.commit("B", 20, files)
    world.evaluator.script[weights_of(files)] = list(errors)
    for block in (100, 110):
        state, report = world.step(block, state)
        assert outcomes_of(report)["A"] == "scored"
    assert state.record(entry).rejected is pays


def test_a_child_that_dies_for_every_model_dies_for_the_canary_too(tmp_path: Path) -> None:
    with taken_over("answers_then_crashes") as evaluator, pytest.raises(EvaluatorUnavailable) as caught:
        asyncio.run(Canary(evaluator, tmp_path / "canary").check())
    assert (caught.value.cause, "canary could not be scored" in str(caught.value)) == (None, True)


def test_a_flood_of_output_ends_at_a_bound_and_harms_no_one(tmp_path: Path) -> None:
    with taken_over("floods_its_output") as evaluator:
        found = asyncio.run(evaluator.losses(tmp_path, samples(), CONSTRAINTS))
    assert found.samples == samples().digest


def test_what_is_in_force_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with taken_over("tells_what_it_holds", isolated=False) as evaluator:
        for _ in range(2):
            judge(evaluator, tmp_path)
    assert [(record.levelname, record.getMessage()) for record in caplog.records if "judged" in record.message] == [
        ("WARNING", f"a model is judged behind: {isolation.OFF}")
    ]

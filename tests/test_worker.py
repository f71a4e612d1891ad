import asyncio
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes import sketch
from hypothesis import given
from hypothesis import strategies as st
from tiny import TOKENIZER, tiny_constraints, tiny_llama

from pretrain.data import Samples
from pretrain.errors import Cause, ConfigError, EvaluatorUnavailable, ModelRejected, Reason
from pretrain.evaluate import Evaluator, Measurement, children
from pretrain.evaluate.answer import (
    GarbageError,
    decode,
    decode_fit,
    encode_measurement,
    encode_no_memory,
    encode_rejection,
)
from pretrain.evaluate.canary import TOLERANCE, Canary
from pretrain.evaluate.engine import engine_version
from pretrain.evaluate.request import EngineSettings, read_samples, write_samples
from pretrain.evaluate.worker import ProcessEvaluator
from pretrain.models.header import weights_digest
from pretrain.types import Digest, TaskName

VOCABULARIES = {TOKENIZER: 256}
CONSTRAINTS = tiny_constraints()
ENGINE = engine_version("cpu")
Models = tuple[Path, Path]


def samples(windows: int = 3, length: int = 32, seed: int = 0) -> Samples:
    rng = np.random.default_rng(seed)
    tasks = [TaskName("prose"), TaskName("code")]
    tokens = {task: rng.integers(0, 256, (windows, length)).astype(np.int32) for task in tasks}
    return Samples(tokens, {task: rng.integers(1, 99, windows).astype(np.int64) for task in tasks})


def judge(evaluator: Evaluator, model: Path, drawn: Samples | None = None) -> Measurement:
    return asyncio.run(evaluator.losses(model, drawn or samples(), CONSTRAINTS))


def hostile(target: str, *, deadline: float = 60.0) -> ProcessEvaluator:
    """Return an evaluator whose children keep every right of this user: the others are test_isolation's."""
    settings = EngineSettings(deadline=deadline, isolated=False)
    return ProcessEvaluator(settings, VOCABULARIES, target=f"hostile_children:{target}")


def unavailable(evaluator: ProcessEvaluator, model: Path, drawn: Samples | None = None) -> EvaluatorUnavailable:
    with evaluator, pytest.raises(EvaluatorUnavailable) as caught:
        judge(evaluator, model, drawn)
    assert "\n" not in str(caught.value)
    return caught.value


def children_of(pid: int) -> str:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text()


def is_gone(pid: int) -> bool:
    """Whether a process is gone, or goes within 10 s: a dead one that nobody reaps counts as gone."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], 10)[0])
    finally:
        os.close(descriptor)


@pytest.fixture(scope="module")
def evaluator() -> Iterator[ProcessEvaluator]:
    with ProcessEvaluator(EngineSettings(batch=2, chunk=50), VOCABULARIES) as started:
        yield started


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    root = tmp_path_factory.mktemp("models")
    return tiny_llama(root / "a", seed=1), tiny_llama(root / "b", seed=2)


def test_a_measurement_is_what_the_same_code_computes_here(evaluator: ProcessEvaluator, models: Models) -> None:
    from pretrain.evaluate.loss import window_losses  # noqa: PLC0415 - what the worker itself must not import
    from pretrain.models.load import load  # noqa: PLC0415

    found = judge(evaluator, models[0])
    model = load(models[0], CONSTRAINTS, 256, "cpu")
    assert {task: values.tolist() for task, values in found.losses.items()} == {
        task: pytest.approx(window_losses(model, tokens, batch=2, chunk=50).tolist(), abs=1e-6)
        for task, tokens in samples().tokens.items()
    }
    assert (found.weights, found.samples) == (weights_digest(models[0]), samples().digest)
    assert found.engine == evaluator.engine == ENGINE


def test_a_model_is_judged_twice_with_the_same_bits(evaluator: ProcessEvaluator, models: Models) -> None:
    first, again = judge(evaluator, models[0]), judge(evaluator, models[0])
    assert {t: v.tobytes() for t, v in first.losses.items()} == {t: v.tobytes() for t, v in again.losses.items()}


def test_two_models_are_judged_at_once_each_as_if_alone(evaluator: ProcessEvaluator, models: Models) -> None:
    async def both() -> list[Measurement]:
        return await asyncio.gather(*(evaluator.losses(model, samples(), CONSTRAINTS) for model in models))

    together = asyncio.run(both())
    assert [found.weights for found in together] == [weights_digest(model) for model in models]
    alone = [judge(evaluator, model) for model in models]
    assert [{t: v.tobytes() for t, v in found.losses.items()} for found in together] == [
        {t: v.tobytes() for t, v in found.losses.items()} for found in alone
    ]


def test_a_model_that_breaks_a_rule_is_rejected_for_that_reason(evaluator: ProcessEvaluator, tmp_path: Path) -> None:
    broken = tiny_llama(tmp_path / "m")
    (broken / "config.json").write_text('{"model_type": "mamba"}')
    with pytest.raises(ModelRejected, match="model_type 'mamba' is not allowed") as caught:
        judge(evaluator, broken)
    assert caught.value.reason is Reason.ARCHITECTURE
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelRejected) as caught:
        judge(evaluator, tmp_path / "empty")
    assert caught.value.reason is Reason.FILES


def test_a_folder_that_is_not_there_is_this_validators_fault(evaluator: ProcessEvaluator, tmp_path: Path) -> None:
    with pytest.raises(EvaluatorUnavailable, match="is not a folder") as caught:
        judge(evaluator, tmp_path / "nowhere")
    assert caught.value.cause is None


def test_a_tokenizer_of_unknown_size_is_a_mistake_in_our_wiring(evaluator: ProcessEvaluator, models: Models) -> None:
    other = CONSTRAINTS.model_copy(update={"tokenizer": "other"})
    with pytest.raises(ConfigError, match=r"tokenizer 'other' is not known; known are pretrain\.canary, tiny"):
        asyncio.run(evaluator.losses(models[0], samples(), other))


def test_a_child_out_of_memory_says_so_and_nobody_is_blamed(
    evaluator: ProcessEvaluator, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluator, "_settings", EngineSettings(memory=200 << 20))
    with pytest.raises(EvaluatorUnavailable) as caught:
        judge(evaluator, models[0])
    assert caught.value.cause is Cause.MEMORY


def test_the_canary_is_right_in_a_process_of_its_own(evaluator: ProcessEvaluator, tmp_path: Path) -> None:
    assert asyncio.run(Canary(evaluator, tmp_path / "canary").check()).difference < TOLERANCE / 50


def test_a_child_that_had_too_little_memory_is_read_so_whatever_was_asked() -> None:
    for read in (lambda raw: decode(raw, samples(), ENGINE), decode_fit):
        with pytest.raises(EvaluatorUnavailable, match=r"too little memory: '9 bytes \\x1b'") as caught:
            read(encode_no_memory("9 bytes \x1b"))
        assert caught.value.cause is Cause.MEMORY


def test_an_answer_longer_than_a_pipe_holds_arrives(tmp_path: Path) -> None:
    many = samples(windows=700_000, length=2)
    with hostile("answers") as evaluator:
        found = judge(evaluator, tmp_path, many)
    assert [values.tolist()[-1] for values in found.losses.values()] == [699_999.0] * 2


@pytest.mark.parametrize(
    ("target", "cause", "says"),
    [
        ("is_killed", Cause.CRASHED, "killed by signal 9; its last words: about to die"),
        ("raises", Cause.CRASHED, "ended with status 1; its last words: MemoryError: no room ?[31m for this model"),
        ("floods", Cause.CRASHED, "answered more than"),
        ("says_nothing", Cause.CRASHED, "not ours"),
        ("says_garbage", Cause.CRASHED, "not ours"),
        ("scores_other_samples", Cause.CRASHED, "were sent"),
        ("writes_much", Cause.CRASHED, "File too large"),
    ],
)
def test_a_child_that_fails_is_a_crash(tmp_path: Path, target: str, cause: Cause, says: str) -> None:
    error = unavailable(hostile(target), tmp_path)
    assert (error.cause, says in str(error)) == (cause, True)


@pytest.mark.parametrize("target", ["hangs", "stops_itself", "answers_then_hangs"])
def test_a_child_that_outlasts_the_deadline_is_ended(tmp_path: Path, target: str) -> None:
    with hostile(target, deadline=0.5) as evaluator:
        with pytest.raises(EvaluatorUnavailable, match=r"outlasted its deadline of 0\.5 s") as caught:
            judge(evaluator, tmp_path)
        server = evaluator.server_pid
        assert server is not None
        assert (caught.value.cause, children_of(server)) == (Cause.TIMEOUT, "")
        assert is_gone(int((tmp_path / "note").read_text()))


def test_a_grandchild_does_not_outlive_its_model(tmp_path: Path) -> None:
    error = unavailable(hostile("leaves_a_grandchild"), tmp_path)
    assert (error.cause, "status 3" in str(error)) == (Cause.CRASHED, True)
    assert is_gone(int((tmp_path / "note").read_text()))


def test_a_cancelled_evaluation_ends_its_child(tmp_path: Path) -> None:
    async def cancelled(evaluator: ProcessEvaluator) -> None:
        task = asyncio.ensure_future(evaluator.losses(tmp_path, samples(), CONSTRAINTS))
        while not (tmp_path / "note").exists():  # noqa: ASYNC110 - another process sets it
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    with hostile("hangs") as evaluator:
        asyncio.run(cancelled(evaluator))
        server = evaluator.server_pid
        assert server is not None
        assert children_of(server) == ""
        assert is_gone(int((tmp_path / "note").read_text()))


def test_children_run_side_by_side(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()

    async def both(evaluator: ProcessEvaluator) -> list[Measurement]:
        return await asyncio.gather(*(evaluator.losses(folder, samples(), CONSTRAINTS) for folder in folders))

    with hostile("meets_the_other") as evaluator:
        assert len(asyncio.run(both(evaluator))) == 2


def test_a_lost_fork_server_is_nobodys_fault_and_replaced(tmp_path: Path) -> None:
    with hostile("kills_the_server_once") as evaluator:
        with pytest.raises(EvaluatorUnavailable, match="the fork server is gone") as caught:
            judge(evaluator, tmp_path)
        assert caught.value.cause is None
        assert is_gone(int((tmp_path / "note").read_text()))
        assert judge(evaluator, tmp_path).samples == samples().digest


def test_a_fork_server_that_hangs_is_killed_with_its_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "_GRACE", 0.3)
    with hostile("stops_the_server", deadline=0.3) as evaluator:
        with pytest.raises(EvaluatorUnavailable, match="did not end a child") as caught:
            judge(evaluator, tmp_path)
        assert caught.value.cause is None
        assert is_gone(int((tmp_path / "note").read_text()))


def test_a_fork_server_that_cannot_import_its_libraries_says_which(tmp_path: Path) -> None:
    error = unavailable(ProcessEvaluator(EngineSettings(), VOCABULARIES, target="no_such_module:judge"), tmp_path)
    assert (error.cause, "No module named 'no_such_module'" in str(error)) == (None, True)


def test_a_child_knows_nothing_of_its_starters_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    with hostile("tells_its_environment") as evaluator, pytest.raises(ModelRejected) as caught:
        judge(evaluator, tmp_path)
    told = caught.value.detail
    assert "secret" not in told
    assert '"HF_HUB_OFFLINE": "1"' in told
    assert '"TRANSFORMERS_OFFLINE": "1"' in told
    assert '"HOME": "/nonexistent"' in told
    assert '"/", true, ' in told  # its folder, and that it leads a session of its own
    assert told.endswith('forkserver.py"]')  # not the program that started it


def test_children_import_from_where_their_starter_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[1])
    monkeypatch.setattr(sys, "path", ["", "tests", *sys.path[-1:]])
    found = children.environment({}, 1)["PYTHONPATH"].split(os.pathsep)
    assert found[:2] == [str(Path.cwd()), str(Path.cwd() / "tests")]


def test_a_fork_server_ends_well_when_it_is_closed(tmp_path: Path) -> None:
    with hostile("answers") as evaluator:
        judge(evaluator, tmp_path)
        server = evaluator._server  # noqa: SLF001 - its process is the point
        assert server is not None
    assert server.process.returncode == 0


PROGRAM = """
import asyncio, sys
from pathlib import Path
sys.path[:0] = sys.argv[1:3]
from pretrain.evaluate.canary import CONSTRAINTS, canary_samples
from pretrain.evaluate.request import EngineSettings
from pretrain.evaluate.worker import ProcessEvaluator

async def main():
    with ProcessEvaluator(EngineSettings(isolated=False), {}, target="hostile_children:hangs") as evaluator:
        print(evaluator.server_pid, flush=True)
        await evaluator.losses(Path(sys.argv[3]), canary_samples(), CONSTRAINTS)

asyncio.run(main())
"""


def test_a_killed_program_leaves_no_process_behind(tmp_path: Path) -> None:
    tests = Path(__file__).parent
    command = [sys.executable, "-c", PROGRAM, str(tests.parent), str(tests), str(tmp_path)]
    (tmp_path / "tmp").mkdir()
    environment = {**os.environ, "TMPDIR": str(tmp_path / "tmp")}
    os.mkfifo(tmp_path / "note.tmp")  # the child waits here until its number is read
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as program:  # noqa: S603
        assert program.stdout is not None
        server = int(program.stdout.readline())
        child = int((tmp_path / "note.tmp").read_text())
        program.send_signal(signal.SIGKILL)
    assert (is_gone(child), is_gone(server)) == (True, True)
    assert list((tmp_path / "tmp").iterdir()) == []


def test_the_process_that_waits_for_judges_does_not_import_torch() -> None:
    code = "import sys, pretrain.evaluate.worker; print({'torch', 'transformers'} & set(sys.modules))"
    root = Path(__file__).parents[1]
    run = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)  # noqa: S603
    assert run.stdout == "set()\n"


def test_samples_are_read_as_they_were_written(tmp_path: Path) -> None:
    with (tmp_path / "samples").open("w+b") as file:
        write_samples(samples(), file)
        assert [read_samples(file).digest for _ in range(2)] == [samples().digest] * 2


def honest() -> Measurement:
    losses = {task: np.linspace(1, 2, len(tokens)) for task, tokens in samples().tokens.items()}
    return Measurement(losses, Digest("a" * 64), samples().digest, ENGINE, 1.5, sketch("honest"))


def test_an_honest_answer_is_read_as_it_was_given() -> None:
    found = decode(encode_measurement(honest()), samples(), ENGINE)
    assert {t: v.tobytes() for t, v in found.losses.items()} == {t: v.tobytes() for t, v in honest().losses.items()}
    assert (found.weights, found.samples, found.engine, found.seconds) == ("a" * 64, samples().digest, ENGINE, 1.5)
    assert (found.sketch.shapes, found.sketch.values.tobytes()) == ("5" * 64, sketch("honest").values.tobytes())


def changed(**fields: object) -> bytes:
    return encode_measurement(Measurement(**{**vars(honest()), **fields}))


def with_weight(value: float) -> bytes:
    values = honest().sketch.values.copy()
    values[0] = value
    return changed(sketch=replace(honest().sketch, values=values))


def with_loss(value: float) -> bytes:
    losses = {task: values.copy() for task, values in honest().losses.items()}
    losses[TaskName("code")][1] = value
    return changed(losses=losses)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        encode_measurement(honest())[:-1],
        encode_measurement(honest()) + b"\0",
        (1 << 31).to_bytes(4, "big") + b"{}",
        changed(samples="b" * 64),
        changed(engine="another"),
        changed(weights="short"),
        changed(seconds=float("nan")),
        changed(seconds=-1.0),
        changed(losses={}),
        changed(losses={TaskName("prose"): np.ones(3)}),
        changed(losses={TaskName("prose"): np.ones(2), TaskName("code"): np.ones(4)}),
        with_loss(float("nan")),
        with_loss(float("inf")),
        with_loss(-0.5),
        with_loss(1e39),
        with_weight(float("nan")),
        with_weight(float("inf")),
        encode_measurement(honest())[:-4],
        encode_measurement(honest()) + bytes(4),
        changed(sketch=replace(sketch("honest"), shapes=Digest("short"))),
    ],
)
def test_an_answer_that_no_child_of_ours_gives_is_garbage(raw: bytes) -> None:
    with pytest.raises(GarbageError):
        decode(raw, samples(), ENGINE)


@given(st.binary(max_size=300))
def test_no_bytes_as_an_answer_raise_anything_but_garbage(raw: bytes) -> None:
    with pytest.raises(GarbageError):
        decode(len(raw).to_bytes(4, "big") + raw, samples(), ENGINE)


def test_a_child_cannot_reject_for_a_reason_that_is_not_its_to_know() -> None:
    for reason in Reason:
        raw = encode_rejection(ModelRejected(reason, "because"))
        allowed = reason in {Reason.FILES, Reason.HEADER, Reason.ARCHITECTURE, Reason.NOT_FINITE, Reason.NOT_CAUSAL}
        with pytest.raises(ModelRejected if allowed else GarbageError):
            decode(raw, samples(), ENGINE)

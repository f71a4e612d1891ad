"""The whole subnet: its cast, its preparation, its supervisor and when it is over. The run itself is in .ci/run."""

import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from pretrain import competition_file
from pretrain.chain import history, local
from pretrain.chain.history import NeuronEpoch, WeightsRow
from pretrain.commitment import Commitment, Entry
from pretrain.data.draw import build_sampler
from pretrain.errors import ConfigError, PretrainError
from pretrain.localnet import commands, prepare
from pretrain.localnet import run as run_to_its_end
from pretrain.localnet.prepare import TEMPLATE, Options, Run
from pretrain.localnet.processes import RESTARTS, Daemon, end
from pretrain.localnet.roles import cast
from pretrain.localnet.view import View, final, labels
from pretrain.report import Report
from pretrain.state import State
from pretrain.types import Block, CompetitionId, Digest, Hotkey, Revision, Uid


def test_the_compared_miners_differ_in_their_mix_alone() -> None:
    prose, mixed, *_ = cast(competition_file.load(TEMPLATE), 4, 1000, 7)
    assert replace(prose, name=mixed.name, mix=mixed.mix) == mixed
    assert (prose.mix, mixed.mix) == ((("prose", 1.0),), (("prose", 0.85), ("code", 0.15)))


def test_one_miner_republishes_the_weights_of_another_in_its_competition() -> None:
    _, _, victim, copier = cast(competition_file.load(TEMPLATE), 4, 1000, 7)
    assert (copier.copies, copier.competition, copier.tokens) == (victim.name, victim.competition, 0)


def test_no_two_further_miners_train_the_same_model() -> None:
    miners = cast(competition_file.load(TEMPLATE), 9, 1000, 7)
    assert len({(m.mix, m.seed, m.tokens) for m in miners if not m.copies}) == len(miners) - 1


def test_one_miner_is_too_few() -> None:
    with pytest.raises(ConfigError, match="--miners 1: at least 2"):
        cast(competition_file.load(TEMPLATE), 1, 1000, 0)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("localnet")
    books = folder / "books"
    books.mkdir()
    words = ["the chain remembers what the miners wrote", "a loss falls while the light is on", "seven windows of text"]
    for number in range(300):
        lines = (f"{words[(number + line) % 3]} {number * line}" for line in range(30))
        (books / f"{number}.txt").write_text("\n\n".join(lines))
    return prepare.prepare(Options(folder / "run", 4, 2, 3, 50_000, {"rhymes": books}))


def test_a_prepared_run_has_a_pinned_competition_file_that_a_sampler_can_draw_from(run: Run) -> None:
    examined = competition_file.examine(run.competitions)
    assert (examined.problems, examined.unpinned) == ((), ())
    assert set(build_sampler(run.schedule, run.out).sources) == {"prose", "code", "rhymes"}


def test_a_source_of_its_own_name_joins_the_mixed_competition_with_its_share(run: Run) -> None:
    pure, mixed = run.schedule.at(Block(0))
    assert pure.weights == {"prose": 1.0}
    assert mixed.weights == pytest.approx({"prose": 0.7225, "code": 0.1275, "rhymes": 0.15})


def test_everybody_is_registered_from_the_start_and_only_validators_have_stake(run: Run) -> None:
    chain = local.LocalChain(run.chain, run.schedule.netuid)
    stakes = {neuron.hotkey: neuron.stake for neuron in chain.genesis.neurons}
    assert {labels(run)[hotkey] for hotkey, stake in stakes.items() if stake} == set(run.validators)
    assert {labels(run)[hotkey] for hotkey in stakes} == {*run.validators, *(miner.name for miner in run.miners)}


def test_text_that_is_too_little_to_be_judged_on_is_refused_before_anything_starts(tmp_path: Path) -> None:
    haiku = tmp_path / "haiku.jsonl"
    haiku.write_text("".join(f'{{"text": "an old pond, {number} frogs jump in"}}\n' for number in range(40)))
    with pytest.raises(ConfigError, match=r"^--data rhymes=.*haiku.jsonl: source rhymes has \d+ tokens .* needs 6144$"):
        prepare.prepare(Options(tmp_path / "run", 4, 2, 3, 50_000, {"rhymes": haiku}))


def test_a_run_is_not_prepared_over_another_one(run: Run) -> None:
    with pytest.raises(ConfigError, match="holds a run already; go on with it by --resume"):
        prepare.prepare(Options(run.out, 4, 2, 3, 50_000, {}))


def test_a_resumed_run_is_the_same_run_and_its_chain_goes_on_where_it_was(run: Run) -> None:
    local.pause(run.chain)
    before = history.newest(run.chain)
    assert prepare.resume(run.out) == run
    assert history.newest(run.chain) - before <= 1


def test_there_is_nothing_to_resume_in_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no run that can be resumed"):
        prepare.resume(tmp_path)


def test_secrets_stand_in_no_command_line(run: Run) -> None:
    daemons = [*(commands.miner(run, miner) for miner in run.miners), commands.validator(run, "validator-1")]
    words = {word for daemon in daemons for word in daemon.command}
    tokens = {run.token(miner.name) for miner in run.miners}
    assert (len(tokens), words & tokens) == (4, set())


def test_nothing_is_complete_before_anything_was_committed(run: Run) -> None:
    view = final(run)
    assert (view.entries, run_to_its_end.complete(run, view, {})) == ((), False)


def report_of(validator: str, block: int, *players: str) -> Report:
    return Report(
        validator=Hotkey(validator),
        block=Block(block),
        seed="0" * 64,
        competition=CompetitionId(1),
        name="mixed",
        competition_digest=Digest(""),
        engine="",
        samples=Digest("same"),
        champion=Hotkey(players[0]) if players else None,
        entries=(),
        players=tuple(Hotkey(player) for player in players),
    )


def view_of(blocks: Mapping[str, Mapping[int, tuple[str, ...]]], rows: dict[str, int], epoch: int = 0) -> View:
    """Look at two miners, both entered; by validator, who was scored at which block, and when it set weights."""
    commitments = [Commitment(miner, "model", Revision("0" * 40), Digest(""), CompetitionId(1)) for miner in ("A", "B")]
    return View(
        block=Block(100),
        entries=tuple(Entry(Hotkey(c.namespace), Block(5), c) for c in commitments),
        states=dict.fromkeys(blocks, State()),
        reports={v: tuple(report_of(v, b, *who) for b, who in steps.items()) for v, steps in blocks.items()},
        rows=tuple(WeightsRow(Block(block), Hotkey(v), {Hotkey("A"): 1.0}) for v, block in rows.items()),
        epochs=(NeuronEpoch(Block(epoch), Uid(0), Hotkey("A"), 0.0, 1.0, 0.0, 0.0, permit=False),) if epoch else (),
        statuses={},
    )


def test_a_competition_is_settled_at_the_second_window_in_which_everybody_scored_all_that_entered() -> None:
    both, one = ("A", "B"), ("A",)
    view = view_of({"v": {15: one, 45: both, 75: both, 105: both}, "w": {15: one, 45: both, 105: both}}, {})
    assert view.settled(CompetitionId(1)) == 105
    assert view_of({"v": {45: both, 75: both}, "w": {45: both, 75: one}}, {}).settled(CompetitionId(1)) is None


def test_it_is_paid_when_an_epoch_came_after_every_validators_next_weights() -> None:
    settled = {"v": {45: ("A", "B")}, "w": {45: ("A", "B")}}
    assert view_of(settled, {"v": 50, "w": 52}, epoch=53).paid_since(Block(45))
    assert not view_of(settled, {"v": 50, "w": 52}, epoch=52).paid_since(Block(45))
    assert not view_of(settled, {"v": 50, "w": 44}, epoch=99).paid_since(Block(45))


def program(folder: Path, code: str) -> Daemon:
    return Daemon("program", ["-c", code], folder)


def wait_for(told: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not told():
        assert time.monotonic() < deadline, "it did not come about within 30 s"


def test_a_process_that_is_killed_is_started_again(tmp_path: Path) -> None:
    daemon = program(tmp_path, "import time; print('up', flush=True); time.sleep(60)")
    daemon.start()
    assert daemon.process is not None
    os.kill(daemon.process.pid, signal.SIGKILL)
    daemon.process.wait()
    daemon.keep_alive()
    assert (daemon.deaths, daemon.running) == (1, True)
    end([daemon])
    assert not daemon.running


def test_what_a_killed_run_left_is_ended_before_its_place_is_taken(tmp_path: Path) -> None:
    def sleeper() -> Daemon:
        return Daemon(
            "program", ["-c", "import time; print('up', flush=True); time.sleep(60)", str(tmp_path)], tmp_path
        )

    orphan, successor = sleeper(), sleeper()
    orphan.start()
    wait_for(lambda: "up" in orphan.log.read_text())
    successor.start()
    assert orphan.process is not None
    assert (orphan.process.wait(), successor.running) == (-signal.SIGKILL, True)
    end([successor])


def test_a_stranger_that_has_the_number_of_a_dead_process_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "pid").write_text(str(os.getpid()))
    program(tmp_path, "pass").end_leftover()


def test_a_process_that_ended_well_is_left_alone(tmp_path: Path) -> None:
    daemon = program(tmp_path, "pass")
    daemon.start()
    wait_for(lambda: daemon.done)
    daemon.keep_alive()
    assert (daemon.deaths, daemon.done) == (0, True)


def test_a_process_that_was_asked_wrongly_is_not_tried_again(tmp_path: Path) -> None:
    daemon = program(tmp_path, "import sys; print('no such flag'); sys.exit(2)")
    daemon.start()
    wait_for(lambda: not daemon.running)
    with pytest.raises(PretrainError, match=r"(?s)status 2 after 0 restarts.*no such flag"):
        daemon.keep_alive()


def test_a_process_that_dies_again_and_again_ends_the_run(tmp_path: Path) -> None:
    daemon = program(tmp_path, "import sys; sys.exit(1)")
    daemon.start()
    for _ in range(RESTARTS):
        wait_for(lambda: not daemon.running)
        daemon.keep_alive()
    wait_for(lambda: not daemon.running)
    with pytest.raises(PretrainError, match=f"status 1 after {RESTARTS} restarts"):
        daemon.keep_alive()


def test_a_process_does_not_outlive_the_end_though_it_ignores_being_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pretrain.localnet.processes.GRACE", 0.2)
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    daemon = program(tmp_path, f"{deaf}; print('deaf', flush=True); time.sleep(60)")
    daemon.start()
    wait_for(lambda: "deaf" in daemon.log.read_text())
    end([daemon])
    assert daemon.process is not None
    assert daemon.process.returncode == -signal.SIGKILL


def test_the_programs_that_a_localnet_starts_are_the_real_ones() -> None:
    assert {path.name for path in commands.NEURONS.glob("*.py")} >= {"miner.py", "validator.py"}

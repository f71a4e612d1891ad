"""``pretrain score``: a model folder measured as a validator would, alone and against others."""

import asyncio
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes import CADENCE, FakeEvaluator, FakeSampler, model, one_competition
from hypothesis import given
from hypothesis import strategies as st
from small_competition import write_competition
from subnet import NETUID, subnet
from tiny import tiny_llama

from pretrain import cli
from pretrain.chain import local
from pretrain.chain.local import LocalChain
from pretrain.challenge import challenge, largest_head_start
from pretrain.competition import AdaptiveEpsilon, Competition, Constraints
from pretrain.data import Samples
from pretrain.errors import EvaluatorUnavailable, ModelRejected
from pretrain.evaluate import Measurement
from pretrain.evaluate.canary import TOLERANCE
from pretrain.scoring import Judged, epsilon_at
from pretrain.trial import Comparison, Tried, compare, measure
from pretrain.types import Block, Digest, Hotkey

SEED = "ab" * 32

Ask = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    def call(*arguments: str) -> tuple[int, str, str]:
        code = cli.run(["score", *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A competition file with its text and tokenizer, and three models, two of them the same."""
    folder = tmp_path_factory.mktemp("world")
    write_competition(folder)
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        tiny_llama(folder / name, seed=seed, vocab=300)
    return folder


def rules(**fields: object) -> Competition:
    return one_competition(competition=fields).at(Block(0))[0]


def folder_of(path: Path, files: dict[str, bytes]) -> Path:
    path.mkdir()
    for name, content in files.items():
        (path / name).write_bytes(content)
    return path


def tried(folders: list[Path], competition: Competition, evaluator: FakeEvaluator | None = None) -> list[Tried]:
    async def all_of_them() -> list[Tried]:
        samples = await FakeSampler().draw(competition, 7)
        return [one async for one in measure(folders, competition, samples, evaluator or FakeEvaluator())]

    return asyncio.run(all_of_them())


def compared(tmp_path: Path, mine: float, theirs: float, competition: Competition) -> Comparison:
    folders = [
        folder_of(tmp_path / f"{name}-{loss}", model(name, prose=loss)) for name, loss in (("m", mine), ("r", theirs))
    ]
    own, rival = tried(folders, competition)
    return compare(own, rival, competition)


@pytest.mark.parametrize(
    ("mine", "theirs", "after", "before"),
    [
        (2.0, 2.1, [True, True], [False, False]),  # 4.8% better: wins against any head start
        (2.0, 2.01, [False, True], [False, False]),  # 0.5% better: more than the least, less than the largest
        (2.0, 2.0001, [False, False], [False, False]),  # below the least: whoever is earlier
        (2.1, 2.0, [False, False], [True, True]),
    ],
)
def test_a_comparison_plays_both_orders_with_the_largest_and_the_least_head_start(
    tmp_path: Path, mine: float, theirs: float, after: list[bool], before: list[bool]
) -> None:
    falling = rules(epsilon={"kind": "adaptive", "start": 0.01, "end": 0.001, "blocks": 600})
    found = compared(tmp_path, mine, theirs, falling)

    assert ([m.wins for m in found.after], [m.wins for m in found.before], found.wins) == (after, before, after[0])
    assert [m.epsilon for m in found.after] == pytest.approx([0.01, 0.001])


def test_a_fixed_head_start_is_one_match_in_each_order(tmp_path: Path) -> None:
    found = compared(tmp_path, 2.0, 2.1, rules())

    assert ([m.epsilon for m in found.after], [m.epsilon for m in found.before]) == ([0.01], [0.01])


def test_the_difference_is_relative_to_the_rival(tmp_path: Path) -> None:
    found = compared(tmp_path, 1.9, 2.0, rules())

    assert found.difference is not None
    assert found.difference.mean == pytest.approx(-0.05)


def test_a_model_does_not_beat_its_own_weights_even_without_a_head_start(tmp_path: Path) -> None:
    free = rules(epsilon={"kind": "fixed", "end": 0.0})
    files = model("same", prose=2.0)
    own, rival = tried([folder_of(tmp_path / "a", files), folder_of(tmp_path / "b", files)], free)

    assert (compare(own, rival, free).same_weights, compare(own, rival, free).wins) == (True, False)


def test_under_majority_the_earlier_filters_by_its_end_and_not_by_its_head_start() -> None:
    falling = rules(
        compare="majority", windows=10, epsilon={"kind": "adaptive", "start": 0.01, "end": 0.001, "blocks": 600}
    )
    batches = np.array([0.99] * 6 + [1.009] * 4)  # 6 of 10 windows won, and 0.24% better in the mean
    later = Judged(Hotkey("later"), Block(1), batches, float(batches.mean()))
    earlier = Judged(Hotkey("earlier"), Block(0), np.ones(10), 1.0)

    match = challenge(later, earlier, 0.004, falling)

    assert (match.epsilon, match.wins) == (0.004, True)
    assert match.margin == pytest.approx(1 - 0.9976 / 0.996)
    assert match.margin_se == pytest.approx(np.std(batches, ddof=1) / 10**0.5 / 0.996)


@given(st.floats(0.0005, 0.2), st.floats(0, 1), st.integers(0, 2_000))
def test_no_commitment_earns_more_head_start_than_the_largest_of_its_age(start: float, gain: float, age: int) -> None:
    rule = AdaptiveEpsilon(kind="adaptive", start=start, end=0.0001, blocks=600)

    assert epsilon_at(rule, age, gain) <= largest_head_start(rule, age) <= start + 1e-12


def test_a_model_over_the_bytes_of_the_competition_is_refused_by_name(tmp_path: Path) -> None:
    competition = rules()
    limits = competition.model.model_copy(update={"max_bytes": 10})
    folder = folder_of(tmp_path / "mine", model(prose=2.0))

    with pytest.raises(ModelRejected, match=r"files: .*mine: the files have \d+ bytes together; .* allows 10"):
        tried([folder], competition.model_copy(update={"model": limits}))


def test_a_loss_that_is_no_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelRejected, match=r"not_finite: .*mine: a loss is NaN or infinite"):
        tried([folder_of(tmp_path / "mine", model(prose=math.nan))], rules())


def test_losses_of_other_windows_are_not_taken(tmp_path: Path) -> None:
    class Astray(FakeEvaluator):
        async def losses(
            self, model: Path, samples: Samples, constraints: Constraints, seconds: float | None = None
        ) -> Measurement:
            return replace(await super().losses(model, samples, constraints, seconds), samples=Digest("elsewhere"))

    with pytest.raises(EvaluatorUnavailable, match="on samples elsewhere; asked for "):
        tried([folder_of(tmp_path / "mine", model(prose=2.0))], rules(), Astray())


def test_models_are_scored_by_the_real_engine_on_the_windows_of_the_seed(ask: Ask, world: Path) -> None:
    rivals = ["--against", str(world / "other"), "--against", str(world / "same")]
    file = str(world / "competition.yaml")
    code, out, _ = ask(str(world / "one"), "--competitions", file, "--seed", SEED, *rivals, "--json")
    facts = json.loads(out)
    rates = [rival["wins"] for rival in facts["against"]]

    assert (code, facts["wins"], facts["seed"], facts["refused"]) == (1, False, SEED, None)
    assert [rival["same_weights"] for rival in facts["against"]] == [False, True]
    assert facts["against"][1]["rival"]["score"] == facts["model"]["score"] == facts["model"]["tasks"]["prose"]
    assert (rates[1], facts["against"][1]["difference"]["mean"], facts["canary"] < TOLERANCE) == (False, 0.0, True)


def test_a_model_alone_is_scored_on_the_newest_sync_block_of_a_chain(ask: Ask, world: Path, tmp_path: Path) -> None:
    net = subnet(tmp_path)
    net.at(35)
    local.pause(net.path, net.clock)  # a chain as a run leaves it
    file = ["--competitions", str(world / "competition.yaml"), "--competition", "0"]
    snapshot = asyncio.run(LocalChain(net.path, NETUID).snapshot(CADENCE))
    code, out, _ = ask(str(world / "one"), *file, "--network", f"file:{net.path}")
    windows, _, score = out.splitlines()

    assert (code, snapshot.block) == (0, 30)
    assert windows == f"prose (id 0): 4 windows of each task of sync block 30, seed {snapshot.seed:064x}"
    assert score.startswith(f"{world / 'one'}: score ")


def test_a_refused_model_is_its_reason_and_exit_code_1(ask: Ask, world: Path, tmp_path: Path) -> None:
    file = ["--competitions", str(world / "competition.yaml"), "--seed", SEED]
    empty = folder_of(tmp_path / "empty", {})
    code, out, _ = ask(str(empty), *file)
    assert (code, out) == (1, f"refused by every validator: files: {empty}: config.json is missing\n")

    code, out, _ = ask(str(empty), *file, "--json")
    detail = {"reason": "files", "detail": f"{empty}: config.json is missing"}
    assert (code, json.loads(out)) == (1, {"refused": detail, "wins": False})


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["gone"], "gone: no such folder; expected one with config.json and model.safetensors"),
        (["one", "--against", "gone"], "gone: no such folder; expected one with config.json and model.safetensors"),
        (["one", "--competition", "7"], "--competition 7 is not in force at block 0; in force: 0 (prose)"),
        (["one", "--seed", "abc"], "--seed 'abc': expected 64 lower-case hex digits, as in a report"),
        (
            ["one", "--network", "main"],
            "--subtensor.network 'main': expected finney, test, local, ws://HOST:PORT, wss://HOST or",
        ),
        (
            ["one", "--network", "https://node.example/SECRET"],
            "--subtensor.network 'https://node.example...': expected finney",
        ),
        (
            ["one", "--network", "file:x", "--subtensor.fallback", "ws://a:1"],
            "--subtensor.fallback ['ws://a:1']: an embedded chain has no other address",
        ),
        (
            ["one", "--network", "test", "--subtensor.timeout", "-1"],
            "--subtensor.timeout -1.0: Input should be greater",
        ),
        (
            ["one", "--seed", SEED, "--network", "file:x"],
            "--seed and --subtensor.network both choose the windows: give one",
        ),
        (["one", "--netuid", "9"], "--netuid: of a chain, and no chain is asked; give --subtensor.network too, or"),
        (
            ["one", "--seed", SEED, "--subtensor.timeout", "5", "--subtensor.fallback", "ws://a:1"],
            "--subtensor.fallback, --subtensor.timeout: of a chain, and no chain is asked; give --subtensor.network",
        ),
        (
            ["one", "--network", "file:x", "--netuid", "70000"],
            "Invalid value for '--netuid': Input should be less than or equal to 65535",
        ),
        (
            ["one", "--network", "file:x", "--netuid", "-1"],
            "Invalid value for '--netuid': Input should be greater than or equal to 0",
        ),
        (["one", "--competitions", "gone.yaml"], "gone.yaml: no such file or directory; expected a competition file"),
    ],
)
def test_a_wrong_question_is_one_line(
    ask: Ask, world: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], line: str
) -> None:
    monkeypatch.chdir(world)
    default = [] if "--competitions" in arguments else ["--competitions", "competition.yaml"]
    code, out, err = ask(*arguments, *default)

    assert (code, out, err.count("\n"), err.startswith(line)) == (2, "", 1, True)

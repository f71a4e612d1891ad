"""``pretrain score``: a model folder measured as a validator would, alone and against others."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes import FakeEvaluator, FakeSampler, model, one_competition
from hypothesis import given
from hypothesis import strategies as st
from subnet import START, subnet
from tiny import tiny_llama

from pretrain import cli
from pretrain.chain.local import LocalChain
from pretrain.challenge import Challenge, challenge, largest_head_start
from pretrain.competition import AdaptiveEpsilon, Competition, FixedEpsilon
from pretrain.data.tokenizer import train
from pretrain.errors import EvaluatorUnavailable, ModelRejected
from pretrain.evaluate import Measurement
from pretrain.schedule import Schedule
from pretrain.trial import Comparison, Tried, compare, measure
from pretrain.types import Block, Digest, Hotkey

EOS = "<|endoftext|>"
TEXTS = tuple(f"This is text number {number}. {'It goes on. ' * (number % 7)}" for number in range(400))
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
    (folder / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    train(TEXTS, 300, folder / "tokenizer.json", EOS)
    fields = one_competition().model_dump(mode="json", exclude_none=True)
    fields["sources"] = {"prose": {"kind": "files", "path": "texts.jsonl"}, "code": {"kind": "stdlib-code"}}
    fields["tokenizers"] = {"bytes": {"path": "tokenizer.json", "vocabulary": 300, "eos": EOS}}
    fields["models"]["nano"] |= {"max_parameters": 1_000_000, "max_bytes": 1_000_000}
    (folder / "competition.yaml").write_text(json.dumps(fields))  # JSON is YAML
    for name, seed, layers in (("one", 0, 2), ("same", 0, 2), ("other", 1, 2), ("large", 0, 40)):
        tiny_llama(folder / name, seed=seed, vocab=300, layers=layers)
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


def test_under_majority_the_earlier_filters_by_the_end_and_not_by_its_head_start(tmp_path: Path) -> None:
    """0.5% better in every window, with a head start of 0 at most windows' price, and an ``end`` of 0.1%."""
    falling = rules(compare="majority", epsilon={"kind": "adaptive", "start": 0.01, "end": 0.001, "blocks": 600})
    own, rival = compared_pair(tmp_path, falling)

    match = challenge(own, rival, 0.004, falling)

    assert (match.wins, match.margin) == (True, pytest.approx(1 - own.score / (rival.score * 0.996)))


def compared_pair(tmp_path: Path, competition: Competition):  # type: ignore[no-untyped-def]  # replaced below
    raise NotImplementedError


@given(st.floats(0.0005, 0.2), st.floats(0, 0.1), st.integers(0, 2_000))
def test_no_commitment_has_more_head_start_than_its_age_allows(start: float, gain: float, age: int) -> None:
    from pretrain.scoring import epsilon_at

    rule = AdaptiveEpsilon(kind="adaptive", start=start, end=0.0001, blocks=600)

    assert epsilon_at(rule, age, gain) <= largest_head_start(rule, age) <= start + 1e-12


def test_a_model_over_the_bytes_of_the_competition_is_refused_by_name(tmp_path: Path) -> None:
    small = one_competition().model_copy()
    competition = small.at(Block(0))[0]
    limits = competition.model.model_copy(update={"max_bytes": 10})
    folder = folder_of(tmp_path / "mine", model(prose=2.0))

    with pytest.raises(ModelRejected, match=r"files: .*mine: \d+ bytes; the competition allows 10"):
        tried([folder], competition.model_copy(update={"model": limits}))

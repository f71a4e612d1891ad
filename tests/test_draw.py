import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pretrain.competition import Competition
from pretrain.data import RowGroup, Samples
from pretrain.data.draw import Sampler, build_sampler
from pretrain.data.in_memory import InMemory
from pretrain.data.plan import plan
from pretrain.data.tokenizer import train
from pretrain.data.train_tokens import training_tokens
from pretrain.errors import ConfigError, DataUnavailable
from pretrain.schedule import Schedule
from pretrain.types import Block, TaskName

EOS = "<|endoftext|>"
PROSE = tuple(f"This is text number {number}. {'It goes on. ' * (number % 7)}" for number in range(200))
CODE = tuple(f"def function_{number}(x):\n    return x + {number}\n" for number in range(200))


def schedule() -> Schedule:
    text = {"prose": {"source": "prose", "weight": 0.75}, "code": {"source": "code", "weight": 0.25}}
    return Schedule.model_validate_json(
        json.dumps(
            {
                "name": "test",
                "netuid": 9,
                "version_key": 1,
                "timing": {"sync_cadence": 10, "eval_block_delay": 11, "weights_interval": 10, "max_weights_age": 99},
                "selection": {
                    "top_stake": 1,
                    "top_weight": 0.1,
                    "pool": 5,
                    "max_new": 4,
                    "max_returns": 2,
                    "fairness_blocks": 600,
                    "champion_patience": 3,
                },
                "weights": {},
                "tokenizers": {"bpe": {"path": "tokenizer.json", "vocabulary": 300, "eos": EOS}},
                "sources": {
                    "prose": {"kind": "files", "path": "prose.jsonl"},
                    "code": {"kind": "files", "path": "code.jsonl"},
                    "unused": {"kind": "parquet", "repo": "a/b"},
                },
                "models": {
                    "nano": {
                        "families": ["llama"],
                        "tokenizer": "bpe",
                        "sequence_length": 16,
                        "min_parameters": 1,
                        "max_parameters": 2,
                        "max_bytes": 3,
                    }
                },
                "mixes": {"mixed": text, "hub": {"web": {"source": "unused", "weight": 1.0}}},
                "competitions": {
                    "mixed": {
                        "id": 0,
                        "model": "nano",
                        "mix": "mixed",
                        "windows": 6,
                        "max_document_tokens": 20,
                        "epsilon": {"kind": "fixed", "end": 0.01},
                        "reward": {"kind": "winner_takes_all"},
                        "noise": {"paired_sd": 0.02, "below_noise": "accepted"},
                    }
                },
                "phases": [{"start": 0, "competitions": [{"competition": "mixed", "share": 1.0}]}],
            }
        )
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("root")
    for name, texts in (("prose", PROSE), ("code", CODE)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    train([*PROSE, *CODE], 300, folder / "tokenizer.json", EOS)
    return folder


@pytest.fixture(scope="module")
def sampler(root: Path) -> Sampler:
    return build_sampler(schedule(), root)


def competition(**fields: object) -> Competition:
    (only,) = schedule().at(Block(0))
    return only.model_copy(update=fields)


def draw(sampler: Sampler, seed: int = 7, **fields: object) -> Samples:
    return asyncio.run(sampler.draw(competition(**fields), seed))


def test_every_task_has_the_windows_of_the_competition(sampler: Sampler) -> None:
    samples = draw(sampler)
    shapes = {task: (t.shape, str(t.dtype), samples.bytes[task].shape) for task, t in samples.tokens.items()}
    assert shapes == {"code": ((6, 16), "int32", (6,)), "prose": ((6, 16), "int32", (6,))}


def test_the_windows_are_the_plan_tokenised_cut_and_joined(sampler: Sampler) -> None:
    source, tokenizer, expected = sampler.sources["prose"], sampler.tokenizers["bpe"], list[int]()
    assert isinstance(source, InMemory)
    for group, rows in plan(source.groups, 7, TaskName("prose"), rows_a_visit=8):
        texts = asyncio.run(source.rows(group))
        for row in rows:
            ids = tokenizer.model.encode(texts[row], add_special_tokens=False).ids[:20]
            expected += [*ids, tokenizer.eos]
    assert draw(sampler).tokens[TaskName("prose")].ravel().tolist() == expected[: 6 * 16]


def test_the_bytes_are_those_of_the_tokens_after_the_first(sampler: Sampler) -> None:
    samples, model = draw(sampler), sampler.tokenizers["bpe"].model
    expected = [len(model.decode(row[1:].tolist())) for row in samples.tokens[TaskName("code")]]
    assert samples.bytes[TaskName("code")].tolist() == expected


def test_two_processes_draw_the_same(sampler: Sampler, root: Path) -> None:
    program = (
        "import asyncio, sys; from pathlib import Path; from pretrain.data.draw import build_sampler;"
        "from pretrain.schedule import Schedule; s = Schedule.model_validate_json(sys.argv[1]);"
        "print(asyncio.run(build_sampler(s, Path(sys.argv[2])).draw(s.at(0)[0], 7)).digest)"
    )
    answers = [
        subprocess.run(  # noqa: S603 - this very interpreter
            [sys.executable, "-c", program, schedule().model_dump_json(), str(root)],
            env=os.environ | {"PYTHONHASHSEED": seed, "RAYON_NUM_THREADS": threads},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed, threads in (("1", "1"), ("2", "4"))
    ]
    assert answers == [draw(sampler).digest] * 2


@given(st.integers(0, 2**256 - 1), st.integers(0, 2**256 - 1))
@settings(max_examples=20, deadline=None)  # threads and an event loop each
def test_the_digest_follows_from_the_seed(sampler: Sampler, one: int, other: int) -> None:
    same, again, different = (draw(sampler, seed).digest for seed in (one, one, other))
    assert (same == again, same == different) == (True, one == other)


def test_the_order_of_the_tasks_makes_no_difference(sampler: Sampler) -> None:
    tasks = competition().tasks
    one, other = (draw(sampler, tasks=dict(items)) for items in (sorted(tasks.items()), reversed(tasks.items())))
    assert one.digest == other.digest


def test_more_windows_only_add_to_fewer(sampler: Sampler) -> None:
    few, many = (draw(sampler, windows=windows).tokens[TaskName("prose")] for windows in (3, 30))
    assert many[:3].tolist() == few.tolist()


def test_two_tasks_of_one_source_see_other_rows(sampler: Sampler) -> None:
    task = competition().tasks["prose"]
    samples = draw(sampler, tasks={"one": task, "other": task})
    assert samples.tokens[TaskName("one")].tolist() != samples.tokens[TaskName("other")].tolist()


def test_all_text_is_used_before_there_is_too_little(sampler: Sampler) -> None:
    source, tokenizer = sampler.sources["code"], sampler.tokenizers["bpe"]
    whole = asyncio.run(training_tokens(source, tokenizer, seed=0, max_document_tokens=20)).size
    only_code = {"code": competition().tasks["code"].model_copy(update={"weight": 1.0})}
    assert draw(sampler, tasks=only_code, windows=whole // 16).tokens[TaskName("code")].shape == (whole // 16, 16)
    needed = (whole // 16 + 1) * 16
    with pytest.raises(DataUnavailable, match=f"has {whole} tokens for task code of .* mixed, which needs {needed}"):
        draw(sampler, tasks=only_code, windows=whole // 16 + 1)


@dataclass(frozen=True)
class Failing:
    """A source that fails at its third group."""

    inner: InMemory
    short: bool = False

    @property
    def groups(self) -> Sequence[RowGroup]:
        return self.inner.groups

    @property
    def digest(self) -> str:
        return self.inner.digest

    async def rows(self, group: RowGroup) -> Sequence[str]:
        if self.short:
            return []
        raise DataUnavailable(f"group {group.name} did not answer")


@pytest.mark.parametrize(
    ("short", "complaint"), [(False, "did not answer"), (True, "source code gave 0 rows of .*, its index")]
)
def test_a_source_that_fails_leaves_no_samples_of_the_others(sampler: Sampler, short: bool, complaint: str) -> None:  # noqa: FBT001 - a parameter of the test
    code = sampler.sources["code"]
    assert isinstance(code, InMemory)
    failing = replace(sampler, sources={**sampler.sources, "code": Failing(code, short)})  # type: ignore[dict-item]  # digest is a plain str here
    with pytest.raises(DataUnavailable, match=complaint):
        draw(failing)


def test_a_sampler_opens_what_the_phases_use_and_nothing_else(sampler: Sampler) -> None:
    assert (sorted(sampler.sources), sorted(sampler.tokenizers)) == (["code", "prose"], ["bpe"])


def test_a_missing_tokenizer_is_named(root: Path, tmp_path: Path) -> None:
    for name in ("prose.jsonl", "code.jsonl"):
        (tmp_path / name).write_bytes((root / name).read_bytes())
    with pytest.raises(ConfigError, match=r"tokenizer bpe: tokenizer .*tokenizer.json cannot be read"):
        build_sampler(schedule(), tmp_path)


def test_a_tokenizer_on_the_hub_is_refused_by_name(root: Path) -> None:
    text = schedule().model_dump_json().replace('"path":"tokenizer.json","repo":null', '"path":null,"repo":"a/b"')
    with pytest.raises(ConfigError, match="tokenizer bpe: a/b is not on this machine"):
        build_sampler(Schedule.model_validate_json(text), root)


def test_training_tokens_are_every_document_once_in_an_order_of_the_seed(sampler: Sampler) -> None:
    source, tokenizer = sampler.sources["prose"], sampler.tokenizers["bpe"]
    assert isinstance(source, InMemory)

    def documents(seed: int) -> list[str]:
        tokens = asyncio.run(training_tokens(source, tokenizer, seed=seed))
        cuts = np.flatnonzero(tokens == tokenizer.eos)
        assert cuts[-1] == tokens.size - 1
        return [tokenizer.model.decode(part[part != tokenizer.eos].tolist()) for part in np.split(tokens, cuts)][:-1]

    one, again, other = documents(1), documents(1), documents(2)
    assert (one == again, one == other, sorted(one), sorted(other)) == (
        True,
        False,
        sorted(source.texts),
        sorted(source.texts),
    )

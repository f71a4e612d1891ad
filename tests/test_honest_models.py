"""No probe refuses an honest model: ten families, as initialised and briefly trained, in float32 and bfloat16.

``pretrain bench probes`` does the same at 4096 tokens.
"""

import copy
import json
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from cheats import ahead, leaking
from transformers import PreTrainedModel

from pretrain import cli, probe_bench
from pretrain.errors import ConfigError
from pretrain.evaluate.loss import window_losses
from pretrain.models.families import FAMILIES
from pretrain.probe_bench import DTYPES, Setting, honest, measure, text
from pretrain.types import TaskName

MODELS = 10
"""Of each family and dtype: 10 x 2 x 10 = 200 in all."""


def cheating(family: str, seed: int, *, trained: bool, length: int) -> PreTrainedModel:
    return leaking(copy.deepcopy(honest(family, seed, trained=trained, length=length)), ahead(1), 1.0)


@pytest.fixture(autouse=True)
def _threads_are_as_before() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_two_hundred_models_are_judged() -> None:
    assert len(FAMILIES) * len(DTYPES) * MODELS >= 200


@pytest.mark.parametrize("family", FAMILIES)
def test_no_honest_model_is_refused_and_no_bit_of_one_moves(family: str) -> None:
    setting = Setting(length=48, windows=16)
    rows = [measure(family, dtype, MODELS, setting) for dtype in DTYPES]

    assert [(row.models, row.refused, row.movement) for row in rows] == [(MODELS, (), 0.0)] * 2


def test_half_of_them_have_learnt_something() -> None:
    windows = text(48, 8).tokens[TaskName("stdlib-prose")]
    losses = [
        float(window_losses(honest("llama", seed, trained=trained, length=48), windows, batch=8, chunk=512).mean())
        for seed, trained in ((0, False), (1, True))
    ]

    assert losses[0] > 5
    assert losses[1] < 4.5


def test_a_model_that_is_refused_is_counted_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_bench, "honest", cheating)
    row = measure("llama", "float32", 2, Setting(length=48, windows=4))

    assert (row.models, len(row.refused), row.movement > 0) == (2, 2, True)
    assert row.refused[1].startswith("seed 1: not_causal: the hidden state moves")


def test_windows_are_text_and_too_many_are_refused() -> None:
    samples = text(32, 3)
    assert {task: (tokens.shape, tokens.dtype) for task, tokens in samples.tokens.items()} == {
        "stdlib-code": ((3, 32), np.dtype(np.int32)),
        "stdlib-prose": ((3, 32), np.dtype(np.int32)),
    }
    with pytest.raises(ConfigError, match=r"windows of 4096 tokens; 1000000 were asked for"):
        text(4096, 1_000_000)


def test_the_command_prints_facts_and_ends_well(capsys: pytest.CaptureFixture[str]) -> None:
    short = ["bench", "probes", "--family", "llama", "--length", "32", "--windows", "2", "--models", "1"]

    assert cli.run([*short, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["false_alarms"], facts["setting"]["length"]) == (0, 32)
    assert [(row["family"], row["dtype"], row["models"], row["refused"], row["movement"]) for row in facts["rows"]] == [
        ("llama", "float32", 1, [], 0.0),
        ("llama", "bfloat16", 1, [], 0.0),
    ]
    assert all(row["losses_seconds"] > 0 and row["probes_seconds"] > 0 for row in facts["rows"])

    assert cli.run(short) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:4] for line in lines[1:3]] == [
        ["llama", "float32", "1", "0"],
        ["llama", "bfloat16", "1", "0"],
    ]
    assert lines[-1].startswith("2 models, 0 false alarms; the probes took ")


def test_the_command_ends_with_1_for_a_false_alarm(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe_bench, "honest", cheating)

    assert cli.run(["bench", "probes", "--family", "llama", "--length", "32", "--windows", "2", "--models", "1"]) == 1
    assert "  seed 0: not_causal: " in capsys.readouterr().out


def test_a_family_that_is_not_known_is_a_wrong_question(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["bench", "probes", "--family", "mamba"]) == 2
    assert "--family mamba is not known; known are llama, mistral" in capsys.readouterr().err

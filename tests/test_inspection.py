"""Config and headers looked at in a child, before the weights are downloaded."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import TOKENIZER, tiny_constraints, tiny_families, tiny_llama, tiny_model

from pretrain.errors import Cause, EvaluatorUnavailable, ModelRejected, Reason
from pretrain.evaluate.answer import GarbageError, decode_fit, encode_fit, encode_rejection
from pretrain.evaluate.request import EngineSettings, read_preview, write_preview
from pretrain.evaluate.worker import ProcessEvaluator
from pretrain.models.files import WEIGHTS
from pretrain.preview import Preview, RawHeader, local_preview

CONSTRAINTS = tiny_constraints()


@pytest.fixture(scope="module")
def evaluator() -> Iterator[ProcessEvaluator]:
    with ProcessEvaluator(EngineSettings(), {TOKENIZER: 256}) as started:
        yield started


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Preview:
    return local_preview(tiny_llama(tmp_path_factory.mktemp("model")))


def inspect(evaluator: ProcessEvaluator, preview: Preview) -> None:
    asyncio.run(evaluator.inspect(preview, CONSTRAINTS))


def refused(evaluator: ProcessEvaluator, preview: Preview) -> tuple[Reason, str]:
    with pytest.raises(ModelRejected) as rejected:
        inspect(evaluator, preview)
    return rejected.value.reason, rejected.value.detail


@pytest.mark.parametrize("family", sorted(tiny_families()))
def test_a_model_of_an_allowed_family_fits(evaluator: ProcessEvaluator, tmp_path: Path, family: str) -> None:
    inspect(evaluator, local_preview(tiny_model(tmp_path / "model", tiny_families()[family])))


def test_a_config_that_is_not_allowed_is_refused_without_weights(evaluator: ProcessEvaluator, seen: Preview) -> None:
    config = json.loads(seen.config) | {"is_causal": False}
    reason, detail = refused(evaluator, replace(seen, config=json.dumps(config).encode()))
    assert (reason, "is_causal" in detail) == (Reason.ARCHITECTURE, True)


def test_headers_that_are_not_those_of_the_config_are_refused(evaluator: ProcessEvaluator, seen: Preview) -> None:
    header = json.loads(seen.headers[WEIGHTS].raw)
    header["model.norm.weight"]["dtype"] = "I32"
    other = RawHeader(json.dumps(header).encode(), seen.headers[WEIGHTS].data_bytes)
    assert refused(evaluator, replace(seen, headers={WEIGHTS: other})) == (
        Reason.HEADER,
        "model.norm.weight has dtype I32; allowed are F32, BF16, F16",
    )


def test_data_of_another_length_than_the_header_says_is_refused(evaluator: ProcessEvaluator, seen: Preview) -> None:
    longer = replace(seen.headers[WEIGHTS], data_bytes=seen.headers[WEIGHTS].data_bytes + 1)
    reason, detail = refused(evaluator, replace(seen, headers={WEIGHTS: longer}))
    assert (reason, "they must fill the file" in detail) == (Reason.HEADER, True)


def test_a_tensor_in_two_shards_is_refused(evaluator: ProcessEvaluator, seen: Preview) -> None:
    twice = {"a.safetensors": seen.headers[WEIGHTS], "b.safetensors": seen.headers[WEIGHTS]}
    reason, detail = refused(evaluator, replace(seen, headers=twice))
    assert (reason, "is in two shards" in detail) == (Reason.HEADER, True)


def test_a_child_that_dies_of_a_header_is_a_crash(seen: Preview) -> None:
    dying = ProcessEvaluator(EngineSettings(isolated=False), {TOKENIZER: 256}, target="hostile_children:is_killed")
    with dying, pytest.raises(EvaluatorUnavailable) as died:
        inspect(dying, seen)
    assert died.value.cause is Cause.CRASHED


@given(
    st.binary(max_size=50),
    st.dictionaries(st.text(max_size=20), st.tuples(st.binary(max_size=50), st.integers(0, 1 << 40)), max_size=4),
)
def test_a_preview_reaches_the_child_as_it_is(
    tmp_path_factory: pytest.TempPathFactory, config: bytes, headers: dict[str, tuple[bytes, int]]
) -> None:
    folder = tmp_path_factory.mktemp("preview")
    preview = Preview(config, {name: RawHeader(*header) for name, header in headers.items()})
    write_preview(preview, folder)
    assert read_preview(folder) == preview


def test_the_answer_that_all_fits_is_read() -> None:
    decode_fit(encode_fit())
    with pytest.raises(ModelRejected):
        decode_fit(encode_rejection(ModelRejected(Reason.HEADER, "no")))


@pytest.mark.parametrize("raw", [b"", encode_fit() + b"x", encode_fit()[:-1], b"\0\0\0\2{}"])
def test_another_answer_is_garbage(raw: bytes) -> None:
    with pytest.raises(GarbageError):
        decode_fit(raw)

import math
from importlib.metadata import version
from typing import cast

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_llama import reference_losses
from tiny import tiny_architecture, tiny_constraints
from torch.nn.attention import sdpa_kernel
from transformers import LlamaForCausalLM, PreTrainedModel

from pretrain.errors import ModelRejected, Reason
from pretrain.evaluate import loss
from pretrain.evaluate.engine import engine_version
from pretrain.evaluate.loss import token_losses, window_losses
from pretrain.models.architectures import Architecture, head, hidden_states

CONSTRAINTS = tiny_constraints()


def network(
    architecture: Architecture | None = None, *, scale: float = 8.0, dtype: torch.dtype = torch.float32
) -> LlamaForCausalLM:
    """A network whose matrices are larger than at initialisation, so that its losses differ from ln(n)."""
    torch.manual_seed(3)
    model = cast("LlamaForCausalLM", (architecture or tiny_architecture()).build(CONSTRAINTS, "cpu"))
    model.train(mode=False)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(scale)
    torch.nn.Module.to(model, dtype)
    return model


def windows(count: int = 5, length: int = 32) -> npt.NDArray[np.int32]:
    return np.random.default_rng(0).integers(0, 256, (count, length)).astype(np.int32)


@pytest.mark.parametrize(
    "architecture",
    [tiny_architecture(), tiny_architecture(tied=True), tiny_architecture(biased=True), tiny_architecture(layers=5)],
)
def test_losses_agree_with_a_float64_reference(architecture: Architecture) -> None:
    model = network(architecture)
    config = dict(architecture.fields)
    weights = {name: parameter.detach().numpy() for name, parameter in model.named_parameters()}
    expected = reference_losses(weights, config, windows())
    found = window_losses(model, windows(), batch=2, chunk=7)
    assert np.std(expected) > 0.01
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 9), st.integers(1, 300))
def test_neither_batch_nor_chunk_moves_a_loss(batch: int, chunk: int) -> None:
    found = window_losses(_MODEL, windows(), batch=batch, chunk=chunk)
    np.testing.assert_allclose(found, _LOSSES, rtol=0, atol=2e-6)


_MODEL = network()
_LOSSES = window_losses(_MODEL, windows(), batch=5, chunk=1024)


def test_a_loss_is_the_exact_sum_of_its_tokens_over_their_number() -> None:
    ids = torch.from_numpy(windows().astype(np.int64))
    with torch.inference_mode():
        by_token = token_losses(_MODEL, head(_MODEL), ids, 1024).double().numpy()
    expected = [math.fsum(row) / 31 for row in by_token]
    assert by_token.shape == (5, 31)
    np.testing.assert_allclose(_LOSSES, expected, rtol=0, atol=1e-6)


def test_logits_never_exist_for_more_positions_than_a_chunk() -> None:
    seen: list[tuple[int, ...]] = []

    def watched(states: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(states.shape))
        return head(_MODEL)(states)

    with torch.inference_mode():
        token_losses(_MODEL, watched, torch.from_numpy(windows().astype(np.int64)), 50)
    assert seen == [(50, 32)] * 3 + [(5, 32)]


def test_a_uniform_model_pays_the_logarithm_of_its_vocabulary() -> None:
    model = network()
    with torch.no_grad():
        model.lm_head.weight.zero_()
    assert window_losses(model, windows(), batch=5, chunk=64) == pytest.approx([math.log(256)] * 5, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_logits_of_narrow_states_are_as_exact_as_float32(dtype: torch.dtype) -> None:
    model = network(scale=2.0, dtype=dtype)
    ids = torch.from_numpy(windows().astype(np.int64))
    with torch.inference_mode(), sdpa_kernel(loss.KERNELS, set_priority=True):
        logits = hidden_states(model, ids)[:, :-1].double() @ model.lm_head.weight.double().T
    right = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    found = window_losses(model, windows(), batch=5, chunk=1024)
    np.testing.assert_allclose(found, right.view(5, 31).mean(dim=1).numpy(), rtol=0, atol=1e-6)


def test_bfloat16_models_have_distinct_losses() -> None:
    model = network(scale=2.0, dtype=torch.bfloat16)
    losses = window_losses(model, windows(count=200), batch=50, chunk=512)
    assert len(set(losses.tolist())) == 200


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_losses_are_float64_whatever_the_models_dtype(dtype: torch.dtype) -> None:
    assert window_losses(network(scale=1.0, dtype=dtype), windows(), batch=5, chunk=512).dtype == np.float64


def test_a_model_whose_states_overflow_is_refused() -> None:
    model = network(dtype=torch.float16)
    with torch.no_grad():
        model.model.layers[0].mlp.down_proj.weight.fill_(6e4)
        model.model.layers[0].mlp.up_proj.weight.fill_(6e4)
    _is_refused(model)


def test_a_model_whose_logits_overflow_is_refused() -> None:
    model = network()
    with torch.no_grad():
        model.lm_head.weight[7] = 3e38
    _is_refused(model)


@pytest.mark.parametrize("value", [-torch.inf, torch.inf, torch.nan])
def test_a_logit_that_is_not_finite_counts_even_where_it_leaves_the_loss_finite(value: float) -> None:
    ids = torch.from_numpy(np.where(windows() == 7, 8, windows()).astype(np.int64))
    to_logits, spoiled = head(_MODEL), torch.zeros(256)
    spoiled[7] = value
    with torch.inference_mode():
        found = token_losses(_MODEL, lambda states: to_logits(states) + spoiled, ids, 64)
    assert found.isnan().all()


def test_a_state_that_no_prediction_reads_must_be_finite_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def spoiled(model: PreTrainedModel, ids: torch.Tensor) -> torch.Tensor:
        states = hidden_states(model, ids)
        states[1, -1, 3] = torch.inf
        return states

    monkeypatch.setattr(loss, "hidden_states", spoiled)
    with pytest.raises(ModelRejected, match="window 1 is"):
        window_losses(_MODEL, windows(), batch=2, chunk=64)


def test_the_window_at_fault_is_named() -> None:
    model = network()
    with torch.no_grad():
        model.model.embed_tokens.weight[9] = torch.nan
    tokens = np.where(windows() == 9, 8, windows()).astype(np.int32)
    tokens[3, 5] = 9
    with pytest.raises(ModelRejected, match="window 3 is"):
        window_losses(model, tokens, batch=2, chunk=64)


def test_the_engine_version_names_what_can_move_a_loss() -> None:
    assert engine_version("cuda:1") == (
        f"loss 1; torch {version('torch')}; transformers {version('transformers')};"
        " sdpa flash>efficient>math; cuda; hidden states as stored, logits float32"
    )
    assert torch.__version__ == version("torch")


def _is_refused(model: PreTrainedModel, tokens: npt.NDArray[np.int32] | None = None) -> None:
    with pytest.raises(ModelRejected) as caught:
        window_losses(model, windows() if tokens is None else tokens, batch=2, chunk=64)
    assert caught.value.reason is Reason.NOT_FINITE


def test_nothing_of_a_window_is_forgotten_or_carried_into_the_next() -> None:
    alone = [window_losses(_MODEL, windows()[k : k + 1], batch=1, chunk=1024)[0] for k in range(5)]
    np.testing.assert_allclose(alone, _LOSSES, rtol=0, atol=2e-6)

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import tiny_constraints, tiny_families
from transformers import PreTrainedModel

from pretrain.evaluate.loss import window_losses
from pretrain.models.architectures import describe, head, hidden_states
from pretrain.models.families import FAMILIES
from pretrain.models.load import load, save

CONSTRAINTS = tiny_constraints()
VOCABULARY = 250
TINY = tiny_families()
each_family = pytest.mark.parametrize("family", TINY)
each_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])


def lively(model: PreTrainedModel) -> PreTrainedModel:
    """Give every parameter values that matter: at initialisation biases are 0 and scales are 1."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.empty(parameter.shape).normal_(0, 0.2, generator=generator))
    model.train(mode=False)
    return model


def network(family: str, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """A network as it is loaded: parameters in the dtype, buffers in float32."""
    torch.manual_seed(2)
    model = lively(TINY[family].build(CONSTRAINTS, "cpu"))
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    return model


def tokens(count: int = 3) -> torch.Tensor:
    return torch.randint(256, (count, 32), generator=torch.Generator().manual_seed(0))


def moved(model: PreTrainedModel) -> list[int]:
    """The positions whose states move when the tokens from 20 on change."""
    ids = tokens()
    later = ids.clone()
    later[:, 20:] = (later[:, 20:] + 1) % 256
    with torch.inference_mode():
        before, after = hidden_states(model, ids), hidden_states(model, later)
    return (before != after).any(dim=-1).any(dim=0).nonzero().flatten().tolist()


@each_family
def test_a_network_on_the_meta_device_takes_no_memory(family: str) -> None:
    model = TINY[family].build(CONSTRAINTS)
    assert {tensor.device.type for tensor in (*model.parameters(), *model.buffers())} == {"meta"}
    assert sum(map(math.prod, TINY[family].tensors(CONSTRAINTS).values())) < 100_000


@each_family
@each_dtype
def test_a_saved_network_is_loaded_bit_for_bit(tmp_path: Path, family: str, dtype: torch.dtype) -> None:
    original = network(family, dtype)
    save(original, tmp_path, CONSTRAINTS)
    loaded = load(tmp_path, CONSTRAINTS, VOCABULARY, "cpu")
    for kind in ("named_parameters", "named_buffers"):
        expected, found = dict(getattr(original, kind)()), dict(getattr(loaded, kind)())
        assert {name: tensor.dtype for name, tensor in found.items()} == {n: t.dtype for n, t in expected.items()}
        assert all(torch.equal(tensor, expected[name]) for name, tensor in found.items())
    with torch.inference_mode():
        assert torch.equal(*(head(model)(hidden_states(model, tokens())) for model in (original, loaded)))
    assert describe(loaded) == TINY[family]


@each_family
def test_restored_buffers_are_those_of_a_network_that_the_library_builds(tmp_path: Path, family: str) -> None:
    save(network(family), tmp_path, CONSTRAINTS)
    restored = dict(load(tmp_path, CONSTRAINTS, VOCABULARY, "cpu").named_buffers())
    theirs = FAMILIES[family].network(FAMILIES[family].configured(TINY[family].fields, 32))
    expected = dict(theirs.named_buffers())
    assert restored.keys() == expected.keys()
    assert bool(expected) == (family not in {"bart", "gpt2"})
    assert all(torch.equal(buffer, expected[name]) for name, buffer in restored.items())


@each_family
def test_the_library_computes_the_same_logits_from_a_published_folder(tmp_path: Path, family: str) -> None:
    ours = network(family)
    save(ours, tmp_path, CONSTRAINTS)
    theirs: Any = FAMILIES[family].network.from_pretrained(tmp_path)
    with torch.inference_mode():
        found, expected = head(ours)(hidden_states(ours, tokens())), theirs(input_ids=tokens()).logits
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@each_family
def test_in_bfloat16_the_states_are_the_librarys_up_to_rounding(tmp_path: Path, family: str) -> None:
    save(network(family, torch.bfloat16), tmp_path, CONSTRAINTS)
    ours = load(tmp_path, CONSTRAINTS, VOCABULARY, "cpu")
    theirs: Any = FAMILIES[family].network.from_pretrained(tmp_path, dtype=torch.bfloat16)
    with torch.inference_mode():
        found, expected = hidden_states(ours, tokens()), hidden_states(theirs, tokens())
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0.03)


@each_family
def test_no_network_that_we_build_or_publish_has_a_window_shorter_than_the_competitions(family: str) -> None:
    longer = tiny_constraints(sequence_length=5000)
    published = json.loads(tiny_families(positions=5000)[family].config_json(longer))
    for config in (tiny_families(positions=5000)[family].build(longer).config, FAMILIES[family].config(**published)):
        window = getattr(config, "sliding_window", None)
        assert window is None or window >= 5000


@each_family
@each_dtype
def test_no_state_moves_when_a_later_token_changes(family: str, dtype: torch.dtype) -> None:
    assert moved(network(family, dtype)) == list(range(20, 32))


@each_family
def test_the_librarys_flag_that_lets_a_network_read_ahead_is_noticed_by_the_test_above(family: str) -> None:
    own_attention = {"falcon": "sdpa", "gemma2": "eager"}  # ours cannot be told to look ahead; the library's can
    model = network(family)
    model.config.is_causal = False
    assert (moved(model) == list(range(32))) == (family not in own_attention)
    theirs = FAMILIES[family].configured(TINY[family].fields, 32)
    theirs._attn_implementation = own_attention.get(family, "sdpa")  # noqa: SLF001 - where the library keeps it
    theirs.is_causal = False
    assert moved(lively(FAMILIES[family].network(theirs))) == list(range(32))


@each_family
def test_every_number_that_counts_can_be_trained(family: str) -> None:
    model = network(family).train()
    logits = model(input_ids=tokens(8), use_cache=False).logits
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), tokens(8)[:, 1:].flatten())
    torch.autograd.backward(loss)
    for name, parameter in model.named_parameters():
        idle = FAMILIES[family].unread(name, tuple(parameter.shape), 32)
        assert (parameter.grad is None) == (idle == parameter.numel()), name
        assert parameter.grad is None or parameter.grad.isfinite().all()


@each_family
@each_dtype
def test_a_head_is_as_exact_as_float32_can_be(family: str, dtype: torch.dtype) -> None:
    model = network(family, dtype)
    states = torch.empty(40, 32).normal_(0, 3, generator=torch.Generator().manual_seed(1)).to(dtype)
    expected = states.double() @ model.lm_head.weight.double().T
    if family == "phi":
        expected += model.lm_head.bias.double()
    if family == "gemma2":
        expected = 30 * torch.tanh(expected / 30)
    with torch.inference_mode():
        found = head(model)(states)
    assert found.dtype is torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=1e-5)


@each_family
def test_losses_by_chunks_are_those_of_the_librarys_logits(family: str) -> None:
    model, ids = network(family), tokens(5)
    with torch.inference_mode():
        logits = model(input_ids=ids, use_cache=False).logits[:, :-1]
    right = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    found = window_losses(model, ids.numpy().astype(np.int32), batch=2, chunk=7)
    assert np.std(found) > 0.01
    np.testing.assert_allclose(found, right.view(5, 31).mean(dim=1).numpy(), rtol=0, atol=1e-5)


def test_the_parameters_that_do_not_count_reach_no_state() -> None:
    for family in FAMILIES:
        model = network(family)
        with torch.inference_mode():
            before = hidden_states(model, tokens())
            for name, parameter in model.named_parameters():
                if FAMILIES[family].unread(name, tuple(parameter.shape), 32) == parameter.numel():
                    parameter.fill_(1e3)
            assert torch.equal(before, hidden_states(model, tokens()))

"""Groups of heads are written out in float32 on what is no CPU, and nothing else is changed by it."""

from typing import Any

import pytest
import torch
from tiny import tiny_architecture, tiny_constraints
from torch.nn.functional import scaled_dot_product_attention
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from pretrain.models import grouped
from pretrain.models.architectures import hidden_states
from pretrain.models.grouped import grouped_attention


class Module(torch.nn.Module):
    num_key_value_groups = 3
    is_causal = True


def inputs(
    dtype: torch.dtype = torch.float32, device: str = "cpu", groups: int = 3
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    query, key, value = (
        torch.empty(2, heads, 40, 8).normal_(0, 2, generator=generator).to(device, dtype)
        for heads in (6, 6 // groups, 6 // groups)
    )
    return query, key, value


@pytest.fixture
def heads_of_keys(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many key heads torch is given by us, not by the library."""
    given: list[int] = []

    def recorded(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, **options: Any) -> torch.Tensor:  # noqa: ANN401
        assert key.shape == value.shape
        given.append(key.shape[1])
        return scaled_dot_product_attention(query, key, value, **options)

    monkeypatch.setattr(grouped, "scaled_dot_product_attention", recorded)
    return given


@pytest.mark.parametrize(
    ("dtype", "device", "groups", "written_out"),
    [
        (torch.float32, "meta", 3, [6]),
        (torch.float32, "meta", 1, []),
        (torch.bfloat16, "meta", 3, []),
        (torch.float16, "meta", 3, []),
        (torch.float32, "cpu", 3, []),
    ],
)
def test_heads_are_written_out_in_float32_on_what_is_no_cpu_alone(
    heads_of_keys: list[int], dtype: torch.dtype, device: str, groups: int, written_out: list[int]
) -> None:
    """The meta device stands for a GPU: it computes shapes alone."""
    attended, _ = grouped_attention(Module(), *inputs(dtype, device, groups), None, scaling=0.4)
    assert (heads_of_keys, attended.shape, attended.is_contiguous()) == (written_out, (2, 40, 6, 8), True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_on_a_cpu_it_is_the_librarys_to_the_bit(dtype: torch.dtype) -> None:
    ours, _ = grouped_attention(Module(), *inputs(dtype), None, scaling=0.4)
    theirs, _ = sdpa_attention_forward(Module(), *inputs(dtype), None, scaling=0.4)
    assert torch.equal(ours, theirs)


def test_written_out_heads_attend_as_groups_do(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs, _ = grouped_attention(Module(), *inputs(), None, scaling=0.4)
    monkeypatch.setattr(grouped, "PLAIN", "none")  # a CPU as if it were a GPU
    ours, _ = grouped_attention(Module(), *inputs(), None, scaling=0.4)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)

    changed = inputs()
    for tensor in changed:
        tensor[:, :, 20:] += 1
    later, _ = grouped_attention(Module(), *changed, None, scaling=0.4)
    assert torch.equal(ours[:, :20], later[:, :20])
    assert not torch.equal(ours[:, 20:], later[:, 20:])


def test_a_network_with_groups_of_heads_attends_by_it(heads_of_keys: list[int]) -> None:
    model = tiny_architecture().build(tiny_constraints())
    hidden_states(model, torch.zeros(2, 32, dtype=torch.long, device="meta"))
    assert heads_of_keys == [4] * 2  # two layers; the architecture has two key-value heads for four


def test_a_mask_goes_the_librarys_way(heads_of_keys: list[int]) -> None:
    mask = torch.ones(1, 1, 40, 40, dtype=torch.bool)
    ours, _ = grouped_attention(Module(), *inputs(), mask, scaling=0.4)
    theirs, _ = sdpa_attention_forward(Module(), *inputs(), mask, scaling=0.4)
    assert torch.equal(ours, theirs)

    grouped_attention(Module(), *inputs(device="meta"), mask.to("meta"), scaling=0.4)
    assert heads_of_keys == []

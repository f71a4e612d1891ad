import math

import pytest
import torch
from transformers.models.gemma2.modeling_gemma2 import eager_attention_forward

from pretrain.models.attention import ROWS, soft_capped_attention

LENGTHS = [1, ROWS, 2 * ROWS + 30]


class Module(torch.nn.Module):
    num_key_value_groups = 3


def inputs(length: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(length)
    return [torch.empty(2, heads, length, 8).normal_(0, 2, generator=generator) for heads in (6, 2, 2)]


def attend(tensors: list[torch.Tensor], cap: float | None = 5.0) -> torch.Tensor:
    query, key, value = tensors
    return soft_capped_attention(Module(), query, key, value, None, scaling=0.4, softcap=cap)[0]


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("cap", [5.0, None])
def test_it_is_the_librarys_attention(length: int, cap: float | None) -> None:
    query, key, value = inputs(length)
    mask = torch.full((length, length), torch.finfo(torch.float32).min).triu(1)[None, None]
    module = Module().eval()
    theirs, _ = eager_attention_forward(module, query, key, value, mask, scaling=0.4, softcap=cap)
    torch.testing.assert_close(attend([query, key, value], cap), theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("length", LENGTHS)
def test_no_output_moves_when_a_later_token_changes(length: int) -> None:
    before = attend(inputs(length))
    for cut in {length - 1, length // 2, min(ROWS, length - 1)}:
        changed = inputs(length)
        for tensor in changed:
            tensor[:, :, cut:] += 1
        after = attend(changed)
        assert torch.equal(before[:, :cut], after[:, :cut])
        assert not torch.equal(before[:, cut:], after[:, cut:])


def test_no_score_is_large_enough_to_see_what_is_later() -> None:
    """The library adds the lowest finite number to later scores: one near the highest undoes it."""
    query, key, value = (torch.zeros(1, heads, 4, 8) for heads in (6, 2, 2))
    query[..., 0], key[:, :, 3, 0], key[:, :, :3, 0], value[:, :, 3] = 1e19, 3e19, -3e19, 7.0
    mask = torch.full((4, 4), torch.finfo(torch.float32).min).triu(1)[None, None]
    theirs, _ = eager_attention_forward(Module().eval(), query, key, value, mask, scaling=1.0, softcap=None)
    assert (theirs[0, 0] == 7).all()
    ours, _ = soft_capped_attention(Module(), query, key, value, None, scaling=1.0, softcap=None)
    assert (ours[0, :3] == 0).all()


def test_its_gradient_is_that_of_the_formula() -> None:
    tensors = [tensor.double()[:, :, :5].requires_grad_() for tensor in inputs(7)]
    query, key, value = tensors
    scores = 5 * torch.tanh(query @ key.repeat_interleave(3, 1).transpose(-1, -2) * 0.4 / 5)
    later = torch.ones(5, 5, dtype=torch.bool).triu(1)
    plain = scores.masked_fill(later, -math.inf).softmax(-1) @ value.repeat_interleave(3, 1)
    expected = torch.autograd.grad(plain.pow(2).sum(), tensors)
    found = torch.autograd.grad(attend(tensors).pow(2).sum(), tensors)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_a_mask_or_a_cache_is_not_mistaken_for_a_whole_window() -> None:
    query, key, value = inputs(7)
    with pytest.raises(ValueError, match="whole windows"):
        soft_capped_attention(Module(), query[:, :, :1], key, value, None, scaling=1.0, softcap=None)
    with pytest.raises(ValueError, match="whole windows"):
        soft_capped_attention(Module(), query, key, value, torch.zeros(7, 7), scaling=1.0, softcap=None)

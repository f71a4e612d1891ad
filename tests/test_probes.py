"""Every cheat is caught, by the probe that is meant for it; what can be missed is missed as often as is said."""

import contextlib
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from cheats import (
    VOCABULARY,
    Leak,
    ahead,
    honest_llama,
    leaking,
    looks_natural,
    natural,
    next_pair_is_known,
    positions,
    where,
)
from tiny import tiny_constraints
from torch.nn.attention import SDPBackend
from transformers import PreTrainedModel

from pretrain.errors import ModelRejected, Reason
from pretrain.evaluate import child, probes
from pretrain.evaluate.loss import KERNELS
from pretrain.evaluate.probes import Findings, causal, check, movement, observe, probe, uniform, wager
from pretrain.evaluate.request import Request
from pretrain.types import Digest

LENGTH = 64
SAMPLES = natural(LENGTH, windows=32)

LEAKS: dict[str, Leak] = {
    "the next token": ahead(1),
    "a token 40 places on": ahead(40),
    "from a position on": where(ahead(1), positions(lambda place: place >= LENGTH - 4)),
    "at the last prediction alone": where(ahead(1), positions(lambda place: place == LENGTH - 2)),
    "in a third of the window": where(ahead(1), positions(lambda place: (place >= 20) & (place < 44))),
    "on natural windows alone": where(ahead(1), looks_natural),
    "natural pairs alone": where(ahead(1), next_pair_is_known),
}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """As in a child that judges; two threads on a busy machine wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def judged(model: PreTrainedModel, batch: int = 8) -> ModelRejected | None:
    try:
        probe(model, SAMPLES, VOCABULARY, batch=batch, chunk=64)
    except ModelRejected as rejection:
        return rejection
    return None


def found(model: PreTrainedModel) -> Findings:
    return observe(model, SAMPLES, VOCABULARY, batch=8, chunk=64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("batch", [1, 8, 100])
def test_an_honest_model_passes_and_no_bit_moves(dtype: torch.dtype, batch: int) -> None:
    model = honest_llama(dtype=dtype)
    findings = observe(model, SAMPLES, VOCABULARY, batch=batch, chunk=64)
    check(findings, VOCABULARY, 0.0)

    assert (findings.movement, findings.where) == (0.0, "")
    assert len(findings.random) > 2 * (LENGTH - 1)
    assert len(findings.strewn) >= 4


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("kernel", KERNELS)
def test_no_bit_moves_whatever_kernel_attends_with_so_many_threads(
    monkeypatch: pytest.MonkeyPatch, kernel: SDPBackend, threads: int, dtype: torch.dtype
) -> None:
    """At a length that no block of a kernel divides."""
    monkeypatch.setattr(probes, "KERNELS", [kernel, SDPBackend.MATH])  # not every kernel is on every device
    torch.set_num_threads(threads)
    samples = natural(523, windows=2)

    assert observe(honest_llama(length=523, dtype=dtype), samples, VOCABULARY, batch=2, chunk=64).movement == 0.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("strength", [1.0, 1e-3], ids=["strong", "weak"])
@pytest.mark.parametrize("leak", LEAKS.values(), ids=LEAKS.keys())
def test_states_that_know_a_later_token_are_caught(leak: Leak, strength: float, dtype: torch.dtype) -> None:
    size = 1.0 if dtype == torch.float32 else 8.0  # below it nothing is left of it in bfloat16
    rejection = judged(leaking(honest_llama(dtype=dtype), leak, strength * size))

    assert rejection is not None
    assert rejection.reason is Reason.NOT_CAUSAL


@pytest.mark.parametrize("layer", [0, 1])
def test_one_layer_that_looks_both_ways_is_caught(layer: int) -> None:
    model = honest_llama()
    attention = model.model.layers[layer].self_attn
    attention.register_forward_pre_hook(
        lambda _, arguments, named: (arguments, {**named, "is_causal": False}), with_kwargs=True
    )
    rejection = judged(model)

    assert rejection is not None
    assert "the hidden state moves by" in rejection.detail


def test_the_config_that_makes_the_library_look_ahead_is_caught() -> None:
    """No config of a miner gets that far; this is what the probes would say of it."""
    model = honest_llama()
    model.config.is_causal = False
    rejection = judged(model)

    assert rejection is not None
    assert rejection.reason is Reason.NOT_CAUSAL


def test_a_cheat_on_natural_text_shows_in_no_random_window() -> None:
    """Else the test above would not show what the step's own windows are needed for."""
    model = leaking(honest_llama(), where(ahead(1), looks_natural), 1.0)
    findings, honest = found(model), found(honest_llama())

    assert findings.random == honest.random
    assert findings.movement > 0
    assert "(a)" in findings.where or "(b)" in findings.where


@pytest.mark.parametrize(
    "states",
    [positions(lambda place: place >= LENGTH - 1), lambda ids: ~looks_natural(ids)],
    ids=["from a position on", "on random windows alone"],
)
def test_a_model_that_is_good_until_somewhere_and_nan_after_is_caught(
    states: Callable[[torch.Tensor], torch.Tensor],
) -> None:
    model = honest_llama()

    def hook(_: torch.nn.Module, __: object, named: dict[str, torch.Tensor], output: object) -> object:
        spoilt = states(named["input_ids"])[..., None]
        output.last_hidden_state = torch.where(spoilt, math.nan, output.last_hidden_state)  # type: ignore[attr-defined]
        return output

    model.base_model.register_forward_hook(hook, with_kwargs=True)
    rejection = judged(model)

    assert rejection is not None
    assert rejection.reason is Reason.NOT_FINITE


def test_a_logit_that_is_not_finite_for_a_random_id_is_caught() -> None:
    model = honest_llama()
    model.lm_head.weight[7] = 3e38
    rejection = judged(model)

    assert rejection is not None
    assert (rejection.reason, "a logit" in rejection.detail) == (Reason.NOT_FINITE, True)


def test_a_model_that_knows_a_few_random_ids_loses_the_wager_although_its_mean_loss_is_high() -> None:
    """In 1 of 10 places it reads the next token; what it pays for the others hides that from the mean."""
    model = honest_llama(vocab=4096)
    leaking(model, where(ahead(1), positions(lambda place: place % 10 == 3)), 100.0)
    losses = observe(model, SAMPLES, 4096, batch=8, chunk=64).random

    uniform(losses, 4096, "here")
    with pytest.raises(ModelRejected, match="it knows some: odds of e"):
        wager(losses, 4096, "here")


def test_a_model_that_knows_all_random_ids_fails_in_the_mean() -> None:
    losses = found(leaking(honest_llama(), ahead(1), 100.0)).random

    with pytest.raises(ModelRejected, match=r"random ids of 256 cost 0\.\d+ nats each; nobody can pay less than 5\."):
        uniform(losses, VOCABULARY, "here")


@pytest.mark.parametrize("probe_of_losses", [uniform, wager])
def test_who_gives_every_id_its_share_passes(probe_of_losses: Callable[[list[float], int, str], None]) -> None:
    probe_of_losses([math.log(VOCABULARY)] * 5000, VOCABULARY, "here")
    probe_of_losses([], VOCABULARY, "here")
    probe_of_losses([0.0], 50_000, "one lucky draw")


def test_the_mean_may_be_lower_by_the_margin_and_six_standard_errors() -> None:
    spread = np.array([-0.5, 0.5] * 200)
    error = float(np.std(spread, ddof=1)) / math.sqrt(400)
    bound = math.log(VOCABULARY) - 6 * error - 0.001

    uniform(list(spread + bound + 1e-6), VOCABULARY, "here")
    with pytest.raises(ModelRejected, match="400 random ids of 256"):
        uniform(list(spread + bound - 1e-6), VOCABULARY, "here")


@pytest.mark.parametrize(("count", "refused"), [(2, False), (31, False), (32, True)])
def test_a_few_ids_that_cost_little_by_chance_say_nothing_of_the_mean(count: int, refused: bool) -> None:  # noqa: FBT001
    """Who bets on half of the ids pays the same for both of two in 1 of 4 times: then the standard error is 0."""
    with pytest.raises(ModelRejected) if refused else contextlib.nullcontext():
        uniform([math.log(VOCABULARY / 2)] * count, VOCABULARY, "here")


def test_honest_gamblers_of_every_kind_win_no_wager() -> None:
    """20,000 gamblers, who spread over all ids, over few, or over one: wealth above w has a probability below 1 / w."""
    rng = np.random.default_rng(0)
    ids = rng.integers(0, VOCABULARY, (20_000, 100))
    kept = 2 ** rng.integers(0, 9, (20_000, 1))  # ids with equal shares, the others have next to nothing
    losses = np.where(ids < kept, np.log(kept), 50.0)
    wealth = np.log1p(probes.STAKE * (VOCABULARY * np.exp(-losses) - 1)).sum(axis=1)

    assert [float((wealth > math.log(odds)).mean()) < 1 / odds for odds in (10, 100, 1000)] == [True] * 3
    assert float((wealth > math.log(2)).mean()) > 0.01  # some do win something


def test_states_after_the_first_change_may_move() -> None:
    states = torch.zeros(2, 5, 3)
    moved = states.clone()
    moved[0, 2:] = 1.0
    moved[1, 4] = -4.0
    first = torch.tensor([2, 4])

    assert movement(states, moved, first)[0] == 0.0
    assert movement(states, moved, torch.tensor([2, 5])) == (1.0, 1, 4)


def test_a_movement_is_a_part_of_the_largest_number_of_its_state() -> None:
    states = torch.tensor([[[4.0, 1.0], [1.0, 0.0]]])
    moved = torch.tensor([[[4.0, 2.0], [1.0, 0.0]]])

    assert movement(states, moved, torch.tensor([1])) == (0.25, 0, 0)


def test_a_tolerance_is_what_may_move() -> None:
    causal(Findings(movement=1e-4, where="position 3"), 1e-4)
    with pytest.raises(ModelRejected, match=r"moves by 0\.0002 of its size \(at most 0\.0001\) at position 3"):
        causal(Findings(movement=2e-4, where="position 3"), 1e-4)
    with pytest.raises(ModelRejected, match="not_causal"):
        causal(Findings(movement=1e-30, where="position 3"), 0.0)


def test_a_child_probes_the_model_that_it_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    """On windows of its own length, with the ids of the tokenizer, whatever its losses are."""
    model = honest_llama()
    monkeypatch.setattr(child, "load_with_digest", lambda *_: (model, Digest("0" * 64)))
    request = Request(
        work="judge",
        model=Path("/"),
        constraints=tiny_constraints(sequence_length=LENGTH),
        vocabulary=VOCABULARY,
        device="cpu",
        batch=8,
        chunk=64,
        threads=1,
        memory=None,
        seconds=60.0,
    )
    assert child.measure(request, SAMPLES).losses.keys() == SAMPLES.tokens.keys()

    leaking(model, LEAKS["on natural windows alone"], 1e-3)
    with pytest.raises(ModelRejected, match="not_causal"):
        child.measure(request, SAMPLES)

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes import CADENCE, FakeEvaluator, World, model, one_competition, schedule_of

from pretrain.competition import Constraints
from pretrain.data import Samples
from pretrain.errors import ConfigError, HubUnavailable
from pretrain.evaluate import Measurement
from pretrain.self_score import Bench, Verdict, leaders, would_beat
from pretrain.types import Block, CompetitionId

S = 10 * CADENCE
LINEAR = {"kind": "linear", "start": 0.02, "end": 0.001, "blocks": 200}


def world(folder: Path, **competition: object) -> World:
    return World(folder / "store", one_competition(competition=competition))


def verdict(
    subnet: World, folder: Path, files: Mapping[str, bytes] | float, incentive: Mapping[str, float] | None = None
) -> Verdict:
    """Ask whether a model would win at block S; a number stands for a model with that loss."""
    own = folder / "own"
    own.mkdir(parents=True)
    for name, content in (model(salt="own", prose=files, code=files) if isinstance(files, float) else files).items():
        (own / name).write_bytes(content)
    paid = incentive or {}
    snapshot = subnet.at(S)
    neurons = tuple(replace(neuron, incentive=paid.get(neuron.hotkey, 0.0)) for neuron in snapshot.neurons)
    subnet.chain.now = replace(snapshot, neurons=neurons)
    bench = Bench(subnet.chain, subnet.hub, subnet.store, subnet.sampler, subnet.evaluator, subnet.schedule)
    return asyncio.run(would_beat(own, CompetitionId(0), bench))


def test_without_a_champion_every_model_would_win(tmp_path: Path) -> None:
    subnet = world(tmp_path)
    subnet.commit("early", 1, 2.0)
    found = verdict(subnet, tmp_path, 3.0)
    assert (found.beats, found.champion, found.score, found.tasks, found.block) == (True, None, 3.0, {"prose": 3.0}, S)
    assert str(found) == "would beat the champion: yes, there is none; score 3.0000 on prose 3.0000"


@pytest.mark.parametrize(("loss", "beats"), [(1.97, True), (1.99, False), (2.5, False)])
def test_the_champion_is_beaten_by_more_than_its_head_start(tmp_path: Path, loss: float, *, beats: bool) -> None:
    subnet = world(tmp_path)  # a fixed epsilon of 1%
    champion = subnet.commit("champion", 1, 2.0)
    found = verdict(subnet, tmp_path, loss, {"champion": 0.7})
    assert found.champion is not None
    assert (found.beats, found.champion.entry, found.champion.score, found.champion.epsilon) == (
        beats,
        champion,
        2.0,
        0.01,
    )
    assert found.champion.margin == pytest.approx(1 - loss / (2.0 * 0.99))
    assert (found.champion.margin > 0) == beats


def test_the_head_start_is_taken_as_large_as_it_can_be_at_its_age(tmp_path: Path) -> None:
    for kind in ("linear", "adaptive"):
        subnet = world(tmp_path / kind, epsilon=LINEAR | {"kind": kind})
        subnet.commit("champion", 1, 2.0)
        found = verdict(subnet, tmp_path / kind, 1.97, {"champion": 1.0})
        assert found.champion is not None
        assert found.champion.epsilon == pytest.approx(0.001 + 0.019 * (1 - S / 200))


def test_the_champion_is_the_best_paid_of_this_competition_that_can_be_read(tmp_path: Path) -> None:
    subnet = World(tmp_path / "store", schedule_of())
    subnet.commit("elsewhere", 1, 1.0, competition=1)
    subnet.commit("closed", 2, 1.1)
    second = subnet.commit("second", 3, 2.0)
    subnet.commit("third", 4, 1.5)
    subnet.commit("young", S - 1, 1.2)
    subnet.hub.private.add("closed/model")
    paid = {"elsewhere": 0.5, "closed": 0.4, "second": 0.3, "third": 0.2, "young": 0.9}
    found = verdict(subnet, tmp_path, 1.9, paid)
    assert found.champion is not None
    assert (found.beats, found.champion.entry) == (True, second)


def test_equally_paid_leaders_stand_by_block(tmp_path: Path) -> None:
    subnet = world(tmp_path)
    later, earlier = subnet.commit("a", 5, 1.0), subnet.commit("b", 4, 1.0)
    unpaid = subnet.commit("c", 3, 1.0)
    snapshot = subnet.at(S)
    paid = tuple(replace(n, incentive=float(n.hotkey != unpaid.hotkey)) for n in snapshot.neurons)
    assert leaders(replace(snapshot, neurons=paid), subnet.schedule, CompetitionId(0)) == [earlier, later]


class Kind(FakeEvaluator):
    """Measures the own model a little too low, as another batch size on a device may."""

    async def losses(
        self, model: Path, samples: Samples, constraints: Constraints, seconds: float | None = None
    ) -> Measurement:
        measured = await super().losses(model, samples, constraints, seconds)
        shift = 0.01 if model.name == "own" else 0.0
        return replace(measured, losses={task: losses - shift for task, losses in measured.losses.items()})


def test_the_weights_of_the_champion_itself_would_not_win_whatever_they_measure(tmp_path: Path) -> None:
    subnet = world(tmp_path, epsilon={"kind": "fixed", "end": 0.0})
    subnet.evaluator = Kind()
    files = model(salt="x", prose=2.0, code=2.0)
    subnet.commit("champion", 1, files)
    found = verdict(subnet, tmp_path, files, {"champion": 1.0})
    assert not found.beats
    assert str(found) == "would beat the champion: no, these are its very weights (champion/model)"


class Noisy(FakeEvaluator):
    """Measures a model's level, with a difference in every second window of those named ``own``."""

    async def losses(
        self, model: Path, samples: Samples, constraints: Constraints, seconds: float | None = None
    ) -> Measurement:
        measured = await super().losses(model, samples, constraints, seconds)
        shift = np.array([0.1, -0.1] * (len(samples.tokens["prose"]) // 2)) if model.name == "own" else 0.0  # type: ignore[index]
        return replace(measured, losses={task: losses + shift for task, losses in measured.losses.items()})


def test_the_margin_has_the_standard_error_of_the_batches(tmp_path: Path) -> None:
    subnet = world(tmp_path, epsilon={"kind": "fixed", "end": 0.0})
    subnet.evaluator = Noisy()
    subnet.commit("champion", 1, 2.0)
    found = verdict(subnet, tmp_path, 1.9, {"champion": 1.0})
    assert found.champion is not None
    sd = np.std([0.1, -0.1, 0.1, -0.1], ddof=1)
    assert (found.champion.margin, found.champion.margin_se) == pytest.approx((0.05, sd / 2 / 2.0))
    assert "yes, by +5.00% ± 2.89%" in str(found)


def test_majority_counts_batches_and_not_their_mean(tmp_path: Path) -> None:
    class Lucky(FakeEvaluator):
        async def losses(
            self, model: Path, samples: Samples, constraints: Constraints, seconds: float | None = None
        ) -> Measurement:
            measured = await super().losses(model, samples, constraints, seconds)
            shift = np.array([0.1, 0.1, 0.1, -1.0]) if model.name == "own" else 0.0
            return replace(measured, losses={task: losses + shift for task, losses in measured.losses.items()})

    for compare, beats in (("mean", True), ("majority", False)):
        subnet = world(tmp_path / compare, compare=compare, epsilon={"kind": "fixed", "end": 0.0})
        subnet.evaluator = Lucky()
        subnet.commit("champion", 1, 2.0)
        assert verdict(subnet, tmp_path / compare, 2.0, {"champion": 1.0}).beats is beats


def test_a_competition_that_is_not_in_force_is_a_wrong_question(tmp_path: Path) -> None:
    subnet = world(tmp_path)
    bench = Bench(subnet.chain, subnet.hub, subnet.store, subnet.sampler, subnet.evaluator, subnet.schedule)
    with pytest.raises(ConfigError, match=r"--competition 7 is not in force at block 0; in force: 0 \(prose\)"):
        asyncio.run(would_beat(tmp_path, CompetitionId(7), bench))


def test_a_hub_that_does_not_answer_is_no_verdict(tmp_path: Path) -> None:
    subnet = world(tmp_path)
    subnet.commit("champion", 1, 2.0)
    subnet.hub.all_down = True
    with pytest.raises(HubUnavailable):
        verdict(subnet, tmp_path, 1.0, {"champion": 1.0})


def test_the_samples_are_those_that_validators_draw_at_this_block(tmp_path: Path) -> None:
    subnet = world(tmp_path)
    found = verdict(subnet, tmp_path, 1.0)
    drawn = asyncio.run(subnet.sampler.draw(subnet.schedule.at(Block(S))[0], subnet.at(S).seed))
    assert (found.samples, subnet.chain.cadences) == (drawn.digest, [CADENCE])

"""What a step makes of near copies, on a scripted world; how far apart real ones are is in ``test_near_models``."""

from dataclasses import replace
from pathlib import Path

import pytest
from fakes import World, model, one_competition, outcomes_of, schedule_of, sketch, weights_of

from pretrain.commitment import Entry
from pretrain.ownership import precedence
from pretrain.report import NearCopy, from_json, to_json
from pretrain.types import Block, Hotkey

ADAPTIVE = {"kind": "adaptive", "start": 0.1, "end": 0.0, "blocks": 1000}
FIXED = {"kind": "fixed", "end": 0.0}


def world_of(folder: Path, action: str, *, epsilon: dict[str, object] | None = None) -> World:
    return World(folder, one_competition(competition={"epsilon": epsilon or FIXED, "near_copies": {"action": action}}))


@pytest.fixture
def refusing(tmp_path: Path) -> World:
    return world_of(tmp_path, "refused")


def commit(world: World, name: str, block: int, loss: float, *, like: str = "", competition: int = 0) -> Entry:
    """Commit a model whose sketch is that of ``like``, moved by 1% of its weights."""
    files = model(salt=f"{name} {block}", prose=loss, code=loss)
    if like:
        world.evaluator.sketches[weights_of(files)] = sketch(like, noise=0.01)
    return world.commit(name, block, files, competition=competition)


def original(world: World, name: str, block: int, loss: float) -> Entry:
    """Commit a model of which copies can be made by its name."""
    files = model(salt=f"{name} {block}", prose=loss, code=loss)
    world.evaluator.sketches[weights_of(files)] = sketch(name)
    return world.commit(name, block, files)


def test_a_near_copy_is_refused_for_good_and_the_earlier_one_stays(refusing: World) -> None:
    original(refusing, "A", 10, 2.0)
    copy = commit(refusing, "B", 20, 1.9, like="A")

    state, report = refusing.step(100)

    assert outcomes_of(report) == {"A": "scored", "B": "near_copy"}
    assert state.record(copy).detail.startswith("near A/model of A: 5.128% apart by losses, ")
    assert (report.champion, dict(state.standing(copy.competition).averages)) == ("A", {"A": 1.0})
    assert outcomes_of(refusing.step(110, state)[1]) == {"A": "scored", "B": "near_copy"}


def test_a_model_with_the_losses_of_an_earlier_one_is_a_near_copy_whatever_its_weights(refusing: World) -> None:
    refusing.commit("A", 10, 2.0)
    refusing.commit("B", 20, 1.999)
    refusing.commit("C", 30, 1.99)

    assert outcomes_of(refusing.step(100)[1]) == {"A": "scored", "B": "near_copy", "C": "scored"}


def test_a_near_copy_is_named_and_judged_as_any_other_where_it_is_only_reported(tmp_path: Path) -> None:
    world = world_of(tmp_path, "reported")
    original(world, "A", 10, 2.0)
    commit(world, "B", 20, 1.9, like="A")

    report = world.step(100)[1]

    assert (outcomes_of(report), report.champion) == ({"A": "scored", "B": "scored"}, "B")
    assert [(near.later, near.earlier, near.refused) for near in report.near_copies] == [("B", "A", False)]


def test_near_copies_are_only_reported_unless_a_competition_says_otherwise() -> None:
    assert one_competition().at(Block(0))[0].near_copies.action == "reported"


def test_the_report_names_each_pair_and_which_one_the_refusal_is_for(refusing: World) -> None:
    original(refusing, "A", 10, 2.0)
    commit(refusing, "B", 20, 2.5, like="A")
    commit(refusing, "C", 30, 3.0, like="A")

    report = refusing.step(100)[1]

    assert [(near.later, near.earlier, near.refused) for near in report.near_copies] == [
        ("B", "A", True),
        ("C", "A", True),
        ("C", "B", False),
    ]
    assert from_json(to_json(report)) == report
    lone = NearCopy(Hotkey("C"), Hotkey("B"), 0.001, None, refused=True)
    assert from_json(to_json(replace(report, near_copies=(lone,)))).near_copies == (lone,)


def test_of_a_chain_of_near_models_only_the_second_is_refused(refusing: World) -> None:
    for name, block, loss in (("A", 10, 2.0), ("B", 20, 2.003), ("C", 30, 2.006)):
        refusing.commit(name, block, loss)

    assert outcomes_of(refusing.step(100)[1]) == {"A": "scored", "B": "near_copy", "C": "scored"}


def test_of_two_in_one_block_that_blocks_hash_decides(refusing: World) -> None:
    refusing.commit("A", 10, 2.0)
    refusing.commit("B", 10, 2.001)
    first, second = sorted(refusing.entries.values(), key=lambda e: precedence(e, refusing.at(100).tie_hashes))

    assert outcomes_of(refusing.step(100)[1]) == {first.hotkey: "scored", second.hotkey: "near_copy"}


def test_a_copier_found_earlier_is_refused_when_the_earlier_model_is_judged_at_last(refusing: World) -> None:
    original(refusing, "A", 10, 2.0)
    copy = commit(refusing, "B", 20, 1.9, like="A")
    refusing.hub.down.add("A/model")
    state, report = refusing.step(100)
    assert outcomes_of(report) == {"A": "hub", "B": "scored"}
    refusing.hub.down.clear()

    state, report = refusing.step(110, state)

    assert (outcomes_of(report), report.champion) == ({"A": "scored", "B": "near_copy"}, "A")
    assert state.standing(copy.competition).averages[Hotkey("A")] == 0.5


@pytest.mark.parametrize("epsilon", [FIXED, ADAPTIVE])
def test_a_withdrawn_champion_is_still_an_original(tmp_path: Path, epsilon: dict[str, object]) -> None:
    world = world_of(tmp_path, "refused", epsilon=epsilon)
    original(world, "A", 10, 2.0)
    state, _ = world.step(100)
    commit(world, "A", 101, 5.0)
    commit(world, "launderer", 102, 1.9, like="A")

    report = world.step(120, state)[1]

    assert (report.references, outcomes_of(report)) == (("A",), {"A": "scored", "launderer": "near_copy"})


def test_who_goes_on_from_their_own_champion_is_no_copier(tmp_path: Path) -> None:
    world = world_of(tmp_path, "refused", epsilon=ADAPTIVE)
    original(world, "A", 10, 2.0)
    state, _ = world.step(100)
    commit(world, "A", 101, 1.9, like="A")

    report = world.step(120, state)[1]

    assert (report.references, outcomes_of(report), report.near_copies) == (("A",), {"A": "scored"}, ())


def test_an_owner_that_moves_to_another_competition_stays_the_original_of_who_copied_in_between(tmp_path: Path) -> None:
    rules = {"epsilon": FIXED, "near_copies": {"action": "refused"}}
    world = World(tmp_path, schedule_of(competition=rules))
    first = original(world, "A", 10, 2.0)
    state, _ = world.step(100)  # competition 0
    commit(world, "B", 101, 1.9, like="A", competition=1)
    files = world.hub.repos["A/model"][first.commitment.revision]
    world.commit("A", 102, files, competition=1)

    report = world.step(130, state)[1]

    assert (report.competition, outcomes_of(report)) == (1, {"A": "scored", "B": "near_copy"})


def test_the_order_of_commitments_on_chain_is_all_that_decides(tmp_path: Path) -> None:
    reports = []
    for folder, names in (("one", "ABC"), ("other", "CBA")):
        (tmp_path / folder).mkdir()
        world = world_of(tmp_path / folder, "refused")
        blocks = {"A": 10, "B": 20, "C": 30}
        for name in names:
            commit(world, name, blocks[name], 2.0 + blocks[name] / 10, like="origin")
        reports.append(world.step(100)[1])

    found = [(outcomes_of(report), report.near_copies) for report in reports]
    assert found[0] == found[1]
    assert found[0][0] == {"A": "scored", "B": "near_copy", "C": "near_copy"}

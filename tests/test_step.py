"""Whole steps of a validator on a scripted world."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import (
    VALIDATOR,
    World,
    block_hash,
    content_of,
    model,
    one_competition,
    outcomes_of,
    phase,
    run,
    schedule_of,
    timeless,
    weights_of,
)

from pretrain.commitment import Entry
from pretrain.errors import (
    Cause,
    ChainUnavailable,
    DataUnavailable,
    EvaluatorUnavailable,
    HubUnavailable,
    ModelRejected,
    PretrainError,
    Reason,
    Unavailable,
)
from pretrain.hub.room import Budget
from pretrain.hub.store import ModelStore
from pretrain.report import Report
from pretrain.state import State
from pretrain.step import step
from pretrain.types import CompetitionId, Digest, Hotkey

ADAPTIVE = {"kind": "adaptive", "start": 0.1, "end": 0.01, "blocks": 100}
PROSE, MIXED = CompetitionId(0), CompetitionId(1)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, one_competition())


def fails(world: World, block: int, state: State, kind: type[Unavailable], match: str) -> None:
    world.chain.now = world.at(block)
    with pytest.raises(kind, match=match):
        run(lambda: step(world.node, state))


def roles(report: Report) -> dict[str, str]:
    return {entry.hotkey: entry.role for entry in report.entries}


def holders(state: State) -> dict[Digest, Entry]:
    return {weights: owner.entry for weights, owner in state.owners.items()}


def averages(state: State, competition: CompetitionId = PROSE) -> dict[Hotkey, float]:
    return dict(state.standing(competition).averages)


def crash() -> EvaluatorUnavailable:
    return EvaluatorUnavailable("the child died of signal 9", Cause.CRASHED)


def timeout() -> EvaluatorUnavailable:
    return EvaluatorUnavailable("over the deadline of 60 s", Cause.TIMEOUT)


# A whole step


def test_a_step_describes_judges_and_pays_the_best(world: World) -> None:
    first, second = model(prose=2.0), model(prose=2.5)
    best, worse = world.commit("A", 10, first), world.commit("B", 20, second)
    copy = world.commit("C", 30, {**first, "config.json": b"{ }"})
    young = world.commit("young", 90, 1.0)

    state, report = world.step(100)

    assert outcomes_of(report) == {"A": "scored", "B": "scored", "C": "duplicate"}
    assert (report.champion, state.step) == ("A", 100)
    assert averages(state) == {"A": 1.0}
    assert (state.record(best).score, state.record(worse).ratio) == (2.0, 1.25)
    assert state.record(copy).rejected is Reason.DUPLICATE
    assert state.record(young).judged is None
    assert holders(state) == {weights_of(first): best, weights_of(second): worse}


def test_a_window_is_deterministic(world: World, tmp_path: Path) -> None:
    other = World(tmp_path / "other", one_competition())
    other.store.root.mkdir()
    for twin in (world, other):
        for number in range(4):
            twin.commit(f"miner{number}", 10 + number % 2, 2.0 - number / 10)
    state, report = world.step(100)
    again, same = other.step(100)

    assert (state, timeless(report)) == (again, timeless(same))
    assert timeless(world.step(110, state)[1]) == timeless(other.step(110, state)[1])


def test_a_step_asks_for_the_sync_block_by_the_cadence_and_draws_from_its_hash(world: World) -> None:
    world.commit("A", 10, 2.0)

    one, other = world.step(100)[1], world.step(110)[1]

    assert world.chain.cadences == [10, 10]
    assert one.seed == hashlib.sha256(block_hash(100)).hexdigest()
    assert int(one.seed, 16) == world.at(100).seed
    assert len({one.samples, other.samples}) == 2


def test_a_chain_whose_sync_block_cannot_be_read_abandons_the_step(world: World) -> None:
    world.chain.down = True

    fails(world, 100, State(), ChainUnavailable, "sync block")
    assert world.canary.checks == 0


def test_samples_that_cannot_be_had_whole_abandon_the_step(world: World) -> None:
    world.commit("A", 10, 2.0)
    world.sampler.down = True

    fails(world, 100, State(), DataUnavailable, "did not come")


def test_before_the_first_phase_nothing_is_judged(tmp_path: Path) -> None:
    world = World(tmp_path, schedule_of(phases=(phase(500, "prose"),)))
    world.commit("A", 10, 2.0)
    world.chain.now = world.at(100)

    assert run(lambda: step(world.node, State())) == (State(step=world.chain.now.block), None)


def test_a_step_that_took_longer_than_a_window_goes_on_with_the_current_one(tmp_path: Path) -> None:
    world = World(tmp_path, schedule_of())
    world.commit("A", 10, 2.0)

    state, first = world.step(100)
    _, second = world.step(130, state)

    assert (first.name, second.name, second.block) == ("prose", "mixed", 130)


def test_the_report_carries_the_digests_of_competition_and_samples_and_the_engine(world: World) -> None:
    world.commit("A", 10, 2.0)

    report = world.step(100)[1]

    competition = world.schedule.at(world.chain.now.block)[0]
    assert report.competition_digest == world.schedule.competition_digest(competition)
    assert (report.engine, report.validator, report.name) == ("fake engine 1", VALIDATOR, "prose")


# The hub


def test_a_hub_that_answers_for_nobody_abandons_the_window_without_counting_it(world: World) -> None:
    world.commit("A", 10, 2.0)
    world.commit("B", 20, 2.5)
    state, _ = world.step(100)
    world.hub.all_down = True

    for block in (110, 120, 130, 140, 150):
        fails(world, block, state, HubUnavailable, "answered for none of 2 repositories")
    world.hub.all_down = False
    assert world.step(160, state)[1].champion == "A"


def test_a_hub_that_answers_for_nobody_abandons_the_very_first_window_too(world: World) -> None:
    world.commit("A", 10, 2.0)
    world.hub.all_down = True

    fails(world, 100, State(), HubUnavailable, "answered for none of 1 repositories")


def test_a_hub_that_is_down_for_one_repository_leaves_it_undecided_and_goes_on(world: World) -> None:
    world.commit("A", 10, 2.0)
    late = world.commit("B", 20, 1.0)
    world.hub.down.add("B/model")
    state, report = world.step(100)
    world.hub.down.clear()
    later, second = world.step(110, state)

    assert outcomes_of(report) == {"A": "scored", "B": "hub"}
    assert (state.record(late).undecided, state.record(late).tries) == (Cause.HUB, ())
    assert (second.champion, averages(later)) == ("B", {"A": 0.5, "B": 0.5})


def test_a_repository_that_stalls_once_chosen_is_undecided_and_the_try_counts(world: World) -> None:
    world.commit("A", 10, 2.0)
    staller = world.commit("B", 20, 1.0)
    world.hub.broken_downloads["B/model"] = HubUnavailable("the download stalls")

    state, report = world.step(100)

    assert outcomes_of(report) == {"A": "scored", "B": "hub"}
    assert state.record(staller).tries == (100,)


def test_stalling_repositories_do_not_hold_every_place(tmp_path: Path) -> None:
    world = World(tmp_path, one_competition(selection={"max_new": 2}))
    for number in range(4):
        world.commit(f"staller{number}", 10, 1.0)
        world.hub.broken_downloads[f"staller{number}/model"] = HubUnavailable("the download stalls")
    world.commit("honest", 20, 2.0)

    state, _ = world.step(100)
    state, _ = world.step(110, state)
    _, report = world.step(120, state)

    assert report.champion == "honest"


def test_a_private_repository_at_its_first_window_is_refused_for_good(world: World) -> None:
    world.commit("A", 10, 2.0)
    world.commit("B", 20, 1.0)
    world.hub.private.add("B/model")
    state, first = world.step(100)
    world.hub.private.clear()
    _, second = world.step(110, state)

    assert (outcomes_of(first)["B"], outcomes_of(second)["B"], second.champion) == ("unavailable", "unavailable", "A")


def test_the_same_revision_under_a_new_block_is_a_new_commitment(world: World) -> None:
    world.commit("B", 20, 1.0)
    world.commit("A", 10, 2.0)
    world.hub.private.add("B/model")
    state, _ = world.step(100)
    world.hub.private.clear()
    world.commit("B", 105, 1.0)

    assert world.step(120, state)[1].champion == "B"


def test_a_pool_entry_that_went_private_is_refused_although_its_bytes_are_in_the_store(world: World) -> None:
    world.commit("A", 10, 2.0)
    second = world.commit("B", 20, 2.5)
    state, _ = world.step(100)
    world.hub.private.add("B/model")

    state, report = world.step(110, state)

    assert (outcomes_of(report)["B"], state.record(second).rejected) == ("unavailable", Reason.UNAVAILABLE)


def test_a_champion_that_went_private_is_refused_at_once(world: World) -> None:
    world.commit("A", 10, 2.0)
    world.commit("B", 20, 2.5)
    state, _ = world.step(100)
    world.hub.private.add("A/model")

    state, report = world.step(110, state)

    assert (outcomes_of(report), report.champion) == ({"A": "unavailable", "B": "scored"}, "B")


def test_entries_are_downloaded_once_and_judged_from_the_store(world: World) -> None:
    world.commit("A", 10, 2.0)
    world.commit("B", 20, 2.5)
    state, _ = world.step(100)
    world.hub.broken_downloads = {repo: HubUnavailable("no downloads today") for repo in world.hub.repos}

    _, report = world.step(110, state)

    assert (world.hub.fetched, outcomes_of(report)) == (["A/model", "B/model"], {"A": "scored", "B": "scored"})


def test_a_new_entry_refused_before_its_download_takes_no_place_and_does_not_count(tmp_path: Path) -> None:
    world = World(tmp_path, one_competition(selection={"max_new": 1, "pool": 1}))
    world.commit("old", 1, 3.0)
    refused = world.commit("A", 90, 2.0)
    world.commit("B", 91, 2.5)
    state, _ = world.step(100)  # described, and too young
    world.hub.private.add("A/model")

    state, report = world.step(110, state)

    assert outcomes_of(report) == {"old": "scored", "A": "unavailable", "B": "scored"}
    assert (state.record(refused).tries, state.record(refused).rejected) == ((), Reason.UNAVAILABLE)


def test_a_top_weighted_entry_refused_before_its_download_does_not_count_either(world: World) -> None:
    world.commit("old", 1, 3.0)
    refused = world.commit("A", 90, 2.0)
    world.weights = {world.register("big", stake=1000): {refused.hotkey: 1.0}}
    state, _ = world.step(100)
    world.hub.private.add("A/model")

    state, report = world.step(110, state)

    assert outcomes_of(report) == {"old": "scored", "A": "unavailable"}
    assert state.record(refused).tries == ()


def test_a_hotkey_that_commits_again_and_again_waits_behind_who_commits_seldom(tmp_path: Path) -> None:
    world = World(tmp_path, one_competition(selection={"max_new": 1, "pool": 1}))
    state = State()
    for block in (20, 40, 60):
        world.commit("spammer", block - 20, 2.0 + block / 100)
        state, _ = world.step(block, state)
    world.commit("spammer", 61, 1.0)
    world.commit("seldom", 62, 2.0)

    _, report = world.step(80, state)

    assert outcomes_of(report) == {"spammer": "queued", "seldom": "scored"}


# The champion that cannot be had


def crowned(world: World) -> State:
    world.commit("A", 10, 2.0)
    world.commit("B", 20, 2.5)
    return world.step(100)[0]


def test_a_champion_whose_repository_does_not_answer_is_waited_for_at_most_champion_patience_windows(
    world: World,
) -> None:
    state = before = crowned(world)
    world.hub.down.add("A/model")
    for block in (110, 120, 130):
        state, report = world.step(block, state)
        assert (report.abandoned, report.champion) == ("champion A: A/model does not answer", None)
        assert state.records == before.records
        assert averages(state) == {"A": 1.0}

    state, report = world.step(140, state)

    assert (report.abandoned, report.champion, outcomes_of(report)) == ("", "B", {"A": "hub", "B": "scored"})
    assert averages(state) == {"A": 0.5, "B": 0.5}
    world.hub.down.clear()
    state, report = world.step(150, state)
    assert (roles(report), report.champion) == ({"A": "pool", "B": "champion"}, "A")


def test_the_windows_waited_for_a_champion_are_counted_in_a_row(world: World) -> None:
    state = crowned(world)
    for start in (110, 200):
        world.hub.down.add("A/model")
        for block in (start, start + 10, start + 20):
            state, report = world.step(block, state)
            assert report.abandoned
        world.hub.down.clear()
        state, report = world.step(start + 30, state)
        assert (report.abandoned, report.champion) == ("", "A")


def test_a_window_that_was_judged_is_not_judged_again_when_an_endpoint_has_fallen_back(world: World) -> None:
    """Averages would move twice, and this validator would differ from those whose endpoint is in time."""
    state = crowned(world)
    assert state.step is not None

    for block in (state.step, state.step - 10):
        with pytest.raises(ChainUnavailable, match=f"block {block} is the newest sync block that can be read"):
            world.step(block, state)


def test_a_champion_whose_bytes_were_lost_and_do_not_come_is_waited_for(world: World) -> None:
    state = crowned(world)
    world.store.lose(content_of(model("A", prose=2.0, code=2.0)))
    world.hub.broken_downloads["A/model"] = HubUnavailable("the download stalls")

    state, report = world.step(110, state)

    assert (report.abandoned, report.samples) == ("champion A: the download stalls", None)


def test_a_champion_whose_bytes_are_lost_while_others_are_judged_is_waited_for(world: World) -> None:
    state = crowned(world)
    content = content_of(model("A", prose=2.0, code=2.0))
    world.store.script[content] = [None, HubUnavailable("swept away, and the hub does not answer")]

    after, report = world.step(110, state)

    assert report.abandoned == "champion A: swept away, and the hub does not answer"
    assert after.records == state.records


def test_another_entry_that_does_not_answer_is_not_waited_for(world: World) -> None:
    state = crowned(world)
    world.hub.down.add("B/model")

    state, report = world.step(110, state)

    assert (report.abandoned, outcomes_of(report)) == ("", {"A": "scored", "B": "hub"})


def test_a_champion_that_crashes_is_undecided_once_and_then_refused_like_any_other(world: World) -> None:
    state = crowned(world)
    weights = weights_of(model("A", prose=2.0, code=2.0))
    world.evaluator.script[weights] = [crash(), crash()]

    state, first = world.step(110, state)
    state, second = world.step(120, state)

    assert (outcomes_of(first)["A"], first.abandoned, first.champion) == ("crashed", "", "B")
    assert [e.outcome for e in first.entries if e.hotkey == "A"] == ["undecided"]
    assert [e.outcome for e in second.entries if e.hotkey == "A"] == ["rejected"]


# This validator's own health


def test_a_wrong_canary_records_nothing(world: World) -> None:
    world.commit("A", 10, 2.0)
    world.canary.wrong_after = 0

    fails(world, 100, State(), EvaluatorUnavailable, "canary")
    assert (world.hub.fetched, world.evaluator.measured) == ([], [])


def test_a_right_canary_lets_every_refusal_stand_also_when_nobody_is_left(world: World) -> None:
    first, second = world.commit("A", 10, 2.0), world.commit("B", 20, 2.5)
    for files in (model("A", prose=2.0, code=2.0), model("B", prose=2.5, code=2.5)):
        world.evaluator.script[weights_of(files)] = [ModelRejected(Reason.NOT_FINITE, "loss nan in window 3")]

    state, report = world.step(100)

    assert [state.record(e).rejected for e in (first, second)] == [Reason.NOT_FINITE] * 2
    assert (report.champion, averages(state), report.abandoned) == (None, {}, "")


def test_an_engine_that_cannot_judge_at_all_abandons_the_step(world: World) -> None:
    world.commit("A", 10, 2.0)
    world.evaluator.down = True

    fails(world, 100, State(), EvaluatorUnavailable, "no device")


def test_scores_of_another_model_than_the_one_asked_for_are_worth_nothing(world: World) -> None:
    first, second = world.commit("A", 10, 2.0), world.commit("B", 20, 2.5)
    world.evaluator.misread = weights_of(model("other", prose=1.0))

    state, _ = world.step(100)
    state, report = world.step(110, state)

    assert (outcomes_of(report), report.champion) == ({"A": "crashed", "B": "crashed"}, None)
    assert [state.record(entry).rejected for entry in (first, second)] == [None, None], "nobody else was scored"


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_is_the_models_fault(world: World, loss: float) -> None:
    world.commit("bad", 10, loss)
    world.commit("A", 20, 2.0)

    state, report = world.step(100)

    assert (outcomes_of(report), report.champion) == ({"bad": "not_finite", "A": "scored"}, "A")
    assert [record.score for record in state.records.values()] == [None, 2.0]


def test_a_model_of_no_loss_at_all_stops_nobody(world: World) -> None:
    world.commit("A", 10, 0.0)
    world.commit("B", 20, 2.0)

    state, report = world.step(100)

    assert (report.champion, outcomes_of(report)) == ("A", {"A": "scored", "B": "scored"})
    assert world.step(110, state)[1].champion == "A"


# Crashes and deadlines


def scripted(world: World, *errors: EvaluatorUnavailable) -> Entry:
    files = model("B", prose=1.0, code=1.0)
    world.commit("A", 10, 2.0)
    world.evaluator.script[weights_of(files)] = list(errors)
    return world.commit("B", 20, files)


def test_a_model_that_crashes_its_child_is_tried_once_more_in_a_later_window(world: World) -> None:
    entry = scripted(world, crash())

    state, first = world.step(100)
    after, second = world.step(110, state)

    assert (outcomes_of(first), averages(state)) == ({"A": "scored", "B": "crashed"}, {"A": 1.0})
    assert (state.record(entry).rejected, state.record(entry).crashes) == (None, 1)
    assert (second.champion, after.record(entry).crashes) == ("B", 0)


def test_a_model_that_takes_too_much_memory_is_never_refused_and_each_time_is_a_try(world: World) -> None:
    too_much = EvaluatorUnavailable("a child had too little memory", Cause.MEMORY)
    entry, state = scripted(world, too_much, too_much, too_much), State()
    for block in (100, 110, 120):
        state, report = world.step(block, state)
        assert outcomes_of(report)["B"] == "memory"
    assert (state.record(entry).rejected, state.record(entry).crashes, len(state.record(entry).tries)) == (None, 0, 3)


def test_a_model_that_crashes_its_child_twice_is_refused(world: World) -> None:
    entry = scripted(world, crash(), timeout(), crash())

    state, _ = world.step(100)
    state, _ = world.step(110, state)
    assert state.record(entry).rejected is None
    state, _ = world.step(120, state)

    assert (state.record(entry).rejected, averages(state)) == (Reason.CRASHED, {"A": 1.0})
    assert state.record(entry).detail == "twice, while other models were scored: the child died of signal 9"


def test_children_that_all_die_window_after_window_get_nobody_refused(world: World) -> None:
    entries = [world.commit("A", 10, 2.0), world.commit("B", 20, 1.5)]
    state, _ = world.step(100)
    before = averages(state)
    for entry in entries:
        world.evaluator.script[state.record(entry).weights or Digest("")] = [crash(), crash()]
    for block in (110, 120, 130):
        state, report = world.step(block, state)

    assert ([state.record(entry).rejected for entry in entries], report.champion) == ([None, None], "B")
    assert set(averages(state)) == set(before)


def test_a_model_that_the_disk_spoilt_is_downloaded_again_and_not_refused(world: World) -> None:
    entry = world.commit("A", 10, 2.0)
    state, _ = world.step(100)
    folder = world.store.path(state.record(entry).content or Digest(""))
    assert folder is not None
    (folder / "model.safetensors").write_bytes(b"torn")

    _, report = world.step(110, state)

    assert (outcomes_of(report), world.hub.fetched) == ({"A": "scored"}, ["A/model", "A/model"])


def test_a_config_that_the_disk_spoilt_is_downloaded_again_though_the_weights_are_whole(world: World) -> None:
    entry = world.commit("A", 10, 2.0)
    state, _ = world.step(100)
    folder = world.store.path(state.record(entry).content or Digest(""))
    assert folder is not None
    (folder / "config.json").write_bytes(b"torn")

    _, report = world.step(110, state)

    assert (outcomes_of(report), world.hub.fetched) == ({"A": "scored"}, ["A/model", "A/model"])


def test_a_step_needs_all_champions_all_the_time_and_what_it_judges_by_turns(tmp_path: Path) -> None:
    world = World(tmp_path, schedule_of())
    names = {"A": 2.0, "B": 1.0, "C": 3.0}
    digests = {n: content_of(model(n, prose=loss, code=loss)) for n, loss in names.items()}
    for position, (name, loss) in enumerate(names.items()):
        world.commit(name, 10 + position, loss, competition=0 if name == "C" else 1)
    state, first = world.step(100)
    state, last = world.step(110, state)

    assert {first.champion, last.champion} == {"B", "C"}
    order = (["C"], ["A", "B"]) if first.champion == "C" else (["A", "B"], ["C"])
    one, other = (tuple(digests[name] for name in step) for step in order)
    crown = digests[first.champion or ""]
    assert world.store.told == [
        (frozenset(), one),
        (frozenset({crown}), ()),
        (frozenset({crown}), other),
        (frozenset({digests["B"], digests["C"]}), ()),
    ]
    assert world.store.fetched == []


@pytest.mark.parametrize("rooms", [2, 3])
def test_a_step_goes_on_in_a_store_with_room_for_the_champion_and_one_or_two_more(tmp_path: Path, rooms: int) -> None:
    world = World(tmp_path, one_competition())
    for position, name in enumerate("ABCDE"):
        world.commit(name, 10 + position, 2.0 + position)
    largest = max(sum(map(len, files.values())) for repo in world.hub.repos.values() for files in repo.values())
    stores = [ModelStore(tmp_path / "store", Budget(max_bytes=room * largest)) for room in (rooms, 1)]
    enough, too_small = (replace(world.node, store=store) for store in stores)

    def judged(block: int, state: State) -> tuple[State, Report]:
        world.hub.fetched.clear()
        world.chain.now = world.at(block)
        state, report = run(lambda: step(enough, state))
        assert report is not None
        return state, report

    state, downloads = State(), []
    for block in (100, 110, 120):
        state, report = judged(block, state)
        assert (set(outcomes_of(report).values()), report.champion) == ({"scored"}, "A")
        downloads.append(world.hub.fetched.count("A/model"))

    assert downloads[-1] == 0
    world.chain.now = world.at(130)
    with pytest.raises(EvaluatorUnavailable, match=r"no room for a model .*--store\.max_gb must be at least"):
        run(lambda: step(too_small, state))


@pytest.mark.parametrize("refusals", [1, 2])
def test_a_model_with_no_room_beside_the_one_being_judged_is_fetched_when_that_is_done(
    world: World, refusals: int
) -> None:
    for position, name in enumerate("ABC"):
        world.commit(name, 10 + position, 2.0)
    world.store.script[content_of(model("B", prose=2.0, code=2.0))] = [EvaluatorUnavailable("no room")] * refusals

    if refusals > 1:
        fails(world, 100, State(), EvaluatorUnavailable, "no room")
        return
    _, report = world.step(100)
    assert outcomes_of(report) == dict.fromkeys("ABC", "scored")


def test_who_is_private_while_it_queues_is_refused(tmp_path: Path) -> None:
    world = World(tmp_path, one_competition(selection={"max_new": 1}))
    world.commit("A", 10, 2.0)
    queued = world.commit("B", 20, 1.0)
    state, first = world.step(100)
    world.hub.private.add("B/model")
    state, _ = world.step(110, state)
    world.hub.private.clear()
    state, last = world.step(120, state)

    assert (outcomes_of(first), state.record(queued).rejected) == ({"A": "scored", "B": "queued"}, Reason.UNAVAILABLE)
    assert last.champion == "A"


@pytest.mark.parametrize("cause", [Cause.CRASHED, Cause.MEMORY])
def test_a_crash_with_a_canary_that_is_wrong_afterwards_is_this_validators_fault(world: World, cause: Cause) -> None:
    scripted(world, EvaluatorUnavailable("no answer", cause))
    world.canary.wrong_after = 1

    fails(world, 100, State(), EvaluatorUnavailable, "canary")


def test_a_model_over_the_deadline_is_undecided_however_often(world: World) -> None:
    entry = scripted(world, *(timeout() for _ in range(5)))
    state = State()

    for block in (100, 110, 120, 130, 140):
        state, report = world.step(block, state)
        assert outcomes_of(report) == {"A": "scored", "B": "timeout"}
    state, report = world.step(150, state)

    assert (report.champion, state.record(entry).tries) == ("B", (100, 110, 120, 130, 140, 150))


# Whose weights they are


def test_an_earlier_commitment_found_later_takes_the_weights_and_the_crown(world: World) -> None:
    files = model("same", prose=2.0)
    early, late = world.commit("A", 10, files), world.commit("B", 20, files)
    world.hub.down.add("A/model")
    state, first = world.step(100)
    world.hub.down.clear()
    state, second = world.step(110, state)

    assert (first.champion, second.champion) == ("B", "A")
    assert (holders(state), state.record(late).rejected) == ({weights_of(files): early}, Reason.DUPLICATE)
    assert state.record(late).detail == "the same weights as A/model, committed by A at block 10"


def test_a_tie_in_one_block_is_settled_by_its_hash_also_when_the_owner_has_committed_again_since(
    world: World,
) -> None:
    def place(hotkey: str) -> bytes:
        return hashlib.sha256(block_hash(10) + hotkey.encode("ascii")).digest()

    files = model("same", prose=2.0)
    owner = max(("A", "B", "C", "D"), key=place)
    first = min(("A", "B", "C", "D"), key=place)
    world.commit(owner, 10, files)
    tied = world.commit(first, 10, {**files, "config.json": b"{ }"})
    world.hub.down.add(f"{first}/model")
    state, _ = world.step(100)
    world.hub.down.clear()
    world.commit(owner, 105, 3.0)

    assert holders(world.step(110, state)[0])[weights_of(files)] == tied


def test_a_copy_waits_for_free_while_the_earlier_one_is_not_downloaded(world: World) -> None:
    files = model("same", prose=2.0)
    world.commit("A", 10, files)
    copy = world.commit("B", 20, files)
    world.hub.broken_downloads["A/model"] = HubUnavailable("the download stalls")

    state, first = world.step(100)
    world.hub.broken_downloads.clear()
    state, second = world.step(110, state)

    assert (outcomes_of(first), roles(first)["B"]) == ({"A": "hub", "B": "waits_for_earlier"}, "waiting")
    state, third = world.step(120, state)
    assert (outcomes_of(second)["B"], outcomes_of(third)["B"]) == ("waits_for_earlier", "duplicate")
    assert (state.record(copy).tries, world.hub.fetched) == ((), ["A/model"])


def test_a_copy_in_another_competition_is_a_duplicate(tmp_path: Path) -> None:
    world = World(tmp_path, schedule_of())
    files = model("same", prose=2.0, code=2.0)
    world.commit("A", 10, files)
    world.commit("B", 20, {**files, "config.json": b"{ }"}, competition=1)
    state, _ = world.step(100)

    assert outcomes_of(world.step(110, state)[1]) == {"B": "duplicate"}


def test_an_owner_may_move_to_another_competition_and_leaves_its_average_behind(tmp_path: Path) -> None:
    world = World(tmp_path, schedule_of())
    files = model("A", prose=2.0, code=2.0)
    world.commit("A", 10, files)
    world.commit("B", 20, 3.0)
    state, _ = world.step(100)
    assert averages(state) == {"A": 1.0}
    moved = world.commit("A", 105, files, competition=1)

    state, report = world.step(130, state)

    assert (report.name, outcomes_of(report), averages(state, MIXED)) == ("mixed", {"A": "scored"}, {"A": 1.0})
    assert (holders(state)[weights_of(files)], averages(state)) == (moved, {})
    state, report = world.step(140, state)
    assert (report.name, averages(state)) == ("prose", {"B": 1.0})


def test_a_hotkey_that_commits_its_own_weights_again_is_refused(world: World) -> None:
    files = model("A", prose=2.0)
    world.commit("A", 10, files)
    world.commit("B", 20, 3.0)
    state, _ = world.step(100)
    world.commit("A", 105, files)

    assert outcomes_of(world.step(130, state)[1]) == {"A": "duplicate", "B": "scored"}


# Hotkeys come and go


def test_a_newcomer_never_inherits_from_the_hotkey_whose_uid_it_got(world: World) -> None:
    world.commit("A", 10, 2.0)
    world.commit("B", 20, 2.5)
    state, _ = world.step(100)
    world.register("newcomer", uid=world.uids[Hotkey("A")])
    world.commit("newcomer", 105, 9.0)

    state, report = world.step(130, state)

    assert (report.champion, averages(state)) == ("B", {"B": 1.0})
    assert state.record(world.entries[Hotkey("newcomer")]).score == 9.0


def test_a_hotkey_that_left_drops_out_in_the_windows_of_other_competitions_too(tmp_path: Path) -> None:
    world = World(tmp_path, schedule_of())
    world.commit("A", 10, 2.0)
    world.commit("B", 20, 2.0, competition=1)
    state, _ = world.step(100)
    world.register("newcomer", uid=world.uids[Hotkey("A")])

    state, report = world.step(110, state)

    assert (report.name, averages(state), averages(state, MIXED)) == ("mixed", {}, {"B": 1.0})


# A validator without memory


def test_a_validator_without_memory_judges_the_top_weighted_first_and_is_ready_when_all_are_decided(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, one_competition(selection={"max_new": 1}))
    for number in range(5):
        world.commit(f"miner{number}", 10 + number, 3.0)
    top, other = world.commit("top", 50, 2.0), world.commit("other top", 51, 2.5)
    world.weights = {world.register("big", stake=1000): {top.hotkey: 0.5, other.hotkey: 0.5}}
    world.hub.broken_downloads["other top/model"] = HubUnavailable("the download stalls")

    state, first = world.step(100)
    world.hub.broken_downloads.clear()
    later, second = world.step(110, state)

    scored = {"top", "other top", "miner0"}
    assert {entry.hotkey for entry in first.entries if entry.role in {"top", "new"}} == scored
    assert (first.ready, state.standing(PROSE).ready, second.ready, later.standing(PROSE).ready) == (
        False,
        False,
        True,
        True,
    )


def test_a_validator_stays_ready(world: World) -> None:
    world.commit("A", 10, 2.0)
    state, first = world.step(100)
    late = world.commit("late", 20, 1.0)
    world.weights = {world.register("big", stake=1000): {late.hotkey: 1.0}}
    world.hub.down.add("late/model")

    assert (first.ready, world.step(110, state)[1].ready) == (True, True)


def test_validators_with_different_histories_agree_once_all_top_weighted_are_decided(tmp_path: Path) -> None:
    schedule = one_competition(selection={"pool": 2})
    old = World(tmp_path / "old", schedule)
    new = World(tmp_path / "new", schedule)
    for world in (old, new):
        world.store.root.mkdir()
        for number in range(6):
            world.commit(f"miner{number}", 10 + number, 3.0 - number / 10)
    state = State()
    for block in (50, 60, 70, 80, 90):
        state, _ = old.step(block, state)
    one, other = old.step(100, state)[1], new.step(100)[1]

    assert (one.samples, one.competition, one.champion) == (other.samples, other.competition, other.champion)
    assert one.champion == "miner5"


# Past champions


def referred(tmp_path: Path) -> tuple[World, State]:
    """Return a world in which A reigned with a gain of 10% over the first, and its state."""
    world = World(tmp_path, one_competition(competition={"epsilon": ADAPTIVE}))
    world.commit("first", 10, 2.0)
    world.commit("A", 20, 1.8)
    return world, world.step(100)[0]


def test_a_past_champion_stays_the_measure_of_gains_when_its_hotkey_has_committed_again(tmp_path: Path) -> None:
    world, state = referred(tmp_path)
    world.commit("A", 101, 5.0)
    copy = world.commit("launderer", 102, 1.79)

    state, report = world.step(120, state)

    assert (report.references, report.champion) == (("A",), "launderer")
    assert state.record(copy).gain == pytest.approx(1 - 1.79 / 1.8)
    assert {e.hotkey: e.competitive for e in report.entries} == {"first": True, "A": False, "launderer": True}


def test_a_past_champion_that_left_is_measured_from_the_store_and_earns_nothing(tmp_path: Path) -> None:
    world, state = referred(tmp_path)
    world.register("newcomer", uid=world.uids[Hotkey("A")])
    world.commit("B", 101, 1.9)
    del world.hub.repos["A/model"]

    state, report = world.step(120, state)

    assert (report.references, report.champion, "A" in averages(state)) == (("A",), "B", False)
    assert [e.gain for e in report.entries if e.hotkey == "B"] == [pytest.approx(1 - 1.9 / 1.8)]


def test_a_past_champion_refused_in_this_very_window_still_measures_gains(tmp_path: Path) -> None:
    world, state = referred(tmp_path)
    copy = world.commit("launderer", 101, 1.79)
    world.hub.private.add("A/model")

    state, report = world.step(120, state)

    assert outcomes_of(report) == {"first": "scored", "A": "unavailable", "launderer": "scored"}
    assert report.references == ("A",)
    assert state.record(copy).gain == pytest.approx(1 - 1.79 / 1.8)


def test_a_past_champion_whose_bytes_are_gone_is_no_reference_and_the_report_says_so(tmp_path: Path) -> None:
    world, state = referred(tmp_path)
    world.commit("A", 101, 5.0)
    world.store.lose(content_of(model("A", prose=1.8, code=1.8)))

    _, report = world.step(120, state)

    assert report.references == ()
    assert report.notes == ("past champion A could not be measured from the local store and is no reference",)


@pytest.mark.parametrize("error", [crash(), timeout(), ModelRejected(Reason.NOT_FINITE, "loss nan")])
def test_a_past_champion_that_cannot_be_measured_as_a_reference_is_none(tmp_path: Path, error: PretrainError) -> None:
    world, state = referred(tmp_path)
    world.commit("A", 101, 5.0)
    world.evaluator.script[weights_of(model("A", prose=1.8, code=1.8))] = [error]

    assert world.step(120, state)[1].references == ()


def test_a_champion_whose_repository_does_not_answer_still_measures_gains_when_patience_ends(tmp_path: Path) -> None:
    rules = one_competition(competition={"epsilon": ADAPTIVE}, selection={"champion_patience": 1})
    world = World(tmp_path, rules)
    world.commit("A", 20, 1.8)
    state, _ = world.step(100)
    copy = world.commit("launderer", 101, 1.79)
    world.hub.down.add("A/model")
    state, _ = world.step(120, state)

    state, report = world.step(130, state)

    assert (report.references, report.champion) == (("A",), "launderer")
    assert state.record(copy).gain == pytest.approx(1 - 1.79 / 1.8)


def test_the_last_three_distinct_champions_are_remembered(world: World) -> None:
    state = State()
    for number, block in enumerate((100, 120, 140, 160)):
        world.commit(f"miner{number}", block - 20, 2.0 - number / 4)
        state, report = world.step(block, state)
        assert report.champion == f"miner{number}"
    state, _ = world.step(170, state)

    reigns = [(reign.entry.hotkey, reign.last_win) for reign in state.standing(PROSE).reigns]
    assert reigns == [("miner3", 170), ("miner2", 140), ("miner1", 120)]


def test_a_gain_never_rises_for_a_commitment(tmp_path: Path) -> None:
    world, state = referred(tmp_path)
    entry = world.entries[Hotkey("A")]
    first = state.record(entry).gain
    world.entries.pop(Hotkey("first"))
    state, _ = world.step(110, state)

    assert first == pytest.approx(0.1)
    assert state.record(entry).gain == 0.0
    world.commit("first", 10, 2.0)
    assert world.step(120, state)[0].record(entry).gain == 0.0


def test_nothing_that_a_step_remembers_is_keyed_by_uid(world: World) -> None:
    world.commit("A", 10, 2.0)
    world.commit("B", 20, 2.5)
    state, report = world.step(100)
    swapped = {**world.uids, Hotkey("A"): world.uids[Hotkey("B")], Hotkey("B"): world.uids[Hotkey("A")]}
    world.uids = swapped

    again, second = world.step(100)

    def without_uids(one: Report) -> Report:
        return replace(timeless(one), entries=tuple(replace(entry, uid=0) for entry in one.entries))

    assert (again, without_uids(second)) == (state, without_uids(report))

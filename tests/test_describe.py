"""What the hub says before a download, and whose weights they turn out to be."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import World, content_of, model, one_competition, outcomes_of, schedule_of, weights_of

from pretrain.commitment import Entry
from pretrain.describe import describe_all, listing, refuse_copies, take_ownership
from pretrain.errors import Cause, EvaluatorUnavailable, ModelRejected, Reason
from pretrain.models.files import CONFIG, INDEX, WEIGHTS
from pretrain.ownership import Owner
from pretrain.state import Record, State
from pretrain.types import CompetitionId

S = 100
PROSE = CompetitionId(0)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, schedule_of())


def describe(world: World, state: State | None = None, block: int = S) -> tuple[State, tuple[bool, ...]]:
    return asyncio.run(describe_all(world.node, world.at(block), PROSE, state or State()))


def record(world: World, entry: Entry, block: int = S) -> Record:
    return describe(world, block=block)[0].record(entry)


def test_a_model_that_fits_its_commitment_is_known_by_its_content_digest(world: World) -> None:
    files = model(prose=2.0)

    assert record(world, world.commit("A", 10, files)).content == content_of(files)


def test_nothing_else_in_a_repository_is_read(world: World) -> None:
    files = model(prose=2.0)
    entry = world.commit("A", 10, files)
    repo = world.hub.repos["A/model"][entry.commitment.revision]
    repo |= {"README.md": b"hello", "tokenizer.json": b"{}", "generation_config.json": b"{}", "model.py": b""}

    found = asyncio.run(listing(world.hub, entry))

    assert [file.name for file in found] == [CONFIG, WEIGHTS]


def test_a_model_in_shards_is_what_its_index_names(world: World) -> None:
    whole = model(prose=2.0)
    index = json.dumps({"weight_map": {"prose": "part-1.safetensors", "salt": "part-1.safetensors"}}).encode()
    files = {CONFIG: whole[CONFIG], INDEX: index, "part-1.safetensors": whole[WEIGHTS], "part-2.safetensors": b"unused"}

    found = asyncio.run(listing(world.hub, world.commit("A", 10, files)))

    assert [file.name for file in found] == [CONFIG, INDEX, "part-1.safetensors"]


def test_both_forms_together_are_refused(world: World) -> None:
    entry = world.commit("A", 10, model(prose=2.0))
    world.hub.repos["A/model"][entry.commitment.revision][INDEX] = b"{}"

    assert record(world, entry).rejected is Reason.FILES


def test_files_that_are_not_the_committed_ones_are_refused_before_any_download(world: World) -> None:
    entry = world.commit("A", 10, model(prose=2.0))
    world.hub.repos["A/model"][entry.commitment.revision] = model(prose=1.0)

    found = record(world, entry)

    assert (found.rejected, found.content, world.hub.fetched) == (Reason.DIGEST, None, [])


def test_a_text_copied_to_another_hotkey_is_worthless(world: World) -> None:
    entry = world.commit("A", 10, model(prose=2.0))
    thief = replace(entry, hotkey=world.register("thief"))
    world.entries[thief.hotkey] = thief

    assert (record(world, entry).rejected, record(world, thief).rejected) == (None, Reason.DIGEST)


def test_more_bytes_than_the_competition_allows_are_refused(world: World) -> None:
    fits, too_large = model(prose=2.0), model(prose=2.0)
    fits[CONFIG] = b" " * (2000 - len(fits[WEIGHTS]))
    too_large[CONFIG] = fits[CONFIG] + b" "

    assert record(world, world.commit("fits", 10, fits)).rejected is None
    assert record(world, world.commit("large", 10, too_large)).rejected is Reason.FILES


def test_a_private_repository_at_the_first_judged_window_is_refused_for_good(world: World) -> None:
    entry = world.commit("A", 10, model(prose=2.0))
    world.hub.private.add("A/model")
    state, answers = describe(world)
    world.hub.private.clear()
    again, asked = describe(world, state, S + 20)

    assert (state.record(entry).rejected, answers) == (Reason.UNAVAILABLE, (True,))
    assert (again.record(entry).rejected, asked) == (Reason.UNAVAILABLE, ())


def test_a_repository_may_be_private_until_its_first_judged_window(world: World) -> None:
    entry = world.commit("A", 90, model(prose=2.0))
    world.hub.private.add("A/model")
    early = describe(world, block=100)[0]
    world.hub.private.clear()

    assert early.record(entry) == Record(entry)
    assert describe(world, early, block=120)[0].record(entry).content is not None


def test_an_entry_of_another_competition_is_not_refused_before_its_own_window(world: World) -> None:
    entry = world.commit("A", 10, model(prose=2.0), competition=1)
    world.hub.private.add("A/model")

    assert record(world, entry) == Record(entry)


def test_a_hub_that_does_not_answer_is_nobodys_fault(world: World) -> None:
    down, up = world.commit("A", 10, 2.0), world.commit("B", 11, 2.0)
    world.hub.down.add("A/model")
    state, answers = describe(world)

    assert (state.record(down).undecided, state.record(down).rejected, answers) == (Cause.HUB, None, (False, True))
    world.hub.down.clear()
    later = describe(world, state)[0]
    assert (later.record(down).undecided, later.record(down).content is None) == (None, False)
    assert later.record(up) == state.record(up)


def test_what_has_a_score_is_not_asked_for_again(world: World) -> None:
    entry = world.commit("A", 10, 2.0)
    state, _ = describe(world)
    state = state.with_records([replace(state.record(entry), score=2.0)])
    world.hub.all_down = True

    assert describe(world, state) == (state, ())


def owned(world: World, entry: Entry, files: dict[str, bytes], state: State) -> State:
    known = replace(state.record(entry), content=content_of(files), weights=weights_of(files))
    return take_ownership(state, known, world.at(S))


def test_the_very_files_of_known_weights_are_a_duplicate_without_a_download(world: World) -> None:
    files = model(prose=2.0)
    first, copy = world.commit("A", 10, files), world.commit("B", 11, files)
    state, _ = describe(world, owned(world, first, files, State()))

    assert state.record(copy).rejected is Reason.DUPLICATE
    assert state.record(copy).detail == "the same weights as A/model, committed by A at block 10"


def test_the_very_files_of_an_earlier_commitment_take_the_weights_over(world: World) -> None:
    files = model(prose=2.0)
    late, early = world.commit("B", 11, files), world.commit("A", 10, files)
    state = owned(world, late, files, State())

    settled = refuse_copies(describe(world, state)[0], [early], world.at(S))

    assert settled.owners == {weights_of(files): Owner(early, since=early)}
    assert (settled.record(early).rejected, settled.record(late).rejected) == (None, Reason.DUPLICATE)


def test_another_sharding_or_another_config_is_the_same_model(tmp_path: Path) -> None:
    world = World(tmp_path, one_competition())
    files = model(prose=2.0)
    raw = files[WEIGHTS]
    size = int.from_bytes(raw[:8], "little")
    padded = raw[8 : 8 + size] + b"   "
    spaced = len(padded).to_bytes(8, "little") + padded + raw[8 + size :]
    world.commit("A", 10, files)
    world.commit("config", 11, {**files, CONFIG: b"{ }"})
    world.commit("header", 12, {**files, WEIGHTS: spaced})
    index = json.dumps({"weight_map": {"prose": "x.safetensors", "salt": "x.safetensors"}}).encode()
    world.commit("shards", 13, {CONFIG: b"{}", INDEX: index, "x.safetensors": raw})

    _, report = world.step(100)

    assert outcomes_of(report) == {"A": "scored", "config": "duplicate", "header": "duplicate", "shards": "duplicate"}


def test_ownership_needs_to_know_the_weights(world: World) -> None:
    with pytest.raises(ValueError, match="not known yet"):
        take_ownership(State(), Record(world.commit("A", 10, 2.0)), world.at(S))


def test_an_owner_stays_one_when_it_is_refused_replaced_or_gone(world: World) -> None:
    files = model(prose=2.0)
    first, copy = world.commit("A", 10, files), world.commit("B", 11, files)
    state = owned(world, first, files, State())
    refused = state.with_records([replace(state.record(first), rejected=Reason.NOT_FINITE)])
    forgotten = replace(state, records={})

    for memory in (state, refused, forgotten):
        assert owned(world, copy, files, memory).record(copy).rejected is Reason.DUPLICATE


def test_a_listing_says_what_was_committed_and_what_is_there(world: World) -> None:
    entry = world.commit("A", 10, model(prose=2.0))
    world.hub.repos["A/model"][entry.commitment.revision] = model(prose=1.0)

    with pytest.raises(ModelRejected, match=r"digest: committed .*=, but the files with this hotkey make .*="):
        asyncio.run(listing(world.hub, entry))


def named(name: str) -> dict[str, bytes]:
    """Return a model whose config.json tells it from others."""
    return {**model(prose=2.0, salt=name), CONFIG: name.encode()}


def test_config_and_headers_are_looked_at_once_before_any_download(world: World) -> None:
    files = named("a")
    entry = world.commit("A", 10, files)

    state, _ = describe(world)
    describe(world, state)

    (seen,) = world.evaluator.inspected
    raw = files[WEIGHTS]
    assert (seen.config, list(seen.headers)) == (b"a", [WEIGHTS])
    assert raw[8:].startswith(seen.headers[WEIGHTS].raw)
    assert (state.record(entry).content, world.hub.fetched) == (content_of(files), [])


def test_what_the_headers_show_to_be_no_model_of_the_competition_is_refused_without_a_download(world: World) -> None:
    entry = world.commit("A", 10, named("a"))
    world.evaluator.outside[b"a"] = [ModelRejected(Reason.ARCHITECTURE, "too many parameters")]

    found = record(world, entry)

    assert (found.rejected, found.detail, world.hub.fetched) == (Reason.ARCHITECTURE, "too many parameters", [])


def test_headers_that_a_child_dies_of_are_tried_again_and_the_second_time_its_miners(world: World) -> None:
    died = EvaluatorUnavailable("a child was killed by signal 9", Cause.CRASHED)
    entry, state = world.commit("A", 10, named("a")), State()
    world.evaluator.outside[b"a"] = [died] * 3
    for step, found in enumerate([(None, Cause.CRASHED, 1), (Reason.CRASHED, None, 1)]):
        world.commit(f"other-{step}", 10, named(f"other-{step}"))  # by whom one sees that this machine is sound
        state, answers = describe(world, state)
        now = state.record(entry)
        assert (now.rejected, now.undecided, now.crashes) == found
        assert all(answers)


def test_headers_that_a_child_dies_of_while_no_other_is_looked_at_are_nobodys_fault(world: World) -> None:
    entry, state = world.commit("A", 10, named("a")), State()
    world.evaluator.outside[b"a"] = [EvaluatorUnavailable("a child was killed by signal 9", Cause.CRASHED)] * 3
    for _ in range(3):
        state, _ = describe(world, state)
        assert (state.record(entry).rejected, state.record(entry).undecided) == (None, Cause.CRASHED)
    state, _ = describe(world, state)
    assert state.record(entry).content


def test_a_judge_that_died_of_a_model_is_not_forgotten_by_the_look_at_its_listing(world: World) -> None:
    entry = world.commit("A", 10, named("a"))
    state, _ = describe(world)
    crashed = state.with_records([replace(state.record(entry), crashes=1)])

    assert describe(world, crashed)[0].record(entry).crashes == 1


def test_a_validator_that_can_look_at_nothing_says_so(world: World) -> None:
    world.commit("A", 10, named("a"))
    world.evaluator.down = True

    with pytest.raises(EvaluatorUnavailable, match="no device"):
        describe(world)


@pytest.mark.parametrize("cause", [Cause.CRASHED, Cause.TIMEOUT])
def test_headers_that_take_too_long_or_end_a_child_twice_are_refused_before_their_window_too(
    world: World, cause: Cause
) -> None:
    entry, state = world.commit("A", S - 1, named("a")), State()
    world.evaluator.outside[b"a"] = [EvaluatorUnavailable("no answer", cause)] * 2
    for step in range(2):
        world.commit(f"other-{step}", 10, named(f"other-{step}"))
        state, _ = describe(world, state)
    assert state.record(entry).rejected is Reason.CRASHED


def test_what_a_revision_holds_is_refused_for_good_also_before_its_first_window(world: World) -> None:
    young = world.commit("A", S - 1, named("a"))
    hidden = world.commit("B", S - 1, named("b"))
    world.evaluator.outside[b"a"] = [ModelRejected(Reason.HEADER, "no")]
    world.hub.private.add("B/model")

    state, _ = describe(world)

    assert state.record(young).rejected is Reason.HEADER
    assert state.record(hidden).rejected is None
    assert len(world.evaluator.inspected) == 1
    describe(world, state)
    assert len(world.evaluator.inspected) == 1


def test_files_that_fitted_before_are_looked_into_no_second_time(world: World) -> None:
    files = named("a")
    world.commit("A", 10, files)
    state, _ = describe(world)
    copy = world.commit("B", 11, files)

    again, _ = describe(world, state)

    assert again.record(copy).content == content_of(files)
    assert len(world.evaluator.inspected) == 1

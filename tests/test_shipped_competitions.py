"""The competition files that ship: each is right, and the schema beside them is current."""

import json
import re
from pathlib import Path

import pytest
import yaml

from pretrain import competition_diff
from pretrain.competition_file import examine, json_schema, load
from pretrain.types import Block

FOLDER = Path(__file__).parent.parent / "competitions"
FILES = sorted(FOLDER.glob("*.yaml"))
LAST = Block(10**9)


def test_the_three_files_are_there() -> None:
    assert {"localnet.yaml", "sn9.yaml", "sn9-2025.yaml"} <= {path.name for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_shipped_file_is_right_and_named_as_its_schedule(path: Path) -> None:
    examined = examine(path)
    assert [examined.told(problem) for problem in examined.problems] == []
    assert examined.schedule is not None
    assert examined.schedule.name == path.stem


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_shipped_file_names_its_schema_for_editors_and_has_no_definition_without_use(path: Path) -> None:
    first = path.read_text(encoding="utf-8").splitlines()[0]
    unused = [note.path for note in examine(path).notes if "nothing uses it" in note.message]
    assert (first, unused) == ("# yaml-language-server: $schema=schema.json", [])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_numbers_are_the_same_in_yaml_1_1_and_1_2(path: Path) -> None:
    """Editors read 50_000 as text, and 1e-3 is text in the older one."""
    scalars = [t for t in yaml.scan(path.read_text(encoding="utf-8")) if isinstance(t, yaml.ScalarToken) and t.plain]
    assert [t.value for t in scalars if re.fullmatch(r"[0-9.]*(_[0-9_]*|[0-9]e[-+]?[0-9]+)", t.value)] == []


def test_the_committed_schema_is_the_one_that_the_code_makes() -> None:
    committed = json.loads((FOLDER / "schema.json").read_text(encoding="utf-8"))
    assert committed == json_schema(), "run: pretrain competitions schema > competitions/schema.json"


def test_every_field_is_explained_in_the_schema_and_in_the_readme() -> None:
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    definitions = json_schema()["$defs"]
    fields = {(where, name): field for where, d in definitions.items() for name, field in d["properties"].items()}
    structural = {"kind", "epsilon", "reward", "noise", "competitions"}
    undescribed = [at for at, field in fields.items() if "description" not in field and at[1] not in structural]
    unexplained = [at for at in fields if not re.search(rf"\b{at[1]}\b", readme)]
    assert (undescribed, unexplained) == ([], [])


def test_what_ran_on_subnet_9_last_is_as_recorded() -> None:
    schedule = load(FOLDER / "sn9-2025.yaml")
    seen = [
        (c.id, c.share, c.windows, c.compare, c.epsilon.model_dump(exclude={"kind"}), c.model.max_bytes)
        for c in schedule.at(LAST)
    ]
    falling = {"start": 0.005, "end": 0.0001, "blocks": 2 * 7200}
    assert seen == [
        (2, 0.3, 50, "majority", falling, 15 * 2**30),
        (4, 0.7, 50, "majority", falling, 29 * 2**30),
    ]
    assert [sorted(c.weights.values()) for c in schedule.at(LAST)] == [[0.02, 0.03, 0.05, 0.25, 0.30, 0.35]] * 2
    before = [c.epsilon.model_dump() for c in schedule.at(Block(schedule.phases[-1].start - 1))]
    assert before == [{"kind": "linear", "start": 0.005, "end": 0.0005, "blocks": days * 7200} for days in (7, 10)]


def test_the_first_mixed_competition_ran_beside_one_that_differed_only_in_its_mix() -> None:
    schedule = load(FOLDER / "sn9-2025.yaml")
    twin, mixed = schedule.at(Block(schedule.phases[0].start))[1:]
    assert twin.model_dump(exclude={"id", "name", "tasks"}) == mixed.model_dump(exclude={"id", "name", "tasks"})
    assert [sorted(c.weights.values()) for c in (twin, mixed)] == [[1.0], [0.15, 0.85]]


def test_the_advised_schedule_has_the_last_mixes_and_the_advised_numbers() -> None:
    ran, advised = (load(FOLDER / name).at(LAST) for name in ("sn9-2025.yaml", "sn9.yaml"))
    assert [(c.id, c.model, c.tasks, c.share) for c in advised] == [(c.id, c.model, c.tasks, c.share) for c in ran]
    numbers = [(c.windows, c.compare, c.epsilon.kind, c.epsilon.end, c.alpha) for c in advised]
    assert numbers == [(500, "mean", "adaptive", 0.001, 0.8), (200, "mean", "adaptive", 0.001, 0.8)]


def test_the_local_subnet_has_two_competitions_that_differ_only_in_their_mix() -> None:
    schedule = load(FOLDER / "localnet.yaml")
    prose, mixed = (c.model_dump(exclude={"id", "name", "tasks"}) for c in schedule.at(Block(0)))
    assert prose == mixed
    assert [c.weights for c in schedule.at(Block(0))] == [{"prose": 1.0}, {"code": 0.15, "prose": 0.85}]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_shipped_file_does_the_same_as_itself(path: Path) -> None:
    assert competition_diff.changes(load(path), load(path)) == ()

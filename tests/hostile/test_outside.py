"""Every attack on hub, chain and steps meets its guard, within its bytes, and wins without it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from chain_attacks import CHAIN_ATTACKS
from child_attacks import CHILD_ATTACKS, close
from copy_attacks import COPY_ATTACKS
from crown_attacks import CROWN_ATTACKS
from hub_attacks import HUB_ATTACKS
from outside import Attack, Guard, rows
from rows import section, table
from step_attacks import STEP_ATTACKS

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")  # huggingface_hub's upload
START, END = "<!-- outside: start -->", "<!-- outside: end -->"
ATTACKS = (*CHAIN_ATTACKS, *COPY_ATTACKS, *STEP_ATTACKS, *CROWN_ATTACKS, *HUB_ATTACKS, *CHILD_ATTACKS)


@pytest.fixture(scope="module", autouse=True)
def _no_server_is_left() -> Iterator[None]:
    yield
    close()


def take_out(patch: pytest.MonkeyPatch, guards: tuple[Guard, ...]) -> None:
    for guard in guards:
        for name, instead in guard.instead.items():
            patch.setattr(name, instead)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_an_attack_ends_as_it_must_within_its_bytes(attack: Attack, tmp_path: Path) -> None:
    found = attack.run(tmp_path)

    assert found.outcome == attack.outcome
    assert found.bytes <= attack.most


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_an_attack_wins_when_its_guards_are_taken_out(
    attack: Attack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_out(monkeypatch, attack.guards)

    assert attack.run(tmp_path).outcome == attack.gains != attack.outcome


@pytest.mark.parametrize(
    ("attack", "kept"),
    [(attack, guard) for attack in ATTACKS for guard in attack.guards if len(attack.guards) > 1],
    ids=lambda value: value.name,
)
def test_of_several_guards_each_one_is_enough(
    attack: Attack, kept: Guard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_out(monkeypatch, tuple(guard for guard in attack.guards if guard is not kept))

    assert attack.run(tmp_path).outcome != attack.gains


def test_the_table_in_the_documents_is_this_gallery() -> None:
    text = (Path(__file__).parents[2] / "docs" / "security.md").read_text()

    assert section(text, START, END) == table(rows(ATTACKS))


def test_each_attack_has_a_name_of_its_own() -> None:
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS)

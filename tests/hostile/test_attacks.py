"""Every attack ends at its gate, for its reason, after so few bytes; and without its guard it succeeds."""

from dataclasses import replace
from pathlib import Path

import pytest
from attack import Attack, honest_loss, run
from attacks import ATTACKS
from attacks_by_sizes import LARGEST
from attacks_by_weights import PADDED
from crafted import honest
from gates import CONSTRAINTS, SCORED
from rows import section, table
from take_out import Several, TakeOut

from pretrain.errors import Reason
from pretrain.models.architectures import Architecture
from pretrain.models.files import CONFIG, INDEX


@pytest.fixture(params=ATTACKS, ids=lambda attack: attack.name)
def attack(request: pytest.FixtureRequest) -> Attack:
    found = request.param
    assert isinstance(found, Attack)
    return found


def test_an_attack_ends_at_its_gate(attack: Attack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = run(attack, tmp_path, monkeypatch)

    assert (tried.gate, tried.outcome) == (attack.gate, attack.outcome), tried.detail
    assert tried.hub.read_bytes <= attack.most_bytes <= 2 * tried.hub.read_bytes + 100
    assert {name for name in tried.hub.bytes_of if name not in {CONFIG, INDEX}} <= {
        name for name in tried.hub.files if name.endswith(".safetensors")
    }
    assert tried.hub.escaped == [] or attack.links


@pytest.mark.parametrize(
    "attack", [attack for attack in ATTACKS if attack.unguarded or attack.lenient], ids=lambda attack: attack.name
)
def test_an_attack_succeeds_without_its_guard(attack: Attack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = run(attack, tmp_path, monkeypatch, guarded=False)

    assert attack.succeeds(tried), tried


@pytest.mark.parametrize(
    ("attack", "kept"),
    [
        pytest.param(attack, kept, id=f"{attack.name}: {number}")
        for attack in ATTACKS
        if isinstance(attack.unguarded, Several)
        for number, kept in enumerate(attack.unguarded.guards)
    ],
)
def test_one_of_several_guards_is_enough(
    attack: Attack, kept: TakeOut, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(attack.unguarded, Several)
    other = replace(attack, unguarded=attack.unguarded.all_but(kept))

    assert not attack.succeeds(run(other, tmp_path, monkeypatch, guarded=False))


@pytest.mark.parametrize(
    "attack", [attack for attack in ATTACKS if attack.outcome == SCORED], ids=lambda attack: attack.name
)
def test_what_is_not_refused_changes_no_loss(attack: Attack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(attack, tmp_path, monkeypatch).loss == honest_loss(tmp_path)


def test_without_its_layers_a_padded_model_is_too_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = replace(PADDED[0], build=honest)

    assert run(small, tmp_path, monkeypatch).outcome == Reason.ARCHITECTURE


def test_a_network_as_large_as_a_config_can_say_takes_no_memory() -> None:
    """The parts of it that exist are as many as its layers; of its numbers there is none."""
    model = Architecture.of("llama", vocab_size=256, **LARGEST).build(CONSTRAINTS)

    assert all(parameter.is_meta for parameter in model.parameters())
    assert sum(buffer.nbytes for buffer in model.buffers() if not buffer.is_meta) == 0


def test_the_documented_table_is_that_of_the_gallery() -> None:
    text = (Path(__file__).parents[2] / "docs" / "security.md").read_text()

    assert section(text) == table(attack.row for attack in ATTACKS)


def test_no_two_attacks_have_one_name() -> None:
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS)

"""Every attack ends at its gate, for its reason, after so few bytes; and without its guard it succeeds."""

from pathlib import Path

import pytest
from attack import Attack, run
from attacks import ATTACKS

from pretrain.models.files import CONFIG, INDEX


@pytest.fixture(params=ATTACKS, ids=lambda attack: attack.name)
def attack(request: pytest.FixtureRequest) -> Attack:
    found = request.param
    assert isinstance(found, Attack)
    return found


def test_an_attack_ends_at_its_gate(attack: Attack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = run(attack, tmp_path, monkeypatch)

    assert (tried.gate, tried.outcome) == (attack.gate, attack.outcome), tried.detail
    assert tried.hub.bytes <= attack.most_bytes, tried.hub.bytes
    assert {name for name in tried.hub.bytes_of if name not in {CONFIG, INDEX}} <= {
        name for name in tried.hub.files if name.endswith(".safetensors")
    }
    assert tried.hub.escaped == [] or attack.links


@pytest.mark.parametrize(
    "attack", [attack for attack in ATTACKS if attack.unguarded or attack.lenient], ids=lambda attack: attack.name
)
def test_an_attack_succeeds_without_its_guard(
    attack: Attack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = run(attack, tmp_path, monkeypatch, guarded=False)

    assert attack.succeeds(tried), tried


def test_no_two_attacks_have_one_name() -> None:
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS)

from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from pretrain.errors import ConfigError
from pretrain.train.checkpoint import Saved, load, save

SETTINGS = {"train.lr": 0.1, "train.seed": 1}
PATH = "checkpoint.safetensors"


def network(seed: int) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    """A network and its optimizer after one step, so that it has moments."""
    generator = torch.Generator().manual_seed(seed)
    model = torch.nn.Linear(3, 2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return model, optimizer


def everything(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, list[float]]:
    found = {name: parameter.detach().flatten().tolist() for name, parameter in model.named_parameters()}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state[parameter].items():
            found[f"{name} {key}"] = value.flatten().tolist()
    return found


def test_what_is_loaded_is_what_was_saved(tmp_path: Path) -> None:
    first, second = network(1), network(2)
    save(tmp_path / PATH, *first, Saved(windows=40, steps=1), SETTINGS)
    assert load(tmp_path / PATH, *second, SETTINGS) == Saved(windows=40, steps=1)
    assert everything(*second) == everything(*first)


def test_there_is_nothing_to_load_before_the_first_save(tmp_path: Path) -> None:
    model, optimizer = network(1)
    before = everything(model, optimizer)
    assert load(tmp_path / PATH, model, optimizer, SETTINGS) is None
    assert everything(model, optimizer) == before


def test_every_differing_setting_is_named_and_nothing_is_loaded(tmp_path: Path) -> None:
    save(tmp_path / PATH, *network(1), Saved(windows=40, steps=1), SETTINGS | {"old": 3})
    model, optimizer = network(2)
    before = everything(model, optimizer)
    with pytest.raises(ConfigError, match=r"old 3 \(now None\), train\.lr 0\.1 \(now 0\.2\); give") as caught:
        load(tmp_path / PATH, model, optimizer, {"train.lr": 0.2, "train.seed": 1})
    assert "\n" not in str(caught.value)
    assert everything(model, optimizer) == before


def test_a_write_cut_short_leaves_the_checkpoint_before_it(tmp_path: Path) -> None:
    save(tmp_path / PATH, *network(1), Saved(windows=40, steps=1), SETTINGS)
    whole = (tmp_path / PATH).read_bytes()
    (tmp_path / f"{PATH}.tmp").write_bytes(whole[:100])
    assert load(tmp_path / PATH, *network(2), SETTINGS) == Saved(windows=40, steps=1)


@pytest.mark.parametrize("cut", [0, 4, 100, -1])
def test_a_torn_or_foreign_file_gets_one_clear_line(tmp_path: Path, cut: int) -> None:
    save(tmp_path / PATH, *network(1), Saved(windows=40, steps=1), SETTINGS)
    (tmp_path / PATH).write_bytes((tmp_path / PATH).read_bytes()[:cut])
    with pytest.raises(ConfigError, match=r"cannot be read .* remove it to train from the start"):
        load(tmp_path / PATH, *network(2), SETTINGS)


def test_a_checkpoint_of_another_shape_gets_one_clear_line(tmp_path: Path) -> None:
    save(tmp_path / PATH, *network(1), Saved(windows=40, steps=1), SETTINGS)
    other = torch.nn.Linear(4, 2)
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / PATH, other, torch.optim.AdamW(other.parameters()), SETTINGS)


def test_the_file_is_safetensors_with_its_progress_as_json(tmp_path: Path) -> None:
    save(tmp_path / PATH, *network(1), Saved(windows=40, steps=1), SETTINGS)
    with safe_open(tmp_path / PATH, framework="pt") as file:
        assert sorted(file.keys()) == sorted(
            f"{kind}/{name}" for kind in ("weight", "mean", "square") for name in ("weight", "bias")
        )
        assert file.metadata() == {"run": '{"settings": {"train.lr": 0.1, "train.seed": 1}, "steps": 1, "windows": 40}'}

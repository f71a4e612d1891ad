"""A training run on disk: weights, optimizer moments and progress in one safetensors file.

One file, so that one rename makes all of it new at once; no pickle, so that reading it runs nothing.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from pretrain.errors import ConfigError

FILE = "checkpoint.safetensors"
_WEIGHT, _MEAN, _SQUARE = "weight/", "mean/", "square/"
_METADATA = "run"

Settings = Mapping[str, str | int | float | None]
"""What is trained on what, flat; a checkpoint of other settings is another run."""


@dataclass(frozen=True)
class Saved:
    """How far a checkpoint had come."""

    windows: int
    """Training windows seen; the data's place, as windows are read by index."""
    steps: int
    """Optimizer steps done."""


def save(
    path: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer, saved: Saved, settings: Settings
) -> None:
    """Write a checkpoint so that a reader finds the old one or the new one, never a part."""
    tensors = {}
    for name, parameter in model.named_parameters():
        tensors[_WEIGHT + name] = parameter.detach().contiguous()
        state = optimizer.state.get(parameter)
        if state:
            tensors[_MEAN + name] = state["exp_avg"].contiguous()
            tensors[_SQUARE + name] = state["exp_avg_sq"].contiguous()
    run = {"windows": saved.windows, "steps": saved.steps, "settings": dict(settings)}
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".tmp")
    save_file(tensors, draft, metadata={_METADATA: json.dumps(run, sort_keys=True)})
    with draft.open("rb") as file:
        os.fsync(file.fileno())
    draft.replace(path)


def load(path: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer, settings: Settings) -> Saved | None:
    """Put a checkpoint's weights and moments in place and return its progress; None when there is no file.

    Raises ConfigError when it is of another run (naming every setting that differs) or cannot be read.
    """
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            run = json.loads((file.metadata() or {})[_METADATA])
            _same_run(path, run["settings"], settings)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        saved = Saved(windows=run["windows"], steps=run["steps"])
        _restore(model, optimizer, tensors, saved)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise ConfigError(f"checkpoint {path} cannot be read ({error}); remove it to train from the start") from error
    return saved


def _restore(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor], saved: Saved
) -> None:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(tensors[_WEIGHT + name])
            if saved.steps:
                optimizer.state[parameter] = {
                    "step": torch.tensor(float(saved.steps), device=_step_device(parameter, optimizer)),
                    "exp_avg": tensors[_MEAN + name].to(parameter.device),
                    "exp_avg_sq": tensors[_SQUARE + name].to(parameter.device),
                }


def _step_device(parameter: torch.Tensor, optimizer: torch.optim.Optimizer) -> torch.device:
    """Return where AdamW keeps its counter: on the host, unless it is fused."""
    return parameter.device if optimizer.defaults.get("fused") else torch.device("cpu")


def _same_run(path: Path, theirs: Settings, ours: Settings) -> None:
    differing = [
        f"{name} {theirs.get(name)!r} (now {ours.get(name)!r})"
        for name in sorted({*theirs, *ours})
        if theirs.get(name) != ours.get(name)
    ]
    if differing:
        raise ConfigError(
            f"checkpoint {path} is of another run: {', '.join(differing)};"
            " give the same settings to go on with it, or another --dir to start anew"
        )

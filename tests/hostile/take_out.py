"""Guards, each taken out by one function, for tests in which the attack that it stops must succeed."""

import hashlib
import json
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from pretrain import describe
from pretrain.competition import Constraints
from pretrain.errors import Reason
from pretrain.evaluate import child
from pretrain.hub import names, store
from pretrain.models import architectures, files, header, hostile_json, load
from pretrain.models.architectures import Architecture
from pretrain.models.header import StoredTensor
from pretrain.types import Digest

TakeOut = Callable[[pytest.MonkeyPatch], None]
_DIGEST = header.digest_of_tensors


@dataclass(frozen=True)
class Several:
    """Guards that hold independently: only without all of them an attack succeeds."""

    guards: tuple[TakeOut, ...]

    def __call__(self, patch: pytest.MonkeyPatch) -> None:
        for guard in self.guards:
            guard(patch)

    def all_but(self, kept: TakeOut) -> "Several":
        """Return the others than one."""
        return Several(tuple(guard for guard in self.guards if guard is not kept))


def all_of(*guards: TakeOut) -> Several:
    """Take out several guards."""
    return Several(
        tuple(part for guard in guards for part in (guard.guards if isinstance(guard, Several) else (guard,)))
    )


def constant(module: Any, name: str, value: object) -> TakeOut:  # noqa: ANN401 - a module or a class
    """Give a constant or a function another value, where its own module looks it up."""
    return lambda patch: patch.setattr(module, name, value, raising=False)


def without(mapping: Any, key: str) -> TakeOut:  # noqa: ANN401 - Mapping to its users
    """Take an entry out of a table."""
    return lambda patch: patch.delitem(mapping, key)


def entry(mapping: Any, key: str, value: object) -> TakeOut:  # noqa: ANN401 - Mapping to its users
    """Put another entry into a table."""
    return lambda patch: patch.setitem(mapping, key, value)


def everywhere(function: Callable[..., Any], other: Callable[..., Any]) -> TakeOut:
    """Put a function in the place of another one in every module of ours that imported it."""

    def take_out(patch: pytest.MonkeyPatch) -> None:
        for name, module in list(sys.modules.items()):
            if name.startswith("pretrain.") and getattr(module, function.__name__, None) is function:
                patch.setattr(module, function.__name__, other)

    return take_out


def nothing(*_: object, **__: object) -> None:
    """Stand for a check that is gone."""


def _loose_header(raw: bytes, data_bytes: int, where: str) -> tuple[StoredTensor, ...]:  # noqa: ARG001
    entries = hostile_json.parse_object(raw, limit=header.MAX_HEADER_BYTES, what=where, reason=Reason.HEADER)
    entries.pop("__metadata__", None)
    start = header.LENGTH_BYTES + len(raw)
    return tuple(header._tensor(name, stored, start, where) for name, stored in entries.items())  # noqa: SLF001


def _digest_of_last(tensors: Iterable[tuple[StoredTensor, str]]) -> Digest:
    return _DIGEST({tensor.name: (tensor, sha256) for tensor, sha256 in tensors}.values())


def _digest_as_stored(tensors: Iterable[tuple[StoredTensor, str]]) -> Digest:
    lines = [f"{tensor.name} {tensor.dtype} {tensor.shape} {sha256}" for tensor, sha256 in tensors]
    return Digest(hashlib.sha256("\n".join(lines).encode()).hexdigest())


def _assemble_loosely(
    architecture: Architecture, constraints: Constraints, weights: dict[str, torch.Tensor], device: torch.device
) -> PreTrainedModel:
    model = architecture.build(constraints)
    architectures.restore(model, weights, device)
    model.train(mode=False)
    model.requires_grad_(requires_grad=False)
    return model


def _first_of_name(name: str, given: Any, data_start: int, where: str) -> StoredTensor:  # noqa: ANN401, ARG001
    begin, end = given["data_offsets"]
    return StoredTensor(name, given["dtype"], tuple(given["shape"]), data_start + begin, end - begin)


class _Same(str):
    """A text that is equal to every other."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __ne__(self, other: object) -> bool:
        return False


def _true_everywhere(values: torch.Tensor) -> torch.Tensor:
    return torch.ones_like(values, dtype=torch.bool)


def json_by(decoded: Callable[[bytes], bytes | str]) -> TakeOut:
    """Read strangers' JSON with the library's own reader."""
    return everywhere(hostile_json.parse_object, lambda raw, **_: json.loads(decoded(raw)))


header_must_be_filled = everywhere(header.parse_header, _loose_header)
header_must_fit = everywhere(architectures.check_header, nothing)
tensor_once = everywhere(header.digest_of_tensors, _digest_of_last)
digest_without_order = everywhere(header.digest_of_tensors, _digest_as_stored)
all_must_be_given = constant(load, "_assemble", _assemble_loosely)
any_json = json_by(lambda raw: raw)
tensor_entry_is_sane = constant(header, "_tensor", _first_of_name)
must_be_finite = all_of(
    constant(torch, "isfinite", _true_everywhere),
    constant(np, "isfinite", lambda values: np.ones_like(values, dtype=np.bool_)),
)
names_are_unique = constant(hostile_json, "_unique", dict)
probes = constant(child, "probe", nothing)
plain_shard_names = constant(files, "_SHARD", re.compile(r"(?s).*"))
hub_lists_plain_names = constant(names, "may_be_of_a_model", lambda _: True)
store_takes_plain_names = constant(store, "is_file_name", lambda _: True)
committed_hash = constant(describe, "secure_hash", lambda *_: _Same())
every_file_is_of_the_model = all_of(
    hub_lists_plain_names, constant(files, "_model_names", lambda present, _: tuple(sorted(present))), committed_hash
)

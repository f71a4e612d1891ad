"""Repositories to begin an attack with: honest ones, a network that reads the next token if it may, and their pieces.

Shapes: V ids, H hidden size, D numbers of a head.
"""

import functools
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from gates import CONSTRAINTS, VOCABULARY
from safetensors.torch import load, save
from tiny import tiny_architecture, tiny_families, tiny_model
from transformers import PreTrainedModel

from pretrain.models.architectures import Architecture
from pretrain.models.families import FAMILIES
from pretrain.models.files import CONFIG, INDEX, WEIGHTS
from pretrain.models.header import weights_digest
from pretrain.models.load import save as save_model
from pretrain.types import Digest

FIRST, SECOND = "a.safetensors", "b.safetensors"

CODE = 31
"""Numbers by which the oracle knows a token."""


@functools.cache
def built(architecture: Architecture, seed: int = 0) -> Mapping[str, bytes]:
    """Return the files of a network with random weights."""
    with tempfile.TemporaryDirectory() as folder:
        return files_of(tiny_model(Path(folder), architecture, seed=seed))


def files_of(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def honest() -> dict[str, bytes]:
    """Return a small Llama."""
    return dict(built(tiny_architecture()))


def victim() -> dict[str, bytes]:
    """Return the small Llama that another miner committed earlier."""
    return dict(built(tiny_architecture(), seed=1))


def digest(files: Mapping[str, bytes]) -> Digest:
    """Return the weights digest of a model."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        return weights_digest(Path(folder))


@functools.cache
def victims_weights() -> Digest:
    """Return the weights digest that the earlier commitment owns."""
    return digest(victim())


def of_family(family: str, positions: int = 32, **fields: int | bool) -> dict[str, bytes]:
    """Return a small network of a family."""
    architecture = tiny_families(positions=positions)[family]
    return dict(built(Architecture.of(family, **{**architecture.fields, **fields})))


def configured(files: Mapping[str, bytes], **fields: object) -> dict[str, bytes]:
    """Return the files with other fields in config.json."""
    return {**files, CONFIG: json.dumps({**json.loads(files[CONFIG]), **fields}).encode()}


def with_config_text(files: Mapping[str, bytes], more: str) -> dict[str, bytes]:
    """Return the files with raw text put in before the end of config.json's object."""
    config = files[CONFIG].decode().rstrip().removesuffix("}")
    return {**files, CONFIG: f"{config}, {more}}}".encode("utf-8", "surrogatepass")}


def tensors(files: Mapping[str, bytes]) -> dict[str, torch.Tensor]:
    """Return the weights of a model in one file."""
    return load(files[WEIGHTS])


def weighed(files: Mapping[str, bytes], weights: Mapping[str, torch.Tensor]) -> dict[str, bytes]:
    """Return the files with other weights in their one file."""
    return {**files, WEIGHTS: save(dict(weights), metadata={"format": "pt"})}


def sharded(files: Mapping[str, bytes], *, reverse: bool = False) -> dict[str, bytes]:
    """Return the same model in two shards, the tensors dealt out in turn."""
    names = sorted(tensors(files), reverse=reverse)
    parts = {FIRST: names[::2], SECOND: names[1::2]}
    shards = {shard: save({name: tensors(files)[name] for name in part}) for shard, part in parts.items()}
    return {CONFIG: files[CONFIG], INDEX: index({part[0]: shard for shard, part in parts.items()}), **shards}


def index(named: Mapping[str, str]) -> bytes:
    """Return an index: tensors, and the file of each."""
    return json.dumps({"weight_map": dict(named)}).encode()


def header(raw: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the header of a safetensors file, and its data."""
    end = 8 + int.from_bytes(raw[:8], "little")
    return json.loads(raw[8:end]), raw[end:]


def file(head: Mapping[str, object] | bytes, data: bytes) -> bytes:
    """Return a safetensors file of a header and data."""
    raw = head if isinstance(head, bytes) else json.dumps(head).encode()
    return len(raw).to_bytes(8, "little") + raw + data


@functools.cache
def oracle(family: str = "llama") -> Mapping[str, bytes]:
    """Return a Llama or a Gemma, made by hand, that copies the next token where a mask lets it, and else knows nothing.

    Every id has a code of signs. Attention has a query and a key that are the same for all tokens, the key turned back
    by one position: of rotary embeddings the score is largest for the token that follows (RoFormer, arXiv 2104.09864,
    section 3.2.2). What it finds there is written beside the token's own code, where the head alone looks.
    """
    llama = dict(tiny_architecture(layers=1, hidden=64).fields)
    named = FAMILIES[family].fields
    fields = {name: value for name, value in llama.items() if name in named}
    model: Any = Architecture.of(family, **fields).build(CONSTRAINTS, "cpu")
    scaled = 1.0 if family == "llama" else 0.0  # Gemma's norms add the 1 themselves
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(requires_grad=False)
        parameter.fill_(scaled if name.endswith("norm.weight") else 0.0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        codes_VC = torch.randint(2, (VOCABULARY, CODE)) * 2.0 - 1.0
    model.model.embed_tokens.weight[:, :CODE] = codes_VC
    model.model.embed_tokens.weight[:, -1] = 4.0
    model.lm_head.weight[:, 32 : 32 + CODE] = 8 * codes_VC
    attention = model.model.layers[0].self_attn
    turns = 10_000.0 ** (-torch.arange(8) / 8)
    attention.q_proj.weight.view(4, 2, 8, 64)[:, 0, :, -1] = 4.0
    attention.k_proj.weight.view(2, 2, 8, 64)[..., -1] = 4.0 * torch.stack((turns.cos(), -turns.sin()))
    attention.v_proj.weight[:CODE, :CODE] = torch.eye(CODE)
    attention.o_proj.weight[32:48, 0:16] = torch.eye(16)
    attention.o_proj.weight[48:63, 32:47] = torch.eye(15)
    return _saved(model)


def _saved(model: PreTrainedModel) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        save_model(model, Path(folder), CONSTRAINTS)
        return files_of(Path(folder))

"""Where training starts: random weights of a seed, or somebody's published model."""

from pathlib import Path

import torch
from transformers import PreTrainedModel

from pretrain.commitment import content_digest
from pretrain.competition import Constraints
from pretrain.errors import ConfigError, ModelRejected
from pretrain.hub import Hub
from pretrain.models.architectures import Architecture, read_config
from pretrain.models.files import CONFIG, index_file, model_files
from pretrain.models.load import load
from pretrain.node import Store
from pretrain.settings import Model
from pretrain.train.initial import initialise
from pretrain.types import Revision


def random_start(wanted: Model, constraints: Constraints, vocabulary: int, seed: int, device: str) -> PreTrainedModel:
    """Return a new Llama with weights from the seed; raises ConfigError when the competition would refuse it."""
    try:
        architecture = Architecture.of(
            "llama",
            hidden_size=wanted.hidden_size,
            intermediate_size=wanted.intermediate_size,
            num_hidden_layers=wanted.layers,
            num_attention_heads=wanted.heads,
            num_key_value_heads=wanted.kv_heads or wanted.heads,
            vocab_size=vocabulary,
            tie_word_embeddings=not wanted.untied,
        )
        read_config(architecture.config_json(constraints), constraints, vocabulary)
    except ModelRejected as error:
        raise ConfigError(f"--model.*: {error.detail.removeprefix(f'{CONFIG}: ')}") from error
    model = architecture.build(constraints, device)
    initialise(model, seed, wanted.layers, wanted.hidden_size)
    return model


async def fetch_start(pinned: str, hub: Hub, store: Store) -> Path:
    """Download a published model, named ``REPO@REVISION``, and return its folder.

    Raises ModelRejected when it is not readable or no model, HubUnavailable.
    """
    repo, _, revision = pinned.partition("@")
    described = await hub.describe(repo, Revision(revision))
    index = index_file(described)
    files = model_files(described, await hub.read(repo, Revision(revision), index) if index else None)
    return await store.fetch(hub, repo, Revision(revision), files, content_digest(files))


def published_start(
    folder: Path, constraints: Constraints, vocabulary: int, device: str, *, trained: bool
) -> PreTrainedModel:
    """Return the model of a folder; in float32 with gradients when it is to be ``trained``, else as it is."""
    model = load(folder, constraints, vocabulary, device)
    if trained:
        torch.nn.Module.float(model)
        model.requires_grad_(requires_grad=True)
    return model

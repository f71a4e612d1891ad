"""Architectures: a stranger's config.json becomes our named fields, and only those build a network.

With transformers 5 one field of a config (``"is_causal": false``) makes every usual family read the answers, and others
have run code. So the library never sees that file: it gets a configuration made here, of fields checked one by one.
What there is to know of each family stands in ``families``.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, cast

import torch
from transformers import PreTrainedModel

from pretrain.competition import Constraints
from pretrain.errors import ModelRejected, Reason
from pretrain.models.families import FAMILIES
from pretrain.models.family import Family, Head
from pretrain.models.fields import Value, rejected, rounded_up, whole_value
from pretrain.models.files import CONFIG, MAX_CONFIG_BYTES
from pretrain.models.header import MAX_TENSORS, StoredTensor
from pretrain.models.hostile_json import parse_object
from pretrain.models.rotary import SHARE, THETA, Rotary

DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
"""The dtypes that weights may be stored in, as safetensors names them."""

VOCABULARY_MULTIPLE = 256
"""A vocabulary may be padded up to the next multiple of this many ids."""


@dataclass(frozen=True)
class Architecture:
    """A network of one family by the fields that decide what it computes."""

    family: str
    values: tuple[tuple[str, Value], ...]
    """The named fields of the family, all of them, in the order of its entry."""

    @classmethod
    def of(cls, family: str, **named: Value) -> Self:
        """Return the architecture with these fields; the others have the default of the library.

        Raises ModelRejected(ARCHITECTURE) for values that no competition would allow.
        """
        if unknown := named.keys() - FAMILIES[family].fields.keys():
            raise rejected(f"{family} has no field {min(unknown)}; it has {', '.join(FAMILIES[family].fields)}")
        spelled = {_spelling(FAMILIES[family], name): value for name, value in named.items()}
        return cls(family, tuple(FAMILIES[family].read(spelled, sequence_length=1).items()))

    @property
    def fields(self) -> Mapping[str, Value]:
        """The named fields."""
        return dict(self.values)

    def build(self, constraints: Constraints, device: str | torch.device = "meta") -> PreTrainedModel:
        """Return the network in float32, causal, without a key-value cache, for windows of the competition's length.

        On the meta device it has shapes and no memory; elsewhere its weights are initialised from torch's generator.
        """
        family = FAMILIES[self.family]
        with torch.device(device):
            model = family.network(family.configured(self.fields, constraints.sequence_length))
        for module in cast("Iterable[Any]", model.modules()):
            if hasattr(module, "is_causal"):
                module.is_causal = True
        if not model.get_input_embeddings().weight.is_meta:
            family.restore_buffers(model, torch.device(device))
        return model

    def tensors(self, constraints: Constraints) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the tensors that the files must hold, by name; a tied head is only the embedding."""
        named = stored_parameters(self.build(constraints))
        return {name: tuple(parameter.shape) for name, parameter in named.items()}

    def config_json(self, constraints: Constraints) -> bytes:
        """Return the config.json that a miner publishes: the named fields, and what other programs need to load it."""
        family = FAMILIES[self.family]
        written = {
            "model_type": self.family,
            "architectures": [family.network.__name__],
            family.activation[0]: family.activation[1][0],
            **dict.fromkeys(family.lengths, constraints.sequence_length),
            **family.written,
            **{_spelling(family, name): value for name, value in self.values},
        }
        return json.dumps(written, indent=2).encode() + b"\n"


def read_config(raw: bytes, constraints: Constraints, vocabulary: int) -> Architecture:
    """Read config.json as data and return the architecture it names, checked against the competition.

    ``vocabulary`` is the number of ids of the competition's tokenizer. Fields that we do not know are ignored: they
    reach nothing. Raises ModelRejected(ARCHITECTURE) for a family that is not allowed, a field that is missing or out
    of bounds, a computation that we do not build (``families`` lists them), a vocabulary or a parameter count outside
    the competition's bounds: all parameters are counted against the most, and those that losses depend on against the
    fewest.
    """
    config = parse_object(raw, limit=MAX_CONFIG_BYTES, what=CONFIG, reason=Reason.ARCHITECTURE)
    name = config.get("model_type")
    if not isinstance(name, str) or name not in constraints.families or name not in FAMILIES:
        raise rejected(f"model_type {ascii(name)[:60]} is not allowed; allowed: {', '.join(constraints.families)}")
    length = constraints.sequence_length
    architecture = Architecture(name, tuple(FAMILIES[name].read(config, length).items()))
    ids, most = whole_value(architecture.fields, "vocab_size"), rounded_up(vocabulary, VOCABULARY_MULTIPLE)
    if not vocabulary <= ids <= most:
        raise rejected(f"vocab_size {ids} is outside the tokenizer's {vocabulary} to {most}")
    shapes = architecture.tensors(constraints)
    parameters = sum(map(math.prod, shapes.values()))
    read = parameters - sum(FAMILIES[name].unread(tensor, shape, length) for tensor, shape in shapes.items())
    if not constraints.min_parameters <= read <= parameters <= constraints.max_parameters:
        without = f", {read} of which losses depend on" if read < parameters else ""
        bounds = f"{constraints.min_parameters} to {constraints.max_parameters}"
        raise rejected(f"{parameters} parameters{without}; the competition allows {bounds}")
    return architecture


def check_header(tensors: Sequence[StoredTensor], architecture: Architecture, constraints: Constraints) -> None:
    """Check that the files hold exactly the tensors of the architecture; raises ModelRejected(HEADER)."""
    if len(tensors) > MAX_TENSORS:
        raise ModelRejected(Reason.HEADER, f"{len(tensors)} tensors in all headers; at most {MAX_TENSORS} are read")
    expected = architecture.tensors(constraints)
    found = {tensor.name: tensor for tensor in tensors}
    if len(found) < len(tensors):
        raise ModelRejected(Reason.HEADER, f"{_repeated(tensors)} is in two shards; each tensor may stand once")
    if missing := expected.keys() - found.keys():
        raise ModelRejected(Reason.HEADER, f"{len(missing)} tensors are missing, such as {min(missing)}")
    if extra := found.keys() - expected.keys():
        raise ModelRejected(Reason.HEADER, f"{len(extra)} tensors are not of the architecture, such as {min(extra)}")
    for name, tensor in found.items():
        if tensor.shape != expected[name]:
            raise ModelRejected(Reason.HEADER, f"{name} has shape {tensor.shape}; expected {expected[name]}")
        if tensor.dtype not in DTYPES:
            raise ModelRejected(Reason.HEADER, f"{name} has dtype {tensor.dtype}; allowed are {', '.join(DTYPES)}")


def _repeated(tensors: Sequence[StoredTensor]) -> str:
    """Return the first name that stands a second time, in one pass: a stranger says how many there are."""
    seen: set[str] = set()
    for tensor in tensors:
        if tensor.name in seen:
            return tensor.name
        seen.add(tensor.name)
    raise ValueError("every name stands once")


def describe(model: PreTrainedModel) -> Architecture:
    """Return the architecture of a network that ``Architecture.build`` made."""
    config: Any = model.config
    name = config.model_type
    values = (
        (field, config.rope_parameters[field] if field in (THETA, SHARE) else getattr(config, field))
        for field in FAMILIES[name].fields
    )
    return Architecture(name, tuple(values))


def stored_parameters(model: PreTrainedModel) -> dict[str, torch.nn.Parameter]:
    """Return the parameters of a network by the names that they have in files; a tied head is only the embedding."""
    renamed = FAMILIES[model.config.model_type].renamed
    return {renamed.get(name, name): parameter for name, parameter in model.named_parameters()}


def restore(model: PreTrainedModel, weights: Mapping[str, torch.Tensor], device: torch.device) -> None:
    """Give a network on the meta device its weights, by the names of files, and compute what is in no file."""
    family = FAMILIES[model.config.model_type]
    own = {stored: name for name, stored in family.renamed.items()}
    model.load_state_dict({own.get(name, name): tensor for name, tensor in weights.items()}, strict=False, assign=True)
    model.tie_weights()
    family.restore_buffers(model, device)


def hidden_states(model: PreTrainedModel, tokens: torch.Tensor) -> torch.Tensor:
    """Return the states (B, T, H) that the head reads, of token ids (B, T), in the model's dtype."""
    return FAMILIES[model.config.model_type].hidden_states(model, tokens)


def head(model: PreTrainedModel) -> Head:
    """Return the function from hidden states to float32 logits; it may hold a float32 copy of the weights."""
    return FAMILIES[model.config.model_type].head(model)


def _spelling(family: Family, name: str) -> str:
    """Return what the field is called at the top level of the family's config.json."""
    field = family.fields[name]
    return field.spelled if isinstance(field, Rotary) else name

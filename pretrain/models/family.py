"""What there is to say about a family of networks, and the pieces of which the table in ``families`` is made.

Shapes: B windows, T tokens, N positions, H hidden size, V vocabulary.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from pretrain.models.fields import Config, Field, Values, neutral, rejected, same, whole_value
from pretrain.models.grouped import GROUPED
from pretrain.models.rotary import SHARE, THETA, check_whole_heads

Head = Callable[[torch.Tensor], torch.Tensor]
"""Hidden states (N, H) in the model's dtype to logits (N, V) in float32."""

MOST_WIDENING = 16
"""No layer inside may be so many times wider than the hidden states: what it takes while it runs is bounded by that."""

FIXED: Mapping[str, object] = {
    "is_causal": True,
    "use_cache": False,
    "attention_dropout": 0.0,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
    "attn_implementation": GROUPED,
}
"""What we set in the configuration of every family, whatever the stranger's says."""

NEUTRAL: Mapping[str, tuple[object, ...]] = {
    "is_causal": (True,),
    "use_bidirectional_attention": (False, None),
    "quantization_config": (None,),
    "per_layer_config": (None,),
}
"""Fields that change what any family of the library computes."""


@dataclass(frozen=True)
class Names:
    """What a family calls the numbers that bound its shapes."""

    hidden: str = "hidden_size"
    heads: str = "num_attention_heads"
    inner: str = "intermediate_size"
    groups: str | None = "num_key_value_heads"
    """None: as many key-value heads as heads, or ``check`` says how many."""
    head_dim: str | None = None
    """None: always hidden size / heads; a config that says another one is refused."""


def plain_head(model: PreTrainedModel) -> Head:
    """Return the product with the output embedding."""
    weight = model.lm_head.weight.float()
    return lambda states: states.float() @ weight.T


def biased_head(model: PreTrainedModel) -> Head:
    """Return the product with the output embedding plus its bias (Phi)."""
    product, bias = plain_head(model), model.lm_head.bias.float()
    return lambda states: product(states).add_(bias)


def capped_head(model: PreTrainedModel) -> Head:
    """Return the product soft-capped at c, c tanh(x / c) (Gemma 2, arXiv 2408.00118, section 2)."""
    product, cap = plain_head(model), model.config.final_logit_softcapping
    return product if cap is None else lambda states: product(states).div_(cap).tanh_() * cap


def base_states(model: PreTrainedModel, tokens: torch.Tensor) -> torch.Tensor:
    """Return what the network under the head makes of token ids (B, T): (B, T, H) after the last norm."""
    return cast("torch.Tensor", model.base_model(input_ids=tokens, use_cache=False).last_hidden_state)


def restore_rotary(model: PreTrainedModel, device: torch.device) -> None:
    """Compute the frequencies of rotary embeddings anew, on the CPU wherever they go: the same bits for everybody."""
    base: Any = model.base_model
    base.rotary_emb = type(base.rotary_emb)(config=model.config).to(device)


def restore_rotary_and_scale(model: PreTrainedModel, device: torch.device) -> None:
    """Compute, besides, the factor of scaled embeddings (Gemma)."""
    restore_rotary(model, device)
    embedding: Any = model.get_input_embeddings()
    embedding.embed_scale = torch.nn.Buffer(torch.tensor(embedding.scalar_embed_scale, device=device), persistent=False)


def restore_nothing(model: PreTrainedModel, device: torch.device) -> None:
    """Do nothing: the family keeps all that it computes with in its weights."""


def no_more_checks(config: Config, values: Values, sequence_length: int) -> None:
    """Check nothing."""


def nothing_unread(name: str, shape: tuple[int, ...], sequence_length: int) -> int:  # noqa: ARG001 - of the signature
    """Return 0: every number of the tensor takes part in the losses."""
    return 0


@dataclass(frozen=True)
class Family:
    """How one family is read, configured, built, evaluated and written."""

    network: type[PreTrainedModel]
    config: type[PreTrainedConfig]
    fields: Mapping[str, Field]
    """The named fields, in the order in which they are read, each with the default of the library."""
    activation: tuple[str, tuple[str, ...]]
    """The field that names the activation, and the names of one function that it may have: the first is built."""
    names: Names = field(default_factory=Names)
    neutral: Mapping[str, tuple[object, ...]] = field(default_factory=dict)
    """Fields that would change the computation, with the values at which they do not; the first is the library's
    default. Any other value is refused. Those of ``NEUTRAL`` come on top."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Other names of named fields: such a field may only repeat the value."""
    check: Callable[[Config, Values, int], None] = no_more_checks
    """Checks between fields, beyond those of all families, given the competition's sequence length."""
    fixed: Mapping[str, object] = field(default_factory=dict)
    """What we set in the library's configuration, beyond ``FIXED``."""
    written: Mapping[str, object] = field(default_factory=dict)
    """What we set there and write into config.json too, since other programs would take another default."""
    lengths: tuple[str, ...] = ("max_position_embeddings",)
    """Fields that are set and written as the sequence length: with them nothing that we build depends on a length."""
    restore_buffers: Callable[[PreTrainedModel, torch.device], None] = restore_rotary
    """Recompute what is in no file, after a network built on the meta device was given its weights."""
    hidden_states: Callable[[PreTrainedModel, torch.Tensor], torch.Tensor] = base_states
    """Token ids (B, T) to the states (B, T, H) that the head reads."""
    head: Callable[[PreTrainedModel], Head] = plain_head
    """Not every head is a plain product (Gemma 2 caps its logits, Phi adds a bias): a family states its own."""
    renamed: Mapping[str, str] = field(default_factory=dict)
    """Parameters that files hold under another name than the network's: the network's to the file's."""
    unread: Callable[[str, tuple[int, ...], int], int] = nothing_unread
    """How many numbers of a tensor reach no loss of windows so long; they do not count for the fewest parameters."""

    def all_neutral(self) -> dict[str, tuple[object, ...]]:
        """Return every field that must be neutral, with its values."""
        name, values = self.activation
        return {**NEUTRAL, name: values, **self.neutral}

    def read(self, config: Config, sequence_length: int) -> dict[str, int | float | bool | None]:
        """Return the named fields of a config, checked one by one and together; raises ModelRejected(ARCHITECTURE)."""
        for name, values in self.all_neutral().items():
            neutral(config, name, values)
        if THETA in self.fields and SHARE not in self.fields:
            check_whole_heads(config)
        read: dict[str, int | float | bool | None] = {}
        for name, reader in self.fields.items():
            read[name] = reader.read(config, name, read)
        for alias, name in self.aliases.items():
            same(config, alias, read[name], name)
        self._check_shapes(config, read)
        self.check(config, read, sequence_length)
        return read

    def configured(self, values: Values, sequence_length: int) -> PreTrainedConfig:
        """Return the library's configuration, of our values alone."""
        rope = {name: values[name] for name in (THETA, SHARE) if name in values}
        settings = {
            **FIXED,
            self.activation[0]: self.activation[1][0],
            **self.fixed,
            **self.written,
            **dict.fromkeys(self.lengths, sequence_length),
            **{name: value for name, value in values.items() if name not in rope},
        }
        if rope:
            settings["rope_parameters"] = {"rope_type": "default", **rope}
        return self.config(**cast("Any", settings))

    def _check_shapes(self, config: Config, values: Values) -> None:
        names = self.names
        hidden, heads = whole_value(values, names.hidden), whole_value(values, names.heads)
        if hidden % heads:
            raise rejected(f"{names.hidden} {hidden} is not a multiple of {names.heads} {heads}")
        head_dim = whole_value(values, names.head_dim) if names.head_dim else hidden // heads
        same(config, "head_dim", head_dim, f"{names.hidden} / {names.heads}")
        widest = max(whole_value(values, names.inner), heads * head_dim)
        if widest > MOST_WIDENING * hidden:
            raise rejected(f"a layer is {widest} wide; at most {MOST_WIDENING} times {names.hidden} {hidden}")
        if names.groups and heads % (groups := whole_value(values, names.groups)):
            raise rejected(f"{names.heads} {heads} is not a multiple of {names.groups} {groups}")
        if THETA in values:
            share = cast("float", values.get(SHARE, 1))
            rotated = int(head_dim * share)  # as the library rounds
            if rotated % 2 or not rotated:
                raise rejected(f"head_dim {head_dim} times {SHARE} {share} is {rotated}; rotary embeddings need pairs")

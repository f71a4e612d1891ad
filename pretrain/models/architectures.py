"""The allowed families: a stranger's config.json becomes our named fields, and only those build a network.

With transformers 5 one field of a config (``"is_causal": false``) makes every usual family read the answers, and others
have run code. So the library never sees that file: it gets a configuration made here, of fields checked one by one.

To add a family: one entry in ``FAMILIES``, and its name in ``competition.Constraints.families``.

Shapes: B windows, T tokens, N positions, H hidden size, V vocabulary.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, cast

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from pretrain.competition import Constraints
from pretrain.errors import ModelRejected, Reason
from pretrain.models.fields import DEFAULT_ROPE_THETA, flag, neutral, real, rejected, rope_theta, whole
from pretrain.models.files import CONFIG, MAX_CONFIG_BYTES
from pretrain.models.header import StoredTensor
from pretrain.models.hostile_json import parse_object

Head = Callable[[torch.Tensor], torch.Tensor]
"""Hidden states (N, H) in the model's dtype to logits (N, V) in float32."""

DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
"""The dtypes that weights may be stored in, as safetensors names them."""

MOST_WIDENING = 16
"""No layer inside may be so many times wider than the hidden states: what it takes while it runs is bounded by that."""

VOCABULARY_MULTIPLE = 256
"""A vocabulary may be padded up to the next multiple of this many ids."""


@dataclass(frozen=True)
class Architecture:
    """A network of one family by the fields that decide what it computes, named as in the family's config.json."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    vocab_size: int
    rms_norm_eps: float = 1e-6
    rope_theta: float = DEFAULT_ROPE_THETA
    tie_word_embeddings: bool = False
    attention_bias: bool = False
    mlp_bias: bool = False
    family: str = "llama"

    def build(self, constraints: Constraints, device: str | torch.device = "meta") -> PreTrainedModel:
        """Return the network in float32, causal, without a key-value cache, for windows of the competition's length.

        On the meta device it has shapes and no memory; elsewhere its weights are initialised from torch's generator.
        """
        family = FAMILIES[self.family]
        with torch.device(device):
            model = family.network(family.config(self, constraints.sequence_length))
        for module in cast("Iterable[Any]", model.modules()):
            if hasattr(module, "is_causal"):
                module.is_causal = True
        return model

    def tensors(self, constraints: Constraints) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the tensors that the files must hold, by name; a tied head is only the embedding."""
        return {name: tuple(parameter.shape) for name, parameter in self.build(constraints).named_parameters()}

    def config_json(self, constraints: Constraints) -> bytes:
        """Return the config.json that a miner publishes: the named fields, and what other programs need to load it."""
        named = {name: value for name, value in asdict(self).items() if name != "family"}
        written = {
            "model_type": self.family,
            "architectures": [FAMILIES[self.family].network.__name__],
            "hidden_act": "silu",
            "max_position_embeddings": constraints.sequence_length,
            **named,
        }
        return json.dumps(written, indent=2).encode() + b"\n"


@dataclass(frozen=True)
class Family:
    """How one family is configured, built and read."""

    network: type[PreTrainedModel]
    config: Callable[[Architecture, int], PreTrainedConfig]
    """From our fields and the sequence length."""
    restore_buffers: Callable[[PreTrainedModel, torch.device], None]
    """Recompute what is in no file, after a network built on the meta device was given its weights."""
    hidden_states: Callable[[PreTrainedModel, torch.Tensor], torch.Tensor]
    """Token ids (B, T) to the states (B, T, H) that the head reads."""
    head: Callable[[PreTrainedModel], Head]
    """Not every head is a plain product (Gemma 2 caps its logits, Phi adds a bias): a family states its own."""
    neutral: Mapping[str, tuple[object, ...]]
    """Fields that would change the computation, with the values at which they do not; any other value is refused."""


def _llama_config(architecture: Architecture, sequence_length: int) -> LlamaConfig:
    named = {field: value for field, value in asdict(architecture).items() if field not in {"family", "rope_theta"}}
    fixed: dict[str, Any] = {
        "rope_parameters": {"rope_type": "default", "rope_theta": architecture.rope_theta},
        "max_position_embeddings": sequence_length,
        "hidden_act": "silu",
        "attention_dropout": 0.0,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
        "use_cache": False,
        "is_causal": True,
        "attn_implementation": "sdpa",
    }
    return LlamaConfig(**named, **fixed)


def _llama_buffers(model: PreTrainedModel, device: torch.device) -> None:
    model.model.rotary_emb = LlamaRotaryEmbedding(config=cast("LlamaConfig", model.config)).to(device)


def _llama_hidden_states(model: PreTrainedModel, tokens: torch.Tensor) -> torch.Tensor:
    return cast("torch.Tensor", model.model(input_ids=tokens, use_cache=False).last_hidden_state)


def _llama_head(model: PreTrainedModel) -> Head:
    weight = model.lm_head.weight.float()
    return lambda states: states.float() @ weight.T


FAMILIES: Mapping[str, Family] = {
    "llama": Family(
        network=LlamaForCausalLM,
        config=_llama_config,
        restore_buffers=_llama_buffers,
        hidden_states=_llama_hidden_states,
        head=_llama_head,
        neutral={
            "hidden_act": ("silu", "swish"),
            "is_causal": (True, None),
            "use_bidirectional_attention": (False, None),
            "sliding_window": (None,),
            "partial_rotary_factor": (1, None),
            "quantization_config": (None,),
        },
    ),
}


def read_config(raw: bytes, constraints: Constraints, vocabulary: int) -> Architecture:
    """Read config.json as data and return the architecture it names, checked against the competition.

    ``vocabulary`` is the number of ids of the competition's tokenizer. Fields that we do not know are ignored: they
    reach nothing. Raises ModelRejected(ARCHITECTURE) for a family that is not allowed, a field that is missing or out
    of bounds, a computation that we do not build (scaled rotary embeddings, sliding windows, another activation), a
    vocabulary or a parameter count outside the competition's bounds.
    """
    config = parse_object(raw, limit=MAX_CONFIG_BYTES, what=CONFIG, reason=Reason.ARCHITECTURE)
    name = config.get("model_type")
    if not isinstance(name, str) or name not in constraints.families or name not in FAMILIES:
        raise rejected(f"model_type {ascii(name)[:60]} is not allowed; allowed: {', '.join(constraints.families)}")
    for field, values in FAMILIES[name].neutral.items():
        neutral(config, field, values)
    architecture = _named_fields(config, name)
    _check_heads(architecture)
    most = -(-vocabulary // VOCABULARY_MULTIPLE) * VOCABULARY_MULTIPLE
    if not vocabulary <= architecture.vocab_size <= most:
        raise rejected(f"vocab_size {architecture.vocab_size} is outside the tokenizer's {vocabulary} to {most}")
    parameters = sum(map(math.prod, architecture.tensors(constraints).values()))
    if not constraints.min_parameters <= parameters <= constraints.max_parameters:
        bounds = f"{constraints.min_parameters} to {constraints.max_parameters}"
        raise rejected(f"{parameters} parameters; the competition allows {bounds}")
    return architecture


def check_header(tensors: Sequence[StoredTensor], architecture: Architecture, constraints: Constraints) -> None:
    """Check that the files hold exactly the tensors of the architecture; raises ModelRejected(HEADER)."""
    expected = architecture.tensors(constraints)
    found = {tensor.name: tensor for tensor in tensors}
    if missing := expected.keys() - found.keys():
        raise ModelRejected(Reason.HEADER, f"{len(missing)} tensors are missing, such as {min(missing)}")
    if extra := found.keys() - expected.keys():
        raise ModelRejected(Reason.HEADER, f"{len(extra)} tensors are not of the architecture, such as {min(extra)}")
    for name, tensor in found.items():
        if tensor.shape != expected[name]:
            raise ModelRejected(Reason.HEADER, f"{name} has shape {tensor.shape}; expected {expected[name]}")
        if tensor.dtype not in DTYPES:
            raise ModelRejected(Reason.HEADER, f"{name} has dtype {tensor.dtype}; allowed are {', '.join(DTYPES)}")


def describe(model: PreTrainedModel) -> Architecture:
    """Return the architecture of a network that ``Architecture.build`` made."""
    config: Any = model.config
    named: dict[str, Any] = {field.name: getattr(config, field.name, None) for field in fields(Architecture)}
    read: dict[str, Any] = {"family": config.model_type, "rope_theta": config.rope_parameters["rope_theta"]}
    return Architecture(**(named | read))


def hidden_states(model: PreTrainedModel, tokens: torch.Tensor) -> torch.Tensor:
    """Return the states (B, T, H) that the head reads, in the model's dtype."""
    return FAMILIES[model.config.model_type].hidden_states(model, tokens)


def head(model: PreTrainedModel) -> Head:
    """Return the function from hidden states to float32 logits; it may hold a float32 copy of the weights."""
    return FAMILIES[model.config.model_type].head(model)


def _named_fields(config: Mapping[str, object], family: str) -> Architecture:
    hidden_size = whole(config, "hidden_size", 1 << 16)
    heads = whole(config, "num_attention_heads", 1 << 10)
    return Architecture(
        hidden_size=hidden_size,
        intermediate_size=whole(config, "intermediate_size", 1 << 20),
        num_hidden_layers=whole(config, "num_hidden_layers", 512),
        num_attention_heads=heads,
        num_key_value_heads=whole(config, "num_key_value_heads", 1 << 10, heads),
        head_dim=whole(config, "head_dim", 1 << 12, hidden_size // heads),
        vocab_size=whole(config, "vocab_size", 1 << 22),
        rms_norm_eps=real(config, "rms_norm_eps", (0.0, 1.0), 1e-6),
        rope_theta=rope_theta(config),
        tie_word_embeddings=flag(config, "tie_word_embeddings"),
        attention_bias=flag(config, "attention_bias"),
        mlp_bias=flag(config, "mlp_bias"),
        family=family,
    )


def _check_heads(architecture: Architecture) -> None:
    heads, groups = architecture.num_attention_heads, architecture.num_key_value_heads
    widest = max(architecture.intermediate_size, heads * architecture.head_dim)
    if widest > MOST_WIDENING * architecture.hidden_size:
        raise rejected(
            f"a layer is {widest} wide; at most {MOST_WIDENING} times hidden_size {architecture.hidden_size}"
        )
    if architecture.hidden_size % heads:
        raise rejected(f"hidden_size {architecture.hidden_size} is not a multiple of num_attention_heads {heads}")
    if heads % groups:
        raise rejected(f"num_attention_heads {heads} is not a multiple of num_key_value_heads {groups}")
    if architecture.head_dim % 2:
        raise rejected(f"head_dim {architecture.head_dim} is odd; rotary embeddings need pairs")

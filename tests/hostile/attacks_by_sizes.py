"""Attacks by how large or small config.json says that a network is."""

from dataclasses import replace

from attack import happened
from config_attack import config
from counting_hub import Files
from crafted import built, configured, honest, of_family, tensors, weighed
from take_out import constant, entry
from tiny import tiny_architecture
from transformers import PreTrainedModel

from pretrain.competition import Constraints
from pretrain.errors import Reason
from pretrain.models import architectures, family
from pretrain.models.architectures import Architecture
from pretrain.models.families import FAMILIES
from pretrain.models.family import nothing_unread
from pretrain.models.fields import Whole, whole_value

LARGEST = {
    "hidden_size": 65_536,
    "intermediate_size": 1 << 20,
    "num_attention_heads": 512,
    "num_key_value_heads": 512,
    "head_dim": 128,
    "num_hidden_layers": 512,
}
"""The largest sizes that are read at all."""

_ANY_LAYERS = {**FAMILIES["llama"].fields, "num_hidden_layers": Whole(1 << 30)}
_BUILD = Architecture.build

spent: list[int] = []
"""Bytes of the networks that were built off the meta device."""


def _widened() -> Files:
    """Return a network with a layer 20 times as wide as its states."""
    wide = {
        name: tensor.repeat(10, 1) if "gate_proj" in name or "up_proj" in name else tensor.repeat(1, 10)
        for name, tensor in tensors(honest()).items()
        if ".mlp." in name
    }
    return weighed(configured(honest(), intermediate_size=640), {**tensors(honest()), **wide})


def _build_and_count(self: Architecture, constraints: Constraints, device: str = "cpu") -> PreTrainedModel:
    model = _BUILD(self, constraints, "cpu" if device == "meta" else device)
    spent.append(sum(parameter.nbytes for parameter in model.parameters()))
    return model


ATTACKS = (
    config(
        "a GPT-2 with 100,000 learned positions",
        lambda: of_family("gpt2", positions=100_000),
        "`max_parameters`",
        None,
        lenient={"max_parameters": 1_000_000_000},
    ),
    config(
        "a Bart with 100,000 learned positions",
        lambda: of_family("bart", positions=100_000),
        "`max_parameters`",
        None,
        most=6_800,
        lenient={"max_parameters": 1_000_000_000},
    ),
    config(
        "too small a GPT-2, with positions that no window reaches",
        lambda: of_family("gpt2", positions=2_000, n_embd=8),
        "`checks.gpt2_unread`",
        entry(FAMILIES, "gpt2", replace(FAMILIES["gpt2"], unread=nothing_unread)),
    ),
    config(
        "too small a Bart, with attention to an encoder that is not there",
        lambda: of_family("bart"),
        "`checks.bart_unread`",
        entry(FAMILIES, "bart", replace(FAMILIES["bart"], unread=nothing_unread)),
        most=6_800,
        rules={"min_parameters": 30_000},
    ),
    config(
        "600 layers",
        lambda: configured(honest(), num_hidden_layers=600),
        "`families._LAYERS`",
        entry(FAMILIES, "llama", replace(FAMILIES["llama"], fields=_ANY_LAYERS)),
        succeeds=lambda tried: "parameters" in tried.detail,  # it was built
    ),
    config(
        "a network of 74 MB, of which only the config is there",
        lambda: configured(honest(), hidden_size=1024, intermediate_size=4096, head_dim=256, num_hidden_layers=1),
        "the meta device, in `Architecture.build`",
        constant(Architecture, "build", _build_and_count),
        succeeds=lambda _: sum(spent) > 60_000_000 and happened(spent),
    ),
    config(
        "512 layers of width 65,536, of which only the config is there",
        lambda: configured(honest(), **LARGEST),
        "`max_parameters`",
        None,
        succeeds=lambda tried: tried.outcome == Reason.HEADER,
        lenient={"max_parameters": 1 << 50},
    ),
    config(
        "a layer 20 times as wide as its states",
        _widened,
        "`family.MOST_WIDENING`",
        constant(family, "MOST_WIDENING", 1 << 20),
    ),
    config(
        "a vocabulary smaller than the tokenizer's",
        lambda: dict(built(tiny_architecture(vocab=128))),
        "`architectures.read_config`",
        constant(architectures, "whole_value", lambda values, name: max(256, whole_value(values, name))),
        succeeds=lambda tried: tried.outcome == "crash: IndexError",
    ),
    config(
        "a vocabulary larger than the tokenizer's, rounded up",
        lambda: dict(built(tiny_architecture(vocab=512))),
        "`architectures.VOCABULARY_MULTIPLE`",
        constant(architectures, "VOCABULARY_MULTIPLE", 1 << 16),
    ),
    config(
        "fewer parameters than the competition allows",
        lambda: dict(built(tiny_architecture(hidden=8))),
        "`min_parameters`",
        None,
        lenient={"min_parameters": 1},
    ),
    config(
        "more parameters than the competition allows",
        honest,
        "`max_parameters`",
        None,
        rules={"max_parameters": 20_000},
        lenient={"max_parameters": 1_000_000},
    ),
    config(
        "a family that the competition does not allow",
        lambda: of_family("gpt2"),
        "`families`",
        None,
        rules={"families": ("llama",)},
        lenient={"families": ("llama", "gpt2")},
    ),
)

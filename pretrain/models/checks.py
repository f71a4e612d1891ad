"""Checks between the fields of one family: windows of attention, learned positions, Falcon's four kinds of heads.

A window of attention W lets a token see itself and the W - 1 before it. One that is not shorter than the competition's
sequence length T changes nothing; a shorter one is refused. All of them raise ModelRejected(ARCHITECTURE).
"""

from collections.abc import Callable
from typing import Any

from pretrain.models.fields import Config, Values, rejected, whole_value

_DEFAULT_WINDOW = 4096
"""Where the library has one and a config says nothing."""

_FULL, _SLIDING = "full_attention", "sliding_attention"


def mistral_window(config: Config, values: Values, sequence_length: int) -> None:  # noqa: ARG001 - of ``Family.check``
    """All layers have the window."""
    _check_window(config, sequence_length)


def gemma2_window(config: Config, values: Values, sequence_length: int) -> None:
    """Layers have the window that ``layer_types`` names, or every other one."""
    layers = whole_value(values, "num_hidden_layers")
    if _SLIDING in _layer_types(config, layers, _SLIDING):
        _check_window(config, sequence_length)


def qwen2_window(config: Config, values: Values, sequence_length: int) -> None:
    """Layers have the window that ``layer_types`` names, or those from ``max_window_layers`` on, if it is in use."""
    use, first = config.get("use_sliding_window", False), config.get("max_window_layers", 28)
    if not isinstance(use, bool):
        raise rejected(f"use_sliding_window is {use!a:.60}; expected true or false")
    layers = whole_value(values, "num_hidden_layers")
    otherwise = _SLIDING if not isinstance(first, int) or first < layers else _FULL
    if _SLIDING in _layer_types(config, layers, otherwise if use else _FULL):
        _check_window(config, sequence_length)


def enough_positions(field: str) -> Callable[[Config, Values, int], None]:
    """Return the check that there is a learned position for every token of a window."""

    def check(config: Config, values: Values, sequence_length: int) -> None:  # noqa: ARG001 - of ``Family.check``
        if (positions := whole_value(values, field)) < sequence_length:
            raise rejected(f"{field} is {positions}; the competition's windows have {sequence_length} tokens")

    return check


def falcon_heads(config: Config, values: Values, sequence_length: int) -> None:  # noqa: ARG001 - of ``Family.check``
    """Refuse the combinations for which the library's network has no forward pass, or another one than it says."""
    heads, groups = whole_value(values, "num_attention_heads"), whole_value(values, "num_kv_heads")
    norms = values["num_ln_in_parallel_attn"]
    if values["new_decoder_architecture"]:
        if not values["parallel_attn"]:
            raise rejected("parallel_attn is false, but new_decoder_architecture always has parallel attention")
        if heads % groups:
            raise rejected(f"num_attention_heads {heads} is not a multiple of num_kv_heads {groups}")
        return
    if norms != 1:
        raise rejected(f"num_ln_in_parallel_attn is {norms}; without new_decoder_architecture it must be 1 or null")
    if not values["multi_query"] and groups != heads:
        raise rejected(f"num_kv_heads is {groups}; without multi_query it must be num_attention_heads, {heads}")


def gpt2_unread(name: str, shape: tuple[int, ...], sequence_length: int) -> int:
    """Positions after the last token of a window."""
    return (shape[0] - sequence_length) * shape[1] if name == "transformer.wpe.weight" else 0


def bart_unread(name: str, shape: tuple[int, ...], sequence_length: int) -> int:
    """Positions after the last token of a window and 2 before the first, and attention to an encoder there is not."""
    if name == "model.decoder.embed_positions.weight":
        return (shape[0] - sequence_length) * shape[1]
    if ".encoder_attn" in name:
        return shape[0] * (shape[1] if len(shape) > 1 else 1)
    return 0


def _check_window(config: Config, sequence_length: int) -> None:
    window: Any = config.get("sliding_window", _DEFAULT_WINDOW)
    if window is not None and (type(window) is not int or window < sequence_length):
        raise rejected(
            f"sliding_window is {window!a:.60}; expected null or at least the competition's {sequence_length} tokens"
        )


def _layer_types(config: Config, layers: int, otherwise: str) -> list[str]:
    types: Any = config.get("layer_types")
    if types is None:
        return [otherwise]
    if not isinstance(types, list) or len(types) != layers or any(one not in (_FULL, _SLIDING) for one in types):
        raise rejected(f"layer_types is {types!a:.60}; expected {layers} times {_FULL} or {_SLIDING}")
    return types

"""Llama's forward pass and loss in float64 numpy, written from the papers and without the code under test.

RMSNorm: Zhang & Sennrich 2019, equation 4. Rotary embedding: Su et al. 2021, equation 15, in the half-split layout of
the released weights (Touvron et al. 2023). SwiGLU: Shazeer 2020, equation 5. Grouped queries: Ainslie et al. 2023.

``python tests/reference_llama.py`` prints the losses of ``pretrain/evaluate/canary.json``.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from pretrain.evaluate import canary

Array = npt.NDArray[np.float64]
Weights = Mapping[str, npt.NDArray[Any]]
Config = Mapping[str, Any]


def reference_losses(weights: Weights, config: Config, tokens: npt.NDArray[np.int32]) -> Array:
    """Return the mean loss in nats of each window.

    ``"causal": False`` and ``"rotary": False`` in the config leave out what a broken engine might forget.
    """
    return np.array([_window(weights, config, window) for window in tokens])


def _window(weights: Weights, config: Config, ids: npt.NDArray[np.int32]) -> float:
    w = {name: np.asarray(value, dtype=np.float64) for name, value in weights.items()}
    x = w["model.embed_tokens.weight"][ids]
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        x = x + _attention(w, at + "self_attn.", config, _norm(x, w[at + "input_layernorm.weight"], config))
        h = _norm(x, w[at + "post_attention_layernorm.weight"], config)
        gate = _linear(w, at + "mlp.gate_proj", h)
        x = x + _linear(w, at + "mlp.down_proj", gate / (1 + np.exp(-gate)) * _linear(w, at + "mlp.up_proj", h))
    x = _norm(x, w["model.norm.weight"], config)
    logits = x @ w.get("lm_head.weight", w["model.embed_tokens.weight"]).T
    peak = logits.max(axis=1, keepdims=True)
    log_normaliser = peak[:, 0] + np.log(np.exp(logits - peak).sum(axis=1))
    return float(np.mean(log_normaliser[:-1] - logits[np.arange(len(ids) - 1), ids[1:]]))


def _attention(w: Mapping[str, Array], at: str, config: Config, x: Array) -> Array:
    heads, groups, size = config["num_attention_heads"], config["num_key_value_heads"], config["head_dim"]
    length = len(x)
    q = _linear(w, at + "q_proj", x).reshape(length, heads, size)
    k = _linear(w, at + "k_proj", x).reshape(length, groups, size)
    v = _linear(w, at + "v_proj", x).reshape(length, groups, size)
    if config.get("rotary", True):
        q, k = _rotate(q, config["rope_theta"]), _rotate(k, config["rope_theta"])
    mixed = np.empty((length, heads, size))
    for head in range(heads):
        group = head // (heads // groups)
        scores = q[:, head] @ k[:, group].T / np.sqrt(size)
        if config.get("causal", True):
            scores[np.triu_indices(length, 1)] = -np.inf
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        mixed[:, head] = shares / shares.sum(axis=1, keepdims=True) @ v[:, group]
    return _linear(w, at + "o_proj", mixed.reshape(length, heads * size))


def _rotate(x: Array, theta: float) -> Array:
    half = x.shape[-1] // 2
    angles = np.arange(len(x))[:, None] / theta ** (np.arange(half) / half)
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
    a, b = x[..., :half], x[..., half:]
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)


def _norm(x: Array, gain: Array, config: Config) -> Array:
    normed: Array = x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + config["rms_norm_eps"]) * gain
    return normed


def _linear(w: Mapping[str, Array], name: str, x: Array) -> Array:
    product: Array = x @ w[name + ".weight"].T + w.get(name + ".bias", np.zeros(1))
    return product


def canary_losses(**switches: bool) -> dict[str, Array]:
    """Return the canary's losses by task."""
    weights = canary.canary_weights()
    return {
        str(task): reference_losses(weights, {**canary.CONFIGURATION, **switches}, tokens)
        for task, tokens in canary.canary_samples().tokens.items()
    }


if __name__ == "__main__":
    print(json.dumps({task: losses.tolist() for task, losses in canary_losses().items()}, indent=2))  # noqa: T201 - its answer

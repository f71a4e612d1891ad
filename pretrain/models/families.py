"""The allowed families: one entry each.

To add a family: one entry here, and its name in ``competition.Family``. The defaults are those of transformers 5.23,
which a test compares.

What of a published checkpoint is refused, although the library computes it: scaled rotary embeddings; an activation
that is not the family's own (GPT-NeoX-20B: ``gelu_fast``); attention windows shorter than the competition's; Falcon
with ALiBi (Falcon-RW); GPT-2 without scaling of attention or with one by layer; quantised weights; fewer learned
positions than a window has tokens; older files whose tensors have other names than ``save_pretrained`` gives today.
"""

from collections.abc import Mapping

from transformers import (
    BartConfig,
    BartForCausalLM,
    FalconConfig,
    FalconForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GemmaConfig,
    GemmaForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PhiConfig,
    PhiForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from pretrain.models.attention import SOFT_CAPPED
from pretrain.models.checks import (
    bart_unread,
    enough_positions,
    falcon_heads,
    gemma2_window,
    gpt2_unread,
    mistral_window,
    qwen2_window,
)
from pretrain.models.falcon import CAUSAL
from pretrain.models.family import Family, Names, biased_head, capped_head, restore_nothing, restore_rotary_and_scale
from pretrain.models.fields import Flag, Real, Values, Whole, whole_value
from pretrain.models.rotary import DEFAULT_THETA, SHARE, THETA, Rotary

_WIDTH, _INNER, _LAYERS, _HEADS, _HEAD_DIM, _IDS, _POSITIONS = 1 << 16, 1 << 20, 512, 1 << 10, 1 << 12, 1 << 22, 1 << 20
_EPSILON = (0.0, 1.0)
_CAP = (0.0, 1e6)
_SILU = ("silu", "swish")
_GELU = ("gelu", "gelu_python")
_GELU_TANH = ("gelu_pytorch_tanh", "gelu_new", "gelu_fast", "gelu_python_tanh")
_GELU_NEW = ("gelu_new", "gelu_pytorch_tanh", "gelu_fast", "gelu_python_tanh")
_GELU_NEW = ("gelu_new", "gelu_pytorch_tanh", "gelu_fast", "gelu_python_tanh")
_BASE = Rotary(absent=DEFAULT_THETA, spelled=THETA)


def _heads(values: Values) -> int:
    return whole_value(values, "num_attention_heads")


def _head_dim(values: Values) -> int:
    return whole_value(values, "hidden_size") // _heads(values)


def _sizes(hidden: int, inner: int, layers: int, heads: int, ids: int) -> dict[str, Whole]:
    return {
        "hidden_size": Whole(_WIDTH, absent=hidden),
        "intermediate_size": Whole(_INNER, absent=inner),
        "num_hidden_layers": Whole(_LAYERS, absent=layers),
        "num_attention_heads": Whole(_HEADS, absent=heads),
        "vocab_size": Whole(_IDS, absent=ids),
    }


FAMILIES: Mapping[str, Family] = {
    "llama": Family(
        network=LlamaForCausalLM,
        config=LlamaConfig,
        fields={
            **_sizes(hidden=4096, inner=11008, layers=32, heads=32, ids=32000),
            "num_key_value_heads": Whole(_HEADS, null=_heads),
            "head_dim": Whole(_HEAD_DIM, null=_head_dim),
            "rms_norm_eps": Real(_EPSILON, absent=1e-6),
            THETA: _BASE,
            "tie_word_embeddings": Flag(absent=False),
            "attention_bias": Flag(absent=False),
            "mlp_bias": Flag(absent=False),
        },
        names=Names(head_dim="head_dim"),
        activation=("hidden_act", _SILU),
        neutral={"sliding_window": (None,)},
    ),
    "mistral": Family(
        network=MistralForCausalLM,
        config=MistralConfig,
        fields={
            **_sizes(hidden=4096, inner=14336, layers=32, heads=32, ids=32000),
            "num_key_value_heads": Whole(_HEADS, absent=8, null=_heads),
            "head_dim": Whole(_HEAD_DIM, null=_head_dim),
            "rms_norm_eps": Real(_EPSILON, absent=1e-6),
            THETA: _BASE,
            "tie_word_embeddings": Flag(absent=False),
        },
        names=Names(head_dim="head_dim"),
        activation=("hidden_act", _SILU),
        check=mistral_window,
        written={"sliding_window": None},
    ),
    "qwen2": Family(
        network=Qwen2ForCausalLM,
        config=Qwen2Config,
        fields={
            **_sizes(hidden=4096, inner=22016, layers=32, heads=32, ids=151936),
            "num_key_value_heads": Whole(_HEADS, absent=32, null=_heads),
            "head_dim": Whole(_HEAD_DIM, null=_head_dim),
            "rms_norm_eps": Real(_EPSILON, absent=1e-6),
            THETA: _BASE,
            "tie_word_embeddings": Flag(absent=False),
        },
        names=Names(head_dim="head_dim"),
        activation=("hidden_act", _SILU),
        check=qwen2_window,
        written={"use_sliding_window": False},
    ),
    "gemma": Family(
        network=GemmaForCausalLM,
        config=GemmaConfig,
        fields={
            **_sizes(hidden=3072, inner=24576, layers=28, heads=16, ids=256000),
            "num_key_value_heads": Whole(_HEADS, absent=16),
            "head_dim": Whole(_HEAD_DIM, absent=256),
            "rms_norm_eps": Real(_EPSILON, absent=1e-6),
            THETA: _BASE,
            "tie_word_embeddings": Flag(absent=True),
            "attention_bias": Flag(absent=False),
        },
        names=Names(head_dim="head_dim"),
        activation=("hidden_act", (*_GELU_TANH, "gelu")),  # the library reads Gemma's "gelu" as the tanh form
        restore_buffers=restore_rotary_and_scale,
    ),
    "gemma2": Family(
        network=Gemma2ForCausalLM,
        config=Gemma2Config,
        fields={
            **_sizes(hidden=2304, inner=9216, layers=26, heads=8, ids=256000),
            "num_key_value_heads": Whole(_HEADS, absent=4),
            "head_dim": Whole(_HEAD_DIM, absent=256),
            "rms_norm_eps": Real(_EPSILON, absent=1e-6),
            THETA: _BASE,
            "tie_word_embeddings": Flag(absent=True),
            "attention_bias": Flag(absent=False),
            "query_pre_attn_scalar": Whole(1 << 20, absent=256),
            "final_logit_softcapping": Real(_CAP, absent=30.0, null=True),
            "attn_logit_softcapping": Real(_CAP, absent=50.0, null=True),
        },
        names=Names(head_dim="head_dim"),
        activation=("hidden_activation", _GELU_TANH),
        check=gemma2_window,
        fixed={"attn_implementation": SOFT_CAPPED},
        lengths=("max_position_embeddings", "sliding_window"),
        restore_buffers=restore_rotary_and_scale,
        head=capped_head,
    ),
    "phi": Family(
        network=PhiForCausalLM,
        config=PhiConfig,
        fields={
            **_sizes(hidden=2048, inner=8192, layers=24, heads=32, ids=51200),
            "num_key_value_heads": Whole(_HEADS, null=_heads),
            "layer_norm_eps": Real(_EPSILON, absent=1e-5),
            THETA: _BASE,
            SHARE: Rotary(absent=0.5, spelled=SHARE),
            "qk_layernorm": Flag(absent=False),
            "tie_word_embeddings": Flag(absent=False),
        },
        activation=("hidden_act", _GELU_NEW),
        fixed={"resid_pdrop": 0.0, "embd_pdrop": 0.0},
        head=biased_head,
    ),
    "gpt_neox": Family(
        network=GPTNeoXForCausalLM,
        config=GPTNeoXConfig,
        fields={
            **_sizes(hidden=6144, inner=24576, layers=44, heads=64, ids=50432),
            "layer_norm_eps": Real(_EPSILON, absent=1e-5),
            THETA: Rotary(absent=DEFAULT_THETA, spelled="rotary_emb_base"),
            SHARE: Rotary(absent=0.25, spelled="rotary_pct"),
            "use_parallel_residual": Flag(absent=True),
            "attention_bias": Flag(absent=True),
            "tie_word_embeddings": Flag(absent=False),
        },
        names=Names(groups=None),
        activation=("hidden_act", _GELU),
        aliases={THETA: THETA, SHARE: SHARE},  # at the top level the library does not read them
        fixed={"hidden_dropout": 0.0},
        renamed={"lm_head.weight": "embed_out.weight"},
    ),
    "falcon": Family(
        network=FalconForCausalLM,
        config=FalconConfig,
        fields={
            "hidden_size": Whole(_WIDTH, absent=4544),
            "num_hidden_layers": Whole(_LAYERS, absent=32),
            "num_attention_heads": Whole(_HEADS, absent=71),
            "vocab_size": Whole(_IDS, absent=65024),
            "num_kv_heads": Whole(_HEADS, null=_heads),
            "ffn_hidden_size": Whole(_INNER, null=lambda values: 4 * whole_value(values, "hidden_size")),
            "layer_norm_epsilon": Real(_EPSILON, absent=1e-5),
            THETA: _BASE,
            "new_decoder_architecture": Flag(absent=False),
            "multi_query": Flag(absent=True),
            "parallel_attn": Flag(absent=True),
            "num_ln_in_parallel_attn": Whole(2, null=lambda values: 2 if values["new_decoder_architecture"] else 1),
            "bias": Flag(absent=False),
            "tie_word_embeddings": Flag(absent=True),
        },
        names=Names(inner="ffn_hidden_size", groups=None),
        activation=("activation", _GELU),
        neutral={"alibi": (False, None)},
        aliases={"n_embed": "hidden_size"},
        check=falcon_heads,
        fixed={"attn_implementation": CAUSAL, "hidden_dropout": 0.0, "alibi": False},
    ),
    "bart": Family(
        network=BartForCausalLM,
        config=BartConfig,
        fields={
            "d_model": Whole(_WIDTH, absent=1024),
            "decoder_layers": Whole(_LAYERS, absent=12),
            "decoder_attention_heads": Whole(_HEADS, absent=16),
            "decoder_ffn_dim": Whole(_INNER, absent=4096),
            "vocab_size": Whole(_IDS, absent=50265),
            "max_position_embeddings": Whole(_POSITIONS, absent=1024),
            "scale_embedding": Flag(absent=False),
            "tie_word_embeddings": Flag(absent=True),
        },
        names=Names(hidden="d_model", heads="decoder_attention_heads", inner="decoder_ffn_dim", groups=None),
        activation=("activation_function", _GELU),
        aliases={"hidden_size": "d_model"},
        check=enough_positions("max_position_embeddings"),
        fixed={
            "dropout": 0.0,
            "activation_dropout": 0.0,
            "decoder_layerdrop": 0.0,
            "decoder_start_token_id": None,
            "forced_eos_token_id": None,
        },
        written={"is_decoder": True, "is_encoder_decoder": False},
        lengths=(),
        restore_buffers=restore_nothing,
        unread=bart_unread,
    ),
    "gpt2": Family(
        network=GPT2LMHeadModel,
        config=GPT2Config,
        fields={
            "n_embd": Whole(_WIDTH, absent=768),
            "n_layer": Whole(_LAYERS, absent=12),
            "n_head": Whole(_HEADS, absent=12),
            "n_inner": Whole(_INNER, null=lambda values: 4 * whole_value(values, "n_embd")),
            "vocab_size": Whole(_IDS, absent=50257),
            "n_positions": Whole(_POSITIONS, absent=1024),
            "layer_norm_epsilon": Real(_EPSILON, absent=1e-5),
            "tie_word_embeddings": Flag(absent=True),
        },
        names=Names(hidden="n_embd", heads="n_head", inner="n_inner", groups=None),
        activation=("activation_function", _GELU_NEW),
        neutral={
            "scale_attn_weights": (True,),
            "scale_attn_by_inverse_layer_idx": (False,),
            "reorder_and_upcast_attn": (False,),
            "add_cross_attention": (False,),
        },
        aliases={
            "hidden_size": "n_embd",
            "num_hidden_layers": "n_layer",
            "num_attention_heads": "n_head",
            "max_position_embeddings": "n_positions",
        },
        check=enough_positions("n_positions"),
        fixed={"attn_pdrop": 0.0, "resid_pdrop": 0.0, "embd_pdrop": 0.0},
        lengths=(),
        restore_buffers=restore_nothing,
        unread=gpt2_unread,
    ),
}

"""The published architectures that a GPTConfig can be: what each expresses, and how its files spell it.

A config that is exactly one of them is written under its name, so that the directory opens in transformers as it is.
Any other is written as `model_type: "nextword"`, with this package's own names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from nextword.config import GPTConfig

FamilyName = Literal["gpt2", "llama", "mistral", "qwen2", "qwen3", "smollm3", "nextword"]
Windows = Literal["none", "every", "upper", "no_rope"]
Rules = Mapping[str, Callable[[GPTConfig], bool]]
"""For each field that the architecture does not leave free: whether it holds what the architecture has."""


@dataclass(frozen=True)
class Family:
    """One published architecture."""

    model_class: str
    """Its class in transformers."""
    rules: Rules
    layers: str
    """What the names of a block's weights begin with."""
    names: Mapping[str, str]
    """Our modules -> theirs, where they differ."""
    fields: Mapping[str, str]
    """The fields of its config.json that only have another name here -> ours."""
    reads: frozenset[str]
    """Its fields that take more than a new name: `config.py` does."""
    required: tuple[str, ...]
    """Its fields that must be there: without them the numbers would come from a guess."""
    defaults: Mapping[str, Any]
    """What transformers takes for fields that may be left out: they change no number, or the weights prove them."""
    neutral: Mapping[str, tuple[Any, ...]]
    """Its fields that change the numbers and cannot be chosen here -> the values that mean what is computed."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Second names of its fields."""
    constant: Mapping[str, Any] = field(default_factory=dict)
    """Fields of ours that no file of it names, where they are not those of a Llama."""
    tied: bool = False
    """Whether a file means a tied output layer that does not say."""
    windows: Windows = "none"
    """Which layers look at a window only."""
    rope_theta: float = 10000.0
    """The rotary base that a file means which names none."""
    fused: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Modules of a block whose rows are those of several of ours, one below the other."""
    transposed: tuple[str, ...] = ()
    """Modules of a block whose matrices lie as [in, out]."""

    @property
    def base(self) -> str:
        """What its names begin with, but for the output layer's; a model saved without that layer leaves it out."""
        return self.layers.partition(".")[0]


def family_of(config: GPTConfig) -> FamilyName:
    """The published architecture that this config is, or `nextword`."""
    return next((name for name, family in FAMILIES.items() if not _violated_rules(config, family)), "nextword")


def misfit(config: GPTConfig) -> str | None:
    """The field that keeps this config from being a published architecture: the first misfit of the nearest one."""
    nearest = min((_violated_rules(config, family) for family in FAMILIES.values()), key=len)
    return nearest[0] if nearest else None


def _violated_rules(config: GPTConfig, family: Family) -> list[str]:
    return [name for name, holds in family.rules.items() if not holds(config)]


def _is(name: str, value: object) -> Rules:
    return {name: lambda config: getattr(config, name) == value}


def _one_window(config: GPTConfig) -> bool:
    return len({window for window in config.layer_windows if window is not None}) <= 1


_NO_WINDOWS: Rules = {"layer_windows": lambda config: not any(config.layer_windows)}
_SAME_WINDOW: Rules = {"layer_windows": lambda config: len(set(config.layer_windows)) <= 1}
_ONE_WINDOW: Rules = {"layer_windows": _one_window}
_SAME_BIASES: Rules = {"attention_output_bias": lambda config: config.attention_output_bias == config.qkv_bias}

_STREAM: Rules = _is("residual", "stream")
_MODERN: Rules = {
    **_STREAM,
    **_is("position", "rotary"),
    **_is("norm", "rmsnorm"),
    **_is("activation", "swiglu"),
    **_is("rope_layout", "half"),
    **_is("output_bias", False),
}
_ALL_ROTATED: Rules = _is("no_rope_layers", ())
_NO_QK_NORM: Rules = _is("qk_norm", False)
_NO_MLP_BIAS: Rules = _is("mlp_bias", False)

_MODERN_NAMES = {
    "token_embedding": "model.embed_tokens",
    "ln_final": "model.norm",
    "output_layer": "lm_head",
    "ln1": "input_layernorm",
    "ln2": "post_attention_layernorm",
    "attn.out_proj": "self_attn.o_proj",
    **{f"attn.{name}": f"self_attn.{name}" for name in ("q_proj", "k_proj", "v_proj", "q_norm", "k_norm")},
    **{f"ffn.{name}": f"mlp.{name}_proj" for name in ("gate", "up", "down")},
}

_MODERN_FIELDS = {
    "vocab_size": "vocab_size",
    "hidden_size": "d_model",
    "num_attention_heads": "num_heads",
    "num_key_value_heads": "num_kv_heads",
    "num_hidden_layers": "num_layers",
    "head_dim": "head_dim",
    "intermediate_size": "d_ff",
    "max_position_embeddings": "context_length",
    "rms_norm_eps": "norm_eps",
    "tie_word_embeddings": "tie_embeddings",
}
_MODERN_REQUIRED = (
    *("vocab_size", "hidden_size", "intermediate_size", "num_attention_heads", "num_hidden_layers", "rms_norm_eps"),
)
_ROPE = frozenset({"rope_theta", "rope_scaling", "rope_parameters", "original_max_position_embeddings"})
_SLIDING = frozenset({"use_sliding_window", "sliding_window", "layer_types"})
_MODERN_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("silu", "swish"),
    "rope_interleaved": (False,),
    "partial_rotary_factor": (1.0,),
}

FAMILIES: dict[FamilyName, Family] = {
    "gpt2": Family(
        "GPT2LMHeadModel",
        {
            **_STREAM,
            **_is("position", "learned"),
            **_is("norm", "layernorm"),
            **_is("activation", "gelu_tanh"),
            **_NO_QK_NORM,
            **_NO_WINDOWS,
            **_is("qkv_bias", True),
            **_is("attention_output_bias", True),
            **_is("mlp_bias", True),
            **_is("output_bias", False),
            "num_kv_heads": lambda config: config.num_kv_heads == config.num_heads,
            "head_dim": lambda config: config.head_dim * config.num_heads == config.d_model,
        },
        "transformer.h",
        {
            "token_embedding": "transformer.wte",
            "position_encoding": "transformer.wpe",
            "ln_final": "transformer.ln_f",
            "output_layer": "lm_head",
            "ln1": "ln_1",
            "ln2": "ln_2",
            "attn.out_proj": "attn.c_proj",
            "ffn.up": "mlp.c_fc",
            "ffn.down": "mlp.c_proj",
        },
        fields={
            "vocab_size": "vocab_size",
            "n_embd": "d_model",
            "n_head": "num_heads",
            "n_layer": "num_layers",
            "n_positions": "context_length",
            "n_inner": "d_ff",
            "layer_norm_epsilon": "norm_eps",
            "resid_pdrop": "dropout",
            "tie_word_embeddings": "tie_embeddings",
        },
        reads=frozenset({"sliding_window"}),
        required=("vocab_size", "n_embd", "n_head", "n_layer", "n_positions"),
        defaults={},
        neutral={
            "activation_function": (
                *("gelu_new", "gelu_pytorch_tanh", "gelu_fast", "gelu_accurate", "gelu_python_tanh"),
            ),
            "scale_attn_weights": (True,),
            "scale_attn_by_inverse_layer_idx": (False,),
            "add_cross_attention": (False,),
        },
        aliases={
            "hidden_size": "n_embd",
            "num_attention_heads": "n_head",
            "num_hidden_layers": "n_layer",
            "max_position_embeddings": "n_positions",
        },
        fused={"attn.c_attn": ("attn.q_proj", "attn.k_proj", "attn.v_proj")},
        transposed=("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"),
    ),
    "llama": Family(
        "LlamaForCausalLM",
        {
            **_MODERN,
            **_NO_QK_NORM,
            **_NO_WINDOWS,
            **_ALL_ROTATED,
            **_SAME_BIASES,
            "d_model": lambda config: config.d_model % config.num_heads == 0,  # transformers refuses other widths
        },
        "model.layers",
        _MODERN_NAMES,
        fields=_MODERN_FIELDS,
        reads=_ROPE | {"attention_bias", "mlp_bias", "sliding_window"},
        required=_MODERN_REQUIRED,
        defaults={"max_position_embeddings": 2048},
        neutral=_MODERN_NEUTRAL,
    ),
    "mistral": Family(
        "MistralForCausalLM",
        {
            **_MODERN,
            **_NO_QK_NORM,
            **_SAME_WINDOW,
            **_ALL_ROTATED,
            **_is("qkv_bias", False),
            **_SAME_BIASES,
            **_NO_MLP_BIAS,
        },
        "model.layers",
        _MODERN_NAMES,
        fields=_MODERN_FIELDS,
        reads=_ROPE | {"sliding_window"},
        required=(*_MODERN_REQUIRED, "num_key_value_heads"),
        defaults={"max_position_embeddings": 131072},
        neutral=_MODERN_NEUTRAL,
        windows="every",
    ),
    "qwen2": Family(
        "Qwen2ForCausalLM",
        {
            **_MODERN,
            **_NO_QK_NORM,
            **_ONE_WINDOW,
            **_ALL_ROTATED,
            **_is("qkv_bias", True),
            **_is("attention_output_bias", False),
            **_NO_MLP_BIAS,
        },
        "model.layers",
        _MODERN_NAMES,
        fields=_MODERN_FIELDS,
        reads=_ROPE | _SLIDING | {"max_window_layers"},
        required=(*_MODERN_REQUIRED, "num_key_value_heads"),
        defaults={"max_position_embeddings": 32768},
        neutral=_MODERN_NEUTRAL,
        constant={"qkv_bias": True},
        windows="upper",
    ),
    "qwen3": Family(
        "Qwen3ForCausalLM",
        {**_MODERN, **_is("qk_norm", True), **_ONE_WINDOW, **_ALL_ROTATED, **_SAME_BIASES, **_NO_MLP_BIAS},
        "model.layers",
        _MODERN_NAMES,
        fields=_MODERN_FIELDS,
        reads=_ROPE | _SLIDING | {"max_window_layers", "attention_bias"},
        required=_MODERN_REQUIRED,
        defaults={"max_position_embeddings": 32768, "head_dim": 128},
        neutral=_MODERN_NEUTRAL,
        constant={"qk_norm": True},
        windows="upper",
    ),
    "smollm3": Family(
        "SmolLM3ForCausalLM",
        {**_MODERN, **_NO_QK_NORM, **_ONE_WINDOW, **_SAME_BIASES},
        "model.layers",
        _MODERN_NAMES,
        fields=_MODERN_FIELDS,
        reads=_ROPE | _SLIDING | {"attention_bias", "mlp_bias", "no_rope_layers", "no_rope_layer_interval"},
        required=(*_MODERN_REQUIRED, "num_key_value_heads"),
        defaults={"max_position_embeddings": 32768},
        neutral=_MODERN_NEUTRAL,
        tied=True,
        windows="no_rope",
        rope_theta=2000000.0,
    ),
}

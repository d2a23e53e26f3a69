"""The published architectures that a GPTConfig can be, and what each of them expresses.

A config that is exactly one of them is written under its name, so that the directory opens in transformers as it is.
Any other is written as `model_type: "nextword"`, with this package's own names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from nextword.config import GPTConfig

FamilyName = Literal["gpt2", "llama", "mistral", "qwen2", "qwen3", "smollm3", "nextword"]
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
    rope_theta: float = 10000.0
    """The rotary base that a file means which names none."""


def family_of(config: GPTConfig) -> FamilyName:
    """The published architecture that this config is, or `nextword`."""
    return next((name for name, family in FAMILIES.items() if not _broken(config, family)), "nextword")


def misfit(config: GPTConfig) -> str | None:
    """The field that keeps this config from being a published architecture: the first misfit of the nearest one."""
    nearest = min((_broken(config, family) for family in FAMILIES.values()), key=len)
    return nearest[0] if nearest else None


def _broken(config: GPTConfig, family: Family) -> list[str]:
    return [field for field, holds in family.rules.items() if not holds(config)]


def _is(field: str, value: object) -> Rules:
    return {field: lambda config: getattr(config, field) == value}


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
    ),
    "qwen3": Family(
        "Qwen3ForCausalLM",
        {**_MODERN, **_is("qk_norm", True), **_ONE_WINDOW, **_ALL_ROTATED, **_SAME_BIASES, **_NO_MLP_BIAS},
        "model.layers",
        _MODERN_NAMES,
    ),
    "smollm3": Family(
        "SmolLM3ForCausalLM",
        {**_MODERN, **_NO_QK_NORM, **_ONE_WINDOW, **_SAME_BIASES},
        "model.layers",
        _MODERN_NAMES,
        rope_theta=2000000.0,
    ),
}

"""The models that are compared: four presets and configs that cover every other option, in small odd sizes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nextword.config import GPTConfig
from tests.oracle.numpy_gpt import Array, Ids

# Of a head's four frequencies one is kept, two are blended and one is slowed down (theta 100, old context 64).
LLAMA3_SCALING: dict[str, Any] = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}

PRESETS: dict[str, GPTConfig] = {
    "lesson": GPTConfig.lesson(29, 12, 3, 3, 0.0, 11),
    "gpt2": GPTConfig.gpt2(31, 11, d_model=15, num_heads=5, num_layers=3),
    "llama": GPTConfig.llama(37, 11, d_model=24, num_heads=6, num_kv_heads=2, num_layers=3, d_ff=35, norm_eps=1e-5),
    "qwen3": GPTConfig.qwen3(
        41, 11, d_model=20, num_heads=6, num_kv_heads=3, head_dim=8, num_layers=3, d_ff=27, rope_theta=1e6
    ),
}

OTHERS: dict[str, GPTConfig] = {
    "qwen3, untied": PRESETS["qwen3"].replace(tie_embeddings=False),
    "llama, linear scaling": PRESETS["llama"].replace(rope_scaling={"rope_type": "linear", "factor": 2.5}),
    "llama, llama3 scaling": GPTConfig.llama(
        23,
        70,
        d_model=16,
        num_heads=2,
        num_kv_heads=1,
        num_layers=2,
        d_ff=21,
        rope_theta=100.0,
        rope_scaling=LLAMA3_SCALING,
        tie_embeddings=True,
    ),
    "llama, yarn scaling": GPTConfig.llama(
        23,
        70,
        d_model=24,
        num_heads=2,
        num_kv_heads=1,
        num_layers=2,
        d_ff=21,
        rope_theta=100.0,
        rope_scaling={
            "rope_type": "yarn",
            "factor": 4.0,
            "original_max_position_embeddings": 64,
            "beta_fast": 8.0,
            "beta_slow": 1.0,
            "attention_factor": 1.2,
        },
    ),
    "llama, every bias": GPTConfig.llama(
        29, 11, d_model=18, num_heads=3, num_layers=2, d_ff=25, qkv_bias=True, attention_output_bias=True, mlp_bias=True
    ),
    "mistral, sliding": GPTConfig.llama(
        31, 13, d_model=20, num_heads=4, num_kv_heads=2, head_dim=6, num_layers=3, d_ff=26, layer_windows=(5, 5, 5)
    ),
    "mistral, a width its heads do not divide": GPTConfig.llama(
        31, 11, d_model=22, num_heads=4, num_kv_heads=1, head_dim=6, num_layers=2, d_ff=26
    ),
    "qwen2": GPTConfig.llama(
        33, 11, d_model=24, num_heads=6, num_kv_heads=2, num_layers=3, d_ff=35, qkv_bias=True, rope_theta=1e6
    ),
    "qwen2, upper layers sliding": GPTConfig.llama(
        33, 12, d_model=16, num_heads=4, num_layers=3, d_ff=19, qkv_bias=True, layer_windows=(None, 4, 4)
    ),
    "qwen3, every other layer sliding": GPTConfig.qwen3(
        27,
        12,
        d_model=12,
        num_heads=4,
        num_kv_heads=2,
        head_dim=6,
        num_layers=4,
        d_ff=15,
        layer_windows=(3, None, 3, None),
        qkv_bias=True,
        attention_output_bias=True,
    ),
    "smollm3": GPTConfig.llama(
        35,
        11,
        d_model=24,
        num_heads=4,
        num_kv_heads=2,
        num_layers=4,
        d_ff=35,
        tie_embeddings=True,
        no_rope_layers=(3,),
        rope_theta=2e6,
    ),
    "smollm3, sliding where nothing turns": GPTConfig.llama(
        35,
        12,
        d_model=24,
        num_heads=4,
        head_dim=8,
        num_layers=4,
        d_ff=35,
        no_rope_layers=(1, 3),
        layer_windows=(None, 4, None, 4),
    ),
    "interleaved rotary, some layers without": GPTConfig.llama(
        23,
        11,
        d_model=18,
        num_heads=3,
        head_dim=10,
        num_layers=3,
        d_ff=19,
        rope_layout="interleaved",
        no_rope_layers=(1,),
    ),
    "sliding windows": GPTConfig.qwen3(
        27,
        11,
        d_model=12,
        num_heads=4,
        num_kv_heads=2,
        head_dim=6,
        num_layers=4,
        d_ff=15,
        layer_windows=(3, None, 1, 40),
    ),
    "squared ReLU, learned positions, RMSNorm": GPTConfig(
        21, 14, 2, 2, 0.0, 11, norm="rmsnorm", activation="relu_squared", d_ff=33, qkv_bias=False, mlp_bias=False
    ),
    "every bias, LayerNorm, rotary, QK-norm, tied": GPTConfig(
        22,
        12,
        6,
        2,
        0.0,
        11,
        num_kv_heads=2,
        head_dim=4,
        d_ff=17,
        position="rotary",
        activation="swiglu",
        qk_norm=True,
        tie_embeddings=True,
        norm_eps=1e-3,
    ),
    "no bias anywhere, LayerNorm, GELU": GPTConfig(
        20,
        9,
        3,
        2,
        0.0,
        11,
        qkv_bias=False,
        attention_output_bias=False,
        mlp_bias=False,
        output_bias=False,
        layer_windows=(4, 2),
    ),
    "normalised residual with modern parts": GPTConfig.qwen3(
        26, 11, d_model=16, num_heads=4, num_kv_heads=1, num_layers=2, d_ff=13, residual="normalized"
    ),
    "lesson with tanh GELU, no QKV bias, windows": GPTConfig.lesson(
        19, 8, 2, 2, 0.0, 11, activation="gelu_tanh", qkv_bias=False, layer_windows=(None, 5), d_ff=11, head_dim=3
    ),
    "qwen3, one layer, one head, one channel pair": GPTConfig.qwen3(
        5, 11, d_model=3, num_heads=1, head_dim=2, num_layers=1, d_ff=1, rope_theta=1.5
    ),
}

CASES: dict[str, GPTConfig] = {**PRESETS, **OTHERS}


def random_weights(config: GPTConfig, seed: int = 0) -> dict[str, Array]:
    """Weights large enough for every part to matter; each is exactly a float32, so both precisions start alike."""
    rng = np.random.default_rng(seed)
    weights = {}
    for name, shape in config.parameter_shapes().items():
        drawn = rng.standard_normal(shape)
        if "embedding" in name or "position" in name:
            drawn *= 0.7
        elif len(shape) == 2:
            drawn *= 1.2 / math.sqrt(shape[1])
        else:  # norm weights lie around 1, biases around 0
            is_norm = name.endswith("norm.weight") or ".ln" in name or name.startswith("ln_")
            drawn = 0.3 * drawn + (1.0 if is_norm and name.endswith("weight") else 0.0)
        weights[name] = drawn.astype(np.float32).astype(np.float64)
    return weights


def random_tokens(config: GPTConfig, batch_size: int = 2, length: int | None = None, seed: int = 1) -> tuple[Ids, Ids]:
    """Token ids and targets, [B, T] each; a full context unless `length` is given."""
    rng = np.random.default_rng(seed)
    shape = (batch_size, length or config.context_length)
    return rng.integers(0, config.vocab_size, shape), rng.integers(0, config.vocab_size, shape)

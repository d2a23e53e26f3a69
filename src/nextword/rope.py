"""Frequencies of rotary positions, for whoever computes them.

Source: Su et al. 2021, "RoFormer: Enhanced Transformer with Rotary Position Embedding"; the llama3 scaling is the one
published with Llama 3.1; yarn: Peng et al. 2023, "YaRN: Efficient Context Window Extension of Large Language Models".
"""

from __future__ import annotations

import math
from decimal import Decimal, localcontext

import numpy as np
from numpy.typing import NDArray

from nextword.config import GPTConfig


def inverse_frequencies(config: GPTConfig) -> NDArray[np.float64]:
    """Angle per position of each rotating pair of channels, [C/2]: `theta ** (-2c / C)`, scaled if asked."""
    with localcontext() as context:  # decimals are the same on every machine; a library's powers differ in the last bit
        context.prec = 30
        log_theta = Decimal(config.rope_theta).ln()
        exponents = [Decimal(channel) / config.head_dim for channel in range(0, config.head_dim, 2)]
        frequencies = np.array([float((-exponent * log_theta).exp()) for exponent in exponents])
    scaling = config.rope_scaling
    if scaling is None:
        return frequencies
    if scaling["rope_type"] == "linear":
        return frequencies / float(scaling["factor"])
    if scaling["rope_type"] == "yarn":
        return _yarn_frequencies(config, frequencies)
    # llama3: long wavelengths are stretched by `factor`, short ones kept, those between blended.
    factor, low, high = (float(scaling[name]) for name in ("factor", "low_freq_factor", "high_freq_factor"))
    turns = (
        float(scaling["original_max_position_embeddings"]) * frequencies / (2 * math.pi)
    )  # full turns in the old context
    blend = np.clip((turns - low) / (high - low), 0, 1)
    return frequencies * (blend + (1 - blend) / factor)


def rope_attention_factor(config: GPTConfig) -> float:
    """What cosines and sines are multiplied with: yarn's attention factor, 1 for all others."""
    return float((config.rope_scaling or {}).get("attention_factor", 1.0))


def _yarn_frequencies(config: GPTConfig, frequencies: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fast pairs are kept, slow ones slowed by `factor`.

    Fast is what turns more than `beta_fast` times in the old context, slow what turns less than `beta_slow` times;
    those between are blended linearly, by their number.
    """
    scaling = config.rope_scaling or {}
    old_context, C = float(scaling["original_max_position_embeddings"]), config.head_dim

    def dim_for_rotations(times: float) -> float:
        return C * math.log(old_context / (times * 2 * math.pi)) / (2 * math.log(config.rope_theta))

    first = max(math.floor(dim_for_rotations(scaling["beta_fast"])), 0)
    last = min(math.ceil(dim_for_rotations(scaling["beta_slow"])), C - 1)
    width = last - first or 0.001  # the published code's way round a division by zero
    interpolation = np.clip((np.arange(C // 2, dtype=np.float64) - first) / width, 0, 1)
    return frequencies * (1 - interpolation + interpolation / float(scaling["factor"]))

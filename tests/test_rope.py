"""Rotary frequencies are transformers', at the edges of their scalings too."""

from __future__ import annotations

import numpy as np
import pytest
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from nextword.config import GPTConfig
from nextword.rope import inverse_frequencies, rope_attention_factor

EDGES = {
    "between": (8.0, 1.0),
    "no pair turns as often as the fast ones": (
        32.0,
        1.0,
    ),  # the first blended pair would lie before the first there is
    "all pairs are blended": (64.0, 0.001),
    "one pair is the first and the last": (1.05, 1.0),
    "no pair turns as often as the slow ones": (60.0, 40.0),
}


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("head_dim", [8, 64])
def test_yarn_slows_the_pairs_that_transformers_slows(edge: str, head_dim: int) -> None:
    fast, slow = EDGES[edge]
    scaling = {
        "rope_type": "yarn",
        "factor": 4.0,
        "original_max_position_embeddings": 64,
        "beta_fast": fast,
        "beta_slow": slow,
        "attention_factor": 1.25,
    }
    theirs = LlamaConfig(
        hidden_size=2 * head_dim,
        num_attention_heads=2,
        max_position_embeddings=256,
        rope_parameters={"rope_theta": 100.0, **scaling},
    )
    expected, stretch = ROPE_INIT_FUNCTIONS["yarn"](theirs, "cpu")
    ours = GPTConfig.llama(
        23, 256, d_model=2 * head_dim, num_heads=2, num_layers=1, d_ff=8, rope_theta=100.0, rope_scaling=scaling
    )
    np.testing.assert_allclose(inverse_frequencies(ours), expected.double().numpy(), rtol=2e-6)
    assert rope_attention_factor(ours) == stretch == 1.25


def test_a_first_blended_pair_before_the_first_pair_is_the_first_pair() -> None:
    """Worked by hand: its number would be 8 log(64 / (32 * 2 pi)) / (2 log 100) = -0.99."""
    scaling = {
        "rope_type": "yarn",
        "factor": 4.0,
        "original_max_position_embeddings": 64,
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "attention_factor": 1.0,
    }
    config = GPTConfig.llama(
        23, 256, d_model=8, num_heads=1, num_layers=1, d_ff=8, rope_theta=100.0, rope_scaling=scaling
    )
    # The last blended pair is ceil(8 log(64 / 2 pi) / (2 log 100)) = ceil(2.02) = 3: shares 0, 1/3, 2/3, 1 are slowed.
    plain = 100.0 ** -np.array([0, 0.25, 0.5, 0.75])
    shares = np.array([0, 1 / 3, 2 / 3, 1])
    np.testing.assert_allclose(inverse_frequencies(config), plain * (1 - shares + shares / 4), rtol=1e-12)

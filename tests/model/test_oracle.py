"""The PyTorch model equals the NumPy oracle: logits, loss and every gradient, for every option of GPTConfig."""

from __future__ import annotations

import dataclasses
from typing import Literal, get_args, get_origin, get_type_hints

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nextword.config import ROPE_SCALING_PARAMETERS, GPTConfig
from tests.oracle import table
from tests.oracle.cases import CASES, LLAMA3_SCALING, random_tokens, random_weights
from tests.oracle.compare import errors, gpt_pass, torch_model
from tests.oracle.numpy_gpt import NumpyGPT, rotary_frequencies

CHOICES = {name: get_args(hint) for name, hint in get_type_hints(GPTConfig).items() if get_origin(hint) is Literal}
TOLERANCE = {torch.float32: 5e-5, torch.float64: 1e-10}


def same_as_oracle(config: GPTConfig, dtype: torch.dtype, batch_size: int = 2, length: int | None = None) -> None:
    weights, (ids, targets) = random_weights(config), random_tokens(config, batch_size, length)
    found = errors(
        gpt_pass(torch_model(config, weights, dtype), ids, targets), NumpyGPT(config, weights).run(ids, targets)
    )
    assert found.logits < TOLERANCE[dtype]
    assert found.loss < TOLERANCE[dtype]
    assert found.gradients < TOLERANCE[dtype], found.worst


# -- the oracle itself ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_the_oracles_gradients_equal_central_finite_differences(case: str) -> None:
    config = CASES[case]
    weights, (ids, targets) = random_weights(config), random_tokens(config, batch_size=1)
    gradients = NumpyGPT(config, weights).run(ids, targets).gradients
    rng, step = np.random.default_rng(2), 1e-5
    for name, weight in weights.items():
        direction = rng.standard_normal(weight.shape)
        direction /= np.linalg.norm(direction)
        up, down = (
            NumpyGPT(config, {**weights, name: weight + sign * step * direction}).run(ids, targets).loss
            for sign in (1, -1)
        )
        assert (up - down) / (2 * step) == pytest.approx(float((gradients[name] * direction).sum()), abs=1e-8), name


@pytest.mark.parametrize("case", CASES)
def test_every_weight_of_every_case_matters(case: str) -> None:
    config = CASES[case]
    weights, (ids, targets) = random_weights(config), random_tokens(config)
    for name, gradient in NumpyGPT(config, weights).run(ids, targets).gradients.items():
        # A constant added to all keys moves all scores of a row alike, so softmax does not see it, unless they are
        # normalised or rotated first. And a token that sees only itself need not choose.
        shifted = name.endswith("k_proj.bias") and config.position == "learned" and not config.qk_norm
        alone = [
            f"blocks.{i}.attn.{part}" for i, window in enumerate(config.layer_windows) if window == 1 for part in "qk"
        ]
        unseen = shifted or name.startswith(tuple(alone))
        assert (np.abs(gradient).max() > 1e-4) != unseen, name


def test_the_cases_use_every_choice_of_every_field() -> None:
    configs = CASES.values()
    for name, choices in CHOICES.items():
        assert {getattr(config, name) for config in configs} == set(choices), name
    for item in dataclasses.fields(GPTConfig):
        if item.type == "bool":
            assert {getattr(config, item.name) for config in configs} == {True, False}, item.name
    scalings = {config.rope_scaling["rope_type"] for config in configs if config.rope_scaling}
    assert scalings == set(ROPE_SCALING_PARAMETERS)
    assert any(config.no_rope_layers for config in configs)
    assert any(config.num_heads > config.num_kv_heads > 1 for config in configs)
    assert any(config.num_heads * config.head_dim != config.d_model for config in configs)
    windows = {window for config in configs for window in config.layer_windows}
    assert {None, 1, 3, 40} <= windows  # all, only itself, some, more than there are


def test_llama3_scaling_keeps_blends_and_slows_down_frequencies() -> None:
    config = CASES["llama, llama3 scaling"]
    ratios = rotary_frequencies(config) / rotary_frequencies(config.replace(rope_scaling=None))
    assert ratios[0] == 1
    assert np.all((ratios[1:3] > 1 / 8) & (ratios[1:3] < 1))
    assert ratios[3] == pytest.approx(1 / 8)


# -- the model -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", TOLERANCE, ids=["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_logits_loss_and_every_gradient_equal_the_oracle(case: str, dtype: torch.dtype) -> None:
    same_as_oracle(CASES[case], dtype)


@pytest.mark.parametrize("length", [1, 2, 7])
@pytest.mark.parametrize("case", CASES)
def test_shorter_sequences_equal_the_oracle(case: str, length: int) -> None:
    same_as_oracle(CASES[case], torch.float64, batch_size=3, length=length)


@pytest.mark.parametrize("case", CASES)
def test_a_mask_of_ones_own_replaces_the_causal_mask_but_not_the_window(case: str) -> None:
    config = CASES[case]
    weights, (ids, _) = random_weights(config), random_tokens(config, length=6)
    mask = np.random.default_rng(3).standard_normal((6, 6))
    blocked = np.random.default_rng(4).random((6, 6)) < 0.3
    np.fill_diagonal(blocked, val=False)  # a row that may look nowhere has no softmax
    model, oracle = torch_model(config, weights), NumpyGPT(config, weights)
    added = model(torch.from_numpy(ids), torch.from_numpy(mask)).detach().numpy()
    assert np.abs(added - oracle.logits(ids, mask)).max() < 1e-10
    hidden = model(torch.from_numpy(ids), torch.from_numpy(blocked)).detach().numpy()
    assert np.abs(hidden - oracle.logits(ids, np.where(blocked, -np.inf, 0.0))).max() < 1e-10


@st.composite
def configs(draw: st.DrawFn) -> GPTConfig:
    """Any small config that GPTConfig allows."""
    num_kv_heads, group, num_layers = draw(st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 2)))
    rotary = draw(st.booleans())
    head_dim = draw(st.sampled_from([2, 4, 6]) if rotary else st.integers(1, 5))
    layers = st.lists(st.integers(0, num_layers - 1), unique=True)
    windows = st.lists(st.none() | st.integers(1, 9), min_size=num_layers, max_size=num_layers)
    linear = {"rope_type": "linear", "factor": draw(st.floats(0.5, 8))}
    flags = ("qkv_bias", "attention_output_bias", "mlp_bias", "output_bias", "qk_norm", "tie_embeddings")
    return GPTConfig(
        vocab_size=draw(st.integers(2, 17)),
        d_model=draw(st.integers(2, 13)),
        num_heads=num_kv_heads * group,
        num_layers=num_layers,
        dropout=0.0,
        context_length=draw(st.integers(1, 9)),
        num_kv_heads=num_kv_heads,
        head_dim=head_dim,
        d_ff=draw(st.integers(1, 11)),
        position="rotary" if rotary else "learned",
        rope_theta=draw(st.sampled_from([10.0, 10000.0, 1e6])),
        rope_scaling=draw(st.sampled_from([None, linear, LLAMA3_SCALING])) if rotary else None,
        no_rope_layers=tuple(draw(layers)) if rotary else (),
        norm_eps=draw(st.sampled_from([1e-6, 1e-5, 1e-2])),
        layer_windows=tuple(draw(st.just([]) | windows)),
        **{name: draw(st.sampled_from(choices)) for name, choices in CHOICES.items() if name != "position"},
        **{name: draw(st.booleans()) for name in flags},
    )


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(config=configs(), batch_size=st.integers(1, 2))
def test_any_combination_of_options_equals_the_oracle(config: GPTConfig, batch_size: int) -> None:
    weights, (ids, targets) = random_weights(config), random_tokens(config, batch_size)
    expected = NumpyGPT(config, weights).run(ids, targets)
    found = errors(gpt_pass(torch_model(config, weights), ids, targets), expected)
    # A narrow model's norm may divide by almost nothing and so stretch gradients; the bound grows with them.
    largest = max(1.0, *(float(np.abs(gradient).max()) for gradient in expected.gradients.values()))
    assert found.logits < 1e-10
    assert found.loss < 1e-10
    assert found.gradients < 1e-10 * largest, found.worst


def test_the_oracle_table_prints_a_line_for_each_comparison(capsys: pytest.CaptureFixture[str]) -> None:
    table.main()
    heading, *lines = capsys.readouterr().out.splitlines()
    assert heading.split()[:2] == ["model", "precision"]
    against_transformers = [line for line in lines if " transformers " in line]
    assert len(lines) == 2 * len(CASES) + len(against_transformers) + 2  # two precisions, and the lesson's classes
    assert len(against_transformers) >= 3

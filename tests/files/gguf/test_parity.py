"""The same GGUF file gives the same logits here and in transformers, whoever wrote it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers

from nextword import GPTConfig
from nextword.files.gguf import read_gguf, write_gguf
from tests.files.gguf.twins import logits_of, randomize, twin_logits, twin_of, write_by_library
from tests.files.making import BPE, LLAMA3, random_bundle

V = BPE.vocab_size
ODD = {"d_model": 36, "num_heads": 6, "num_layers": 3, "num_kv_heads": 2, "d_ff": 52}
IDS = np.random.default_rng(5).integers(0, V, 24).tolist()

# Config, and what transformers does not read from a GGUF file.
OURS: dict[str, tuple[GPTConfig, dict[str, Any]]] = {
    "llama": (GPTConfig.llama(V, 40, **ODD), {}),
    "llama, wide heads, tied": (
        GPTConfig.llama(V, 40, **ODD, head_dim=10, rope_theta=500.0, norm_eps=1e-5, tie_embeddings=True),
        {},
    ),
    "llama, llama3 scaling": (
        GPTConfig.llama(V, 40, **ODD, head_dim=16, rope_theta=500.0, rope_scaling=LLAMA3),
        {"rope_parameters": {**LLAMA3, "rope_theta": 500.0}},
    ),
    "llama, linear scaling": (
        GPTConfig.llama(V, 40, **ODD, rope_scaling={"rope_type": "linear", "factor": 2.5}),
        {"rope_parameters": {"rope_type": "linear", "factor": 2.5, "rope_theta": 10000.0}},
    ),
    "llama, every bias": (
        GPTConfig.llama(V, 40, **ODD, qkv_bias=True, attention_output_bias=True, mlp_bias=True),
        {"attention_bias": True, "mlp_bias": True},
    ),
    "qwen2": (GPTConfig.llama(V, 40, **ODD, qkv_bias=True, rope_theta=1e6), {}),
    "qwen3": (GPTConfig.qwen3(V, 40, **ODD, head_dim=10), {"head_dim": 10}),
    "qwen3, untied": (GPTConfig.qwen3(V, 40, **ODD, head_dim=8, tie_embeddings=False), {"head_dim": 8}),
    "gpt2": (GPTConfig.gpt2(V, 40, d_model=30, num_heads=5, num_layers=3), {"n_positions": 40}),
    "gpt2, head of its own": (
        GPTConfig.gpt2(V, 40, d_model=30, num_heads=5, num_layers=2, d_ff=44, tie_embeddings=False),
        {"n_positions": 40, "n_inner": 44},
    ),
}


@pytest.mark.parametrize("case", OURS)
def test_what_is_written_here_gives_the_same_logits_in_transformers(case: str, tmp_path: Path) -> None:
    config, fields = OURS[case]
    bundle = random_bundle(config)
    path = tmp_path / "model.gguf"
    write_gguf(path, bundle, "f32")
    expected = logits_of(bundle, IDS)
    again = logits_of(read_gguf(path), IDS)
    theirs = twin_logits(twin_of(path, **fields), IDS)
    np.testing.assert_array_equal(again, expected)
    assert float(np.abs(theirs - expected).max()) < 5e-5
    assert float(np.abs(expected).max()) > 1


SIZES = {"num_hidden_layers": 3, "vocab_size": V, "max_position_embeddings": 40}
MODERN = {**SIZES, "hidden_size": 36, "num_attention_heads": 6, "num_key_value_heads": 2, "intermediate_size": 52}
THEIRS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {**MODERN, "rms_norm_eps": 1e-5}),
    "llama, wide heads": ("Llama", {**MODERN, "head_dim": 12, "tie_word_embeddings": True}),
    "qwen2": ("Qwen2", {**MODERN, "tie_word_embeddings": True, "head_dim": 6}),
    "qwen3": ("Qwen3", {**MODERN, "head_dim": 8, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}),
    "gpt2": ("GPT2", {"n_embd": 30, "n_head": 5, "n_layer": 3, "vocab_size": V, "n_positions": 40}),
    "smollm3": ("SmolLM3", {**MODERN, "num_hidden_layers": 5, "head_dim": 6, "pad_token_id": 0}),
}


@pytest.mark.parametrize("case", THEIRS)
def test_what_the_gguf_library_writes_gives_the_logits_of_the_model_it_came_from(case: str, tmp_path: Path) -> None:
    family, fields = THEIRS[case]
    config = getattr(transformers, f"{family}Config")(**fields, attn_implementation="eager")
    name = f"{family}LMHeadModel" if family == "GPT2" else f"{family}ForCausalLM"
    model = randomize(getattr(transformers, name)(config))
    path = tmp_path / "model.gguf"
    write_by_library(path, model, family.lower(), BPE)
    bundle = read_gguf(path)
    expected = twin_logits(model, IDS)
    assert float(np.abs(logits_of(bundle, IDS) - expected).max()) < 5e-5
    assert float(np.abs(expected).max()) > 1
    assert bundle.config.rope_layout == "half"
    assert bundle.tokenizer.encode("한국어 🙂 text") == BPE.encode("한국어 🙂 text")
    assert bundle.provenance["name"] == "twin"


@pytest.mark.parametrize(("dtype", "limit"), [("f16", 0.02), ("q8_0", 1.0)])
def test_rounded_weights_give_nearly_the_same_logits_and_exactly_those_of_transformers(
    dtype: str, limit: float, tmp_path: Path
) -> None:
    config = GPTConfig.llama(V, 40, d_model=64, num_heads=4, num_layers=2, num_kv_heads=2, d_ff=96)
    bundle = random_bundle(config)
    path = tmp_path / "model.gguf"
    write_gguf(path, bundle, dtype)
    found = logits_of(read_gguf(path), IDS)
    assert float(np.abs(twin_logits(twin_of(path), IDS) - found).max()) < 5e-5
    assert 0 < float(np.abs(logits_of(bundle, IDS) - found).max()) < limit

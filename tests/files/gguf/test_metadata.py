"""What a file says of the model: understood, neutral, or refused by name."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from nextword.config import yarn_attention_factor
from nextword.files.gguf import read_gguf
from nextword.files.gguf.rope import llama3_factors
from tests.files.gguf.building import (
    INT32,
    LLAMA,
    UINT64,
    WIDTH,
    File,
    Tensor,
    Value,
    byte_level_values,
    f32,
    flag,
    i32s,
    llama_tensors,
    llama_values,
    refusal,
    tensor,
    text,
    texts,
    u32,
)
from tests.files.making import YARN


def _read(tmp_path: Path, file: File):  # type: ignore[no-untyped-def]
    path = tmp_path / "model.gguf"
    path.write_bytes(file.written())
    return read_gguf(path)


def test_the_config_is_what_the_metadata_says(tmp_path: Path) -> None:
    config = _read(tmp_path, LLAMA).config
    assert (config.vocab_size, config.d_model, config.num_heads, config.num_kv_heads) == (259, 8, 2, 1)
    assert (config.num_layers, config.d_ff, config.context_length, config.head_dim) == (1, 12, 16, 4)
    assert (config.position, config.norm, config.activation) == ("rotary", "rmsnorm", "swiglu")
    assert (config.norm_eps, config.rope_theta, config.rope_layout) == (1e-5, 10000.0, "half")
    assert (config.tie_embeddings, config.qkv_bias, config.qk_norm) == (True, False, False)


NEUTRAL = [
    u32("llama.vocab_size", 259),
    u32("llama.rope.dimension_count", 4),
    u32("llama.attention.key_length", 4),
    u32("llama.attention.value_length", 4),
    u32("llama.expert_count", 0),
    u32("llama.expert_used_count", 0),
    u32("llama.attention.sliding_window", 16),
    f32("llama.rope.scaling.factor", 1.0),
    text("llama.rope.scaling.type", "none"),
    f32("llama.rope.scaling.attn_factor", 1.0),
    flag("llama.rope.scaling.finetuned", True),
    u32("llama.rope.scaling.original_context_length", 8),
    flag("llama.attention.causal", True),
    text("llama.tensor_data_layout", "Meta AI original pth"),
    text("general.description", "anything"),
    u32("general.file_type", 17),
    texts("general.tags", ["a", "b"]),
    text("somebody.note", "hello"),
    i32s("quantize.imatrix.entries", [1, 2]),
    Value("llama.context_length", UINT64, struct.pack("<Q", 16)),
    Value("llama.block_count", INT32, struct.pack("<i", 1)),
    u32("split.count", 1),
    u32("tokenizer.ggml.padding_token_id", 3),
    u32("tokenizer.ggml.fim_pre_token_id", 3),
    flag("tokenizer.ggml.add_eos_token", True),
    flag("tokenizer.ggml.add_space_prefix", False),
]


@pytest.mark.parametrize("value", NEUTRAL, ids=lambda value: str(value.key))
def test_what_says_nothing_about_the_numbers_passes(value: Value, tmp_path: Path) -> None:
    assert _read(tmp_path, LLAMA.but(value)).config == _read(tmp_path, LLAMA).config


REFUSED = {
    "another architecture": (text("general.architecture", "mamba"), "general.architecture 'mamba' is not supported"),
    "an adapter": (text("general.type", "adapter"), "general.type is 'adapter'"),
    "an architecture that is a number": (u32("general.architecture", 7), "should be a string, found 7"),
    "a part of a split file": (Value("split.count", 2, struct.pack("<H", 3)), "is one of 3 parts of a model"),
    "experts": (u32("llama.expert_count", 8), "llama.expert_count is 8; nextword computes only 0"),
    "a window": (u32("llama.attention.sliding_window", 5), "llama.attention.sliding_window is 5"),
    "partly rotated heads": (u32("llama.rope.dimension_count", 2), "llama.rope.dimension_count is 2"),
    "narrower values": (u32("llama.attention.value_length", 2), "llama.attention.value_length is 2"),
    "another vocabulary": (u32("llama.vocab_size", 300), "llama.vocab_size is 300; nextword computes only 259"),
    "attention both ways": (flag("llama.attention.causal", False), "llama.attention.causal is False"),
    "a scale nobody knows": (f32("llama.logit_scale", 0.5), "the key 'llama.logit_scale' is not understood"),
    "another scaling": (text("llama.rope.scaling.type", "longrope"), "scaling.type 'longrope' is not supported"),
    "heads that differ by layer": (i32s("llama.attention.head_count", [2]), "a whole number, found a list of 1"),
    "a text for a number": (text("llama.block_count", "1"), "llama.block_count should be a whole number, found '1'"),
    "a fraction for a number": (f32("llama.block_count", 1.0), "llama.block_count should be a whole number, found 1.0"),
    "true for a number": (flag("llama.block_count", True), "llama.block_count should be a whole number, found True"),
    "more layers than tensors": (u32("llama.block_count", 1 << 31), "there are 11 tensors"),
    "no layers": (u32("llama.block_count", 0), "GPTConfig.num_layers is 0"),
    "two layers where one is": (u32("llama.block_count", 2), "tensor blocks.1.ln1.weight of shape (8,) is missing"),
    "no heads": (u32("llama.attention.head_count", 0), "llama.attention.head_count is 0, it must be at least 1"),
    "heads that do not divide": (u32("llama.attention.head_count_kv", 3), "GPTConfig.num_kv_heads is 3"),
    "a huge context": (u32("llama.context_length", 1 << 31), "at most 16777216 is supported"),
    "another width": (u32("llama.embedding_length", 16), "should have shape (259, 16), found (259, 8)"),
    "an epsilon of zero": (f32("llama.attention.layer_norm_rms_epsilon", 0.0), "GPTConfig.norm_eps is 0.0"),
    "an epsilon that is no number": (
        f32("llama.attention.layer_norm_rms_epsilon", float("nan")),
        "layer_norm_rms_epsilon should be a finite number, found nan",
    ),
    "an infinite base": (
        f32("llama.rope.freq_base", float("inf")),
        "rope.freq_base should be a finite number, found inf",
    ),
    "yarn's other betas": (f32("llama.rope.scaling.yarn_beta_fast", 8.0), "yarn_beta_fast' is not understood"),
    "a recommended temperature that is no number": (f32("general.sampling.temp", float("nan")), "a finite number"),
    "a negative factor": (f32("llama.rope.scaling.factor", -2.0), "GPTConfig.rope_scaling"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_could_change_the_numbers_is_refused_by_name(name: str, tmp_path: Path) -> None:
    value, says = REFUSED[name]
    assert says in refusal(tmp_path / "model.gguf", LLAMA.but(value).written()).message


def test_a_split_file_comes_with_the_way_out(tmp_path: Path) -> None:
    error = refusal(tmp_path / "model.gguf", LLAMA.but(u32("split.count", 2)).written())
    assert "llama-gguf-split --merge" in error.hint


NEEDED = [
    "general.architecture",
    "llama.context_length",
    "llama.embedding_length",
    "llama.block_count",
    "llama.feed_forward_length",
    "llama.attention.head_count",
    "llama.attention.layer_norm_rms_epsilon",
    "tokenizer.ggml.model",
    "tokenizer.ggml.pre",
    "tokenizer.ggml.tokens",
    "tokenizer.ggml.merges",
]


@pytest.mark.parametrize("key", NEEDED)
def test_a_key_that_is_needed_is_named(key: str, tmp_path: Path) -> None:
    message = refusal(tmp_path / "model.gguf", LLAMA.but(without=[key]).written()).message
    assert f"the key '{key}' is missing" in message


@pytest.mark.parametrize("gone", [item.name for item in LLAMA.tensors])
def test_a_tensor_that_is_missing_is_named(gone: str, tmp_path: Path) -> None:
    assert "is missing" in refusal(tmp_path / "model.gguf", LLAMA.but_tensor(without=[gone]).written()).message


def test_a_tensor_too_many_is_named(tmp_path: Path) -> None:
    extra = tensor("blk.0.attn_sinks.weight", (2,))
    message = refusal(tmp_path / "model.gguf", LLAMA.but_tensor(extra).written()).message
    assert "tensor 'blk.0.attn_sinks.weight' is not part of this architecture" in message


def test_a_head_of_its_own_is_found_by_its_tensor(tmp_path: Path) -> None:
    bundle = _read(tmp_path, LLAMA.but_tensor(tensor("output.weight", (259, WIDTH))))
    assert not bundle.config.tie_embeddings
    assert bundle.tensors["output_layer.weight"].shape == (259, WIDTH)


def test_biases_are_found_by_their_tensors(tmp_path: Path) -> None:
    file = File((*llama_values(), *byte_level_values()), llama_tensors(259, biases=True))
    bundle = _read(tmp_path, file)
    assert bundle.config.qkv_bias
    assert not bundle.config.attention_output_bias
    [stored] = [item for item in file.tensors if item.name == "blk.0.attn_q.bias"]
    rows = np.frombuffer(stored.data, "<f4")
    found = bundle.tensors["blocks.0.attn.q_proj.bias"].values()
    np.testing.assert_array_equal(found, rows[[0, 2, 1, 3, 4, 6, 5, 7]])  # two heads of four channels


def test_queries_are_not_moved_where_halves_rotate_together(tmp_path: Path) -> None:
    values = llama_values("qwen2")
    file = File((*values, *byte_level_values()), llama_tensors(259, biases=True))
    [stored] = [item for item in file.tensors if item.name == "blk.0.attn_q.weight"]
    assert _read(tmp_path, file).tensors["blocks.0.attn.q_proj.weight"].data.tobytes() == stored.data


# -- scaled rotary positions -----------------------------------------------------------------------------------------

WIDE = File((*llama_values(width=64), *byte_level_values()), llama_tensors(259, width=64))  # heads of 32


def test_linear_scaling_is_read(tmp_path: Path) -> None:
    for values in (
        [text("llama.rope.scaling.type", "linear"), f32("llama.rope.scaling.factor", 2.5)],
        [f32("llama.rope.scaling.factor", 2.5)],
        [f32("llama.rope.scale_linear", 2.5)],
    ):
        found = _read(tmp_path, LLAMA.but(*values)).config.rope_scaling
        assert found == {"rope_type": "linear", "factor": 2.5}


def test_yarn_is_read_with_the_published_defaults(tmp_path: Path) -> None:
    values = [
        text("llama.rope.scaling.type", "yarn"),
        f32("llama.rope.scaling.factor", 4.0),
        u32("llama.rope.scaling.original_context_length", 4),
    ]
    expected = {**YARN, "original_max_position_embeddings": 4, "beta_fast": 32.0, "beta_slow": 1.0}
    expected["attention_factor"] = yarn_attention_factor(4.0)
    assert _read(tmp_path, LLAMA.but(*values)).config.rope_scaling == expected


def _with_factors(factors: np.ndarray, *values: Value) -> File:
    stored = factors.astype("<f4")
    return WIDE.but(*values).but_tensor(Tensor("rope_freqs.weight", stored.shape, stored.tobytes()))


@pytest.mark.parametrize("factor", [8.0, 32.0, 2.5])
@pytest.mark.parametrize("original", [8192, 64])
def test_llama3_scaling_is_recovered_from_its_factors(factor: float, original: int, tmp_path: Path) -> None:
    """8192 is what the published models have; another original context must be in the metadata."""
    scaling = {
        "rope_type": "llama3",
        "factor": factor,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": original,
    }
    factors = llama3_factors(32, 500_000.0, scaling)
    assert sorted({float(round(value, 3)) for value in factors})[-1] == factor
    values = [f32("llama.rope.freq_base", 500_000.0)]
    if original != 8192:
        values.append(u32("llama.rope.scaling.original_context_length", original))
    assert _read(tmp_path, _with_factors(factors, *values)).config.rope_scaling == scaling


def test_the_factors_are_those_that_llama_cpps_converter_computes() -> None:
    """Its loop, for Llama 3.2's numbers."""
    found = llama3_factors(
        64,
        500_000.0,
        {"factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192},
    )
    for i, factor in enumerate(found):
        wavelength = 2 * np.pi * 500_000.0 ** (2 * i / 64)
        smooth = (8192 / wavelength - 1) / (4 - 1)
        expected = 1 if wavelength < 8192 / 4 else 32 if wavelength > 8192 else 1 / ((1 - smooth) / 32 + smooth)
        assert factor == pytest.approx(expected, rel=1e-12)
    assert (found[0], found[-1]) == (1.0, 32.0)


def test_factors_of_one_scale_nothing(tmp_path: Path) -> None:
    assert _read(tmp_path, _with_factors(np.ones(16))).config.rope_scaling is None


@pytest.mark.parametrize("factors", [np.arange(1, 17), np.full(16, 0.5), np.full(16, -8.0), np.full(16, 8.0)])
def test_other_factors_are_refused(factors: np.ndarray, tmp_path: Path) -> None:
    message = refusal(tmp_path / "model.gguf", _with_factors(factors).written()).message
    assert "rope_freqs.weight does not hold the llama3 scaling" in message


def test_factors_of_another_length_are_refused(tmp_path: Path) -> None:
    message = refusal(tmp_path / "model.gguf", _with_factors(np.ones(15)).written()).message
    assert "tensor rope_freqs.weight should have shape (16,), found (15,)" in message


def test_factors_for_an_architecture_that_has_none_are_refused(tmp_path: Path) -> None:
    """llama.cpp reads them for llama only."""
    ones = Tensor("rope_freqs.weight", (2,), np.ones(2, "<f4").tobytes())
    file = File((*llama_values("qwen2"), *byte_level_values()), llama_tensors(259, biases=True)).but_tensor(ones)
    message = refusal(tmp_path / "model.gguf", file.written()).message
    assert "'rope_freqs.weight' is not part of this architecture" in message


def test_yarn_with_other_betas_is_refused(tmp_path: Path) -> None:
    values = [text("llama.rope.scaling.type", "yarn"), f32("llama.rope.scaling.factor", 4.0)]
    content = LLAMA.but(*values, f32("llama.rope.scaling.yarn_beta_fast", 8.0)).written()
    assert "yarn_beta_fast is 8.0; nextword computes only 32.0" in refusal(tmp_path / "model.gguf", content).message


def test_factors_beside_another_scaling_are_refused(tmp_path: Path) -> None:
    content = _with_factors(np.full(16, 8.0), f32("llama.rope.scaling.factor", 2.0)).written()
    assert "at once are not supported" in refusal(tmp_path / "model.gguf", content).message

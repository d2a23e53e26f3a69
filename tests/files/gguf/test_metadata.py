"""What a file says of the model: understood, neutral, or refused by name."""

from __future__ import annotations

import struct
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from nextword.config import GPTConfig, yarn_attention_factor
from nextword.files.bundle import Bundle
from nextword.files.gguf import read_gguf, read_gguf_tokenizer, write_gguf
from nextword.files.gguf.metadata import Metadata
from nextword.files.gguf.rope import llama3_factors, read_rope_scaling
from nextword.files.tensors import RawTensor
from tests.files.gguf.building import (
    ARRAY,
    BOOL,
    INT32,
    LLAMA,
    UINT8,
    UINT64,
    WIDTH,
    File,
    Tensor,
    Value,
    byte_level_values,
    f32,
    f32s,
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
    # What converters and mirrors write for other architectures, with the value that switches it off.
    i32s("llama.attention.head_count", [2]),
    i32s("llama.attention.head_count_kv", [1]),
    i32s("llama.feed_forward_length", [12]),
    i32s("llama.attention.key_length", [4]),
    f32s("llama.rope.freq_base", [10000.0]),
    u32("llama.attention.sliding_window", 4096),
    Value("llama.attention.sliding_window_pattern", ARRAY, struct.pack("<IQ?", BOOL, 1, True)),
    f32("llama.rope.freq_base_swa", 1e6),
    u32("llama.nextn_predict_layers", 0),
    u32("llama.n_deepstack_layers", 0),
    u32("llama.leading_dense_block_count", 3),
    u32("llama.expert_feed_forward_length", 768),
    f32("llama.expert_weights_scale", 2.5),
    u32("llama.pooling_type", 3),
    u32("llama.vocab_size", 300),
    f32("llama.logit_scale", 1.0),
    f32("llama.residual_scale", 1.0),
    f32("llama.embedding_scale", 0.0),
    f32("llama.attn_logit_softcapping", 0.0),
    f32("llama.attention.scale", 0.5),
    f32("llama.attention.max_alibi_bias", 0.0),
    f32("llama.attention.clamp_kqv", 0.0),
    f32("llama.attention.temperature_scale", 0.0),
    f32("llama.attention.layer_norm_epsilon", 1e-3),
    flag("llama.use_parallel_residual", False),
    text("llama.hidden_activation", "silu"),
    i32s("llama.rope.dimension_sections", [0]),
    f32("llama.rope.scaling.yarn_beta_fast", 8.0),
    f32("llama.rope.scaling.yarn_log_multiplier", 0.1),
    texts("llama.classifier.output_labels", ["yes", "no"]),
    i32s("tokenizer.ggml.suppress_tokens", []),
    Value("tokenizer.ggml.precompiled_charsmap", ARRAY, struct.pack("<IQ", UINT8, 0)),
    flag("tokenizer.ggml.normalizer.lowercase", False),
    texts("tokenizer.ggml.added_tokens", ["a"]),
    u32("tokenizer.ggml.seperator_token_id", 3),
    u32("tokenizer.ggml.bos_token_id", 0xFFFFFFFF),
    texts("tokenizer.chat_templates", ["tool_use"]),
    text("tokenizer.chat_template.tool_use", "{{ messages }}"),
    text("tokenizer.huggingface.json", "{}"),
    texts("general.license", ["mit", "apache-2.0"]),
    u32("general.name", 7),
    text("general.quantized_by", "누군가"),
    text("general.base_model.0.repo_url", "x"),
    text("general.sampling.sequence", "kt"),
    f32("general.sampling.xtc_probability", 0.1),
    text("quantize.imatrix.file", "imatrix.dat"),
    texts("imatrix.datasets", ["wiki.test.raw"]),
    u32("mradermacher.quantize_version", 2),
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
    "a part of a split file": (Value("split.count", 2, struct.pack("<H", 3)), "is one of 3 parts of a model, but not"),
    "experts": (u32("llama.expert_count", 8), "llama.expert_count is 8; nextword computes only 0"),
    "a window": (u32("llama.attention.sliding_window", 5), "llama.attention.sliding_window is 5"),
    "partly rotated heads": (u32("llama.rope.dimension_count", 2), "llama.rope.dimension_count is 2"),
    "narrower values": (u32("llama.attention.value_length", 2), "llama.attention.value_length is 2"),
    "a layer that guesses ahead": (
        u32("llama.nextn_predict_layers", 1),
        "nextn_predict_layers is 1; nextword computes",
    ),
    "a scaled stream": (f32("llama.residual_scale", 0.22), "llama.residual_scale is 0.22; nextword computes only 1.0"),
    "a scaled embedding": (f32("llama.embedding_scale", 12.0), "llama.embedding_scale is 12.0"),
    "capped logits": (f32("llama.final_logit_softcapping", 30.0), "llama.final_logit_softcapping is 30.0"),
    "capped attention": (f32("llama.attn_logit_softcapping", 50.0), "llama.attn_logit_softcapping is 50.0"),
    "another scale of attention": (f32("llama.attention.scale", 0.25), "llama.attention.scale is 0.25"),
    "a slope by distance": (f32("llama.attention.max_alibi_bias", 8.0), "llama.attention.max_alibi_bias is 8.0"),
    "clamped queries": (f32("llama.attention.clamp_kqv", 6.0), "llama.attention.clamp_kqv is 6.0"),
    "parallel blocks": (flag("llama.use_parallel_residual", True), "llama.use_parallel_residual is True"),
    "another activation": (text("llama.hidden_activation", "gelu"), "llama.hidden_activation is 'gelu'"),
    "positions of pictures": (i32s("llama.rope.dimension_sections", [16]), "llama.rope.dimension_sections is 16"),
    "a stretch by alpha": (f32("llama.rope.scaling.alpha", 1000.0), "llama.rope.scaling.alpha is 1000.0"),
    "an attention of low rank": (u32("llama.attention.kv_lora_rank", 512), "llama.attention.kv_lora_rank is 512"),
    "values that differ by layer": (i32s("llama.feed_forward_length", [12, 8]), "a whole number, found a list of 2"),
    "lowercase": (flag("tokenizer.ggml.normalizer.lowercase", True), "tokenizer.ggml.normalizer.lowercase is True"),
    "tokens never to be drawn": (i32s("tokenizer.ggml.suppress_tokens", [3]), "suppress_tokens is a list of 1, which"),
    "attention both ways": (flag("llama.attention.causal", False), "llama.attention.causal is False"),
    "a scale nobody knows": (f32("llama.logit_scale", 0.5), "llama.logit_scale is 0.5; nextword computes only 1.0"),
    "a key nobody knows": (f32("llama.klingon_scale", 1.0), "the key 'llama.klingon_scale' is not understood"),
    "another scaling": (text("llama.rope.scaling.type", "longrope"), "scaling.type 'longrope' is not supported"),
    "heads of more layers than there are": (
        i32s("llama.attention.head_count", [2, 2]),
        "llama.attention.head_count should be a whole number, found a list of 2",
    ),
    "a text for a number": (text("llama.block_count", "1"), "llama.block_count should be a whole number, found '1'"),
    "a fraction for a number": (f32("llama.block_count", 1.0), "llama.block_count should be a whole number, found 1.0"),
    "true for a number": (flag("llama.block_count", True), "llama.block_count should be a whole number, found True"),
    "more layers than tensors": (u32("llama.block_count", 1 << 31), "there are 11 tensors"),
    "no layers": (u32("llama.block_count", 0), "llama.block_count is 0"),
    "two layers where one is": (u32("llama.block_count", 2), "tensor blocks.1.ln1.weight of shape (8,) is missing"),
    "no heads": (u32("llama.attention.head_count", 0), "llama.attention.head_count is 0, it must be at least 1"),
    "heads that do not divide": (
        u32("llama.attention.head_count_kv", 3),
        "llama.attention.head_count_kv is 3, it must be a divisor of llama.attention.head_count",
    ),
    "a huge context": (u32("llama.context_length", 1 << 31), "at most 16777216 is supported"),
    "another width": (u32("llama.embedding_length", 16), "should have shape (259, 16), found (259, 8)"),
    "an epsilon of zero": (
        f32("llama.attention.layer_norm_rms_epsilon", 0.0),
        "llama.attention.layer_norm_rms_epsilon is 0.0",
    ),
    "an epsilon that is no number": (
        f32("llama.attention.layer_norm_rms_epsilon", float("nan")),
        "layer_norm_rms_epsilon should be a finite number, found nan",
    ),
    "an infinite base": (
        f32("llama.rope.freq_base", float("inf")),
        "rope.freq_base should be a finite number, found inf",
    ),
    "a recommended temperature that is no number": (f32("general.sampling.temp", float("nan")), "a finite number"),
    "a negative factor": (f32("llama.rope.scaling.factor", -2.0), "llama.rope.scaling is {"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_could_change_the_numbers_is_refused_by_name(name: str, tmp_path: Path) -> None:
    value, says = REFUSED[name]
    assert says in refusal(tmp_path / "model.gguf", LLAMA.but(value).written()).message


def test_a_list_that_says_the_same_for_every_layer_is_one_number(tmp_path: Path) -> None:
    two = tuple(
        replace(item, name=item.name.replace("blk.0", "blk.1")) for item in LLAMA.tensors if "blk.0" in str(item.name)
    )
    file = LLAMA.but(u32("llama.block_count", 2), i32s("llama.attention.head_count_kv", [1, 1])).but_tensor(*two)
    assert _read(tmp_path, file).config.num_kv_heads == 1
    content = file.but(i32s("llama.attention.head_count_kv", [1, 2])).written()
    message = refusal(tmp_path / "model.gguf", content).message
    assert "llama.attention.head_count_kv should be a whole number, found a list of 2" in message


def test_what_is_passed_over_is_told(tmp_path: Path) -> None:
    file = LLAMA.but(
        u32("llama.pooling_type", 3), u32("llama.vocab_size", 300), u32("llama.expert_feed_forward_length", 7)
    )
    assert _read(tmp_path, LLAMA).notes == []
    assert _read(tmp_path, file).notes == [
        "llama.vocab_size is 300; the embedding has 259 rows, which count",
        "passed over, because the model has no experts: llama.expert_feed_forward_length",
        "passed over, because it says nothing about the next token: llama.pooling_type",
    ]


NEEDED = [
    "general.architecture",
    "llama.context_length",
    "llama.embedding_length",
    "llama.block_count",
    "llama.feed_forward_length",
    "llama.attention.head_count",
    "llama.attention.layer_norm_rms_epsilon",
    "tokenizer.ggml.model",
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


@pytest.mark.parametrize("arch", ["llama", "qwen2"])
def test_queries_keys_and_values_may_share_a_matrix(arch: str, tmp_path: Path) -> None:
    """As llama.cpp's converter writes them where it is asked to; it reads both in every architecture."""
    file = File((*llama_values(arch), *byte_level_values()), llama_tensors(259, biases=True))
    names = [f"blk.0.attn_{part}.{kind}" for part in "qkv" for kind in ("weight", "bias")]
    parts = {item.name: item for item in file.tensors if item.name in names}
    shared = []
    for kind, dims in (("weight", (8, 16)), ("bias", (16,))):
        data = b"".join(parts[f"blk.0.attn_{part}.{kind}"].data for part in "qkv")
        shared.append(Tensor(f"blk.0.attn_qkv.{kind}", dims, data))
    expected = _read(tmp_path, file)
    values = {name: weight.values().copy() for name, weight in expected.tensors.items()}
    found = _read(tmp_path, file.but_tensor(*shared, without=names))
    assert found.config == expected.config
    for name, rows in values.items():
        np.testing.assert_array_equal(found.tensors[name].values(), rows)
    narrow = Tensor("blk.0.attn_qkv.weight", (8, 15), bytes(4 * 8 * 15))
    content = file.but_tensor(narrow, shared[1], without=names).written()
    message = refusal(tmp_path / "model.gguf", content).message
    assert "tensor blocks.0.attn.q_proj.weight of shape (8, 8) is missing" in message


def test_a_table_of_positions_needs_nothing_that_is_said_of_rotary_ones(tmp_path: Path) -> None:
    """Some converters write both for GPT-2."""
    config, path = (
        GPTConfig.gpt2(vocab_size=259, d_model=8, num_heads=2, num_layers=1, context_length=16),
        tmp_path / "model.gguf",
    )
    path.write_bytes(LLAMA.written())
    shapes = config.parameter_shapes().items()
    tensors = {name: RawTensor.from_bits(name, "F32", np.full(shape, 0.5, np.float32)) for name, shape in shapes}
    write_gguf(path, Bundle(config, tensors, read_gguf_tokenizer(path)), "f32")
    plain = path.read_bytes()
    more = [
        u32("gpt2.rope.dimension_count", 4),
        f32("gpt2.rope.freq_base", 1e4),
        u32("gpt2.attention.head_count_kv", 2),
        f32("gpt2.attention.layer_norm_rms_epsilon", 1e-3),
        text("gpt2.rope.scaling.type", "none"),
    ]
    num_values = struct.unpack("<q", plain[16:24])[0] + len(more)
    added = b"".join(value.written() for value in more)
    # The data stay aligned.
    filler = text("x.filler", "x" * (-(len(added) + len(text("x.filler", "").written())) % 32))
    content = plain[:16] + struct.pack("<q", num_values + 1) + added + filler.written() + plain[24:]
    path.write_bytes(content)
    bundle = read_gguf(path)
    assert bundle.config == config
    assert bundle.notes[-1].startswith(
        "passed over, because the architecture does not use it: gpt2.rope.dimension_count"
    )


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


def test_yarn_without_an_original_context_stretches_the_files_own_as_in_llama_cpp(tmp_path: Path) -> None:
    values = [text("llama.rope.scaling.type", "yarn"), f32("llama.rope.scaling.factor", 4.0)]
    config = _read(tmp_path, LLAMA.but(*values)).config
    assert config.rope_scaling is not None
    assert config.rope_scaling["original_max_position_embeddings"] == config.context_length == 16


def _with_factors(factors: np.ndarray, *values: Value) -> File:
    stored = factors.astype("<f4")
    return WIDE.but(*values).but_tensor(Tensor("rope_freqs.weight", stored.shape, stored.tobytes()))


@pytest.mark.parametrize("factor", [8.0, 32.0, 2.5])
@pytest.mark.parametrize("stated", [None, 8192, 4096])
@pytest.mark.parametrize("original", [8192, 64, 2048, 4096, 10_000])
def test_llama3_scaling_is_recovered_from_its_factors(
    factor: float, original: int, stated: int | None, tmp_path: Path
) -> None:
    """llama.cpp's converter writes the factors alone: whatever else the metadata says, they count."""
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
    if stated is not None:
        values.append(u32("llama.rope.scaling.original_context_length", stated))
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


@pytest.mark.parametrize("head_dim", [8, 16, 64, 80, 128])
@pytest.mark.parametrize("theta", [1e4, 5e5, 8e6])
def test_factors_are_recovered_to_the_last_bits_whatever_made_them(head_dim: int, theta: float) -> None:
    for factor, original in product((2.0, 8.0, 40.0), (16, 256, 1000, 8192, 32_768, 131_072)):
        scaling = {"factor": factor, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
        scaling["original_max_position_embeddings"] = original
        factors = llama3_factors(head_dim, theta, scaling).astype("<f4")
        found = read_rope_scaling(Metadata("file", {}), "llama", head_dim, theta, factors)
        match found:
            case None:
                again = np.ones(head_dim // 2)
            case {"rope_type": "linear", "factor": every}:
                again = np.full(head_dim // 2, every)
            case _:
                again = llama3_factors(head_dim, theta, found)
        np.testing.assert_allclose(again, factors, rtol=1e-5)


def test_factors_that_are_all_alike_stretch_every_wave(tmp_path: Path) -> None:
    found = _read(tmp_path, _with_factors(np.full(16, 8.0))).config.rope_scaling
    assert found == {"rope_type": "linear", "factor": 8.0}


@pytest.mark.parametrize("factors", [np.arange(1, 17), np.linspace(0.5, 1, 16), np.linspace(-8.0, 8, 16)])
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

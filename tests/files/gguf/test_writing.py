"""What is written as GGUF: read back equal, read by the gguf library, or refused by the name of the field."""

from __future__ import annotations

import dataclasses
import tracemalloc
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch

from nextword import GPTConfig
from nextword.errors import ConfigError, ModelFileError
from nextword.files import Bundle
from nextword.files.gguf import read_gguf, write_gguf
from nextword.files.gguf.architecture import ARCHITECTURES, architecture_of
from nextword.files.tensors import RawTensor
from tests.files.gguf.vocabularies import TEXTS
from tests.files.making import BPE, CONFIGS, LLAMA3, YARN, random_bundle

V = BPE.vocab_size
SMALL = {"d_model": 32, "num_heads": 4, "num_layers": 2}
NOPE = GPTConfig.llama(V, 64, **{**SMALL, "num_layers": 9}, num_kv_heads=2, d_ff=48, no_rope_layers=(3, 7))
PUBLISHED_YARN = {**YARN, "beta_fast": 32.0, "beta_slow": 1.0, "original_max_position_embeddings": 32}
EXPRESSIBLE = {
    **{name: config for name, config in CONFIGS.items() if not ARCHITECTURES["llama"].unsupported_fields(config)},
    "llama, linear": GPTConfig.llama(V, 64, **SMALL, rope_scaling={"rope_type": "linear", "factor": 2.5}),
    "llama, yarn": GPTConfig.llama(V, 64, **SMALL, head_dim=16, rope_scaling=PUBLISHED_YARN),
    "llama, eps and base": GPTConfig.llama(V, 64, **SMALL, norm_eps=3e-6, rope_theta=123456.0),
    **{name: CONFIGS[name] for name in ("qwen3", "gpt2", "gpt2, head of its own")},
    "qwen2, yarn": CONFIGS["qwen2"].replace(rope_scaling=PUBLISHED_YARN),
    "smollm3": NOPE,
}


def _contents(path: Path) -> dict[str, Any]:
    """What the gguf library finds: the metadata."""
    return {key: item.contents() for key, item in gguf.GGUFReader(path).fields.items()}


@pytest.mark.parametrize("case", EXPRESSIBLE)
def test_what_was_written_is_read_back_equal(case: str, tmp_path: Path) -> None:
    config = EXPRESSIBLE[case]
    bundle = random_bundle(
        config, provenance={"name": "small"}, chat_template="{{ 한국 }}", generation={"temperature": 0.5, "top_k": 3}
    )
    path = tmp_path / "model.gguf"
    write_gguf(path, bundle, "f32")
    found = read_gguf(path)
    assert found.config == config
    assert found.tensors.keys() == bundle.tensors.keys()
    for name, tensor in bundle.tensors.items():
        assert found.tensors[name].dtype == "F32"
        assert found.tensors[name].data.tobytes() == tensor.data.tobytes()
    assert (found.chat_template, found.provenance["name"]) == ("{{ 한국 }}", "small")
    assert found.generation == {"temperature": 0.5, "top_k": 3}
    assert found.tokenizer.vocabulary == BPE.vocabulary
    assert (found.tokenizer.bos_id, found.tokenizer.end_ids) == (BPE.bos_id, BPE.end_ids)
    assert [found.tokenizer.encode(text) for text in TEXTS] == [BPE.encode(text) for text in TEXTS]
    assert [file.name for file in tmp_path.iterdir()] == ["model.gguf"]


def test_every_architecture_is_written() -> None:
    assert {architecture_of(config).name for config in EXPRESSIBLE.values()} == set(ARCHITECTURES)


@pytest.mark.parametrize(
    ("field", "config"),
    [
        ("residual", GPTConfig.lesson(V, 32, 4, 2, 0.1, 20, activation="gelu_tanh", output_bias=False)),
        ("activation", GPTConfig.gpt2(V, 20, **SMALL, activation="gelu")),
        ("activation", GPTConfig.llama(V, 20, **SMALL, activation="relu_squared")),
        ("output_bias", GPTConfig.gpt2(V, 20, **SMALL, output_bias=True)),
        ("num_kv_heads", GPTConfig.gpt2(V, 20, **SMALL, num_kv_heads=2)),
        ("head_dim", GPTConfig.gpt2(V, 20, **SMALL, head_dim=4)),
        ("rope_layout", GPTConfig.llama(V, 20, **SMALL, rope_layout="interleaved")),
        ("no_rope_layers", GPTConfig.llama(V, 20, **SMALL, no_rope_layers=(1,))),
        ("no_rope_layers", GPTConfig.qwen3(V, 20, **SMALL, no_rope_layers=(0,))),
        ("layer_windows", CONFIGS["mistral"]),
        ("layer_windows", CONFIGS["qwen2, sliding above"]),
        ("rope_scaling", CONFIGS["qwen2"]),  # yarn's betas
        ("rope_scaling", GPTConfig.qwen3(V, 20, **SMALL, rope_scaling=LLAMA3)),
        ("rope_scaling", GPTConfig.llama(V, 20, **SMALL, rope_scaling={**LLAMA3, "low_freq_factor": 2.0})),
        ("norm", GPTConfig.qwen3(V, 20, **SMALL, norm="layernorm")),
        ("mlp_bias", GPTConfig.qwen3(V, 20, **SMALL, mlp_bias=True)),
        ("qkv_bias", GPTConfig.qwen3(V, 20, **SMALL, qkv_bias=True)),
    ],
)
def test_what_llama_cpp_cannot_express_is_refused_by_field(field: str, config: GPTConfig, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        write_gguf(tmp_path / "model.gguf", random_bundle(config), "f32")
    assert f"GPTConfig.{field} is {getattr(config, field)!r}, which llama.cpp's" in caught.value.message
    assert "Hugging Face" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fields", [{"rope_theta": 1e39}, {"norm_eps": 1e-60}])
def test_numbers_beyond_32_bits_are_refused(fields: dict[str, float], tmp_path: Path) -> None:
    bundle = random_bundle(CONFIGS["llama"].replace(**fields))
    with pytest.raises(ConfigError, match="which GGUF's 32-bit fractions cannot hold"):
        write_gguf(tmp_path / "model.gguf", bundle, "f32")
    assert list(tmp_path.iterdir()) == []


def test_another_dtype_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="dtype is 'q4_k', GGUF files are written as f32, f16, q4_0, "):
        write_gguf(tmp_path / "model.gguf", random_bundle(CONFIGS["llama"]), "q4_k")


def test_the_metadata_is_what_llama_cpp_asks_for(tmp_path: Path) -> None:
    config = GPTConfig.qwen3(V + 5, 64, **SMALL, num_kv_heads=2, head_dim=16, d_ff=48, rope_theta=1e6)
    write_gguf(tmp_path / "tiny story.gguf", random_bundle(config), "f16")
    found = _contents(tmp_path / "tiny story.gguf")
    expected = {
        "general.architecture": "qwen3",
        "general.type": "model",
        "general.name": "tiny story",
        "general.file_type": 1,
        "qwen3.vocab_size": V + 5,
        "qwen3.context_length": 64,
        "qwen3.embedding_length": 32,
        "qwen3.block_count": 2,
        "qwen3.feed_forward_length": 48,
        "qwen3.attention.head_count": 4,
        "qwen3.attention.head_count_kv": 2,
        "qwen3.attention.key_length": 16,
        "qwen3.attention.value_length": 16,
        "qwen3.rope.dimension_count": 16,
        "qwen3.rope.freq_base": 1e6,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "qwen2",
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 0,
        "tokenizer.ggml.add_bos_token": False,
    }
    assert {key: found[key] for key in expected} == expected
    assert found["qwen3.attention.layer_norm_rms_epsilon"] == pytest.approx(1e-6, rel=1e-6)
    assert len(found["tokenizer.ggml.tokens"]) == V + 5  # a token for each row of the embedding
    assert found["tokenizer.ggml.tokens"][V:] == [f"[PAD{i}]" for i in range(V, V + 5)]
    assert found["tokenizer.ggml.token_type"][0] == 3
    assert found["tokenizer.ggml.token_type"][V:] == [5] * 5
    assert set(found["tokenizer.ggml.token_type"][1:V]) == {1}
    assert read_gguf(tmp_path / "tiny story.gguf").tokenizer.vocab_size == V


def test_norms_stay_whole_and_rows_that_do_not_divide_become_halves(tmp_path: Path) -> None:
    config = GPTConfig.llama(V, 64, d_model=32, num_heads=4, num_layers=1, d_ff=40)
    write_gguf(tmp_path / "model.gguf", random_bundle(config), "q8_0")
    found = {item.name: item.tensor_type.name for item in gguf.GGUFReader(tmp_path / "model.gguf").tensors}
    assert found["token_embd.weight"] == found["blk.0.attn_q.weight"] == "Q8_0"
    assert found["blk.0.ffn_down.weight"] == "F16"  # rows of 40
    assert found["output_norm.weight"] == found["blk.0.attn_norm.weight"] == "F32"
    write_gguf(tmp_path / "gpt2.gguf", random_bundle(CONFIGS["gpt2"]), "f16")
    found = {item.name: item.tensor_type.name for item in gguf.GGUFReader(tmp_path / "gpt2.gguf").tensors}
    assert (found["position_embd.weight"], found["blk.0.attn_qkv.bias"]) == ("F32", "F32")
    assert found["blk.0.attn_qkv.weight"] == "F16"


@pytest.mark.parametrize(("dtype", "said"), [("f16", "float16"), ("q8_0", "q8_0"), ("q6_k", "q8_0")])
def test_weights_beyond_half_precision_are_refused(dtype: str, said: str, tmp_path: Path) -> None:
    bundle = random_bundle(CONFIGS["llama"])
    name = "blocks.1.ffn.up.weight"
    values = np.full(bundle.tensors[name].shape, 1e9, np.float32)
    large = dataclasses.replace(bundle, tensors={**bundle.tensors, name: RawTensor.from_bits(name, "F32", values)})
    with pytest.raises(ModelFileError, match=f"tensor {name} has values too large for {said}"):
        write_gguf(tmp_path / "model.gguf", large, dtype)
    assert list(tmp_path.iterdir()) == []
    write_gguf(tmp_path / "model.gguf", large, "f32")


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_any_element_type_is_written_as_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    bundle = random_bundle(CONFIGS["llama"], dtype)
    write_gguf(tmp_path / "model.gguf", bundle, "f32")
    found = read_gguf(tmp_path / "model.gguf")
    for name, tensor in bundle.tensors.items():
        np.testing.assert_array_equal(found.tensors[name].values(), tensor.values())


def test_blocks_are_written_again(tmp_path: Path) -> None:
    bundle = random_bundle(CONFIGS["llama"])
    write_gguf(tmp_path / "blocks.gguf", bundle, "q8_0")
    blocks = read_gguf(tmp_path / "blocks.gguf")
    write_gguf(tmp_path / "floats.gguf", blocks, "f32")
    write_gguf(tmp_path / "again.gguf", blocks, "q8_0")
    floats = read_gguf(tmp_path / "floats.gguf")
    for name, tensor in blocks.tensors.items():
        np.testing.assert_array_equal(floats.tensors[name].values(), tensor.values())
    assert (tmp_path / "again.gguf").stat().st_size == (tmp_path / "blocks.gguf").stat().st_size


def test_the_memory_taken_is_that_of_a_tensor_or_two(tmp_path: Path) -> None:
    sizes = {"d_model": 256, "num_heads": 4, "num_layers": 12, "d_ff": 1024}
    config = GPTConfig.llama(V, 64, **sizes)
    zeros = {name: np.zeros(shape, np.float32) for name, shape in config.parameter_shapes().items()}
    tensors = {name: RawTensor.from_bits(name, "F32", values) for name, values in zeros.items()}
    write_gguf(tmp_path / "model.gguf", Bundle(config, tensors, BPE), "f32")
    tracemalloc.start()
    write_gguf(tmp_path / "model.gguf", Bundle(config, tensors, BPE), "f32")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    largest = 1024 * 256 * 4
    assert (tmp_path / "model.gguf").stat().st_size > 40 * largest
    assert peak < 6 * largest


# -- putting the file in place ---------------------------------------------------------------------------------------


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"what was there")
    bundle = random_bundle(CONFIGS["llama"])
    name = "blocks.1.ffn.down.weight"
    values = np.full(bundle.tensors[name].shape, 1e9, np.float32)
    large = dataclasses.replace(bundle, tensors={**bundle.tensors, name: RawTensor.from_bits(name, "F32", values)})
    with pytest.raises(ModelFileError):  # found when half of the file is written
        write_gguf(path, large, "f16")
    assert path.read_bytes() == b"what was there"
    assert [file.name for file in tmp_path.iterdir()] == ["model.gguf"]


def test_a_file_is_replaced_and_readable_by_all(tmp_path: Path) -> None:
    path = tmp_path / "new" / "model.gguf"
    write_gguf(path, random_bundle(CONFIGS["llama"]), "f32")
    write_gguf(path, random_bundle(CONFIGS["qwen3"]), "f32")
    assert read_gguf(path).config == CONFIGS["qwen3"]
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_directory_is_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="it is a directory"):
        write_gguf(tmp_path, random_bundle(CONFIGS["llama"]), "f32")


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ModelFileError, match="cannot write"):
        write_gguf(tmp_path / "file" / "model.gguf", random_bundle(CONFIGS["llama"]), "f32")

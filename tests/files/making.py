"""Small models for these tests, and tools to damage their files."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from nextword import GPTConfig, GPTModel, Tokenizer
from nextword.errors import ModelFileError
from nextword.files import Bundle, RawTensor, read_bundle, write_bundle
from nextword.model.backend import TorchBackend, stored_tensors

TEXTS = [
    "the quick brown fox",
    "토큰 입력부터 단어 예측까지",
    "def f(x):\n    return x + 1\n",
    "emoji 🙂 👨‍👩‍👧 🇰🇷",
    "a\r\nb\t  c\u00a0d",
]
BPE = Tokenizer.train_bpe(TEXTS * 4, 300)
WORDS = Tokenizer.words(["hello", "world", "this", "is", "a", "test", "model", "GPT", "language", "AI"])
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
YARN = {
    "rope_type": "yarn",
    "factor": 4.0,
    "original_max_position_embeddings": 16,
    "beta_fast": 2.0,
    "beta_slow": 0.5,
    "attention_factor": 1.1,
}
SMALL = {"d_model": 32, "num_heads": 4, "num_layers": 2}
CONFIGS = {
    "qwen3": GPTConfig.preset("tiny", BPE.vocab_size, 64),
    "llama": GPTConfig.llama(BPE.vocab_size, 64, **SMALL, num_kv_heads=2, d_ff=48),
    "llama, scaled": GPTConfig.llama(
        BPE.vocab_size, 64, **SMALL, head_dim=16, d_ff=48, rope_theta=500.0, rope_scaling=LLAMA3, tie_embeddings=True
    ),
    "llama, every bias": GPTConfig.llama(
        BPE.vocab_size, 64, **SMALL, d_ff=48, qkv_bias=True, attention_output_bias=True, mlp_bias=True
    ),
    "mistral": GPTConfig.llama(BPE.vocab_size, 64, **SMALL, num_kv_heads=2, d_ff=48, layer_windows=(9, 9)),
    "qwen2": GPTConfig.llama(BPE.vocab_size, 64, **SMALL, d_ff=48, qkv_bias=True, rope_scaling=YARN),
    "qwen2, sliding above": GPTConfig.llama(
        BPE.vocab_size, 64, **SMALL, num_kv_heads=2, d_ff=48, qkv_bias=True, layer_windows=(None, 9)
    ),
    "smollm3": GPTConfig.llama(
        BPE.vocab_size, 64, **SMALL, num_kv_heads=2, d_ff=48, no_rope_layers=(1,), tie_embeddings=True
    ),
    "gpt2": GPTConfig.gpt2(BPE.vocab_size, 64, **SMALL),
    "gpt2, head of its own": GPTConfig.gpt2(BPE.vocab_size, 64, **SMALL, d_ff=40, tie_embeddings=False),
    "lesson": GPTConfig.lesson(WORDS.vocab_size, 32, 4, 2, 0.1, 20),
}


def random_model(config: GPTConfig, dtype: torch.dtype = torch.float32, seed: int = 1) -> GPTModel:
    """A model in which every weight, norms and biases too, is random: none may be lost or swapped unseen."""
    model = GPTModel.from_config(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            center = 1.0 if parameter.dim() == 1 and name.endswith("weight") else 0.0
            parameter.copy_(center + 0.2 * torch.randn(parameter.shape, generator=generator))
    return model.to(dtype)


def raw_tensors(model: GPTModel) -> dict[str, RawTensor]:
    """The model's weights as a file writer takes them."""
    return {
        name: RawTensor(name, dtype, shape, memoryview(data))
        for name, (dtype, shape, data) in stored_tensors(model).items()
    }


def random_bundle(config: GPTConfig, dtype: torch.dtype = torch.float32, seed: int = 1, **fields: Any) -> Bundle:
    """A bundle of a random model."""
    tokenizer = WORDS if config.vocab_size == WORDS.vocab_size else BPE
    return Bundle(config, raw_tensors(random_model(config, dtype, seed)), tokenizer, **fields)


def minimal_bundle(seed: int = 1, tokenizer: Tokenizer = WORDS) -> Bundle:
    """A Qwen3 of one layer, quick to write and read."""
    sizes = {"d_model": 8, "num_heads": 2, "num_layers": 1, "num_kv_heads": 1, "head_dim": 4, "d_ff": 12}
    config = GPTConfig.qwen3(tokenizer.vocab_size, 16, **sizes)
    return Bundle(config, raw_tensors(random_model(config, seed=seed)), tokenizer)


def logits_of(bundle: Bundle, ids: list[int]) -> NDArray[np.float32]:
    """[T, V], from a model built of what the file holds."""
    backend = TorchBackend.from_stored(bundle.config, bundle.tensors, device="cpu")
    [logits] = backend.forward([ids], [backend.new_cache(len(ids))], logits="all")
    return logits


def refusal(path: Path) -> str:
    """The message with which `read_bundle` refuses; one line that says where."""
    with pytest.raises(ModelFileError) as caught:
        read_bundle(path)
    message = caught.value.message
    assert str(path) in message
    assert len(message.splitlines()) == 1
    return message


def change_json(path: Path, **changes: Any) -> None:
    """Sets fields of a JSON file; `...` takes a field out."""
    values = {**json.loads(path.read_text(encoding="utf-8")), **changes}
    path.write_text(json.dumps({k: v for k, v in values.items() if v is not ...}), encoding="utf-8")


def open_safetensors(path: Path) -> tuple[dict[str, Any], bytes]:
    """Header and data, without the library."""
    content = path.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + size]), content[8 + size :]


def put_safetensors(path: Path, header: dict[str, Any] | bytes, data: bytes = b"") -> None:
    """A file of any header, valid or not."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def content_of(path: Path) -> dict[str, bytes]:
    """Every file of a directory."""
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def write_in_several_files(path: Path, count: int) -> dict[str, str]:
    """The minimal model with its tensors dealt out to several files; which file has which."""
    write_bundle(path, minimal_bundle())
    header, data = open_safetensors(path / "model.safetensors")
    names = sorted(name for name in header if name != "__metadata__")
    places = {}
    for number in range(count):
        file, entries, blob = f"model-0000{number + 1}-of-0000{count}.safetensors", {}, b""
        for name in names[number::count]:
            content = data[slice(*header[name]["data_offsets"])]
            entries[name] = {**header[name], "data_offsets": [len(blob), len(blob) + len(content)]}
            blob += content
            places[name] = file
        put_safetensors(path / file, entries, blob)
    (path / "model.safetensors").unlink()
    write_index(path, places)
    return places


def write_index(path: Path, places: Any) -> None:
    """The index that lists which file has which tensor."""
    values = {"metadata": {"total_size": 1}, "weight_map": places}
    (path / "model.safetensors.index.json").write_text(json.dumps(values), encoding="utf-8")

"""GGUF files written by hand with struct, valid and not, without this package's writer or the gguf library."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from nextword.errors import ModelFileError
from nextword.files.gguf import read_gguf
from nextword.tokens.byte_level import UNICODE_TO_BYTE

UINT8, UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY, UINT64, FLOAT64 = 0, 4, 5, 6, 7, 8, 9, 10, 12
F32, F16, Q8_0 = 0, 1, 8


def string(text: str | bytes) -> bytes:
    data = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(data)) + data


@dataclass(frozen=True)
class Value:
    """One entry of the metadata."""

    key: str | bytes
    kind: int
    payload: bytes

    def written(self) -> bytes:
        return string(self.key) + struct.pack("<I", self.kind) + self.payload


def u32(key: str, value: int) -> Value:
    return Value(key, UINT32, struct.pack("<I", value))


def f32(key: str, value: float) -> Value:
    return Value(key, FLOAT32, struct.pack("<f", value))


def flag(key: str, value: bool) -> Value:
    return Value(key, BOOL, struct.pack("<?", value))


def text(key: str, value: str | bytes) -> Value:
    return Value(key, STRING, string(value))


def texts(key: str, values: Sequence[str]) -> Value:
    return Value(key, ARRAY, struct.pack("<IQ", STRING, len(values)) + b"".join(map(string, values)))


def i32s(key: str, values: Sequence[int]) -> Value:
    return Value(key, ARRAY, struct.pack(f"<IQ{len(values)}i", INT32, len(values), *values))


def f32s(key: str, values: Sequence[float]) -> Value:
    return Value(key, ARRAY, struct.pack(f"<IQ{len(values)}f", FLOAT32, len(values), *values))


@dataclass(frozen=True)
class Tensor:
    """One tensor; `dims` is in GGUF's order, the fastest first."""

    name: str | bytes
    dims: tuple[int, ...]
    data: bytes
    kind: int = F32
    offset: int | None = None
    """None: where it belongs."""


def tensor(name: str, shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """A float32 tensor of random values, given row-major."""
    values = np.random.default_rng([seed, *name.encode()]).standard_normal(shape).astype("<f4")
    return Tensor(name, shape[::-1], values.tobytes())


@dataclass(frozen=True)
class File:
    """A whole file; counts, magic and version may lie."""

    values: tuple[Value, ...] = ()
    tensors: tuple[Tensor, ...] = ()
    magic: bytes = b"GGUF"
    version: int = 3
    num_tensors: int | None = None
    num_values: int | None = None
    alignment: int = 32

    def written(self) -> bytes:
        num_tensors = len(self.tensors) if self.num_tensors is None else self.num_tensors
        num_values = len(self.values) if self.num_values is None else self.num_values
        head = self.magic + struct.pack("<Iqq", self.version, num_tensors, num_values)
        head += b"".join(value.written() for value in self.values)
        body = b""
        for item in self.tensors:
            offset = len(body) if item.offset is None else item.offset
            head += string(item.name) + struct.pack("<I", len(item.dims))
            head += struct.pack(f"<{len(item.dims)}q", *item.dims) + struct.pack("<IQ", item.kind, offset)
            body += item.data + bytes(-len(item.data) % self.alignment)
        return head + bytes(-len(head) % self.alignment) + body

    def but(self, *values: Value, without: Sequence[str] = ()) -> File:
        """With values put in the place of those of the same key (or added), and some taken out."""
        changed = {value.key: value for value in values}
        kept = [changed.pop(value.key, value) for value in self.values if value.key not in without]
        return replace(self, values=(*kept, *changed.values()))

    def but_tensor(self, *tensors: Tensor, without: Sequence[str] = ()) -> File:
        """The same for tensors."""
        changed = {item.name: item for item in tensors}
        kept = [changed.pop(item.name, item) for item in self.tensors if item.name not in without]
        return replace(self, tensors=(*kept, *changed.values()))


BYTE_TOKENS = list(UNICODE_TO_BYTE)
WIDTH, HEADS, KV_HEADS, LAYERS, INNER, CONTEXT = 8, 2, 1, 1, 12, 16


def byte_level_values(pre: str = "gpt-2", merges: Sequence[str] = ("a b", "ab c")) -> tuple[Value, ...]:
    """A tokenizer of 256 bytes, what the merges make, and an end token."""
    tokens = [*BYTE_TOKENS, *(merge.replace(" ", "") for merge in merges), "<|end|>"]
    return (
        text("tokenizer.ggml.model", "gpt2"),
        text("tokenizer.ggml.pre", pre),
        texts("tokenizer.ggml.tokens", tokens),
        i32s("tokenizer.ggml.token_type", [1] * (len(tokens) - 1) + [3]),
        texts("tokenizer.ggml.merges", merges),
        u32("tokenizer.ggml.eos_token_id", len(tokens) - 1),
    )


def llama_values(arch: str = "llama", width: int = WIDTH) -> tuple[Value, ...]:
    return (
        text("general.architecture", arch),
        u32(f"{arch}.context_length", CONTEXT),
        u32(f"{arch}.embedding_length", width),
        u32(f"{arch}.block_count", LAYERS),
        u32(f"{arch}.feed_forward_length", INNER),
        u32(f"{arch}.attention.head_count", HEADS),
        u32(f"{arch}.attention.head_count_kv", KV_HEADS),
        f32(f"{arch}.attention.layer_norm_rms_epsilon", 1e-5),
        f32(f"{arch}.rope.freq_base", 10000.0),
    )


def llama_tensors(vocab_size: int, width: int = WIDTH, biases: bool = False) -> tuple[Tensor, ...]:
    kv_width = width // HEADS * KV_HEADS
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (vocab_size, width),
        "blk.0.attn_norm.weight": (width,),
        "blk.0.attn_q.weight": (width, width),
        "blk.0.attn_k.weight": (kv_width, width),
        "blk.0.attn_v.weight": (kv_width, width),
        "blk.0.attn_output.weight": (width, width),
        "blk.0.ffn_norm.weight": (width,),
        "blk.0.ffn_gate.weight": (INNER, width),
        "blk.0.ffn_up.weight": (INNER, width),
        "blk.0.ffn_down.weight": (width, INNER),
        "output_norm.weight": (width,),
    }
    if biases:
        shapes |= {"blk.0.attn_q.bias": (width,), "blk.0.attn_k.bias": (kv_width,), "blk.0.attn_v.bias": (kv_width,)}
    return tuple(tensor(name, shape) for name, shape in shapes.items())


LLAMA = File((*llama_values(), *byte_level_values()), llama_tensors(259))
"""A whole model of one layer, the smallest that these tests change."""


@dataclass(frozen=True)
class Case:
    """A file that must be refused, and what the message says."""

    content: bytes
    says: str
    hint: str = field(default="")


def refusal(path: Path, content: bytes) -> ModelFileError:
    """The error with which `read_gguf` refuses; one line that names the file."""
    path.write_bytes(content)
    with pytest.raises(ModelFileError) as caught:
        read_gguf(path)
    assert str(path) in caught.value.message
    assert len(caught.value.message.splitlines()) == 1
    assert len(caught.value.message) < 600 + len(str(path))
    return caught.value

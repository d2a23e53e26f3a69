"""Structure-aware mutation of GGUF files: each must be refused in one line, or be a model.

`python -m tests.files.gguf.fuzz 100000` tries so many in a process whose memory is capped, and prints what they took.
"""

from __future__ import annotations

import random
import struct
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from nextword.errors import ModelFileError
from nextword.files import Bundle
from nextword.files.gguf import read_gguf
from nextword.files.gguf.header import ELEMENT_TYPES
from tests.files.gguf.building import (
    LLAMA,
    Q8_0,
    File,
    Tensor,
    Value,
    byte_level_values,
    f32,
    f32s,
    i32s,
    llama_tensors,
    llama_values,
    string,
    tensor,
    text,
    texts,
)

ADDRESS_SPACE = 1 << 28
"""Bytes that the process may take beyond what it has when it starts."""
INTEGERS = [
    -(2**63),
    -(2**31),
    -1,
    0,
    1,
    2,
    3,
    4,
    7,
    8,
    12,
    16,
    31,
    32,
    255,
    256,
    2**16,
    2**31,
    2**32 - 1,
    2**62,
    2**63 - 1,
]
NUMBERS = [0.0, -0.0, 1.0, -1.0, 0.5, 1e-30, 1e-5, 1e30, 8.0, float("nan"), float("inf"), -float("inf")]
TEXTS = [
    "",
    "llama",
    "gpt2",
    "qwen2",
    "qwen3",
    "smollm3",
    "default",
    "yarn",
    "linear",
    "model",
    "\n\x1b[1m",
    "한",
    "a b",
]
KEYS = [
    *("general.alignment", "general.type", "split.count", "rope_freqs.weight", "llama.rope.scaling.type", ""),
    *("llama.rope.scaling.factor", "llama.attention.key_length", "llama.expert_count", "llama.attention.value_length"),
    *("tokenizer.ggml.bos_token_id", "tokenizer.ggml.add_bos_token", "llama.rope.scaling.original_context_length"),
    *("tokenizer.ggml.eot_token_id", "tokenizer.chat_template", "tokenizer.ggml.scores", "general.sampling.temp"),
]
CODES = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "B", 10: "Q", 11: "q", 12: "d"}


@cache
def bases() -> tuple[File, ...]:
    """Five small models: byte-level Llama, scaled, blocks, SentencePiece, GPT-2."""
    wide = File((*llama_values("qwen2", 32), *byte_level_values("qwen2")), llama_tensors(259, 32, biases=True))
    blocks = np.random.default_rng(0).integers(0, 60, (259, 34), np.uint8).tobytes()
    quantized = wide.but_tensor(Tensor("token_embd.weight", (32, 259), blocks, Q8_0))
    factors = Tensor("rope_freqs.weight", (2,), np.array([1.0, 1.0], "<f4").tobytes())
    return (LLAMA, LLAMA.but_tensor(factors), quantized, _sentencepiece(), _gpt2())


def _sentencepiece() -> File:
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "b", "▁a", "ab"]
    values = (
        text("tokenizer.ggml.model", "llama"),
        texts("tokenizer.ggml.tokens", tokens),
        i32s("tokenizer.ggml.token_type", [2, 3, 3, *[6] * 256, *[1] * 5]),
        f32s("tokenizer.ggml.scores", [0.0] * 259 + [-4.0, -5.0, -6.0, -1.0, -2.0]),
    )
    return File((*llama_values(), *values), llama_tensors(len(tokens)))


def _gpt2() -> File:
    values = [value for value in llama_values("gpt2") if "rms" not in str(value.key) and "rope" not in str(value.key)]
    values = [value for value in values if "kv" not in str(value.key)]
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (259, 8), "position_embd.weight": (16, 8)}
    linears = {"attn_qkv": (24, 8), "attn_output": (8, 8), "ffn_up": (12, 8), "ffn_down": (8, 12)}
    for name, shape in linears.items():
        shapes |= {f"blk.0.{name}.weight": shape, f"blk.0.{name}.bias": shape[:1]}
    for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        shapes |= {f"{name}.weight": (8,), f"{name}.bias": (8,)}
    epsilon = f32("gpt2.attention.layer_norm_epsilon", 1e-5)
    tensors = tuple(tensor(name, shape) for name, shape in shapes.items())
    return File((*values, epsilon, *byte_level_values()), tensors)


# -- mutation --------------------------------------------------------------------------------------------------------


def mutate(choose: random.Random, file: File) -> bytes:
    """One to three changes of the structure, and now and then of the bytes."""
    for _ in range(choose.choice([1, 1, 1, 2, 3])):
        change = choose.choice([*[_change_value] * 4, *[_change_tensor] * 4, _change_head])
        file = change(choose, file)
    content = file.written()
    return _change_bytes(choose, content) if choose.random() < 0.25 else content


def _change_head(choose: random.Random, file: File) -> File:
    field = choose.choice(["version", "num_tensors", "num_values", "magic"])
    if field == "magic":
        return replace(file, magic=choose.choice([b"GGUF", b"FUGG", b"GGML"]))
    if field == "version":
        return replace(file, version=choose.choice([0, 1, 2, 3, 4, 3 << 24, 2**32 - 1]))
    here = len(file.tensors if field == "num_tensors" else file.values)
    return replace(file, **{field: choose.choice([here - 1, here, here + 1, *INTEGERS])})


def _change_value(choose: random.Random, file: File) -> File:
    values = list(file.values)
    at = choose.randrange(len(values)) if values else 0
    kind = choose.choice(["set", "set", "set", "add", "drop", "double", "rename"])
    if kind == "add" or not values:
        values.insert(at, _random_value(choose, choose.choice(KEYS)))
    elif kind == "drop":
        del values[at]
    elif kind == "double":
        values.insert(at, values[choose.randrange(len(values))])
    elif kind == "rename":
        values[at] = replace(values[at], key=choose.choice([*KEYS, b"\xff", "x" * 100]))
    elif values[at].kind == 9 and choose.random() < 0.7:
        values[at] = replace(values[at], payload=_change_array(choose, values[at].payload))
    else:
        values[at] = _random_value(choose, values[at].key, values[at].kind)
    return replace(file, values=tuple(values))


def _random_value(choose: random.Random, key: str | bytes, kind: int | None = None) -> Value:
    """A value of the same kind, mostly, or of another."""
    if kind is None or choose.random() < 0.3:
        kind = choose.choice([*CODES, 8, 8, 9, 13, 2**32 - 1])
    if kind in CODES:
        return Value(key, kind, _number(choose, kind))
    if kind == 8:
        return Value(key, kind, string(choose.choice([*TEXTS, b"\xff\xfe"])))
    inner = choose.choice([*CODES, 8, 9, 13])
    count = choose.choice([*range(5), *INTEGERS])
    items = [
        _number(choose, inner) if inner in CODES else string(choose.choice(TEXTS)) for _ in range(choose.randint(0, 4))
    ]
    return Value(key, kind, struct.pack("<Iq", inner, count) + b"".join(items))


def _number(choose: random.Random, kind: int) -> bytes:
    code = "<" + CODES[kind]
    if kind in (6, 12):
        return struct.pack(code, choose.choice(NUMBERS))
    size = struct.calcsize(code)
    return struct.pack("<q", choose.choice(INTEGERS))[:size]


def _change_array(choose: random.Random, payload: bytes) -> bytes:
    """Another type or length in front, or another content behind it."""
    kind, count = struct.unpack("<Iq", payload[:12])
    what = choose.choice(["type", "length", "content"])
    if what == "type":
        kind = choose.choice([*CODES, 8, 9, 13])
    elif what == "length":
        count = choose.choice([count - 1, count + 1, *INTEGERS])
    else:
        payload = payload[:12] + _change_bytes(choose, payload[12:])
    return struct.pack("<Iq", kind, count) + payload[12:]


def _change_tensor(choose: random.Random, file: File) -> File:
    tensors = list(file.tensors)
    if not tensors:
        return file
    at = choose.randrange(len(tensors))
    item = tensors[at]
    match choose.choice(["dims", "dims", "kind", "offset", "name", "drop", "double", "swap", "data"]):
        case "dims":
            dims = list(item.dims)
            if dims and choose.random() < 0.7:
                dims[choose.randrange(len(dims))] = choose.choice(INTEGERS)
            else:
                dims = [choose.choice([1, 2, 8, *INTEGERS]) for _ in range(choose.choice([0, 1, 2, 3, 4, 5, 1000]))]
            tensors[at] = replace(item, dims=tuple(dims))
        case "kind":
            tensors[at] = replace(item, kind=choose.choice([*ELEMENT_TYPES, 4, 26, 77]))
        case "offset":
            tensors[at] = replace(item, offset=choose.choice([0, 32, *(abs(n) for n in INTEGERS[1:])]))
        case "name":
            tensors[at] = replace(
                item, name=choose.choice(["output.weight", "", "x", *(other.name for other in tensors)])
            )
        case "drop":
            del tensors[at]
        case "double":
            tensors.insert(at, item)
        case "swap":
            other = choose.randrange(len(tensors))
            tensors[at], tensors[other] = tensors[other], tensors[at]
        case "data":
            tensors[at] = replace(item, data=_change_bytes(choose, item.data))
    return replace(file, tensors=tuple(tensors))


def _change_bytes(choose: random.Random, content: bytes) -> bytes:
    """Changes, cuts out or puts in some bytes."""
    start = choose.randint(0, len(content))
    end = min(len(content), start + choose.choice([0, 1, 2, 8, 64, 10**6]))
    return content[:start] + choose.randbytes(choose.choice([0, 1, 4, 8, end - start])) + content[end:]


# -- trying ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Attempt:
    """What became of one file."""

    bundle: Bundle | None
    refused: str
    seconds: float
    peak: int
    """Bytes that Python and NumPy took at most."""


def attempt(path: Path, content: bytes) -> Attempt:
    """Reads a file; anything but a model or a ModelFileError of one line is raised."""
    path.write_bytes(content)
    bundle, refused = None, ""
    tracemalloc.start()
    start = time.perf_counter()
    try:
        bundle = read_gguf(path)
    except ModelFileError as error:
        refused = error.message
    seconds = time.perf_counter() - start
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    if bundle is None:
        assert str(path) in refused
        assert len(refused.splitlines()) == 1
        assert refused.isprintable()
    else:
        assert {name: item.shape for name, item in bundle.tensors.items()} == bundle.config.parameter_shapes()
        assert bundle.tokenizer.vocab_size <= bundle.config.vocab_size
        bundle.tokenizer.vocabulary  # noqa: B018  every token has a text
    return Attempt(bundle, refused, seconds, peak)


def cap_memory() -> None:
    """Whatever asks for more fails with a MemoryError, which nothing here expects. Linux only."""
    import resource

    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ADDRESS_SPACE,) * 2)


def main(arguments: Sequence[str]) -> None:
    count = int(arguments[0]) if arguments else 1000
    seed = int(arguments[1]) if len(arguments) > 1 else 0
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "model.gguf"
        for file in bases():  # what is imported once is not counted
            assert attempt(path, file.written()).bundle is not None
        cap_memory()
        models, slowest, largest = 0, 0.0, 0
        for number in range(seed, seed + count):
            choose = random.Random(number)  # noqa: S311  a seed names a file
            content = mutate(choose, choose.choice(bases()))
            try:
                result = attempt(path, content)
            except BaseException:
                print(f"seed {number}", file=sys.stderr)  # noqa: T201
                raise
            models += result.bundle is not None
            slowest, largest = max(slowest, result.seconds), max(largest, result.peak)
    print(  # noqa: T201
        f"{count} files tried: {count - models} refused in one line, {models} models; "
        f"slowest {slowest * 1000:.1f} ms, most memory {largest / 1e6:.2f} MB"
    )


if __name__ == "__main__":
    main(sys.argv[1:])

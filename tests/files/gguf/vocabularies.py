"""Vocabularies for these tests, learned from a few texts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Regex, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as RawTokenizer

from tests.files.gguf.building import LLAMA, File, Value, f32s, i32s, llama_values, tensor, text, texts, u32

TEXTS = [
    "The quick brown fox's 12345 jumps, didn't it? OK!!",
    "토큰 입력부터 다음 단어까지: 2024년 한국어 문장이에요.",
    "def f(x):\n\treturn x ** 2  # 제곱\n\n\n    if x > 100:\r\n        pass\n",
    "🙂 👨‍👩‍👧 🇰🇷 e\u0301 ½ ٣٤ Ⅷ",
    "URL=https://example.com/a?b=1&c=[2]{3}  `x` ^~|  CamelCaseWord HTTPServer",
    "white \u00a0space \u3000 \t and trailing   ",
]
CORPUS = [*TEXTS, *"".join(TEXTS).split(), *(str(n) for n in range(0, 1000, 7))]


def byte_level_file(pre: str, patterns: Sequence[str], *more: Value) -> File:
    """A vocabulary learned with the pre-tokeniser, and two tokens that are no plain text."""
    raw = RawTokenizer(models.BPE())
    splits = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in patterns]
    raw.pre_tokenizer = pre_tokenizers.Sequence([*splits, pre_tokenizers.ByteLevel(False, use_regex=False)])
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    raw.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=500, initial_alphabet=alphabet, show_progress=False))
    model = json.loads(raw.to_str())["model"]
    tokens = [*sorted(model["vocab"], key=model["vocab"].get), "<|begin|>", "<|end|>", "<think>"]
    values = (
        *llama_values(),
        text("tokenizer.ggml.model", "gpt2"),
        text("tokenizer.ggml.pre", pre),
        texts("tokenizer.ggml.tokens", tokens),
        i32s("tokenizer.ggml.token_type", [1] * (len(tokens) - 3) + [3, 3, 4]),
        texts("tokenizer.ggml.merges", [" ".join(merge) for merge in model["merges"]]),
        u32("tokenizer.ggml.bos_token_id", len(tokens) - 3),
        u32("tokenizer.ggml.eos_token_id", len(tokens) - 2),
        *more,
    )
    return File(values).but_tensor(
        *(item for item in LLAMA.tensors if item.name != "token_embd.weight"),
        tensor("token_embd.weight", (len(tokens), 8)),
    )


BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def sentencepiece_values(*more: Value) -> tuple[Value, ...]:
    """A vocabulary as SentencePiece trains it: merged tokens by rank, then characters; scores fall."""
    raw = RawTokenizer(models.BPE())
    trainer = trainers.BpeTrainer(vocab_size=420, show_progress=False)
    raw.train_from_iterator(["▁" + sample.replace(" ", "▁") for sample in CORPUS], trainer)
    model = json.loads(raw.to_str())["model"]
    merged = list(dict.fromkeys("".join(merge) for merge in model["merges"]))
    characters = [token for token in model["vocab"] if len(token) == 1][:120]  # some are left to bytes
    normal = [token for token in merged if set(token) <= set(characters)] + characters
    tokens = ["<unk>", "<s>", "</s>", *BYTES, *normal, "<tool>"]
    types = [2, 3, 3, *[6] * 256, *[1] * len(normal), 4]
    scores = [0.0] * 259 + [-float(i) for i in range(len(normal))] + [0.0]
    return (
        text("tokenizer.ggml.model", "llama"),
        text("tokenizer.ggml.pre", "default"),
        texts("tokenizer.ggml.tokens", tokens),
        i32s("tokenizer.ggml.token_type", types),
        f32s("tokenizer.ggml.scores", scores),
        *more,
    )


def sentencepiece_file(*more: Value, without: Sequence[str] = ()) -> File:
    values = sentencepiece_values(*more)
    embedding = tensor("token_embd.weight", (700, 8))
    return (
        File((*llama_values(), *values))
        .but_tensor(*(item for item in LLAMA.tensors if item.name != embedding.name), embedding)
        .but(without=without)
    )


def written(path: Path, file: File) -> Path:
    path.write_bytes(file.written())
    return path

"""SentencePiece vocabularies in GGUF files: ids by its own rule, and those of transformers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from nextword.files.gguf import read_gguf, read_gguf_tokenizer
from nextword.files.gguf.header import read_header
from tests.files.gguf.building import File, f32s, flag, i32s, refusal, text, texts, u32
from tests.files.gguf.vocabularies import BYTES, TEXTS, sentencepiece_file, written


def reference_ids(file: File, sample: str, first: str = "▁") -> list[int]:
    """SentencePiece's rule: of all neighbours whose union is a token, merge those of the best score, leftmost first."""
    tokens: list[str] = json.loads(_as_json(file, "tokenizer.ggml.tokens"))
    ids = {token: i for i, token in enumerate(tokens)}
    usable = {token: i for token, i in ids.items() if 259 <= i < len(tokens) - 1}
    symbols = list((first + sample.replace(" ", "▁")) if sample else "")
    while True:
        # Scores fall with the id, so the best union is that of the smallest.
        unions = [(usable[a + b], i) for i, (a, b) in enumerate(pairwise(symbols)) if a + b in usable]
        if not unions:
            break
        _, at = min(unions)
        symbols[at : at + 2] = [symbols[at] + symbols[at + 1]]
    found = []
    for symbol in symbols:
        found += [ids[symbol]] if symbol in usable else [ids[f"<0x{byte:02X}>"] for byte in symbol.encode()]
    return found


def _as_json(file: File, key: str) -> str:
    return json.dumps(read_header("file", memoryview(file.written())).values[key])


def test_sentencepiece_ids_follow_its_rule(tmp_path: Path) -> None:
    file = sentencepiece_file()
    ours = read_gguf(written(tmp_path / "model.gguf", file)).tokenizer
    assert (ours.kind, ours.bos_id, ours.eos_id, ours.adds_bos) == ("sentencepiece", 1, 2, True)
    for sample in [*TEXTS, "  two blanks", "한", "\n", "", "unknown: 龍 \u200b"]:
        ids = ours.encode(sample)
        assert ids == reference_ids(file, sample)
        assert ours.decode(ids) == sample


def test_sentencepiece_ids_are_those_of_transformers(tmp_path: Path) -> None:
    marks = [u32("tokenizer.ggml.bos_token_id", 1), u32("tokenizer.ggml.eos_token_id", 2)]
    path = written(tmp_path / "model.gguf", sentencepiece_file(*marks))
    ours = read_gguf_tokenizer(path)
    theirs = AutoTokenizer.from_pretrained(tmp_path, gguf_file=path.name)
    for sample in TEXTS:
        assert ours.encode(sample) == theirs.encode(sample, add_special_tokens=False)
        assert ours.encode_start(sample) == theirs.encode(sample)


def test_a_sentencepiece_model_may_do_without_the_first_blank(tmp_path: Path) -> None:
    file = sentencepiece_file(flag("tokenizer.ggml.add_space_prefix", False))
    ours = read_gguf_tokenizer(written(tmp_path / "model.gguf", file))
    assert ours.encode("a b") == reference_ids(file, "a b", first="")
    assert ours.decode(ours.encode(" a b")) == " a b"


def test_sentencepiece_spellings_of_control_tokens_stay_text(tmp_path: Path) -> None:
    ours = read_gguf_tokenizer(written(tmp_path / "model.gguf", sentencepiece_file()))
    assert 2 not in ours.encode("a</s>")
    assert ours.encode("a</s>", special=True)[-1] == 2
    assert ours.vocab_size - 1 in ours.encode("a <tool> b")


SENTENCEPIECE_REFUSED = {
    "no scores": (sentencepiece_file(without=["tokenizer.ggml.scores"]), "the key 'tokenizer.ggml.scores' is missing"),
    "a score that is no number": (
        sentencepiece_file().but(f32s("tokenizer.ggml.scores", [float("nan")] * 600)),
        "should have",
    ),
    "blanks taken out": (
        sentencepiece_file(flag("tokenizer.ggml.remove_extra_whitespaces", True)),
        "remove_extra_whitespaces is True",
    ),
}


@pytest.mark.parametrize("name", SENTENCEPIECE_REFUSED)
def test_a_damaged_sentencepiece_vocabulary_is_refused(name: str, tmp_path: Path) -> None:
    file, says = SENTENCEPIECE_REFUSED[name]
    assert says in refusal(tmp_path / "model.gguf", file.written()).message


def _with_tokens(tokens: Sequence[str], score: float = 0.0) -> bytes:
    types = [6 if token in BYTES else 1 for token in tokens]
    values = [
        text("tokenizer.ggml.model", "llama"),
        texts("tokenizer.ggml.tokens", tokens),
        i32s("tokenizer.ggml.token_type", types),
        f32s("tokenizer.ggml.scores", [score] * len(tokens)),
    ]
    return File(sentencepiece_file().values, sentencepiece_file().tensors).but(*values).written()


def test_bytes_must_all_be_there(tmp_path: Path) -> None:
    tokens = ["<unk>", "<s>", "</s>", *BYTES]
    missing = [*tokens[:100], *tokens[101:]]
    assert "the byte <0x61> is missing" in refusal(tmp_path / "model.gguf", _with_tokens(missing)).message


def test_scores_must_be_numbers(tmp_path: Path) -> None:
    tokens = ["<unk>", "<s>", "</s>", *BYTES]
    message = refusal(tmp_path / "model.gguf", _with_tokens(tokens, float("inf"))).message
    assert "the score of '<unk>' is inf" in message


def test_a_token_of_a_million_characters_is_refused(tmp_path: Path) -> None:
    """Every way to cut a token in two is tried, so its length is bounded."""
    tokens = ["<unk>", "<s>", "</s>", *BYTES, "a" * 1_000_000]
    message = refusal(tmp_path / "model.gguf", _with_tokens(tokens)).message
    assert "has 1000000 characters, at most 256" in message

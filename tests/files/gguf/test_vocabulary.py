"""Byte-level tokenizers in GGUF files: the ids of transformers and of the published pre-tokenisers."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Regex, pre_tokenizers
from tokenizers import Tokenizer as RawTokenizer
from transformers import AutoTokenizer

from nextword import Tokenizer
from nextword.files.gguf import read_gguf, read_gguf_tokenizer
from nextword.tokens.published import GPT2_PATTERN, PRE_TOKENIZERS, pre_tokenizer_named
from tests.files.gguf.building import (
    LLAMA,
    Value,
    flag,
    i32s,
    refusal,
    tensor,
    text,
    texts,
    u32,
)
from tests.files.gguf.vocabularies import TEXTS, byte_level_file, written


@pytest.mark.parametrize("pre", ["gpt-2", "qwen2", "llama-bpe", "dbrx", "tekken", "gpt-4o"])
def test_ids_are_those_of_transformers_from_the_same_file(pre: str, tmp_path: Path) -> None:
    path = written(tmp_path / "model.gguf", byte_level_file(pre, pre_tokenizer_named(pre).patterns))
    ours = read_gguf_tokenizer(path)
    theirs = AutoTokenizer.from_pretrained(tmp_path, gguf_file=path.name)
    for sample in TEXTS:
        ids = ours.encode(sample)
        assert ids == theirs.encode(sample, add_special_tokens=False)
        assert ours.decode(ids) == sample
        assert len(ids) < 0.8 * len(sample.encode())  # merges were made


# As the models' own tokenizer.json files spell it.
DIGITS = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False, use_regex=True)]
PUBLISHED = {
    "gpt-2": pre_tokenizers.ByteLevel(False, use_regex=True),
    "smollm": pre_tokenizers.Sequence(DIGITS),
    "starcoder": pre_tokenizers.Sequence(DIGITS),
    "deepseek-coder": pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex("[\r\n]"), "isolated"),
            pre_tokenizers.Split(Regex("\\s?\\p{L}+"), "isolated"),
            pre_tokenizers.Split(Regex("\\s?\\p{P}+"), "isolated"),
            pre_tokenizers.Split(Regex("[一-龥ࠀ-一가-퟿]+"), "isolated"),
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(False, use_regex=False),
        ]
    ),
}


@pytest.mark.parametrize("pre", PUBLISHED)
def test_text_is_cut_as_the_published_tokenizers_cut_it(pre: str, tmp_path: Path) -> None:
    path = written(tmp_path / "model.gguf", byte_level_file(pre, pre_tokenizer_named(pre).patterns))
    ours = read_gguf_tokenizer(path)
    published = RawTokenizer.from_str(ours.to_str())
    published.pre_tokenizer = PUBLISHED[pre]
    for sample in TEXTS:
        assert ours.encode(sample) == published.encode(sample, add_special_tokens=False).ids


@pytest.mark.parametrize("pre", PRE_TOKENIZERS)
def test_every_pre_tokeniser_gives_any_text_back(pre: str, tmp_path: Path) -> None:
    path = written(tmp_path / "model.gguf", byte_level_file(pre, (GPT2_PATTERN,)))
    ours = read_gguf_tokenizer(path)
    for sample in TEXTS:
        assert ours.decode(ours.encode(sample)) == sample


def test_an_unknown_pre_tokeniser_is_refused_with_the_list(tmp_path: Path) -> None:
    error = refusal(tmp_path / "model.gguf", LLAMA.but(text("tokenizer.ggml.pre", "klingon")).written())
    assert "the pre-tokeniser 'klingon' is not known" in error.message
    assert "qwen2" in error.hint
    assert "smollm" in error.hint


@pytest.mark.parametrize("without", [True, False])
def test_a_file_without_a_pre_tokeniser_opens_with_a_warning(
    without: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Files from before May 2024 lack the key, or hold an empty one; llama.cpp then cuts by its default."""
    named = byte_level_file("default", pre_tokenizer_named("default").patterns)
    file = named.but(without=["tokenizer.ggml.pre"]) if without else named.but(text("tokenizer.ggml.pre", ""))
    path = written(tmp_path / "model.gguf", file)
    bundle = read_gguf(path)
    [warning] = caplog.messages
    assert warning == f"{path}: {bundle.notes[0]}"
    assert "tokenizer.ggml.pre is missing, so text is cut as llama.cpp's 'default' cuts it" in warning
    ours = read_gguf_tokenizer(written(tmp_path / "named.gguf", named))
    assert [bundle.tokenizer.encode(sample) for sample in TEXTS] == [ours.encode(sample) for sample in TEXTS]


def test_an_id_that_no_token_has_is_passed_over(tmp_path: Path) -> None:
    """Converters write -1 for "none", as an unsigned number."""
    values = [u32("tokenizer.ggml.eos_token_id", 259), u32("tokenizer.ggml.bos_token_id", 0xFFFFFFFF)]
    bundle = read_gguf(written(tmp_path / "model.gguf", LLAMA.but(*values)))
    assert (bundle.tokenizer.bos_id, bundle.tokenizer.eos_id) == (None, None)
    assert bundle.tokenizer.end_ids == {258}  # <|end|>, by its spelling
    assert bundle.notes == [
        "tokenizer.ggml.bos_token_id is 4294967295, which no token has: passed over",
        "tokenizer.ggml.eos_token_id is 259, which no token has: passed over",
    ]


def test_llama_cpp_puts_no_blank_before_byte_level_text(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    bundle = read_gguf(written(path, LLAMA.but(flag("tokenizer.ggml.add_space_prefix", True))))
    plain = read_gguf(written(path, LLAMA))
    assert bundle.tokenizer.encode("abc 한") == plain.tokenizer.encode("abc 한")
    assert "tokenizer.ggml.add_space_prefix" in bundle.notes[0]


def test_token_types_decide_what_is_found_in_text(tmp_path: Path) -> None:
    ours = read_gguf_tokenizer(written(tmp_path / "model.gguf", byte_level_file("gpt-2", (GPT2_PATTERN,))))
    bos, eos, think = ours.vocab_size - 3, ours.vocab_size - 2, ours.vocab_size - 1
    assert (ours.bos_id, ours.eos_id, ours.end_ids, ours.adds_bos) == (bos, eos, frozenset({eos}), False)
    assert ours.encode("<|end|>", special=True) == [eos]
    assert eos not in ours.encode("a<|end|>")  # a control token's spelling in a text stays text
    assert think in ours.encode("a<think>b")  # a user-defined one is found anywhere
    assert ours.decode([think, eos]) == "<think><|end|>"


@pytest.mark.parametrize(
    ("pre", "stated", "adds"),
    [("gpt-2", None, False), ("gpt-2", True, True), ("llama-bpe", None, True), ("llama-bpe", False, False)],
)
def test_whether_a_text_begins_with_bos(pre: str, stated: bool | None, adds: bool, tmp_path: Path) -> None:
    more = [] if stated is None else [flag("tokenizer.ggml.add_bos_token", stated)]
    file = byte_level_file(pre, pre_tokenizer_named(pre).patterns, *more)
    ours = read_gguf_tokenizer(written(tmp_path / "model.gguf", file))
    assert ours.adds_bos == adds
    assert ours.encode_start("a")[: int(adds)] == [ours.bos_id][: int(adds)]


def test_ids_that_only_fill_up_have_no_text(tmp_path: Path) -> None:
    names = [*(f"t{i}" for i in range(5)), "[PAD5]", "[PAD6]", ""]
    values = [
        texts("tokenizer.ggml.tokens", names),
        texts("tokenizer.ggml.merges", []),
        i32s("tokenizer.ggml.token_type", [1, 1, 1, 1, 3, 5, 5, 1]),
        u32("tokenizer.ggml.eos_token_id", 4),
    ]
    ours = read_gguf_tokenizer(written(tmp_path / "model.gguf", LLAMA.but(*values)))
    assert ours.vocab_size == 5


REFUSED = {
    "another kind": (text("tokenizer.ggml.model", "bert"), "tokenizer.ggml.model is 'bert', which is not supported"),
    "two ids": (texts("tokenizer.ggml.tokens", ["a"] * 259), "the token 'a' has the ids 0 and 1"),
    "types of another length": (i32s("tokenizer.ggml.token_type", [1] * 7), "should have 259 entries, found 7"),
    "types that are texts": (texts("tokenizer.ggml.token_type", ["a"]), "should be a list of numbers, found a list of"),
    "a merge of one": (texts("tokenizer.ggml.merges", ["ab"]), "entry 0 should be two tokens, found 'ab'"),
    "a merge of nothing": (texts("tokenizer.ggml.merges", ["a "]), "entry 0 should be two tokens, found 'a '"),
    "a merge of unknown tokens": (texts("tokenizer.ggml.merges", ["a 한"]), "the merges do not fit the vocabulary"),
    "a merge longer than any token": (  # the library panics
        texts("tokenizer.ggml.merges", ["<|end|> <|end|>"]),
        "the merges do not fit the vocabulary",
    ),
    "a beginning that nobody names": (flag("tokenizer.ggml.add_bos_token", True), "bos_token_id is missing"),
    "another normaliser": (text("tokenizer.ggml.precompiled_charsmap", "x"), "precompiled_charsmap is 'x', which is"),
    "more tokens than the embedding": (
        texts("tokenizer.ggml.tokens", [f"t{i}" for i in range(300)]),
        "should have 300 entries, found 259",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_damaged_tokenizer_is_refused(name: str, tmp_path: Path) -> None:
    value, says = REFUSED[name]
    assert says in refusal(tmp_path / "model.gguf", LLAMA.but(value).written()).message


def test_a_vocabulary_larger_than_the_embedding_is_refused(tmp_path: Path) -> None:
    content = LLAMA.but_tensor(tensor("token_embd.weight", (258, 8))).written()
    assert "the tokenizer has 259 tokens, the model 258" in refusal(tmp_path / "model.gguf", content).message


def test_the_chat_template_and_recommendations_are_kept(tmp_path: Path) -> None:
    values = [
        text("tokenizer.chat_template", "{{ messages[0]['content'] }} 한국"),
        Value("general.sampling.temp", 6, b"\x00\x00\x00\x3f"),
        Value("general.sampling.top_k", 5, b"\x28\0\0\0"),
    ]
    bundle = read_gguf(written(tmp_path / "model.gguf", LLAMA.but(*values)))
    assert bundle.chat_template == "{{ messages[0]['content'] }} 한국"
    assert bundle.generation == {"temperature": 0.5, "top_k": 40}
    assert isinstance(bundle.tokenizer, Tokenizer)

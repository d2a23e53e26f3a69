"""A document that is encoded in chunks has the tokens of the whole document."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as RawTokenizer

from nextword import Tokenizer
from nextword.training.corpus.chunks import chunks, encode_chunks
from nextword.training.corpus.text import Document
from nextword.training.corpus.tokenized_text import TokenizedText
from tests.training.sample_text import TEXT

MIXED = (
    TEXT[:400] + "It's 3,141 — \U0001f600 don’t!\n\n\n  def f(x):\r\n\treturn x / 'a'\n"
    "한국어,영어。日本語、\u1100\u1161 e\u0301t "
)
GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
O200K_PATTERN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def byte_level(pattern: str) -> Tokenizer:
    raw = RawTokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    raw.train_from_iterator([MIXED] * 3, trainers.BpeTrainer(vocab_size=500, initial_alphabet=sorted(alphabet)))
    return Tokenizer(raw)


def llama2_like() -> Tokenizer:
    """SentencePiece's BPE as Llama 2 has it: a blank is put before every text, words are not cut apart beforehand."""
    letters = sorted({*MIXED.replace(" ", "▁"), "▁"})
    pairs = ["▁t", "h e", "▁t he", "a t", "▁ c", "▁c at", "▁ 나", "▁나 는", "▁ ▁", "어 ,", "서 울", "서울 이"]
    merged = [pair.replace(" ", "") for pair in pairs]
    tokens = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *letters, *merged]
    merges = [tuple(pair.split(" ")) for pair in pairs if " " in pair]
    vocabulary = {token: i for i, token in enumerate(dict.fromkeys([*tokens, "▁t"]))}
    known = [(a, b) for a, b in merges if {a, b, a + b} <= vocabulary.keys()]
    raw = RawTokenizer(models.BPE(vocabulary, known, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    raw.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    raw.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return Tokenizer(raw)


TOKENIZERS = {
    "own": Tokenizer.train_bpe(MIXED * 3, 500),
    "gpt2": byte_level(GPT2_PATTERN),
    "llama3": byte_level(LLAMA3_PATTERN),
    "o200k": byte_level(O200K_PATTERN),
    "llama2": llama2_like(),
    "characters": Tokenizer.characters(MIXED + "x'\u2028"),
}


def ids_in_chunks(pieces: list[str], tokenizer: Tokenizer, size: int) -> tuple[list[int], int]:
    encoded = list(encode_chunks(chunks(pieces, tokenizer, size), tokenizer))
    assert "".join(chunk.text for chunk, _ in encoded) == "".join(pieces)
    return [i for _, ids in encoded for i in ids], len(encoded)


def whole(text: str, tokenizer: Tokenizer) -> list[int]:
    return [int(i) for i in TokenizedText.from_documents([Document("a", text)], tokenizer).tokens]


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("size", [1, 30, 300])
def test_korean_english_and_emoji_have_the_same_tokens_in_chunks(name: str, size: int) -> None:
    tokenizer, text = TOKENIZERS[name], MIXED * 6
    ids, count = ids_in_chunks([text[i : i + 97] for i in range(0, len(text), 97)], tokenizer, size)
    assert ids == whole(text, tokenizer)
    assert count >= len(text) / (size + 200) - 1  # it was cut, not encoded as a whole


@pytest.mark.parametrize("name", ["own", "gpt2", "llama3", "o200k", "llama2"])
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_any_text_has_the_same_tokens_in_chunks(name: str, data: st.DataObject) -> None:
    parts = st.sampled_from(
        ["The cat", " sat", "나는", " 학교에", "\n", "\n\n", " ", "  ", "'s", "’", "!", "/", ",", "1", "\r\n"]
    )
    text = "".join(data.draw(st.lists(parts | st.characters(exclude_categories=["Cs"]), max_size=300)))
    ids, _ = ids_in_chunks([text], TOKENIZERS[name], data.draw(st.integers(1, 40)))
    assert ids == (whole(text, TOKENIZERS[name]) if text else [])


def test_a_cut_that_would_part_a_token_is_not_made() -> None:
    text = "한국어,한국어;" * 40  # without blanks; only "어," is one token
    parts = [chunk.text for chunk in chunks([text], TOKENIZERS["llama2"], 1)]
    assert ids_in_chunks([text], TOKENIZERS["llama2"], 1)[0] == whole(text, TOKENIZERS["llama2"])
    assert len(parts) > 20
    assert {part[0] for part in parts[1:]} == {";"}


def test_words_are_never_cut_apart() -> None:
    tokenizer = Tokenizer.words(["나는", "학교에,", "cat's", "sat."])
    text = "나는 학교에, cat's sat.\n" * 200
    ids, count = ids_in_chunks([text], tokenizer, 50)
    assert ids == [0, 1, 2, 3] * 200
    assert count > 50


def test_a_tokenizer_that_is_to_be_trained_counts_the_same_words() -> None:
    text = MIXED * 40
    parts = [chunk.text for chunk in chunks([text], None, 50)]
    assert len(parts) > 200
    assert Tokenizer.train_bpe(parts, 400).to_str() == Tokenizer.train_bpe(text, 400).to_str()


def test_a_letter_said_two_million_times_is_cut_all_the_same() -> None:
    pieces = ["가" * (1 << 18)] * 8
    parts = list(chunks(pieces, TOKENIZERS["own"]))
    assert "".join(chunk.text for chunk in parts) == "".join(pieces)
    assert [chunk.begins for chunk in parts] == [True, False]
    assert [len(chunk.text) for chunk in parts] == [1 << 20, 1 << 20]


def test_100_megabytes_in_one_line_come_in_chunks_of_64_thousand_characters(tmp_path: Path) -> None:
    piece = "가나다라 마바사 " * 100_000
    lengths = [len(chunk.text) for chunk in chunks((piece for _ in range(44)), TOKENIZERS["own"])]
    assert sum(lengths) == 44 * 900_000
    assert max(lengths) < 65_600

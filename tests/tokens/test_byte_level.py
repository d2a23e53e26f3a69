"""Byte-level BPE: any string goes in and comes back out."""

from __future__ import annotations

import json

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as RawTokenizer
from tokenizers import normalizers

from nextword import Tokenizer
from nextword.errors import ConfigError, TextError
from nextword.tokens import END_OF_TEXT
from nextword.tokens.byte_level import (
    MAX_WORD_LENGTH,
    QWEN2_PATTERN,
    UNICODE_TO_BYTE,
    character_merges,
    has_long_words,
    token_bytes,
)
from nextword.tokens.description import describe
from tests.tokens.conftest import CORPUS, TEXTS

# Qwen2's published pattern, typed in once more so that a slip in the source shows.
PUBLISHED = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


# -- round trip ----------------------------------------------------------------------------------------------------


@given(text=st.text())
@settings(deadline=None, max_examples=300)
def test_any_text_comes_back(bpe: Tokenizer, text: str) -> None:
    assert bpe.decode(bpe.encode(text)) == text
    assert bpe.decode(bpe.encode(text, special=True)) == text


@pytest.mark.parametrize("name", TEXTS)
def test_chosen_texts_come_back(bpe: Tokenizer, name: str) -> None:
    text = TEXTS[name]
    assert bpe.decode(bpe.encode(text)) == text


@pytest.mark.parametrize("unit", ["a", "한", "🙂", " ", "\n", "ab가 "])
def test_a_single_line_of_100_kilobytes_comes_back(bpe: Tokenizer, unit: str) -> None:
    text = unit * (100_000 // len(unit.encode()))
    ids = bpe.encode(text)
    assert len(ids) <= len(text.encode())
    assert bpe.decode(ids) == text


@given(texts=st.lists(st.text(), max_size=6))
@settings(deadline=None, max_examples=60)
def test_a_batch_is_each_text_by_itself(bpe: Tokenizer, texts: list[str]) -> None:
    assert bpe.encode_batch(texts) == [bpe.encode(text) for text in texts]


@pytest.mark.parametrize("text", ["\ud800", "fine \udfff", "\ud83d \ude42", "x\udc80y"])
def test_lone_surrogates_are_refused_with_their_place(bpe: Tokenizer, text: str) -> None:
    at = next(i for i, character in enumerate(text) if "\ud800" <= character <= "\udfff")
    place = rf"lone surrogate, U\+{ord(text[at]):04X}, at character {at}(?m:$)"
    with pytest.raises(TextError, match=place):
        bpe.encode(text)
    with pytest.raises(TextError, match=place):
        bpe.encode_batch(["fine", text])
    with pytest.raises(TextError, match=place):
        Tokenizer.train_bpe(["fine", text], 300)


# -- special tokens ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", [END_OF_TEXT, f"a{END_OF_TEXT}b", END_OF_TEXT * 3, f" {END_OF_TEXT} ", f"한{END_OF_TEXT}"]
)
def test_the_spelling_of_a_special_token_stays_text(bpe: Tokenizer, text: str) -> None:
    ids = bpe.encode(text)
    assert bpe.eos_id not in ids
    assert bpe.decode(ids) == text
    assert bpe.eos_id not in bpe.encode_batch([text])[0]


def test_asked_for_the_spelling_stands_for_the_token(bpe: Tokenizer) -> None:
    assert bpe.bos_id == bpe.eos_id == 0
    assert bpe.encode(END_OF_TEXT, special=True) == [0]
    assert bpe.encode(f"the{END_OF_TEXT}dog", special=True) == [*bpe.encode("the"), 0, *bpe.encode("dog")]
    assert bpe.encode(END_OF_TEXT) != [0]  # asking once changes nothing for the next text
    assert bpe.decode([0]) == END_OF_TEXT


def test_a_text_full_of_the_spelling_does_not_teach_the_special_token() -> None:
    tokenizer = Tokenizer.train_bpe([END_OF_TEXT * 500], 600)
    assert 0 not in tokenizer.encode(END_OF_TEXT * 3)


def test_several_special_tokens_take_the_first_ids() -> None:
    tokenizer = Tokenizer.train_bpe(CORPUS, 400, special_tokens=["<|im_start|>", "<|im_end|>"])
    assert tokenizer.vocabulary[:2] == ["<|im_start|>", "<|im_end|>"]
    assert (tokenizer.bos_id, tokenizer.eos_id) == (None, None)
    assert not {0, 1} & set(tokenizer.encode("<|im_start|>user<|im_end|>"))
    assert tokenizer.encode("<|im_start|>user<|im_end|>", special=True)[0] == 0


@pytest.mark.parametrize("token", ["", "user", "a", "한국", "  ", "5", "'s", "<<<"])
def test_a_special_token_that_plain_text_could_become_is_refused(token: str) -> None:
    with pytest.raises(ConfigError, match="cannot be a special token"):
        Tokenizer.train_bpe(["user user user"], 300, special_tokens=[token])


def test_a_special_token_named_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'<\|a\|>' twice"):
        Tokenizer.train_bpe(["text"], 300, special_tokens=["<|a|>", "<|a|>"])


# -- training ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", [257, 258, 300, 440])
def test_the_vocabulary_is_as_large_as_asked(asked: int) -> None:
    tokenizer = Tokenizer.train_bpe(CORPUS, asked)
    assert tokenizer.vocab_size == len(tokenizer.vocabulary) == asked


def test_a_short_text_yields_a_smaller_vocabulary() -> None:
    tokenizer = Tokenizer.train_bpe(["ab ab ab"], 5000)
    assert tokenizer.vocab_size == 256 + 1 + 2  # bytes, <|endoftext|>, "ab" and " ab"
    assert {"ab", " ab"} < set(tokenizer.vocabulary)


def test_no_text_at_all_leaves_the_bytes() -> None:
    tokenizer = Tokenizer.train_bpe([], 5000)
    assert tokenizer.vocab_size == 257
    assert tokenizer.decode(tokenizer.encode("한국 🙂")) == "한국 🙂"


def test_a_single_string_is_one_document() -> None:
    assert Tokenizer.train_bpe("hello hello", 300).vocabulary == Tokenizer.train_bpe(["hello hello"], 300).vocabulary


def test_every_byte_has_a_token_even_if_training_never_saw_it() -> None:
    tokenizer = Tokenizer.train_bpe(["only ascii here"], 300)
    singles = {data for data in map(bytes, tokenizer.bytes_of(range(tokenizer.vocab_size))) if len(data) == 1}
    assert singles == {bytes([byte]) for byte in range(256)}
    assert len(tokenizer.encode("한")) == 3


def test_merges_are_learned(bpe: Tokenizer) -> None:
    for text in CORPUS:
        assert len(bpe.encode(text)) < len(text.encode()) / 3
    assert len(bpe.encode("the")) == len(bpe.encode(" fox")) == len(bpe.encode(" 안녕하세요")) == 1
    assert len(bpe.encode("xqzj")) == 4


def test_training_twice_gives_the_same_vocabulary() -> None:
    assert Tokenizer.train_bpe(CORPUS, 440).to_str() == Tokenizer.train_bpe(iter(CORPUS), 440).to_str()


@pytest.mark.parametrize(("size", "specials", "smallest"), [(256, 1, 257), (0, 0, 256), (-5, 1, 257), (257, 2, 258)])
def test_a_vocabulary_without_room_for_the_bytes_is_refused(size: int, specials: int, smallest: int) -> None:
    with pytest.raises(ConfigError, match=f"vocab_size is {size}, byte-level BPE needs at least {smallest}"):
        Tokenizer.train_bpe(["text"], size, special_tokens=[f"<|{i}|>" for i in range(specials)])


def test_the_stand_ins_are_those_of_gpt2() -> None:
    assert sorted(UNICODE_TO_BYTE.values()) == list(range(256))
    assert {UNICODE_TO_BYTE[mark] for mark in "ĠĊĉ"} == set(b" \n\t")
    assert token_bytes("Ġíķľ") == b" " + "한".encode()
    assert token_bytes("한") is None


# -- the cut -------------------------------------------------------------------------------------------------------


def _cuts(tokenizer: Tokenizer, text: str) -> list[str]:
    raw = RawTokenizer.from_str(tokenizer.to_str())
    return [text[start:end] for _, (start, end) in raw.pre_tokenizer.pre_tokenize_str(text)]


@pytest.mark.parametrize("name", TEXTS)
def test_text_is_cut_as_qwen2_cuts_it(bpe: Tokenizer, name: str) -> None:
    assert _cuts(bpe, TEXTS[name]) == regex.findall(PUBLISHED, TEXTS[name])


@given(text=st.text(alphabet="aZ é한국1٣½' \t\r\n.,!🙂\u0301\u3000sStTlL", max_size=30))
@settings(deadline=None, max_examples=200)
def test_any_text_is_cut_as_qwen2_cuts_it(bpe: Tokenizer, text: str) -> None:
    assert _cuts(bpe, text) == regex.findall(PUBLISHED, text)


def test_the_pattern_is_the_published_one() -> None:
    assert QWEN2_PATTERN == PUBLISHED
    assert regex.findall(PUBLISHED, "I'll pay 120원\n\n now") == [
        *"I",
        "'ll",
        " pay",
        " ",
        *"120",
        "원",
        "\n\n",
        " now",
    ]


def test_no_token_reaches_over_a_cut(bpe: Tokenizer) -> None:
    for text in TEXTS.values():
        assert bpe.encode(text) == [i for part in regex.findall(PUBLISHED, text) for i in bpe.encode(part)]


# -- bytes ---------------------------------------------------------------------------------------------------------


@given(data=st.lists(st.one_of(st.binary(max_size=4), st.text(max_size=3).map(str.encode)), max_size=8).map(b"".join))
@settings(deadline=None, max_examples=300)
def test_invalid_bytes_decode_as_python_replaces_them(bpe: Tokenizer, data: bytes) -> None:
    id_of_byte = {part[0]: i for i, part in enumerate(bpe.bytes_of(range(bpe.vocab_size))) if len(part) == 1}
    ids = [id_of_byte[byte] for byte in data]
    assert b"".join(bpe.bytes_of(ids)) == data
    assert bpe.decode(ids) == data.decode("utf-8", errors="replace")


@given(ids=st.lists(st.integers(0, 439), max_size=12))
@settings(deadline=None, max_examples=200)
def test_any_ids_decode_to_the_replaced_text_of_their_bytes(bpe: Tokenizer, ids: list[int]) -> None:
    assert bpe.decode(ids) == b"".join(bpe.bytes_of(ids)).decode("utf-8", errors="replace")


def test_fragments_in_the_vocabulary_are_spelled_and_never_replaced(bpe: Tokenizer) -> None:
    assert "⟨ED⟩" in bpe.vocabulary
    assert not any("\ufffd" in token for token in bpe.vocabulary)
    assert " fox" in bpe.vocabulary


def parts_of_characters(tokenizer: Tokenizer) -> list[bytes]:
    """Tokens of several bytes that are no whole characters."""
    return [
        data
        for data in tokenizer.bytes_of(range(257, tokenizer.vocab_size))
        if data.decode(errors="ignore").encode() != data
    ]


def test_pairs_join_whole_characters_only() -> None:
    sentences = (
        "데비안은 자유로운 운영체제입니다. 설치하려면 시디나 유에스비가 필요합니다. Debian is free. 삶은 달걀 🙂🙂 é\n"
    )
    text = sentences * 3
    tokenizer = Tokenizer.train_bpe([text], 700)
    assert all(text.count(character) == 3 for character in "데설삶")
    assert {"데", "설", "삶", "🙂", "é", " 설치하려면"} <= set(tokenizer.vocabulary)
    spelled = {character.encode() for character in text}
    for data in parts_of_characters(tokenizer):  # the way from bytes to a character, and nothing else
        assert len(data) in (2, 3)
        assert any(character.startswith(data) for character in spelled)
    assert b" \xec" not in tokenizer.bytes_of(range(tokenizer.vocab_size))
    for other in (text, "쀍 뷁 한 자도 배우지 않은 글 🦊", "\ufdd0 \x00"):
        assert tokenizer.decode(tokenizer.encode(other)) == other


def test_characters_take_three_quarters_of_the_room_at_most_and_the_rarest_stay_bytes() -> None:
    often, seldom = [chr(0xAC00 + 64 * i) for i in range(60)], [chr(0xC000 + 64 * i) for i in range(60)]
    text = " ".join(often) * 90 + " ".join(seldom) * 2
    tokenizer = Tokenizer.train_bpe([text], 257 + 100)
    assert (
        sum(len(data) == 3 for data in tokenizer.bytes_of(range(257, tokenizer.vocab_size))) == 37
    )  # two merges each, of 75
    assert set(often[:37]) <= set(tokenizer.vocabulary)
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert Tokenizer.train_bpe([text], 257 + 100).to_str() == tokenizer.to_str()
    roomy = Tokenizer.train_bpe([text], 257 + 400)
    assert set(often) <= set(roomy.vocabulary)  # 98 % of the text
    assert not set(seldom) & set(roomy.vocabulary)
    assert character_merges([text]) == 2 * 60
    assert character_merges(["plain ASCII"]) == 0


ENDLESS = ["ACGT" * 5000, "=" * 20_000, " " * 20_000 + "a", "\n" * 20_000, "日本語" * 5000, "😀🎉" * 5000]


@pytest.mark.parametrize("text", ENDLESS)
def test_endless_words_are_learned_from_in_parts(text: str) -> None:
    tokenizer = Tokenizer.train_bpe([text], 1024)
    assert 2 < max(len(token) for token in tokenizer.vocabulary if "\\x" not in token) <= MAX_WORD_LENGTH
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert has_long_words([text])
    assert not has_long_words(["an ordinary sentence, 보통 문장이다. " * 100])


def test_an_entry_stands_for_bytes_only_where_every_character_does() -> None:
    assert [token_bytes(one) for one in UNICODE_TO_BYTE] == [bytes([byte]) for byte in UNICODE_TO_BYTE.values()]
    assert token_bytes("Ġa") == b" a"
    assert [token_bytes(other) for other in ("\xad", "a b", "\n", "\x7f", "한", "Ġ한")] == [None] * 6


def test_the_text_of_a_token_is_its_entry_in_the_vocabulary() -> None:
    bpe = Tokenizer.train_bpe("한국의 하늘은 파랗다 🦊 " * 3, 300)
    assert [bpe.text_of(i) for i in range(bpe.vocab_size)] == bpe.vocabulary
    assert (bpe.text_of(bpe.vocab_size), bpe.text_of(-1)) == ("", "")


def test_a_description_says_what_the_library_says_but_for_the_vocabulary() -> None:
    raw = RawTokenizer.from_str(Tokenizer.train_bpe("hello hello", 300).to_str())
    raw.normalizer = normalizers.NFC()
    whole, found = json.loads(raw.to_str()), describe(raw)
    parts = ("normalizer", "pre_tokenizer", "post_processor", "decoder")
    assert [found[part] for part in parts] == [whole[part] for part in parts]
    assert {name: whole["model"][name] for name in found["model"]} == found["model"]
    assert "vocab" not in found["model"]

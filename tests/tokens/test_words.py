"""The lesson's tokenizer: text cut at white space, ids are positions in the vocabulary."""

from __future__ import annotations

import pytest

from nextword import Tokenizer
from nextword.errors import ConfigError, TextError

VOCABULARY = ["hello", "world", "this", "is", "a", "test", "model", "GPT", "language", "AI"]


def test_ids_are_positions_in_the_lessons_vocabulary() -> None:
    tokenizer = Tokenizer.words(VOCABULARY)
    assert tokenizer.encode("hello world this is") == [0, 1, 2, 3]
    assert [tokenizer.encode(word) for word in VOCABULARY] == [[i] for i in range(10)]
    assert tokenizer.vocabulary == VOCABULARY
    assert (tokenizer.kind, tokenizer.vocab_size, tokenizer.bos_id, tokenizer.eos_id) == ("words", 10, None, None)


def test_ids_follow_the_list_and_not_the_alphabet() -> None:
    assert Tokenizer.words(["zebra", "ant", "모델"]).encode("모델 ant zebra") == [2, 1, 0]


def test_decoding_joins_words_with_blanks() -> None:
    tokenizer = Tokenizer.words(VOCABULARY)
    assert tokenizer.decode([7, 3, 4, 8, 6]) == "GPT is a language model"
    assert tokenizer.decode([7]) == "GPT"
    assert tokenizer.decode([]) == ""


@pytest.mark.parametrize("blank", [" ", "\n", "\t \r\n", "\u00a0", "\u3000", "\u0085"])
def test_any_white_space_separates_words(blank: str) -> None:
    assert Tokenizer.words(VOCABULARY).encode(f"{blank}hello{blank}world{blank}") == [0, 1]


def test_unknown_words_are_all_named() -> None:
    with pytest.raises(TextError) as caught:
        Tokenizer.words(VOCABULARY).encode("hello 안녕 world Hello 안녕")
    assert caught.value.message == "not in the vocabulary of 10 words: '안녕', 'Hello'"
    assert "unknown token" in caught.value.hint


def test_of_many_unknown_words_the_first_five_are_named() -> None:
    with pytest.raises(TextError) as caught:
        Tokenizer.words(VOCABULARY).encode("u v hello w x y z")
    assert caught.value.message == "not in the vocabulary of 10 words: 'u', 'v', 'w', 'x', 'y', ..."


def test_a_batch_names_the_unknown_words_of_all_its_texts() -> None:
    with pytest.raises(TextError, match=r": 'one', 'two'(?m:$)"):
        Tokenizer.words(VOCABULARY).encode_batch(["hello one", "world", "two"])


@pytest.mark.parametrize("separator", ["\x1c", "\x1d", "\x1e", "\x1f"])
def test_what_only_python_takes_for_white_space_is_an_unknown_word(separator: str) -> None:
    with pytest.raises(TextError, match="not in the vocabulary"):
        Tokenizer.words(VOCABULARY).encode(f"hello{separator}world")


def test_a_declared_unknown_word_stands_for_all_others() -> None:
    tokenizer = Tokenizer.words(["<unk>", "hello"], unknown="<unk>")
    assert tokenizer.encode("hello there hello you") == [1, 0, 1, 0]
    assert tokenizer.decode([1, 0]) == "hello <unk>"
    assert Tokenizer.from_str(tokenizer.to_str()).encode("hello there") == [1, 0]


@pytest.mark.parametrize("spelling", ["<unk>", "[UNK]", "UNK", "unk"])
def test_a_word_that_looks_like_unknown_is_an_ordinary_word(spelling: str) -> None:
    tokenizer = Tokenizer.words([spelling, "hello"])
    assert tokenizer.encode(f"hello {spelling}") == [1, 0]
    with pytest.raises(TextError, match=r": 'there'(?m:$)"):
        tokenizer.encode("hello there")
    with pytest.raises(TextError, match=r": 'there'(?m:$)"):
        Tokenizer.from_str(tokenizer.to_str()).encode("hello there")


def test_a_word_spelled_like_a_special_token_that_is_no_word_is_unknown() -> None:
    # transformers adds special tokens beside the model's own words; spelled in a text they are plain text.
    raw = Tokenizer.words(["hello"]).to_str()
    added = (
        '{"id":1,"content":"<s>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}'
    )
    tokenizer = Tokenizer.from_str(raw.replace('"added_tokens": []', f'"added_tokens": [{added}]'), bos="<s>")
    assert tokenizer.bos_id == 1
    assert tokenizer.encode("<s> hello", special=True) == [1, 0]
    with pytest.raises(TextError, match=r": '<s>'(?m:$)"):
        tokenizer.encode("<s> hello")


@pytest.mark.parametrize(
    ("vocabulary", "named"),
    [
        ([], "empty"),
        (["a", "b", "a"], "'a' twice"),
        (["a", ""], "'' is not one word"),
        (["a", "b c"], "'b c' is not one word"),
        (["a", "b\n"], r"'b\n' is not one word"),
        (["a", "\u3000"], r"'\u3000' is not one word"),
    ],
)
def test_a_vocabulary_that_cannot_work_is_refused_by_name(vocabulary: list[str], named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Tokenizer.words(vocabulary)
    assert named in caught.value.message


def test_an_unknown_word_that_is_not_in_the_vocabulary_is_refused() -> None:
    with pytest.raises(ConfigError, match="'<unk>' is not in the vocabulary"):
        Tokenizer.words(["a"], unknown="<unk>")


def test_lone_surrogates_are_refused_in_the_vocabulary_and_in_texts() -> None:
    with pytest.raises(TextError, match=r"U\+D800"):
        Tokenizer.words(["a", "\ud800"])
    with pytest.raises(TextError, match=r"U\+DFFF, at character 2"):
        Tokenizer.words(["a"]).encode("a \udfff")


def test_a_word_brings_the_blank_before_it_unless_it_is_the_first() -> None:
    tokenizer = Tokenizer.words(VOCABULARY)
    assert tokenizer.bytes_of([0, 1]) == [b"hello", b" world"]
    assert tokenizer.bytes_of([0, 1], continued=True) == [b" hello", b" world"]


@pytest.mark.parametrize("token_id", [-1, 10, 2**40])
def test_decoding_an_id_that_is_not_there_is_refused_by_number(token_id: int) -> None:
    with pytest.raises(TextError, match=f"token id {token_id} is not in the vocabulary of 10 tokens"):
        Tokenizer.words(VOCABULARY).decode([0, token_id])

"""One token a character."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nextword import Tokenizer
from nextword.errors import TextError

TEXT = "가나다 abc\n\r\n\t🙂👨‍👩‍👧 e\u0301\x00"


def test_text_comes_back_with_newlines_hangul_and_emoji() -> None:
    tokenizer = Tokenizer.characters(TEXT)
    ids = tokenizer.encode(TEXT)
    assert len(ids) == len(TEXT)
    assert tokenizer.decode(ids) == TEXT


def test_ids_are_places_in_the_sorted_characters() -> None:
    tokenizer = Tokenizer.characters("banana 나가")
    assert tokenizer.vocabulary == [" ", "a", "b", "n", "가", "나"]
    assert tokenizer.encode("ban가") == [2, 1, 3, 4]
    assert (tokenizer.kind, tokenizer.vocab_size) == ("characters", 6)


@given(text=st.text(min_size=1))
@settings(deadline=None, max_examples=60)
def test_any_text_comes_back_from_the_characters_it_is_made_of(text: str) -> None:
    tokenizer = Tokenizer.characters(text)
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.vocab_size == len(set(text))


def test_unknown_characters_are_named_once_each_in_the_order_of_the_text() -> None:
    with pytest.raises(TextError) as caught:
        Tokenizer.characters("abc").encode("a나b\n가나🙂")
    assert caught.value.message == r"not in the vocabulary of 3 characters: '나', '\n', '가', '🙂'"


def test_the_same_letter_in_another_normal_form_is_another_character() -> None:
    with pytest.raises(TextError, match="not in the vocabulary"):
        Tokenizer.characters("한").encode("\u1112\u1161\u11ab")


def test_an_empty_text_has_no_characters_to_take() -> None:
    with pytest.raises(TextError, match="empty text"):
        Tokenizer.characters("")


def test_an_empty_text_encodes_to_nothing() -> None:
    assert Tokenizer.characters("a").encode("") == []


def test_lone_surrogates_are_refused() -> None:
    with pytest.raises(TextError, match=r"U\+DC80, at character 1"):
        Tokenizer.characters("a\udc80")


def test_it_survives_its_json() -> None:
    tokenizer = Tokenizer.characters(TEXT)
    again = Tokenizer.from_str(tokenizer.to_str())
    assert (again.kind, again.vocabulary) == ("characters", tokenizer.vocabulary)
    assert again.decode(again.encode(TEXT)) == TEXT

"""What is kept of a text that is longer than the context."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as RawTokenizer
from tokenizers.processors import TemplateProcessing

from nextword import Tokenizer
from nextword.errors import ConfigError, ContextOverflowError, TextError
from nextword.generation.context import cut_to_context, encode_prompt, fit_to_context, prompt_text, window_start
from tests.generation.backends import END, LETTERS, byte_tokenizer


@given(st.integers(0, 200), st.integers(1, 64))
def test_the_newest_half_of_the_context_is_kept(length: int, context: int) -> None:
    ids = list(range(length))
    kept, dropped = cut_to_context(ids, context, "slide")
    assert kept == ids[dropped:]
    if length <= context:
        assert dropped == 0
    else:
        assert len(kept) == max(1, context // 2)
        assert dropped == window_start(length, context)


@pytest.mark.parametrize(
    ("length", "context", "start"), [(11, 10, 6), (25, 10, 20), (10, 9, 6), (2, 1, 1), (9, 1, 8), (4, 3, 3)]
)
def test_where_the_window_begins(length: int, context: int, start: int) -> None:
    assert window_start(length, context) == start


@given(st.integers(0, 40), st.integers(1, 40))
def test_stop_refuses_what_does_not_fit_and_leaves_the_rest_alone(length: int, context: int) -> None:
    ids = list(range(length))
    if length <= context:
        assert cut_to_context(ids, context, "stop") == (ids, 0)
        return
    with pytest.raises(ContextOverflowError) as caught:
        cut_to_context(ids, context, "stop")
    assert (caught.value.n_prompt_tokens, caught.value.context_length) == (length, context)


def test_a_prompt_becomes_its_newest_tokens() -> None:
    assert fit_to_context(LETTERS, "abcdefgh", 8, "slide") == (LETTERS.encode("abcdefgh"), 0)
    assert fit_to_context(LETTERS, "abcdefgha", 8, "slide") == (LETTERS.encode("fgha"), 5)


def test_token_ids_are_taken_as_they_are() -> None:
    assert fit_to_context(LETTERS, [0, 1, 2], 8, "slide") == ([0, 1, 2], 0)
    assert fit_to_context(LETTERS, np.arange(9), 8, "slide") == ([5, 6, 7, 8], 5)
    assert encode_prompt(LETTERS, (11, 0), 10, "stop") == [11, 0]
    assert prompt_text(LETTERS, [4, 5, 0]) == "ab "
    assert prompt_text(LETTERS, "ab ") == "ab "


def test_a_text_gets_the_token_before_it_that_the_model_was_trained_with_and_token_ids_do_not() -> None:
    raw = RawTokenizer.from_str(byte_tokenizer([b"a", b"b"]).to_str())
    raw.post_processor = TemplateProcessing(single=f"{END} $A", special_tokens=[(END, 2)])
    tokenizer = Tokenizer(raw)
    assert encode_prompt(tokenizer, "ab", 10, "slide") == [2, 0, 1]
    assert encode_prompt(tokenizer, [0, 1], 10, "slide") == [0, 1]


def test_token_ids_outside_the_vocabulary_and_none_at_all_are_refused() -> None:
    for ids, wrong in (([0, 12], 12), ([-1], -1), ([10**9, 0], 10**9)):
        with pytest.raises(TextError, match=f"token id {wrong} is not in the vocabulary of 12 tokens"):
            encode_prompt(LETTERS, ids, 10, "slide")
    with pytest.raises(TextError, match="the prompt is empty"):
        encode_prompt(LETTERS, [], 10, "slide")


def test_an_empty_prompt_and_an_unknown_policy_are_refused() -> None:
    with pytest.raises(TextError, match="the prompt is empty") as caught:
        fit_to_context(LETTERS, "", 8, "slide")
    assert caught.value.hint
    with pytest.raises(ConfigError, match="overflow is 'cut', it must be slide or stop"):
        fit_to_context(LETTERS, "abc", 8, "cut")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (b"To be", "the prompt is bytes, not text"),
        (["To be", "or not"], "the prompt holds str, not token ids"),
        ([1.5, 2], "the prompt holds float, not token ids"),
        (None, "the prompt is NoneType, not text"),
        (5, "the prompt is int, not text"),
    ],
)
def test_what_is_neither_text_nor_token_ids_is_refused(prompt: Any, message: str) -> None:
    with pytest.raises(TextError) as caught:
        encode_prompt(Tokenizer.characters("To be or not"), prompt, 8, "slide")
    assert caught.value.message == message
    assert caught.value.hint
    assert encode_prompt(Tokenizer.characters("ab"), np.array([1, 0]), 8, "slide") == [1, 0]  # type: ignore[arg-type]

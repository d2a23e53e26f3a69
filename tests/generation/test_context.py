"""What is kept of a text that is longer than the context."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nextword.errors import ConfigError, ContextOverflowError, TextError
from nextword.generation.context import cut_to_context, fit_to_context, window_start
from tests.generation.backends import LETTERS


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


def test_an_empty_prompt_and_an_unknown_policy_are_refused() -> None:
    with pytest.raises(TextError, match="the prompt is empty") as caught:
        fit_to_context(LETTERS, "", 8, "slide")
    assert caught.value.hint
    with pytest.raises(ConfigError, match="overflow is 'cut', it must be slide or stop"):
        fit_to_context(LETTERS, "abc", 8, "cut")  # type: ignore[arg-type]

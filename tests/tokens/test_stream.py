"""Token bytes to text as they come: never half a character."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nextword import Tokenizer
from nextword.tokens import StreamDecoder
from tests.tokens.conftest import TEXTS


def _split(data: bytes, cuts: list[int]) -> list[bytes]:
    """`data` in parts of these sizes; the last part is what is left."""
    parts = []
    for size in cuts:
        parts.append(data[:size])
        data = data[size:]
    return [*parts, data]


def _streamed(parts: list[bytes]) -> list[str]:
    decoder = StreamDecoder()
    return [decoder.feed(part) for part in parts]


SIZES = st.lists(st.integers(0, 4), max_size=40)


@given(text=st.text(), sizes=SIZES)
@settings(deadline=None, max_examples=200)
def test_however_valid_text_is_split_it_comes_out_whole(text: str, sizes: list[int]) -> None:
    assert "".join(_streamed(_split(text.encode(), sizes))) == text


@given(text=st.text(), sizes=SIZES)
@settings(deadline=None, max_examples=200)
def test_valid_text_never_shows_a_partial_character(text: str, sizes: list[int]) -> None:
    shown = ""
    for piece in _streamed(_split(text.encode(), sizes)):
        shown += piece
        assert text.startswith(shown)


@given(data=st.binary(max_size=40), sizes=SIZES)
@settings(deadline=None, max_examples=400)
def test_however_invalid_bytes_are_split_they_are_replaced_as_in_one_piece(data: bytes, sizes: list[int]) -> None:
    closed = data + b"."  # nothing stays open behind an ASCII character
    assert "".join(_streamed(_split(closed, sizes))) == closed.decode("utf-8", errors="replace")


@given(
    data=st.lists(
        st.sampled_from([b"\xed", b"\xa0", b"\xf0", b"\x9f", b"\x98", b"\xc0", b"\xe0", b"\x80", b"a"]), max_size=12
    ),
    sizes=SIZES,
)
@settings(deadline=None, max_examples=400)
def test_bytes_that_almost_are_characters_are_replaced_as_in_one_piece(data: list[bytes], sizes: list[int]) -> None:
    closed = b"".join(data) + b"."
    assert "".join(_streamed(_split(closed, sizes))) == closed.decode("utf-8", errors="replace")


@pytest.mark.parametrize("character", ["é", "한", "🙂", "\U0010ffff"])
def test_an_incomplete_tail_stays_out(character: str) -> None:
    data = character.encode()
    for size in range(1, len(data)):
        assert "".join(_streamed([b"ok ", *(bytes([byte]) for byte in data[:size])])) == "ok "


def test_a_character_comes_out_with_its_last_byte() -> None:
    assert _streamed([b"\xed", b"\x95", b"\x9c", b"!"]) == ["", "", "한", "!"]
    assert _streamed([b"a\xf0\x9f", b"\x99\x82b"]) == ["a", "🙂b"]


def test_a_byte_that_breaks_an_open_character_brings_one_replacement() -> None:
    assert _streamed([b"\xed\x95", b"a"]) == ["", "\ufffda"]
    assert _streamed([b"\x95"]) == ["\ufffd"]


def test_nothing_in_is_nothing_out() -> None:
    assert _streamed([b"", b"\xed", b"", b"\x95\x9c"]) == ["", "", "", "한"]


@pytest.mark.parametrize("name", TEXTS)
def test_the_tokens_of_a_text_stream_to_the_text(bpe: Tokenizer, name: str) -> None:
    ids = bpe.encode(TEXTS[name])
    assert "".join(_streamed(bpe.bytes_of(ids))) == bpe.decode(ids) == TEXTS[name]


def test_words_stream_with_their_blanks() -> None:
    tokenizer = Tokenizer.words(["hello", "world"])
    decoder = StreamDecoder()
    first = decoder.feed(tokenizer.bytes_of([0])[0])
    second = decoder.feed(tokenizer.bytes_of([1], continued=True)[0])
    assert first + second == tokenizer.decode([0, 1]) == "hello world"

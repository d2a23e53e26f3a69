r"""What each token is in the text: whole graphemes, fragments numbered, stray bytes spelled \xEC."""

from __future__ import annotations

import itertools
import re

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from nextword import Tokenizer
from nextword.tokens import Piece
from nextword.tokens.pieces import group_pieces
from tests.tokens.conftest import TEXTS

# Bytes only: every character beyond ASCII is in fragments.
BYTES = Tokenizer.train_bpe([], 257)


def _groups(pieces: list[Piece]) -> list[list[Piece]]:
    """The groups, checked: numbered 1/n to n/n, the same text throughout."""
    groups = []
    rest = iter(pieces)
    for first in rest:
        group = [first, *itertools.islice(rest, first.parts - 1)]
        assert [piece.part for piece in group] == list(range(1, first.parts + 1))
        assert {(piece.parts, piece.text) for piece in group} == {(first.parts, first.text)}
        groups.append(group)
    return groups


@given(text=st.text(), pairs=st.booleans())
@settings(deadline=None, max_examples=200)
def test_the_groups_hold_every_token_once_and_spell_the_text(bpe: Tokenizer, text: str, pairs: bool) -> None:
    tokenizer = bpe if pairs else BYTES
    ids = tokenizer.encode(text)
    pieces = tokenizer.pieces(ids)
    assert [piece.token_id for piece in pieces] == ids
    assert "".join(group[0].text for group in _groups(pieces)) == text


@given(data=st.lists(st.binary(max_size=5), max_size=8))
@settings(deadline=None, max_examples=200)
def test_any_bytes_are_grouped_and_spelled_without_replacement(data: list[bytes]) -> None:
    pieces = group_pieces(range(len(data)), data)
    assert [piece.token_id for piece in pieces] == list(range(len(data)))
    joined = "".join(group[0].text for group in _groups(pieces))
    back = re.sub(
        "⟨([0-9A-F·]+)⟩".encode(), lambda part: bytes.fromhex(part[1].decode().replace("·", "")), joined.encode()
    )
    assert back == b"".join(data)
    assert joined.count("\ufffd") == b"".join(data).count("\ufffd".encode())


@given(text=st.text(alphabet="a한\u0301👩\u200d🇰\r\n각ᆨ ", max_size=12))
@settings(deadline=None, max_examples=200)
def test_no_group_begins_or_ends_inside_a_grapheme(bpe: Tokenizer, text: str) -> None:
    ends = set(itertools.accumulate(len(grapheme) for grapheme in regex.findall(r"\X", text)))
    for tokenizer in (bpe, BYTES):
        groups = _groups(tokenizer.pieces(tokenizer.encode(text)))
        assert set(itertools.accumulate(len(group[0].text) for group in groups)) <= ends


def test_a_hangul_syllable_in_three_bytes_is_shown_whole_with_its_thirds() -> None:
    ids = BYTES.encode("가나")
    assert [piece.label for piece in BYTES.pieces(ids)] == ["가 1/3", "가 2/3", "가 3/3", "나 1/3", "나 2/3", "나 3/3"]
    assert BYTES.pieces(ids)[1] == Piece(ids[1], "가", 2, 3)


@pytest.mark.parametrize(
    ("grapheme", "tokens"),
    [
        ("👨‍👩‍👧‍👦", 25),  # four people of 4 bytes, three joiners of 3
        ("🇰🇷", 8),
        ("👍🏽", 8),
        ("e\u0301", 3),
        ("\u1112\u1161\u11ab", 9),  # one syllable out of three jamo
        ("\r\n", 2),
        ("Z\u0351\u036b\u0343", 7),
    ],
)
def test_a_grapheme_of_several_characters_is_one_group(grapheme: str, tokens: int) -> None:
    groups = _groups(BYTES.pieces(BYTES.encode(f"a{grapheme}b")))
    assert [group[0].text for group in groups] == ["a", grapheme, "b"]
    assert [len(group) for group in groups] == [1, tokens, 1]


def test_two_flags_are_two_groups() -> None:
    groups = _groups(BYTES.pieces(BYTES.encode("🇰🇷🇺🇸")))
    assert [(group[0].text, len(group)) for group in groups] == [("🇰🇷", 8), ("🇺🇸", 8)]


def test_a_token_of_many_graphemes_is_one_piece(bpe: Tokenizer) -> None:
    [piece] = bpe.pieces(bpe.encode(" 안녕하세요"))
    assert (piece.text, piece.part, piece.parts, piece.label) == (" 안녕하세요", 1, 1, " 안녕하세요")


def test_a_token_that_ends_inside_a_character_is_tied_to_the_next() -> None:
    first, rest = " a한".encode()[:3], "한".encode()[1:] + b"!"
    assert group_pieces([7, 8], [first, rest]) == [Piece(7, " a한!", 1, 2), Piece(8, " a한!", 2, 2)]


def test_invalid_bytes_are_spelled() -> None:
    assert [p.label for p in group_pieces([1, 2], [b"\xec", b"a"])] == ["⟨EC⟩", "a"]
    assert [p.label for p in group_pieces([1, 2], [b"a", b"\xec\x95"])] == ["a", "⟨EC·95⟩"]
    assert [p.label for p in group_pieces([1, 2, 3], [b"\xec", b"\x95", b"\x88"])] == ["안 1/3", "안 2/3", "안 3/3"]
    assert [p.text for p in group_pieces([1], ["\ufffd".encode()])] == ["\ufffd"]  # a real one stays


def test_words_are_shown_with_the_blank_before_them() -> None:
    tokenizer = Tokenizer.words(["hello", "world", "한국"])
    assert [piece.label for piece in tokenizer.pieces([0, 2, 1])] == ["hello", " 한국", " world"]


def test_characters_of_one_grapheme_are_tied_together() -> None:
    tokenizer = Tokenizer.characters("e\u0301x")
    assert [piece.label for piece in tokenizer.pieces(tokenizer.encode("e\u0301x"))] == [
        "e\u0301 1/2",
        "e\u0301 2/2",
        "x",
    ]


def test_a_special_token_is_a_piece_of_its_own(bpe: Tokenizer) -> None:
    ids = bpe.encode("the<|endoftext|>dog", special=True)
    assert bpe.pieces(ids)[1] == Piece(0, "<|endoftext|>")


def test_no_tokens_are_no_pieces(bpe: Tokenizer) -> None:
    assert bpe.pieces([]) == []


@pytest.mark.parametrize("name", TEXTS)
def test_chosen_texts_are_spelled_whole(bpe: Tokenizer, name: str) -> None:
    groups = _groups(bpe.pieces(bpe.encode(TEXTS[name])))
    assert "".join(group[0].text for group in groups) == TEXTS[name]

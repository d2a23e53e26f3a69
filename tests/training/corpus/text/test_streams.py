"""Text is decoded a block at a time: nothing depends on where the blocks end, and a long line needs no memory."""

from __future__ import annotations

import itertools
import os
import random
import threading
import tracemalloc
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nextword.errors import TextError
from nextword.training.corpus.text import Hangul, read_documents, read_pieces
from nextword.training.corpus.text.encodings import decode

KOREAN = "나는 오늘 학교에 가서 친구를 만났다.\r\n"
EMOJI = "\N{FAMILY}\N{ZERO WIDTH JOINER}\U0001f600"
FRENCH = "L'été dernier, à l'hôtel près du théâtre, où l'on a mangé des crêpes, c'était très agréable. "


def in_blocks(data: bytes, size: int) -> Iterator[bytes]:
    return (data[i : i + size] for i in range(0, len(data), size))


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 1000])
@pytest.mark.parametrize("encoding", [None, "utf-8", "utf-16", "utf-16-be", "cp949", "utf-7"])
def test_the_text_is_the_same_wherever_the_blocks_end(encoding: str | None, size: int) -> None:
    text = KOREAN * 3 + "one\r\r\ntwo\n\rthree\r" + ("" if encoding == "cp949" else EMOJI)
    data = ("" if encoding in ("cp949", "utf-16") else "\ufeff").encode(encoding or "utf-8") + text.encode(
        encoding or "utf-8"
    )
    pieces = list(decode(in_blocks(data, size), "x", encoding))
    assert "".join(pieces) == text.replace("\r\n", "\n")
    assert all(pieces)


@pytest.mark.parametrize("size", [1, 4, 10, 1000])
def test_the_offset_of_a_wrong_byte_counts_from_the_start_of_the_file(size: int) -> None:
    data = "가나다 abc ".encode() + b"\xea\xb0" + b" rest"
    with pytest.raises(TextError, match=r"^x is not UTF-8: byte 0xEA at offset 14(?m:$)"):
        list(decode(in_blocks(data, size), "x", None))
    with pytest.raises(TextError, match=r"^x is not UTF-8: byte 0xEA at offset 14(?m:$)"):
        list(decode(in_blocks(data[:16], size), "x", None))  # the file ends inside a character
    with pytest.raises(TextError, match=r"^x holds a lone surrogate at character 3(?m:$)"):
        list(decode(in_blocks(b"abc+2AA-def", size), "x", "utf-7"))


@pytest.mark.parametrize(("encoding", "text"), [("cp949", KOREAN), ("cp1252", FRENCH)])
def test_another_encoding_is_named_when_it_shows_only_in_a_later_block(encoding: str, text: str) -> None:
    data = b"plain English. " * 500 + (text * 400).encode(encoding)
    with pytest.raises(TextError, match=r"at offset 7,50\d(?m:$)") as caught:
        list(decode(in_blocks(data, 4096), "x", None))
    assert caught.value.hint.endswith(f'encoding="{encoding}"')


def test_damage_in_a_later_block_is_not_taken_for_another_encoding() -> None:
    data = (KOREAN * 100).encode() + b"\xff" + (KOREAN * 100).encode()
    with pytest.raises(TextError, match=rf"0xFF at offset {100 * len(KOREAN.encode()):,}(?m:$)") as caught:
        list(decode(in_blocks(data, 4096), "x", None))
    assert caught.value.hint == "name its encoding with encoding=..., or repair it"


def test_nuls_that_fill_the_later_half_of_a_file_are_refused() -> None:
    data = b"a text that was cut off\n" * 100 + bytes(2400)
    with pytest.raises(TextError, match=r"byte 0x00 at offset 2,400(?m:$)"):
        list(decode(in_blocks(data, 512), "x", None))


def test_a_line_of_100_megabytes_is_read_in_small_pieces_and_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "line.txt"
    block = ("가나다라 마바사 " * 50_000).encode()  # 1.15 MB
    with path.open("wb") as file:
        for _ in range(87):
            file.write(block)
    tracemalloc.start()
    characters = sum(len(piece.text) for piece in read_pieces([path]))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert characters == 87 * 450_000
    assert peak < 16e6


def test_a_pipe_is_read_like_a_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=((KOREAN * 10_000).encode(),))
    writer.start()
    [document] = read_documents([pipe])
    writer.join()
    assert document.text == KOREAN.replace("\r\n", "\n") * 10_000


def jamo_text() -> st.SearchStrategy[str]:
    return st.text(st.sampled_from("\u1100\u1112\u1113\u1161\u1175\u1176\u11a8\u11c2\u11c3가각 ae\u0301\U0001f600"))


@given(text=jamo_text(), cuts=st.lists(st.integers(0, 30)))
def test_hangul_is_composed_as_unicode_composes_it_wherever_the_pieces_end(text: str, cuts: list[int]) -> None:
    places = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    pieces = [text[a:b] for a, b in itertools.pairwise(places)] or [""]
    counting, composing = Hangul(compose=False), Hangul(compose=True)
    same = "".join(counting.feed(piece, last=i == len(pieces) - 1) for i, piece in enumerate(pieces))
    composed = "".join(composing.feed(piece, last=i == len(pieces) - 1) for i, piece in enumerate(pieces))
    assert same == text
    assert counting.count == composing.count
    assert unicodedata.normalize("NFC", composed) == unicodedata.normalize("NFC", text)
    assert "e\u0301" in composed if "e\u0301" in text else True  # other characters are left as they are


def test_what_macos_writes_becomes_what_everyone_else_writes() -> None:
    text = "나는 학교에 갔다. é 값 "
    hangul = Hangul(compose=True)
    mixed = unicodedata.normalize("NFD", text)
    assert hangul.feed(mixed, last=True) == text.replace("é", "e\u0301")
    assert hangul.count == 8


def test_every_syllable_of_hangul_is_composed() -> None:
    syllables = [chr(code) for code in range(0xAC00, 0xD7A4)]
    random.Random(0).shuffle(syllables)  # noqa: S311
    text = "".join(syllables)
    hangul = Hangul(compose=True)
    assert hangul.feed(unicodedata.normalize("NFD", text), last=True) == text
    assert hangul.count == 11_172

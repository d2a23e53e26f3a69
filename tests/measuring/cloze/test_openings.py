"""Openings in files, and which words they accept."""

from __future__ import annotations

import unicodedata
from collections import Counter
from pathlib import Path

import pytest

from nextword.errors import ModelFileError, TextError
from nextword.measuring.cloze import Opening, read_openings, shipped_openings


def test_a_file_is_read_whatever_an_editor_made_of_it(tmp_path: Path) -> None:
    file = tmp_path / "mine.tsv"
    text = "# what I tried\r\n\r\neveryday\tI drank a cup of\ttea| coffee \r\ngrammar\t약을 \t먹~|사~\r\n"
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        file.write_bytes(text.encode(encoding))
        assert read_openings(file) == [
            Opening("mine", "everyday", "I drank a cup of", ("tea", "coffee")),
            Opening("mine", "grammar", "약을", ("먹~", "사~")),
        ]


def test_a_word_is_accepted_whole_or_by_its_beginning() -> None:
    opening = Opening("", "", "", ("Paris", "먹~", "cafe\u0301"))
    right = (" paris", "PARIS", "먹", " 먹었다", "café")
    assert [opening.accepts(word) for word in right] == [True] * len(right)
    wrong = ("", " ", "Pari", "Parisian", "머", "안먹", "cafe")
    assert [opening.accepts(word) for word in wrong] == [False] * len(wrong)


@pytest.mark.parametrize(
    ("text", "accepted", "word", "right"),
    [
        ("김치는 배추로", "만~", " 만든다", True),
        ("김치는 배추로", "만~", "만", False),  # 배추로만
        ("I was born in the unit", "ed", "ed", False),
        ("그는 '", "아니~", "아니오", True),
        ("She said", ",", ",", True),
        ("私は学生", "です", "です", True),
        ("I have", "2", "2", False),
        ("잘 먹겠습", "+니다", "니다", True),
        ("잘 먹겠습", "+니~", " 니다", False),
        ("진심으로 축하", "+합~", "합니다", True),
    ],
)
def test_what_goes_on_with_the_openings_last_word_is_no_word(text: str, accepted: str, word: str, right: bool) -> None:
    assert Opening("", "", text, (accepted,)).accepts(word) is right


def test_letters_that_are_spelled_apart_are_put_together(tmp_path: Path) -> None:
    (tmp_path / "mine.tsv").write_text(unicodedata.normalize("NFD", "가\t약을\t먹~\n"), encoding="utf-8")
    assert read_openings(tmp_path / "mine.tsv") == [Opening("mine", "가", "약을", ("먹~",))]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("everyday\tI drank", "line 2: 2 fields, there must be three"),
        ("everyday I drank tea", "line 2: 1 field, there must be three"),
        ("a\tb\tc\td", "line 2: 4 fields, there must be three"),
        ("\tI drank\ttea", "line 2: the kind is empty"),
        ("everyday\t \ttea", "line 2: the opening is empty"),
        ("everyday\tI drank\t", "line 2: the accepted words are empty"),
        ("everyday\tI drank\ttea||milk", "line 2: one of the accepted words is empty"),
        ("everyday\tI drank\ttea|~", "line 2: one of the accepted words is empty"),
        ("other\tI ate\trice", "line 2: the opening stands in line 1 already"),
        ("everyday\tI went to New\tYork City", "line 2: the accepted word 'York City' is not one word"),
        ("everyday\tI sat on the\tmat.", "line 2: the accepted word 'mat.' is not one word"),
        ("everyday\tI will\tbe~~", "line 2: the accepted word 'be~~' is not one word"),
        ("everyday\tI will\tbe｜go", "line 2: the accepted word 'be｜go' is not one word"),
    ],
)
def test_a_bad_line_is_named_with_its_field(line: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.tsv"
    file.write_text(f"everyday\tI ate\tbread\n{line}\n", encoding="utf-8")
    with pytest.raises(TextError) as caught:
        read_openings(file)
    assert caught.value.message == f"{file}, {message}"


def test_a_file_without_openings_or_none_at_all_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.tsv").write_text("# nothing\n", encoding="utf-8")
    with pytest.raises(TextError, match=r"empty\.tsv has no openings"):
        read_openings(tmp_path / "empty.tsv")
    (tmp_path / "empty.tsv").write_bytes(b"")
    with pytest.raises(TextError, match=r"empty\.tsv has no openings"):
        read_openings(tmp_path / "empty.tsv")
    with pytest.raises(ModelFileError, match="does not exist"):
        read_openings(tmp_path / "none.tsv")


def test_the_shipped_openings_are_of_two_languages_and_four_kinds() -> None:
    openings = shipped_openings()
    counts = Counter((opening.group, opening.kind) for opening in openings)
    assert {group for group, _ in counts} == {"english", "korean"}
    assert {kind for _, kind in counts} == {"everyday", "grammar", "phrase", "fact"}
    assert min(counts.values()) >= 30
    assert min(Counter(opening.group for opening in openings).values()) >= 200
    assert len({opening.text for opening in openings}) == len(openings)
    for opening in openings:
        assert not any(opening.text.endswith(blank) for blank in " \t"), opening
        assert len(opening.accepted) == len(set(opening.accepted)), opening

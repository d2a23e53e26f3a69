"""Nothing invisible stays invisible."""

from __future__ import annotations

import pytest

from nextword.tokens.visible import escape_invisible, part_note, text_of, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (" the", "␣the"),
        ("a\nb\r\nc\rd\te", "a↵b↵c␍d⇥e"),
        ("한국 수도", "한국␣수도"),
        ("\x1b[31m", "U+001B[31m"),
        ("\u200b\u202e", "U+200B U+202E"),
        ("\u00a0\u3000", "U+00A0 U+3000"),
        ("e\u0301", "e\u0301"),
        ("[bold]:smile:", "[bold]:smile:"),
        ("", ""),
    ],
)
def test_white_space_and_control_characters_are_made_visible(text: str, shown: str) -> None:
    assert visible(text) == shown
    assert "\n" not in visible(text)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", ""),
        ("안녕 a🙂".encode(), "안녕 a🙂"),
        (b" \xec\x97", " ⟨EC·97⟩"),
        (b"\x90.", "⟨90⟩."),
        (b"a\xf0\x9f\x99b\xff", "a⟨F0·9F·99⟩b⟨FF⟩"),
        ("\ufffd".encode(), "\ufffd"),  # one that was written stays
    ],
)
def test_half_a_character_is_written_as_its_bytes_in_one_way(data: bytes, text: str) -> None:
    assert text_of(data) == text
    assert visible(text_of(data)) == text.replace(" ", "␣")  # nothing in the sign is taken for something invisible
    assert part_note(["whole 글자", text]) == (
        "⟨…⟩: bytes of a character that other tokens complete" if "⟨" in text else ""
    )


def test_names_and_prose_keep_blanks_and_what_joins_one_character() -> None:
    family = "👨\u200d👩\u200d👧"
    assert escape_invisible(f"my {family}\n\u200d \u200da") == f"my {family}↵U+200D U+200Da"
    assert visible(family) == "👨U+200D👩U+200D👧"  # of a token, every part is shown

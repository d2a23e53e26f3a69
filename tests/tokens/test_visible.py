"""Nothing invisible stays invisible."""

from __future__ import annotations

import pytest

from nextword.tokens.visible import visible


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

"""How tokens and probabilities look, character by character."""

from __future__ import annotations

import pytest
from rich.cells import cell_len
from rich.table import Table

from nextword.terminal.console import BAR_WIDTH, bar, make_console, percent, styled, token_line
from nextword.tokens import Piece
from nextword.training.events import clock


@pytest.mark.parametrize(
    ("probability", "shown"),
    [
        (0.0, ""),
        (1e-9, ""),
        (1 / 8 / 24, "▏"),
        (0.5 / 24, "▌"),
        (0.5, "█" * 12),
        (0.999, "█" * 24),
        (1.0, "█" * 24),
    ],
)
def test_a_bar_is_as_long_as_the_probability(probability: float, shown: str) -> None:
    assert bar(probability).plain == shown


def test_bars_grow_with_the_probability_and_never_beyond_their_width() -> None:
    lengths = [cell_len(bar(i / 1000, 10).plain) for i in range(1001)]
    assert lengths == sorted(lengths)
    assert (lengths[0], lengths[-1]) == (0, 10)
    assert BAR_WIDTH == 24


@pytest.mark.parametrize(
    ("probability", "shown"),
    [
        (0.0, "0.00 %"),
        (5e-5, "< 0.01 %"),
        (1e-4, "0.01 %"),
        (0.12345, "12.35 %"),
        (0.5, "50.00 %"),
        (1.0, "100.00 %"),
    ],
)
def test_a_probability_in_percent(probability: float, shown: str) -> None:
    assert percent(probability) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0:00"),
        (59.9, "0:59"),
        (65, "1:05"),
        (3599, "59:59"),
        (7384, "2:03:04"),
        (-1, "0:00"),
        (float("inf"), "2777:46:40"),
    ],
)
def test_seconds_on_a_clock(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown


def test_tokens_are_set_apart_and_the_parts_of_one_character_stand_together() -> None:
    pieces = [
        Piece(1, "The"),
        Piece(2, " [b]"),
        Piece(3, "뷁", 1, 3),
        Piece(4, "뷁", 2, 3),
        Piece(5, "뷁", 3, 3),
        Piece(6, "\n"),
    ]
    line = token_line(pieces)
    assert line.plain == "The│␣[b]│뷁×3│↵"
    styles = {line.plain[span.start : span.end]: span.style for span in line.spans}
    assert (styles["The"], styles["␣[b]"], styles["뷁"], styles["↵"]) == ("cyan", "yellow", "cyan", "yellow")
    assert token_line([]).plain == ""


def test_the_console_changes_no_text(capsys: pytest.CaptureFixture[str]) -> None:
    make_console().print(":smile: 12 'x'")
    make_console(stderr=True).print("to the other stream")
    assert capsys.readouterr() == (":smile: 12 'x'\n", "to the other stream\n")


def test_what_is_printed_is_no_markup_but_for_our_own_words(capsys: pytest.CaptureFixture[str]) -> None:
    console = make_console()
    table = Table("of [/old]", box=None)
    table.add_row("a [bold]name[/bold] [/x]")
    console.print("base [v2] [/old]")
    console.print(table)
    console.print(styled("[dim]so[/dim]"))
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert lines == ["base [v2] [/old]", "of [/old]", "a [bold]name[/bold] [/x]", "so"]

"""The path from tokens to the next word on a screen: strips, grids, and architectures of every kind."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from rich.cells import cell_len

from nextword import Tokenizer
from nextword.language_model import LanguageModel
from nextword.model import GPTModel
from nextword.terminal.console import heat, shorten, size_text, token_label
from nextword.terminal.layer_view import attended_text
from nextword.terminal.path_values import Attended, read_path, shown_positions, strip
from nextword.terminal.path_view import show_path
from nextword.tokens import Piece
from tests.terminal.screens import screen

TEXT = "한국 abc 한국 cab"


@pytest.fixture(scope="module")
def lesson() -> LanguageModel:
    """The lesson's architecture with fresh weights: learned positions, and no residual stream."""
    torch.manual_seed(0)
    tokenizer = Tokenizer.characters(TEXT)
    return LanguageModel.from_model(GPTModel(tokenizer.vocab_size, 16, 2, 2, 0.0, 32), tokenizer)


@pytest.fixture(scope="module")
def learned() -> LanguageModel:
    """GPT-2's: learned positions that are added to the embeddings."""
    torch.manual_seed(0)
    tokenizer = Tokenizer.characters(TEXT)
    return LanguageModel.from_model(GPTModel(tokenizer.vocab_size, 16, 2, 2, 0.0, 32, residual="stream"), tokenizer)


def shown(lm: LanguageModel, text: str = TEXT, width: int = 80, **settings: int) -> str:
    console = screen(width)
    show_path(console, read_path(lm.trace(text), cells=8, rows=16, **settings))
    assert isinstance(console.file, io.StringIO)
    out = console.file.getvalue()
    assert max(map(cell_len, out.splitlines())) <= width
    return out


def test_strips_are_the_means_of_equal_parts() -> None:
    vector = np.arange(12, dtype=np.float32)
    assert strip(vector, 4) == [1.0, 4.0, 7.0, 10.0]
    assert strip(vector, 99) == vector.tolist()
    assert strip(vector[:5], 2) == [1.0, 3.5]


def test_signs_tell_direction_and_size() -> None:
    assert heat([-1.0, -0.3, 0.0, 0.05, 0.3, 1.0], 1.0, coloured=False).plain == "=-..+#"
    cells = heat([-1.0, 0.0, 1.0], 1.0, coloured=True)
    assert cells.plain == "   "
    assert [str(span.style) for span in cells.spans] == [
        "on rgb(124,52,0)",
        "on rgb(255,255,255)",
        "on rgb(15,74,146)",
    ]


def test_labels_keep_their_part_when_they_are_cut() -> None:
    assert token_label(Piece(1, "대", 1, 3), 9).plain == "대 1/3"
    assert token_label(Piece(1, "대한민국만세", 2, 3), 9).plain == "대한… 2/3"
    assert token_label(Piece(1, " abcdefghijk"), 6).plain == "␣abcd…"
    assert shorten(token_label(Piece(1, "[b]"), 9), 9).plain == "[b]"


@pytest.mark.parametrize(
    ("size", "text"), [(0.0, "0.00"), (1.234, "1.23"), (999.0, "999.00"), (1234.5, "1,234"), (1e8, "1e+08")]
)
def test_sizes_fit_in_six_cells(size: float, text: str) -> None:
    assert size_text(size) == text
    assert len(text) <= 6


def test_a_long_text_keeps_its_beginning_and_what_stands_before_the_position() -> None:
    assert shown_positions(5, 4, 8) == [0, 1, 2, 3, 4]
    assert shown_positions(100, 99, 8) == [0, 1, 94, 95, 96, 97, 98, 99]
    assert shown_positions(100, 50, 8) == [0, 1, 45, 46, 47, 48, 49, 50]
    assert shown_positions(100, 0, 8) == [0, 1, 2, 3, 4, 5, 6, 7]
    for position in range(30):
        places = shown_positions(30, position, 7)
        assert len(places) == len(set(places)) == 7
        assert position in places


def test_what_is_left_out_of_a_long_text_is_counted(learned: LanguageModel) -> None:
    out = shown(learned, "abc 한국 " * 4, layer=0, head=1)
    assert out.count("of 28 tokens are not shown") == 2
    assert "12 of 28 tokens are not shown" in out
    assert " … 12" in out


def test_positions_that_are_learned_have_strips_of_their_own(learned: LanguageModel) -> None:
    path, trace = read_path(learned.trace(TEXT), cells=8), learned.trace(TEXT)
    for token in path.tokens:
        place = token.position
        assert token.position_vector == pytest.approx(trace["pos_embed"][place].reshape(8, 2).mean(1), abs=1e-6)
        summed = np.array(token.embedding) + np.array(token.position_vector)
        assert token.input == pytest.approx(summed, abs=1e-6)
        assert token.input_norm == pytest.approx(float(np.linalg.norm(trace.residual(0)[place])), rel=1e-5)
    out = shown(learned)
    assert "embedding size + position size = input  size" in out.replace("  size +", " size +").replace(
        "  size =", " size ="
    )
    assert "no position vector" not in out


def test_without_a_residual_stream_the_reason_stands_in_place_of_contributions(
    lesson: LanguageModel, learned: LanguageModel
) -> None:
    opened = read_path(lesson.trace(TEXT), layer=1).opened
    assert opened is not None
    assert [head.contribution for head in opened.heads] == [None, None]
    assert opened.why_no_contributions[:40] in shown(lesson, layer=1)
    opened = read_path(learned.trace(TEXT), layer=1).opened
    assert opened is not None
    expected = learned.trace(TEXT).attribution().heads[1]
    assert [head.contribution for head in opened.heads] == pytest.approx(expected.tolist(), abs=1e-5)
    assert opened.why_no_contributions == ""


def test_the_grid_has_a_dot_for_each_weight(learned: LanguageModel) -> None:
    lines = shown(learned, layer=1, head=0).splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("layer 1, head 0"))
    pattern = learned.trace(TEXT).attention(1, 0)
    rows = [line for line in lines[start:] if line[:5].strip().isdigit() and not line.startswith(" " * 16)]
    for query, row in enumerate(rows[: len(pattern)]):
        dots = [character for character in row if character in "●○∘·"]
        wanted = [
            "●" if w >= 0.5 else "○" if w >= 0.2 else "∘" if w >= 0.05 else "·" for w in pattern[query, : query + 1]
        ]
        assert dots == wanted
        assert row.endswith(f"{pattern[query].max():.2f}")


def test_a_token_that_stands_there_twice_is_shown_with_its_place(learned: LanguageModel) -> None:
    path = read_path(learned.trace("abca"))
    assert attended_text(path, Attended(3, 0.25, 1), 9).plain == "H1 a@3 0.25"
    assert attended_text(path, Attended(1, 0.25), 9).plain == "b 0.25"

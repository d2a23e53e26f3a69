"""Orange is below zero and blue above it, on the page, in figures and in the terminal."""

from __future__ import annotations

import re
from importlib.resources import files

import numpy as np
import pytest

from nextword.colours import DIVERGING, NEGATIVE, POSITIVE, shade
from nextword.figures.canvas import diverging
from nextword.terminal.console import heat


def test_the_page_has_the_same_colours() -> None:
    style = files("nextword").joinpath("page/style.css").read_text(encoding="utf-8")
    light = dict(reversed(re.findall(r"--(diverging|accent|warm): ([^;]+);", style)))  # the first of each
    assert light == {"diverging": " ".join(DIVERGING), "accent": POSITIVE, "warm": NEGATIVE}


def test_shades_go_from_orange_over_white_to_blue() -> None:
    assert [shade(share) for share in (-1, -5, 0, 1, 5)] == [
        (0x7C, 0x34, 0x00), (0x7C, 0x34, 0x00), (255, 255, 255), (0x0F, 0x4A, 0x92), (0x0F, 0x4A, 0x92),
    ]  # fmt: skip
    assert shade(0.5) == (0x69, 0xAA, 0xE5)  # between the second stop above zero and the first: 98c8f2 and 3a8cd8
    for share in (0.1, 0.4, 0.9):
        (red, _, blue), (other_red, _, other_blue) = shade(share), shade(-share)
        assert blue > red
        assert other_red > other_blue


@pytest.mark.parametrize("share", [-1.0, -0.5, -0.2, 0.0, 0.2, 0.5, 1.0])
def test_figures_and_terminal_have_the_same_shades(share: float) -> None:
    drawn = np.array(diverging()((share + 1) / 2)[:3]) * 255
    assert np.abs(drawn - shade(share)).max() <= 2  # matplotlib has 256 steps
    [span] = heat([share], 1.0, coloured=True).spans
    assert str(span.style) == f"on rgb({','.join(map(str, shade(share)))})"

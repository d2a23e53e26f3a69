"""The console everything is printed on, and how tokens and probabilities look on it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from nextword.colours import shade
from nextword.terminal import DEFAULT_WIDTH, MIN_WIDTH
from nextword.tokens.visible import visible

if TYPE_CHECKING:
    from nextword.tokens import Piece

BAR_WIDTH = 24
_EIGHTHS = " ▏▎▍▌▋▊▉"
# Neighbouring tokens alternate between two colours that colour-blind readers tell apart.
_TOKEN_STYLES = ("cyan", "yellow")
_SIGNS = "=-.+#"  # of signed numbers, where there are no colours


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leaves a closed pipe to the command line, as everywhere else; rich would exit with code 1."""
        raise BrokenPipeError


def make_console(*, stderr: bool = False) -> Console:
    """A console; NO_COLOR, pipes and the terminal's width are respected, `:smile:` and `[old]` stay as they are."""
    file = sys.stderr if stderr else sys.stdout
    console = _Console(stderr=stderr, highlight=False, emoji=False, markup=False, file=file)
    if console.width < MIN_WIDTH:  # which nobody could read in
        console.width = DEFAULT_WIDTH
    return console


def styled(text: str) -> Text:
    """Our own words with rich's marks in them, `[dim]so[/dim]`; nothing that others have named may be among them."""
    return Text.from_markup(text, emoji=False)


def bar(probability: float, width: int = BAR_WIDTH) -> Text:
    """A bar whose length is the probability, in eighths of a cell."""
    eighths = round(probability * width * 8)
    return Text(("█" * (eighths // 8) + _EIGHTHS[eighths % 8]).rstrip(), style="green")


def size(count: float) -> str:
    """Bytes to read: `812 bytes`, `34 kB`, `5.1 MB`, `1.2 GB`."""
    if count < 1000:
        return f"{count:,.0f} byte{'s' * (count != 1)}"
    unit, one = ("kB", 1e3) if count < 999_500 else ("MB", 1e6) if count < 999.5e6 else ("GB", 1e9)
    return f"{count / one:.1f} {unit}" if count < 9.95 * one else f"{count / one:,.0f} {unit}"


def percent(probability: float) -> str:
    """A probability for a table: `12.34 %`, small ones as `< 0.01 %`."""
    return "< 0.01 %" if 0 < probability < 0.0001 else f"{probability:.2%}".replace("%", " %")


def token_line(pieces: list[Piece]) -> Text:
    """The tokens of a text, set apart by colour and by a thin stroke; the parts of one group stand together."""
    line = Text()
    for number, piece in enumerate(piece for piece in pieces if piece.part == 1):
        if number:
            line.append("│", style="dim")
        line.append(visible(piece.text), style=_TOKEN_STYLES[number % 2])
        if piece.parts > 1:
            line.append(f"×{piece.parts}", style="dim")
    return line


def token_label(piece: Piece, width: int) -> Text:
    """A token, cut to a width, with its number in a syllable of several tokens: `대 1/3`."""
    number = f" {piece.part}/{piece.parts}" if piece.parts > 1 else ""
    text = shorten(Text(visible(piece.text)), max(1, width - len(number)))
    return text.append(number, style="dim")


def shorten(text: Text, width: int) -> Text:
    """The text in at most `width` cells, with `…` where something is left out."""
    short = text.copy()
    short.truncate(width, overflow="ellipsis")
    return short


def shorten_path(path: str, width: int) -> str:
    """The path in at most `width` cells, with `…` where its beginning is left out."""
    kept = path
    while cell_len(kept) > max(1, width):
        kept = f"…{kept.removeprefix('…')[1:]}"
    return kept


def size_text(size: float) -> str:
    """The length of a vector in at most six cells."""
    return f"{size:.2f}" if size < 1000 else f"{size:,.0f}" if size < 100_000 else f"{size:.0e}"


def heat(values: list[float], scale: float, coloured: bool) -> Text:
    """One cell a value, from `-scale` to `scale`: orange to blue, or without colour `=` `-` `.` `+` `#`."""
    strip = Text()
    for value in values:
        share = max(-1.0, min(1.0, value / scale))
        colour = f"on rgb({','.join(map(str, shade(share)))})" if coloured else ""
        strip.append(" " if coloured else _SIGNS[2 + _step(share)], style=colour)
    return strip


def heat_legend(scale: float, coloured: bool) -> Text:
    """What the cells of `heat` mean."""
    shares = [-1.0, -0.5, 0.0, 0.5, 1.0]
    legend = Text(f"{-scale:.2g} ", style="dim").append_text(heat([share * scale for share in shares], scale, coloured))
    return legend.append(f" {scale:.2g}", style="dim")


def _step(share: float) -> int:
    """-2 to 2: strong from a half on, nothing below a tenth."""
    size = 2 if abs(share) >= 0.5 else 1 if abs(share) >= 0.1 else 0
    return size if share > 0 else -size

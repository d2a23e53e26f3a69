"""The console everything is printed on, and how tokens and probabilities look on it."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.text import Text

from nextword.tokens import Piece
from nextword.tokens.visible import visible

BAR_WIDTH = 24
_EIGHTHS = " ▏▎▍▌▋▊▉"
# Neighbouring tokens alternate between two colours that colour-blind readers tell apart.
_TOKEN_STYLES = ("cyan", "yellow")


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leaves a closed pipe to the command line, as everywhere else; rich would exit with code 1."""
        raise BrokenPipeError


def make_console(*, stderr: bool = False) -> Console:
    """A console; NO_COLOR, pipes and the terminal's width are respected, and `:smile:` stays as it is."""
    return _Console(stderr=stderr, highlight=False, emoji=False, file=sys.stderr if stderr else sys.stdout)


def bar(probability: float, width: int = BAR_WIDTH) -> Text:
    """A bar whose length is the probability, in eighths of a cell."""
    eighths = round(probability * width * 8)
    return Text(("█" * (eighths // 8) + _EIGHTHS[eighths % 8]).rstrip(), style="green")


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

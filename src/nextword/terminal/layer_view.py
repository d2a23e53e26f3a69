"""One layer head by head, and one head's attention as a grid: parts of `nextword look`."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nextword.terminal.console import size_text, token_label
from nextword.terminal.path_values import Attended, Grid, OpenedLayer, PredictionPath, shown_positions
from nextword.terminal.predictions import word_text

_DOTS = ((0.5, "●"), (0.2, "○"), (0.05, "∘"), (0.0, "·"))
_STYLES = {"●": "bold cyan", "○": "cyan", "∘": "", "·": "dim"}


def show_opened(console: Console, path: PredictionPath, opened: OpenedLayer) -> None:
    """One block: each head's targets, the size of what it adds, and its direct part of the best token's logit."""
    target = word_text(opened.target.text)
    console.print(Text(f"layer {opened.layer}, head by head", style="dim"))
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("", style="cyan", no_wrap=True)
    table.add_column("looks at", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column(Text("to ").append_text(target), justify="right", no_wrap=True)
    wide = max(1, min(3, (console.width - 24) // 17))
    for head in opened.heads:
        looks = Text("  ").join(attended_text(path, Attended(a.position, a.weight), 9) for a in head.attended[:wide])
        table.add_row(f"H{head.head}", looks, size_text(head.norm), _signed(head.contribution))
    table.add_row("MLP", "", size_text(opened.mlp_norm), _signed(opened.mlp_contribution))
    console.print(table)
    if opened.why_no_contributions:
        console.print(Text(opened.why_no_contributions, style="dim"))
    else:
        note = Text("to ", style="dim").append_text(target)
        note.append(f": its direct part of that token's logit, {opened.target.logit:.2f}", style="dim")
        console.print(note)


def show_grid(console: Console, path: PredictionPath, grid: Grid) -> None:
    """One head's attention, row by row, as dots sized by weight."""
    console.print(Text(f"layer {grid.layer}, head {grid.head}: each row's token looks at the columns'", style="dim"))
    room = (console.width - 36) // 2 if console.width >= 60 else (console.width - 18) // 2
    best = console.width >= 60
    limit = max(4, min(room, 24))
    inner = shown_positions(len(grid.positions), grid.positions.index(path.position), limit)
    if best:
        caption = Text(" " * 16 + "looked at".ljust(2 * len(inner)) + " most at", style="dim")
        console.print(caption)
    digits = len(str(grid.positions[inner[-1]]))
    for place in range(digits):
        heads = " ".join(f"{grid.positions[column]:>{digits}}"[place] for column in inner)
        console.print(Text(" " * 16 + heads, style="dim"))
    for before, row in zip([-1, *inner], inner, strict=False):
        if grid.positions[row] > (grid.positions[before] if before >= 0 else -1) + 1:
            console.print(Text("   …", style="dim"))
        position, most = grid.positions[row], grid.best[row]
        line = Text.assemble((f"{position:>4} ", "dim"))
        line.append_text(_padded(token_label(path.pieces[position], 10), 11))
        for column in inner:
            dot = _dot(grid.weights[row][column])
            line.append(f"{dot if grid.positions[column] <= position else ' '} ", style=_STYLES[dot])
        if best:
            line.append(" ").append_text(attended_text(path, Attended(most.position, most.weight), 9))
        console.print(line)
    console.print(Text("· < 0.05 ≤ ∘ < 0.2 ≤ ○ < 0.5 ≤ ●", style="dim"))
    if len(inner) < len(path.pieces):
        note = f"{len(path.pieces) - len(inner):,} of {len(path.pieces):,} tokens are not shown"
        console.print(Text(note, style="yellow"))


def attended_text(path: PredictionPath, attended: Attended, width: int) -> Text:
    """A token that is looked at: with its place if it is in the text twice, its weight, and the head that does."""
    text = Text()
    if attended.head is not None:
        text.append(f"H{attended.head} ", style="cyan")
    piece = path.pieces[attended.position]
    repeated = sum(other.label == piece.label for other in path.pieces) > 1
    place = f"@{attended.position}" if repeated else ""
    text.append_text(token_label(piece, width - len(place))).append(place, style="cyan")
    return text.append(f" {attended.weight:.2f}", style="dim")


def _dot(weight: float) -> str:
    return next(dot for least, dot in _DOTS if weight >= least)


def _padded(text: Text, width: int) -> Text:
    text.pad_right(max(0, width - text.cell_len))
    return text


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.2f}"

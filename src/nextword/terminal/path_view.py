"""The way from the tokens to the next word, on a screen: `nextword look`."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nextword.config import GPTConfig
from nextword.formatting import pluralize
from nextword.inspection.compare import Change, Comparison
from nextword.terminal.console import BAR_WIDTH, bar, heat, heat_legend, percent, shorten, size_text, token_label
from nextword.terminal.layer_view import attended_text, show_grid, show_opened
from nextword.terminal.path_values import LensToken, PredictionPath, TokenValues
from nextword.terminal.predictions import show_part_note, word_text
from nextword.tokens.visible import escape_invisible

TOKEN_ROWS = 16
"""Tokens shown at most."""
_SAME = "bold green"


def show_path(
    console: Console, path: PredictionPath, *, dropped: int = 0, edits: Sequence[str] = (), candidates: bool = True
) -> None:
    """The whole path; `candidates` False leaves the bars at the end to the caller."""
    config, count = path.config, len(path.pieces)
    console.print(_end_of(path.text, console.width))
    shape = (
        f"{pluralize(config.num_layers, 'layers')} x {config.d_model}, {pluralize(config.num_heads, 'heads')} a layer"
    )
    console.print(Text(f"{pluralize(count, 'tokens')}; {shape}", style="dim"))
    if dropped:
        note = f"the model did not see the oldest {pluralize(dropped, 'tokens')}: its context is shorter"
        console.print(Text(note, style="yellow"))
    for edit in edits:
        console.print(Text.assemble(("changed ", "bold yellow"), edit))
    console.print()
    _show_tokens(console, path)
    console.print()
    _show_layers(console, path)
    if path.opened is not None:
        console.print()
        show_opened(console, path, path.opened)
    if path.grid is not None:
        console.print()
        show_grid(console, path, path.grid)
    if candidates:
        console.print()
        _show_candidates(console, path)


def _end_of(text: str, width: int) -> Text:
    """The text on one line; of a long one, its end."""
    line = Text(escape_invisible(text), style="bold")
    if line.cell_len <= width:
        return line
    kept = line.plain[-width:]
    while cell_len(kept) > width - 1:
        kept = kept[1:]
    return Text(f"…{kept}", style="bold")


def strip_cells(width: int, config: GPTConfig) -> int:
    """Cells that each of a token's strips has on a screen of this width."""
    strips = 3 if config.position == "learned" else 1
    return max(4, min(32, (width - 27) // strips - 9))


# -- tokens ----------------------------------------------------------------------------------------------------------


def _show_tokens(console: Console, path: PredictionPath) -> None:
    learned = path.config.position == "learned"
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("at", justify="right", style="dim", no_wrap=True)
    table.add_column("token", no_wrap=True)
    table.add_column("id", justify="right", no_wrap=True)
    for name in ("embedding", "+ position", "= input")[: 3 if learned else 1]:
        table.add_column(name, no_wrap=True)
        table.add_column("size", justify="right", style="dim", no_wrap=True)
    scale = max(abs(value) for token in path.tokens for row in _strips(token, learned) for value in row[0]) or 1.0
    coloured = console.color_system in ("256", "truecolor") and not console.no_color  # 16 colours have no shades
    for before, token in zip([-1, *(token.position for token in path.tokens)], path.tokens, strict=False):
        if token.position != before + 1:
            table.add_row("", Text(f"… {token.position - before - 1:,}", style="dim"))
        row: list[str | Text] = [str(token.position), token_label(path.pieces[token.position], 14), str(token.token_id)]
        for values, size in _strips(token, learned):
            row += [heat(values, scale, coloured), size_text(size)]
        table.add_row(*row, style="bold" if token.position == path.position else "")
    console.print(table)
    missing = len(path.pieces) - len(path.tokens)
    if missing:
        console.print(Text(f"{missing:,} of {len(path.pieces):,} tokens are not shown", style="yellow"))
    cells = len(path.tokens[0].embedding)
    share = f"  a cell: the mean of {_share(path.config.d_model, cells)}; size: the vector's length"
    console.print(heat_legend(scale, coloured).append(share, style="dim"))
    if not learned:
        console.print(Text("no position vector: each layer turns queries and keys by their position", style="dim"))


def _strips(token: TokenValues, learned: bool) -> list[tuple[list[float], float]]:
    strips = [(token.embedding, token.embedding_norm)]
    if learned and token.position_vector is not None and token.position_norm is not None:
        strips += [(token.position_vector, token.position_norm), (token.input, token.input_norm)]
    return strips


def _share(width: int, cells: int) -> str:
    few = width // cells
    return f"{few} numbers" if width % cells == 0 else f"{few} or {few + 1} numbers"


# -- layers ----------------------------------------------------------------------------------------------------------


def _show_layers(console: Console, path: PredictionPath) -> None:
    here = token_label(path.pieces[path.position], 20)
    console.print(Text("layer by layer, at ", style="dim").append_text(here).append(f" ({path.position})", style="dim"))
    width = console.width
    attention, norms = width >= 58, width >= 42
    means = width >= 76
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("", style="dim", no_wrap=True)
    if means:
        table.add_column("mean of heads", no_wrap=True)
    if attention:
        table.add_column("head, elsewhere", no_wrap=True)
    for name in ("attn", "mlp", "stream") if norms else ():
        table.add_column(f"+{name}" if name != "stream" else name, justify="right", no_wrap=True)
    table.add_column("next?", no_wrap=True)
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("rank", justify="right", style="dim", no_wrap=True)
    final = path.candidates[0].token_id
    blank = [""] * (means + attention)
    stream = path.tokens[[token.position for token in path.tokens].index(path.position)].input_norm
    table.add_row(
        "in",
        *blank,
        *(("", "", size_text(stream)) if norms else ()),
        *_lens(path.start[0], final),
        str(path.start_rank),
    )
    for layer in path.layers:
        row: list[str | Text] = [f"L{layer.layer}"]
        if means:
            row.append(attended_text(path, layer.mean, 9))
        if attention:
            row.append("" if layer.elsewhere is None else attended_text(path, layer.elsewhere, 9))
        if norms:
            row += [size_text(size) for size in (layer.attention_norm, layer.mlp_norm, layer.residual_norm)]
        table.add_row(*row, *_lens(layer.lens[0], final), str(layer.rank))
    console.print(table)
    last = word_text(path.candidates[0].text)
    if attention:
        console.print(Text("head, elsewhere: the largest weight of one head on another token", style="dim"))
    note = Text("next?: the best token if the model ended there; rank: the place of ", style="dim").append_text(last)
    console.print(note)


def _lens(best: LensToken, final: int) -> tuple[Text, str]:
    word = shorten(word_text(best.text), 12)
    if best.token_id == final:
        word = Text(word.plain, style=_SAME)
    return word, percent(best.probability)


# -- the end ---------------------------------------------------------------------------------------------------------


def _show_candidates(console: Console, path: PredictionPath) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("", justify="right", style="dim")
    table.add_column("next token", no_wrap=True)
    wide = console.width >= 60
    for name in ("id", "logit") if wide else ():
        table.add_column(name, justify="right")
    table.add_column("probability", justify="right", no_wrap=True)
    table.add_column("")
    for rank, candidate in enumerate(path.candidates, start=1):
        numbers = [str(candidate.token_id), f"{candidate.logit:.2f}"] if wide else []
        word = shorten(word_text(candidate.text), 24)
        room = max(4, min(BAR_WIDTH, console.width - 32))
        share = candidate.probability
        table.add_row(str(rank), word, *numbers, percent(share), bar(share, room))
    console.print(table)
    rest = max(0.0, 1 - sum(candidate.probability for candidate in path.candidates))
    console.print(Text(f"all other tokens together: {percent(rest)}", style="dim"))
    said = [token.text for tokens in (path.start, *(layer.lens for layer in path.layers)) for token in tokens[:1]]
    show_part_note(console, [*said, *(candidate.text for candidate in path.candidates)])


def show_change(console: Console, change: Comparison) -> None:
    """Probabilities before the change and after it, best after it first."""
    longest = max(max(row.before, row.after) for row in change)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("next token", no_wrap=True)
    table.add_column("before", justify="right", no_wrap=True)
    table.add_column("after", justify="right", no_wrap=True)
    if wide := console.width >= 60:
        table.add_column("")
    for row in change:
        bars = [_two_bars(row, BAR_WIDTH / longest)] if wide else []
        table.add_row(shorten(word_text(row.text), 20), percent(row.before), percent(row.after), *bars)
    console.print(table)
    show_part_note(console, [row.text for row in change])
    if wide:
        legend = Text.assemble("before and after, to the larger: ", ("▓", "cyan"), " won  ", ("░", "yellow"), " lost")
        console.print(legend.append(f"; {BAR_WIDTH} cells are {percent(longest)}", style="dim"))
    console.print(Text(f"KL(before || after) = {change.kl:.4f} nats", style="dim"))


def _two_bars(row: Change, scale: float) -> Text:
    """What it has now, and in another colour and glyph what it lost or won."""
    before, after = round(row.before * scale), round(row.after * scale)
    text = Text("█" * min(before, after), style="green")
    if after < before:
        return text.append("░" * (before - after), style="yellow")
    return text.append("▓" * (after - before), style="cyan")

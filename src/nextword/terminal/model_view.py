"""A model's architecture, and a text's tokens, as tables."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from nextword.config import GPTConfig
from nextword.formatting import pluralize
from nextword.terminal.console import styled, token_label
from nextword.tokens import Piece


def show_architecture(console: Console, config: GPTConfig) -> None:
    """Every kind of weight with its shape and number of parameters; the blocks, which are alike, once."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("weight", overflow="fold")
    wide = console.width >= 60
    for column in ("shape", "times", "parameters") if wide else ("parameters",):
        table.add_column(column, justify="right", no_wrap=True)
    for name, shape in config.parameter_shapes().items():
        if name.startswith("blocks.") and not name.startswith("blocks.0."):
            continue
        times = config.num_layers if name.startswith("blocks.") else 1
        shape_text = " x ".join(f"{size:,}" for size in shape)
        row = [name.replace("blocks.0.", "blocks.*."), shape_text, str(times), f"{times * math.prod(shape):,}"]
        table.add_row(*(row if wide else [row[0], row[-1]]))
    if config.tie_embeddings:
        row = ["output_layer.weight", "the token embedding's", "", "0"]
        table.add_row(*(row if wide else [row[0], row[-1]]))
    table.add_row("all", *(["", ""] if wide else []), f"{config.num_parameters:,}", style="bold")
    console.print(table)


def show_settings(console: Console, config: GPTConfig, facts: dict[str, str]) -> None:
    """The config's fields, and further facts, as two columns."""
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    given = {name: value for name, value in config.to_dict().items() if value is not None and value != []}
    for name, value in {**facts, **given}.items():
        table.add_row(name, f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value))
    console.print(table)


def show_tokens(console: Console, pieces: Sequence[Piece], token_bytes: Sequence[bytes]) -> None:
    """One row a token: place, id, piece, bytes."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("", justify="right", style="dim")
    table.add_column("id", justify="right")
    table.add_column("piece", no_wrap=True)
    table.add_column("bytes", style="dim", overflow="fold")
    for place, (piece, data) in enumerate(zip(pieces, token_bytes, strict=True)):
        shown = token_label(piece, console.width - 24)
        table.add_row(str(place), str(piece.token_id), shown, data.hex(" "))
    console.print(table)
    characters = sum(len(piece.text) for piece in pieces if piece.part == 1)
    console.print(styled(f"[dim]{pluralize(len(pieces), 'tokens')}, {pluralize(characters, 'characters')}[/dim]"))

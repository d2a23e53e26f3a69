"""The logit lens as a grid: what each layer would say next, at each position."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from nextword.errors import ConfigError
from nextword.figures.canvas import (
    SEQUENTIAL,
    broken,
    colour_bar,
    edited,
    finish,
    fonts_for,
    label_axis,
    new_figure,
    text_width,
    token_label,
    write_cells,
)
from nextword.tokens.visible import visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from nextword.inspection.fitted_lens import FittedLens
    from nextword.inspection.trace import Trace

Colour = Literal["probability", "rank", "kl", "entropy"]
_MAX_POSITIONS = 24
_CELL_LETTERS = 10
_MEANING = {
    "probability": "probability of the token written there",
    "rank": "rank of the model's final choice (1 is best)",
    "kl": "KL(final || layer), nats",
    "entropy": "entropy, nats",
}


def lens_figure(
    trace: Trace,
    colour: Colour = "probability",
    positions: Sequence[int] | None = None,
    *,
    lens: FittedLens | None = None,
    title: str | None = None,
) -> Figure:
    """One column a position, one row a layer (the embedding at the bottom); the text is the layer's first choice.

    Args:
        trace: The run.
        colour: What the cells' colours are: `probability` of the token written there, `rank` of the final choice,
            `kl` from the final distribution, or `entropy`.
        positions: Which positions; None is the last 24.
        lens: A fitted lens to read through; None is the logit lens.
        title: A line above the figure.

    Raises:
        ConfigError: There is no such colour or position, or matplotlib or seaborn is not installed.
    """
    if colour not in get_args(Colour):
        raise ConfigError(f"there is no colour {colour!r}", hint=f"colours: {', '.join(get_args(Colour))}")
    count = len(trace.token_ids)
    shown = list(range(max(0, count - _MAX_POSITIONS), count)) if positions is None else list(positions)
    read = trace.lens(1, shown, lens=lens)
    values_LP = {
        "probability": read.probabilities[..., 0],
        "rank": np.log10(read.target_rank),
        "kl": read.kl,
        "entropy": read.entropy,
    }[colour]
    rows = len(values_LP)
    texts = [[visible(read.label(row, place)) for place in range(len(shown))] for row in range(rows)]
    pieces = trace.tokens
    fonts = fonts_for([trace.text, *(piece.text for piece in pieces), *(text for row in texts for text in row)])
    figure = new_figure(max(6.0, 1.0 * len(shown) + 2.4), max(3.5, 0.36 * rows + 1.8))
    axes = figure.add_subplot()
    limits: dict[str, Any] = {"vmin": 0, "vmax": 1} if colour == "probability" else {"vmin": 0}
    image = axes.imshow(values_LP, cmap=SEQUENTIAL, aspect="auto", origin="lower", **limits)
    write_cells(axes, image, [[_cut(visible(text, fonts.missing)) for text in row] for row in texts], 9)
    names = ["embedding", *(f"layer {layer}" for layer in range(rows - 1))]
    notes = [label_axis(axes, names, "y")]
    labels = [token_label(pieces[place], fonts) for place in read.positions]
    steep = max(map(text_width, labels), default=0) > _CELL_LETTERS
    notes.append(label_axis(axes, labels, "x", rotation=45 if steep else 0))
    if (hidden := count - len(set(read.positions))) > 0:
        notes.append(f"{hidden} other position{'s are' if hidden > 1 else ' is'} not shown")
    bar = colour_bar(figure, image, [axes], _MEANING[colour])
    if colour == "rank":
        ticks = [tick for tick in range(7) if 10**tick <= trace.config.vocab_size]
        bar.set_yticks(ticks, [f"{10**tick:,}" for tick in ticks])
    said = f"{read.kind.capitalize()} lens: what each layer would say next"
    return finish(figure, fonts, said if title is None else title, [*notes, broken(values_LP), edited(trace.edits)])


def _cut(text: str, width: int = _CELL_LETTERS) -> str:
    kept = text
    while text_width(kept) > width:
        kept = kept[:-1]
    return kept if kept == text else kept + "…"

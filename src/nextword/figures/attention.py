"""Attention: a grid of dots, each as large as the weight with which a row's token looks at a column's."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from nextword.errors import ConfigError
from nextword.figures.canvas import (
    SEQUENTIAL,
    colour_bar,
    edited,
    finish,
    fonts_for,
    label_axis,
    new_figure,
    token_label,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import EllipseCollection
    from matplotlib.figure import Figure

    from nextword.inspection.recording import Array
    from nextword.inspection.trace import Trace


WHOLE = 0.95  # of a cell's width: the dot of a weight of 1


def attention_figure(trace: Trace, layer: int, head: int | None = None, *, title: str | None = None) -> Figure:
    """The attention of one head, or of all heads of a layer side by side.

    A dot's area is the weight, its colour too; a weight of 1 fills the cell. Rows are the tokens that look, columns
    those that are looked at; nothing is above the diagonal, since no token sees the future.

    Args:
        trace: The run.
        layer: Which block.
        head: Which head; None is all.
        title: A line above the figure; by default it says what is shown.

    Raises:
        ConfigError: There is no such layer or head, or matplotlib or seaborn is not installed.
    """
    if not 0 <= layer < trace.config.num_layers:
        raise ConfigError(f"there is no layer {layer}", hint=f"layers are 0 to {trace.config.num_layers - 1}")
    heads = list(range(trace.config.num_heads)) if head is None else [head]
    patterns = [trace.attention(layer, number) for number in heads]
    pieces, count = trace.tokens, len(trace.token_ids)
    fonts = fonts_for([trace.text, *(piece.text for piece in pieces)])
    labels = [token_label(piece, fonts) for piece in pieces]
    columns = max(math.ceil(math.sqrt(len(heads))), min(len(heads), 4) if len(heads) < 9 else 1)
    rows = math.ceil(len(heads) / columns)
    size = min(max(3.2 if head is None else 4.5, count * (0.14 if head is None else 0.24)), 16.0, 26.0 / columns)
    figure = new_figure(columns * size + 1.6, rows * size + 1.2)
    notes: set[str] = set()
    for place, (number, pattern_TT) in enumerate(zip(heads, patterns, strict=True)):
        axes = figure.add_subplot(rows, columns, place + 1)
        dots = _dots(axes, pattern_TT)
        axes.set_title(f"layer {layer}, head {number}", fontsize=11)
        max_labels = max(1, int(size / 0.17))
        if place % columns == 0:
            notes.add(label_axis(axes, labels, "y", max_labels))
        else:
            axes.set_yticks([])
        if place + columns >= len(heads):
            notes.add(label_axis(axes, labels, "x", max_labels, rotation=60))
        else:
            axes.set_xticks([])
    colour_bar(figure, dots, figure.axes, "attention weight (row looks at column)")
    default_title = f"Attention in layer {layer}" if head is None else ""
    return finish(figure, fonts, default_title if title is None else title, [*sorted(notes), edited(trace.edits)])


def _dots(axes: Axes, pattern_TT: Array) -> EllipseCollection:
    """One dot a pair of tokens that may look."""
    from matplotlib import colormaps
    from matplotlib.collections import EllipseCollection
    from matplotlib.colors import LinearSegmentedColormap

    rows, columns = np.tril_indices(len(pattern_TT))
    weights = pattern_TT[rows, columns]
    # The scale's palest third cannot be seen as a small dot on white.
    shades = colormaps[SEQUENTIAL + "_r"](np.linspace(0.35, 1.0, 256))
    widths = WHOLE * np.sqrt(np.maximum(weights, 0.0))  # in cells: the area is proportional to the weight
    dots = EllipseCollection(
        widths,
        widths,
        np.zeros(len(widths)),
        units="xy",
        offsets=np.column_stack([columns, rows]),
        offset_transform=axes.transData,
        array=weights,
        cmap=LinearSegmentedColormap.from_list("dots", shades.tolist()),
        linewidths=0,
        rasterized=True,
    )
    dots.set_clim(0, 1)
    axes.add_collection(dots)
    axes.set_xlim(-0.5, len(pattern_TT) - 0.5)
    axes.set_ylim(len(pattern_TT) - 0.5, -0.5)
    axes.set_aspect("equal")
    axes.tick_params(length=0)
    for line in axes.spines.values():
        line.set_color("0.85")
    return dots

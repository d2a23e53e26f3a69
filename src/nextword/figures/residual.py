"""How long the residual stream is, layer by layer, and what each sublayer added to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nextword.figures.canvas import (
    SEQUENTIAL,
    broken,
    colour_bar,
    edited,
    finish,
    fonts_for,
    label_axis,
    new_figure,
    token_label,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from nextword.inspection.trace import Trace


def residual_norms_figure(trace: Trace, *, title: str | None = None) -> Figure:
    """Left: the norm of the residual stream at each position (column) before each layer (row), logarithmic.

    Right: the mean over the positions of what attention and the feed-forward layer added in each layer. The first
    position is left out of the mean where there are others: models park huge values there.

    Args:
        trace: The run.
        title: A line above the figure.

    Raises:
        ConfigError: matplotlib or seaborn is not installed, or the trace lacks the residual stream.
    """
    from matplotlib.colors import LogNorm

    layers = trace.config.num_layers
    norms_LT = np.array([np.linalg.norm(trace.residual(layer), axis=-1) for layer in range(layers + 1)])
    first = 1 if len(trace.token_ids) > 1 else 0
    added = {
        "attention": [np.linalg.norm(trace["attn_out", i][first:], axis=-1).mean() for i in range(layers)],
        "feed-forward": [np.linalg.norm(trace["mlp_out", i][first:], axis=-1).mean() for i in range(layers)],
    }
    pieces = trace.tokens
    fonts = fonts_for([trace.text, *(piece.text for piece in pieces)])
    count = len(pieces)
    width = min(max(4.5, 0.34 * count + 2), 14.0)
    figure = new_figure(width + 4.5, max(4.0, 0.2 * layers + 2.2))
    grid = figure.add_gridspec(1, 2, width_ratios=[width, 4])
    left, right = figure.add_subplot(grid[0]), figure.add_subplot(grid[1])
    largest = float(norms_LT.max()) or 1.0
    smallest = float(norms_LT[norms_LT > 0].min(initial=largest))
    image = left.imshow(
        norms_LT, cmap=SEQUENTIAL, aspect="auto", origin="lower", norm=LogNorm(smallest, max(largest, smallest * 1.01))
    )
    colour_bar(figure, image, [left], "norm of the residual stream")
    names = [*(f"into {layer}" for layer in range(layers)), "into the head"]
    notes = [label_axis(left, names, "y")]
    notes.append(label_axis(left, [token_label(piece, fonts) for piece in pieces], "x", int(width / 0.2), rotation=45))
    for (name, values), colour, marker in zip(added.items(), ("#0072B2", "#D55E00"), ("o", "s"), strict=True):
        right.plot(range(layers), values, color=colour, marker=marker, markersize=4, label=f"{name} adds")
    stream = norms_LT[:, first:].mean(1)
    right.plot(range(layers + 1), stream, color="0.45", linestyle="--", label="the stream itself")
    right.set_yscale("log")
    right.locator_params(axis="x", integer=True)
    right.set_xlabel("layer")
    right.set_ylabel("mean norm")
    right.legend(fontsize=9, frameon=False)
    if trace.config.residual == "normalized":
        notes.append("this architecture adds to its normalised input: what is added does not gather in a stream")
    if first:
        notes.append("right: without the first position")
    said = "Residual stream: how long it grows"
    return finish(figure, fonts, said if title is None else title, [*notes, broken(norms_LT), edited(trace.edits)])

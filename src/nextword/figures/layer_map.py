"""One number a layer and head or token, as a map of cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nextword.figures.canvas import (
    broken,
    colour_bar,
    cut,
    diverging,
    finish,
    fonts_for,
    label_axis,
    largest,
    new_figure,
    signed,
    write_cells,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WRITTEN = 500  # cells whose numbers can still be read
_SLANTED = 0.4  # inches that slanted labels are higher


def layer_map(
    values: NDArray[np.float64],
    layers: Sequence[int],
    columns: Sequence[str],
    axis: str,
    *,
    title: str,
    label: str,
) -> Figure:
    """One cell a number, the first layer at the bottom; colours are symmetric about 0.

    Args:
        values: The numbers, [layers, columns].
        layers: The layers.
        columns: What stands beside them.
        axis: `head` or `position`, whose labels are the tokens and slanted.
        title: A line above the figure.
        label: What the numbers are.

    Raises:
        ConfigError: matplotlib or seaborn is not installed.
    """
    slant = 60 if axis == "position" else 0
    fonts = fonts_for([title, label, *columns])
    limit = largest(values)
    width, height = 0.55 * len(columns) + 2.4, 0.28 * len(layers) + 1.8
    figure = new_figure(min(max(4.0, width), 24.0), max(3.0, height) + (_SLANTED if slant else 0))
    axes = figure.add_subplot()
    image = axes.imshow(values, cmap=diverging(), vmin=-limit, vmax=limit, origin="lower", aspect="auto")
    if values.size <= _WRITTEN:
        write_cells(axes, image, [[signed(value) for value in row] for row in values], 7)
    notes = [label_axis(axes, [cut(text, fonts) for text in columns], "x", 40, slant)]
    notes.append(label_axis(axes, [str(layer) for layer in layers], "y", 60))
    axes.set_xlabel(axis)
    axes.set_ylabel("layer")
    colour_bar(figure, image, [axes], label)
    return finish(figure, fonts, title, [*dict.fromkeys(notes), broken(values)])

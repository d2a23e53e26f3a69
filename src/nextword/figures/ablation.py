"""A map of heads: what each one does, as one number."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nextword.figures.canvas import (
    broken,
    colour_bar,
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

_WRITTEN = 500  # heads whose numbers can still be read


def ablation_figure(
    effects_LH: NDArray[np.float64],
    *,
    title: str = "What switching off each head changes",
    label: str = "change of log-probability, nats",
) -> Figure:
    """One cell a head, layer 0 at the bottom; colours are symmetric about 0.

    Args:
        effects_LH: A number for each head, as `heads.ablation_map` gives, [L, H].
        title: A line above the figure.
        label: What the numbers are.

    Raises:
        ConfigError: matplotlib or seaborn is not installed.
    """
    layers, heads = effects_LH.shape
    fonts = fonts_for([title, label])
    limit = largest(effects_LH)
    figure = new_figure(min(max(4.0, 0.55 * heads + 2.4), 24.0), max(3.0, 0.28 * layers + 1.8))
    axes = figure.add_subplot()
    image = axes.imshow(effects_LH, cmap=diverging(), vmin=-limit, vmax=limit, origin="lower", aspect="auto")
    if layers * heads <= _WRITTEN:
        write_cells(axes, image, [[signed(value) for value in row] for row in effects_LH], 7)
    notes = [label_axis(axes, [str(head) for head in range(heads)], "x", 40)]
    notes.append(label_axis(axes, [str(layer) for layer in range(layers)], "y", 60))
    axes.set_xlabel("head")
    axes.set_ylabel("layer")
    colour_bar(figure, image, [axes], label)
    return finish(figure, fonts, title, [*dict.fromkeys(notes), broken(effects_LH)])

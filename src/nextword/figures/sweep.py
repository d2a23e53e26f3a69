"""A map of a sweep: what each change does, layer by layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
from nextword.inspection.sweep import SweepMap

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WRITTEN = 400  # cells whose numbers can still be read


def sweep_figure(found: SweepMap, *, title: str | None = None, label: str | None = None) -> Figure:
    """One cell a change, the first layer at the bottom, tokens or heads beside it; colours are symmetric about 0.

    Args:
        found: What `patch_map` or `ablate_map` found.
        title: A line above the figure; None says what was swept.
        label: What the numbers are; None is the share that is restored, or the change of the metric.

    Raises:
        ConfigError: matplotlib or seaborn is not installed.
    """
    shown, what, _ = found.shown()
    title = f"Each {found.name} changed by itself" if title is None else title
    label = what if label is None else label
    layers, columns = shown.shape
    fonts = fonts_for([title, label, *found.columns])
    limit = largest(shown)
    figure = new_figure(min(max(4.5, 0.6 * columns + 2.4), 24.0), max(3.2, 0.3 * layers + 2.0))
    axes = figure.add_subplot()
    image = axes.imshow(shown, cmap=diverging(), vmin=-limit, vmax=limit, origin="lower", aspect="auto")
    if shown.size <= _WRITTEN:
        write_cells(axes, image, [[signed(value) for value in row] for row in shown], 7)
    slant = 60 if found.axis == "position" else 0
    notes = [label_axis(axes, [cut(text, fonts) for text in found.columns], "x", 40, slant)]
    notes.append(label_axis(axes, [str(layer) for layer in found.layers], "y", 60))
    axes.set_xlabel(found.axis)
    axes.set_ylabel("layer")
    colour_bar(figure, image, [axes], label)
    return finish(figure, fonts, title, [*dict.fromkeys(notes), broken(shown)])

"""A map of a sweep: what each change does, layer by layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nextword.figures.layer_map import layer_map
from nextword.inspection.sweep import SweepMap

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def sweep_figure(found: SweepMap, *, title: str | None = None, label: str | None = None) -> Figure:
    """One cell a change, the first layer at the bottom, tokens or heads beside it; colours are symmetric about 0.

    Args:
        found: What `patch_map` or `ablate_map` found.
        title: A line above the figure; None says what was swept.
        label: What the numbers are; None is the share that is restored, or the change of the metric.

    Raises:
        ConfigError: matplotlib or seaborn is not installed.
    """
    values, what, _ = found.shown()
    title = f"Each {found.name} changed by itself" if title is None else title
    label = what if label is None else label
    return layer_map(values, found.layers, found.columns, found.axis, title=title, label=label)

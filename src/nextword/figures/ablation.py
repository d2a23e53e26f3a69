"""A map of heads: what each one does, as one number."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nextword.figures.layer_map import layer_map

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
    return layer_map(effects_LH, range(layers), [str(head) for head in range(heads)], "head", title=title, label=label)

"""Attribution: which tokens a prediction leans on, and which parts of the model made its logit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nextword.colours import NEGATIVE, POSITIVE
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
    token_label,
)
from nextword.tokens.visible import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from nextword.inspection.attribution import LogitAttribution
    from nextword.inspection.gradient import Attribution


def attribution_figure(attribution: Attribution, *, title: str | None = None) -> Figure:
    """One bar a token of the text: gradient x input, to the right where it speaks for the next token.

    Args:
        attribution: What `lm.attribute` gave.
        title: A line above the figure.

    Raises:
        ConfigError: matplotlib or seaborn is not installed.
    """
    pieces, scores = attribution.tokens, attribution.scores
    fonts = fonts_for([attribution.text, attribution.target_text, *(piece.text for piece in pieces)])
    figure = new_figure(7.0, min(max(2.6, 0.26 * len(pieces) + 1.8), 24.0))
    axes = figure.add_subplot()
    axes.barh(range(len(pieces)), scores, color=[POSITIVE if score >= 0 else NEGATIVE for score in scores])
    note = label_axis(axes, [token_label(piece, fonts) for piece in pieces], "y", 80)
    axes.set_ylim(len(pieces) - 0.4, -0.6)
    _plain(axes, "gradient x input, in logits (right: speaks for it)")
    said = f"What speaks for {visible(attribution.target_text, fonts.missing)} (logit {attribution.logit:.2f})"
    return finish(figure, fonts, said if title is None else title, [note, broken(scores)])


def logit_attribution_figure(attribution: LogitAttribution, *, title: str | None = None) -> Figure:
    """Left: what each head (column) of each layer (row) added to the logit; middle: each feed-forward layer.

    Right: the sums of the kinds of parts, which together are the logit.

    Args:
        attribution: What `trace.attribution` gave.
        title: A line above the figure.

    Raises:
        ConfigError: matplotlib or seaborn is not installed.
    """
    heads_LH, mlps_L = attribution.heads, attribution.mlps
    layers, count = heads_LH.shape
    fonts = fonts_for([attribution.target_text, attribution.against_text])
    limit = largest(np.append(heads_LH, mlps_L))
    colours: dict[str, Any] = {
        "cmap": diverging(),
        "vmin": -limit,
        "vmax": limit,
        "origin": "lower",
        "aspect": "auto",
    }
    height = max(3.6, 0.24 * layers + 2.0)
    figure = new_figure(min(max(3.0, 0.42 * count + 1.2), 18.0) + 5.6, height)
    grid = figure.add_gridspec(1, 3, width_ratios=[max(3.0, 0.42 * count + 1.2), 0.9, 4.2])
    left, middle, right = (figure.add_subplot(grid[place]) for place in range(3))
    left.imshow(heads_LH, **colours)
    left.set_xlabel("head")
    left.set_ylabel("layer")
    left.set_title("attention heads", fontsize=11)
    notes = [label_axis(left, [str(head) for head in range(count)], "x", 40)]
    image = middle.imshow(mlps_L[:, None], **colours)
    middle.set_title("MLP", fontsize=11)
    middle.set_xticks([])
    for axes in (left, middle):
        notes.append(label_axis(axes, [str(layer) for layer in range(layers)], "y", 60))
    colour_bar(figure, image, [left, middle], "added to the logit")
    parts = _sums(attribution)
    right.barh(
        range(len(parts)), list(parts.values()), color=[POSITIVE if v >= 0 else NEGATIVE for v in parts.values()]
    )
    right.set_yticks(range(len(parts)), [f"{name}  {signed(value)}" for name, value in parts.items()], fontsize=9)
    right.set_ylim(max(len(parts), height / 0.5) - 0.4, -0.6)  # bars half an inch high at most
    _plain(right, f"together: {attribution.logit:.2f}")
    what = f"the logit of {visible(attribution.target_text, fonts.missing)}"
    if attribution.against is not None:
        what += f" minus that of {visible(attribution.against_text, fonts.missing)}"
    said = f"What made {what}: {attribution.logit:.2f}"
    return finish(figure, fonts, said if title is None else title, [*dict.fromkeys(notes), broken(attribution.values)])


def _sums(attribution: LogitAttribution) -> dict[str, float]:
    """The parts by kind; everything that is neither head nor feed-forward layer under its own name."""
    inside = {f"L{layer}H{head}" for layer, head in np.ndindex(attribution.heads.shape)}
    inside |= {f"L{layer} MLP" for layer in range(len(attribution.mlps))}
    sums = {"heads": float(attribution.heads.sum()), "MLPs": float(attribution.mlps.sum())}
    for label, value in zip(attribution.labels, attribution.values, strict=True):
        if label not in inside:
            kind = "attention biases" if label.endswith("attention bias") else label
            sums[kind] = sums.get(kind, 0.0) + float(value)
    return sums


def _plain(axes: Axes, below: str) -> None:
    axes.axvline(0, color="0.4", linewidth=0.8)
    axes.set_xlabel(below)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)

"""The next token: its probability at every stage of sampling, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nextword.figures.canvas import cut, finish, fonts_for, new_figure
from nextword.generation import Prediction, Sampling
from nextword.generation.sampling import topk_ids
from nextword.tokens.visible import visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BAR, _CUT = "#0072B2", "#BBBBBB"


def next_token_figure(
    prediction: Prediction, sampling: Sampling | None = None, *, top: int = 12, title: str | None = None
) -> Figure:
    """Bars of the most probable next tokens, one panel for each stage on the way to the draw.

    The model's own probabilities; after penalties and temperature, with the mass that top-k, top-p and min-p discard;
    and what is drawn from, renormalised. Grey bars are tokens that were cut away.

    Args:
        prediction: What `lm.predict` gave.
        sampling: How a token would be drawn; None shows the model's own distribution only.
        top: How many tokens.
        title: A line above the figure.

    Raises:
        ConfigError: matplotlib or seaborn is not installed.
    """
    order = topk_ids(prediction.logits, top)
    names = [visible(text) for text in prediction.texts([int(token) for token in order])]
    panels = [("the model's own", prediction.probabilities, np.ones(len(prediction.logits), bool), "")]
    if sampling is not None:
        stages = prediction.stages(sampling)
        cuts = [f"top-k {sampling.top_k}"] if sampling.top_k is not None else []
        cuts += [f"top-p {sampling.top_p:g}"] if sampling.top_p < 1 else []
        cuts += [f"min-p {sampling.min_p:g}"] if sampling.min_p > 0 else []
        penalty = f", penalty {sampling.repetition_penalty:g}" if sampling.repetition_penalty != 1 else ""
        gone = (
            f"{', '.join(cuts) or 'nothing'} discards {stages.discarded_mass:.2%}" if cuts else "nothing is discarded"
        )
        panels.append((f"temperature {sampling.temperature:g}{penalty}", stages.tempered, stages.kept, gone))
        count = int(stages.kept.sum())
        kept = f"{count:,} token{'s' * (count > 1)} left"
        panels.append(("drawn from (renormalised)", stages.distribution, stages.kept, kept))
    fonts = fonts_for([prediction.prompt, *names])
    figure = new_figure(4.2 * len(panels) + 1.4, 0.34 * len(names) + 1.9)
    longest = max(float(values[order].max()) for _, values, _, _ in panels)
    for number, (what, values, left, note) in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), number + 1)
        colours = [_BAR if left[token] else _CUT for token in order]
        axes.barh(range(len(order)), values[order], color=colours)
        for row, token in enumerate(order):
            said = f"{values[token]:.2%}" if values[token] > 0 or not number else "cut"
            axes.text(values[token] + longest * 0.01, row, said, va="center", fontsize=8)
        axes.set_xlim(0, longest * 1.22)
        axes.set_xticks([tick for tick in axes.get_xticks() if tick <= 1])
        axes.set_ylim(len(order) - 0.4, -0.6)
        axes.set_title(what, fontsize=11)
        axes.set_xlabel(f"probability\n{note}" if note else "probability")
        if number == 0:
            axes.set_yticks(range(len(names)), [cut(name, fonts) for name in names], parse_math=False)
        else:
            axes.set_yticks([])
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    rest = 1 - float(prediction.probabilities[order].sum())
    notes = [f"all other tokens together: {max(0.0, rest):.2%} by the model's own probabilities"]
    return finish(figure, fonts, f"Next after: {_end(prediction.prompt)}" if title is None else title, notes)


def _end(text: str, length: int = 60) -> str:
    return text if len(text) <= length else f"…{text[-length:]}"

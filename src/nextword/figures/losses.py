"""The curve of a training run: loss on the training text and on the held-out text, against steps and time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nextword.errors import ConfigError
from nextword.figures.canvas import cut, finish, fonts_for, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe and Ito's, for every eye
_DASHES = ("-", "--", "-.", ":")  # and where there are more runs than colours, or no colours
_MAX_NAME_LENGTH = 28


@dataclass(frozen=True)
class Curve:
    """One run, as plain numbers. A point is (step, seconds, nats per character); seconds may be NaN."""

    name: str
    train: Sequence[tuple[float, float, float]] = ()
    held_out: Sequence[tuple[float, float, float]] = ()


def training_figure(
    curves: Sequence[Curve],
    *,
    baselines: Mapping[str, float] | None = None,
    bytes_per_character: float | None = None,
    title: str | None = None,
) -> Figure:
    """Left: loss against steps; right: against time, where times are known. Training thin, held-out text with dots.

    Args:
        curves: One a run.
        baselines: Name -> nats per character, drawn as level lines.
        bytes_per_character: Of the held-out text; with it, a second axis has bits per byte.
        title: A line above the figure; by default the name, if there is one run.

    Raises:
        ConfigError: There is nothing to draw, or matplotlib or seaborn is not installed.
    """
    points = [point for curve in curves for point in (*curve.train, *curve.held_out) if math.isfinite(point[2])]
    if not points:
        raise ConfigError("there is no loss to draw yet")
    baselines = baselines or {}
    fonts = fonts_for([title or "", *baselines, *(curve.name for curve in curves)])
    timed = [point[1] for point in points if math.isfinite(point[1])]
    longest = max(timed, default=0.0)
    unit, length = ("hours", 3600.0) if longest > 7200 else ("minutes", 60.0) if longest > 120 else ("seconds", 1.0)
    figure = new_figure(10.5 if timed else 6.5, 4.6)
    panels: list[Axes] = list(figure.subplots(1, 2 if timed else 1, sharey=True, squeeze=False)[0])
    names = [cut(curve.name, fonts, _MAX_NAME_LENGTH).replace("␣", " ") for curve in curves]
    for place, (axes, (label, column, scale)) in enumerate(
        zip(panels, (("steps", 0, 1.0), (unit, 1, length)), strict=False)
    ):
        for number, (name, curve) in enumerate(zip(names, curves, strict=True)):
            _draw(axes, curve, name if len(curves) > 1 else "", number, column, scale)
        _level_lines(axes, baselines, write=place == len(panels) - 1)
        axes.set_xlabel(label)
        axes.set_xlim(left=0)
        axes.grid(color="0.92", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines["top"].set_visible(False)
        axes.spines["right"].set_visible(False)
    losses = np.array([*(point[2] for point in points), *baselines.values()])
    low, high = losses.min(), losses.max()
    # The first steps stand far above all that follows: three times the best loss is as much as one wants to see.
    judged = [point[2] for curve in curves for point in curve.held_out if math.isfinite(point[2])]
    high = min(high, max([3 * min(judged, default=low), *(1.1 * value for value in baselines.values())]))
    panels[0].set_ylim(low - 0.06 * (high - low) - 1e-3, high + 0.06 * (high - low) + 1e-3)
    panels[0].set_ylabel("loss, nats per character")
    if bytes_per_character:
        factor = math.log(2) * bytes_per_character

        def bits(nats: Any) -> Any:
            return nats / factor

        def nats(bits: Any) -> Any:
            return bits * factor

        side = panels[-1].secondary_yaxis("right", functions=(bits, nats))
        side.set_ylabel("bits per byte of the held-out text")
        side.spines["right"].set_visible(False)
    for text in panels[0].legend(frameon=False, fontsize=9, loc="upper right").get_texts():
        text.set_parse_math(False)  # a run may be called $x$
    shown = curves[0].name if title is None and len(curves) == 1 else title or ""
    hidden = sum(value > high for *_, value in points)
    notes = [f"{hidden} point{'s are' if hidden > 1 else ' is'} above the figure" if hidden else ""]
    if len(curves) > 1 and any(curve.train for curve in curves):
        notes.insert(0, "dots: held-out text; thin lines: training text")
    return finish(figure, fonts, shown, notes)


def _draw(axes: Axes, curve: Curve, name: str, number: int, column: int, scale: float) -> None:
    colour = _COLOURS[number % len(_COLOURS)]
    held_out_colour = colour if name else _COLOURS[1]
    dash = _DASHES[number // len(_COLOURS) % len(_DASHES)]
    kinds = (("training text", curve.train), ("held-out text", curve.held_out))
    for kind, points in kinds:
        if not points:
            continue
        xs = [point[column] / scale for point in points]
        ys = [point[2] for point in points]
        if kind == "training text":
            label = kind if not name else "_" + kind  # matplotlib leaves out what begins so
            axes.plot(xs, ys, dash, color=colour, linewidth=1.0, alpha=0.45 if name else 0.8, label=label)
        else:
            axes.plot(xs, ys, dash, color=held_out_colour, linewidth=1.8, marker="o", markersize=4, label=name or kind)
    if name and not curve.held_out:
        axes.plot([], [], dash, color=colour, label=f"{name} (training text)")


def _level_lines(axes: Axes, baselines: Mapping[str, float], write: bool) -> None:
    for name, value in baselines.items():
        axes.axhline(value, color="0.35", linewidth=0.9, linestyle=(0, (1, 2)))
        if write:
            axes.annotate(
                name, (1, value), (-2, 2), xycoords=("axes fraction", "data"), textcoords="offset points",
                ha="right", va="bottom", fontsize=8, color="0.3", parse_math=False,
            )  # fmt: skip

"""The lesson's figure: token embedding, position, and their sum, for any text and any model.

Every value is the model's own, captured through the tap during its forward pass. Needs the extra `figures`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nextword.config import GPTConfig
from nextword.errors import TextError
from nextword.figures.canvas import (
    DPI,
    broken,
    diverging,
    edited,
    finish,
    fonts_for,
    new_figure,
    thinning_step,
    token_label,
)
from nextword.generation.backend import Backend
from nextword.inspection.capture import capture
from nextword.inspection.edits import Edit
from nextword.inspection.inspectable import InspectableModel, unpack_backend
from nextword.rope import inverse_frequencies, rope_attention_factor
from nextword.tokens import Tokenizer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from nextword.model import GPTModel

EMBED, POSITION, COMBINED = "hook_embed", "hook_pos_embed", "blocks.0.hook_resid_pre"

WIDTH = 18.0  # inches, the lesson's
MIN_HEIGHT, MAX_HEIGHT = 5.0, 24.0  # inches; the lesson's, and about four screens
ROW_HEIGHT, FRAME_HEIGHT = 0.2, 1.2  # inches: a label with its gap; titles and axis


def embedding_figure(
    model: InspectableModel | Backend | GPTModel, tokenizer: Tokenizer, text: str, *, title: str | None = None
) -> Figure:
    """Three aligned heatmaps: token embedding, position, combined (what the first block reads).

    Rows are the tokens of the text, columns the d_model dimensions; all values share one colour scale, symmetric about
    0. Rotary models have no position vector: the middle then shows the cosine of the angle by which each pair of
    query and key channels is turned at each position. pyplot has no part in it, so no window opens.

    Characters that no installed font has are written as code points, and a line under the figure says so
    (`fonts.choose_fonts` tells them beforehand).

    Args:
        model: A LanguageModel (its edits are applied), a backend or a GPTModel.
        tokenizer: Its tokenizer.
        text: At least one token, at most `context_length`.
        title: A line above the figure.

    Raises:
        TextError: The text has no token, or one that the tokenizer or the model does not know.
        ContextOverflowError: It has more tokens than the model can look at.
        ConfigError: matplotlib or seaborn is not installed.
    """
    token_ids = tokenizer.encode(text)
    backend, _, edits = unpack_backend(model)
    panels = _panels(backend, token_ids, edits)
    pieces = tokenizer.pieces(token_ids)
    fonts = fonts_for([title or "", *(piece.text for piece in pieces)])
    height = min(max(MIN_HEIGHT, len(pieces) * ROW_HEIGHT + FRAME_HEIGHT), MAX_HEIGHT)

    figure = new_figure(WIDTH, height)
    from seaborn import heatmap

    widths = [width for panel in panels for width in ([1, 0.02] if panel.bar else [1])]
    cells = iter(figure.add_gridspec(1, len(widths), width_ratios=widths))
    for panel in panels:
        axes = figure.add_subplot(next(cells))
        # An image in SVG and PDF too: 100 tokens of 768 dimensions would be a quarter of a million rectangles.
        heatmap(
            panel.values, ax=axes, cbar=False, xticklabels=False, yticklabels=False, rasterized=True, **panel.colours
        )
        step = thinning_step(panel.values.shape[1], 9)
        columns = range(0, panel.values.shape[1], step)
        axes.set_title(panel.title)
        axes.set_xticks([column + 0.5 for column in columns], [str(column) for column in columns])
        axes.set_xlabel(panel.columns)
        if panel.bar:
            ends: dict[str, Any] = {"extend": "both", "extendfrac": 0.03} if panel.clipped else {}
            figure.colorbar(axes.collections[0], cax=figure.add_subplot(next(cells)), label=panel.bar, **ends)
    _label_rows(figure, [token_label(piece, fonts) for piece in pieces])
    return finish(figure, fonts, title or "", [*_notes(figure, panels), edited(edits)])


@dataclass(frozen=True)
class _Panel:
    """One heatmap."""

    values: NDArray[Any]  # [T, columns]
    title: str
    columns: str  # what they are
    colours: Mapping[str, Any]
    bar: str = ""  # label of the colour bar to its right; empty: none
    clipped: bool = False  # whether values lie beyond the colours' ends


def _panels(backend: Backend, token_ids: Sequence[int], edits: Sequence[Edit]) -> list[_Panel]:
    values = _capture(backend, token_ids, edits)
    limit, clipped = _colour_limit(values)
    colours = {"cmap": diverging(), "vmin": -limit, "vmax": limit}
    bar = f"value (beyond ±{limit:.3g}: drawn as ±{limit:.3g})" if clipped else "value"
    embedding = _Panel(values[EMBED], "Token embedding", "dimension", colours)
    if POSITION in values:
        position = _Panel(values[POSITION], "Position", "dimension", colours)
        return [embedding, position, _Panel(values[COMBINED], "Combined", "dimension", colours, bar, clipped)]
    unturned = ", ".join(map(str, backend.config.no_rope_layers))
    turns = _Panel(
        _cosines(backend.config, len(token_ids)),
        "Rotary position (turns q and k; nothing is added)",
        "pair of channels, in every head" + (f" (but not in layers {unturned})" if unturned else ""),
        {"cmap": diverging(), "vmin": -1.0, "vmax": 1.0},
        bar="cosine of the angle",
    )
    same = np.array_equal(values[COMBINED], values[EMBED])  # an edit may stand between them
    name = "Combined (= token embedding)" if same else "Combined"
    combined = _Panel(values[COMBINED], name, "dimension", colours, bar, clipped)
    return [embedding, turns, combined]


def _capture(backend: Backend, token_ids: Sequence[int], edits: Sequence[Edit]) -> dict[str, NDArray[Any]]:
    """Name -> [T, D]; without POSITION for a model that adds no position vector."""
    if not token_ids:
        raise TextError("the text is empty: there is no token to draw")
    names = [EMBED, *([POSITION] if backend.config.position == "learned" else []), COMBINED]
    trace = capture(backend, None, "", token_ids, names=names, edits=edits)
    return {name: trace[name] for name in names}


def _cosines(config: GPTConfig, count: int) -> NDArray[Any]:
    """Cosine of each channel pair's angle at each position, [T, C/2]: where the model's rotation takes (1, 0)."""
    cosines_TP: NDArray[Any] = rope_attention_factor(config) * np.cos(
        np.outer(np.arange(count), inverse_frequencies(config))
    )
    return cosines_TP


def _colour_limit(values: Mapping[str, NDArray[Any]]) -> tuple[float, bool]:
    """The end of the shared scale, and whether values lie beyond it.

    It is the largest absolute value, unless that is an outlier (trained models have a few huge dimensions, beside which
    all others would be one grey): more than three times the 99th percentile. Normal noise never comes to that.
    """
    sizes = np.abs(np.concatenate([panel.ravel() for panel in values.values()]).astype(np.float64))
    sizes = sizes[np.isfinite(sizes)]
    largest = float(sizes.max(initial=0.0))
    usual = float(np.percentile(sizes, 99)) if sizes.size else 0.0
    if 0 < 3 * usual < largest:
        return 1.5 * usual, True
    return largest or 1.0, False


def _thinning(figure: Figure, count: int) -> int:
    """Every how many-th row has room for a label."""
    return -(-count // int((figure.get_figheight() - FRAME_HEIGHT) / ROW_HEIGHT + 0.5))


def _label_rows(figure: Figure, labels: Sequence[str]) -> None:
    """Tokens beside the outer panels, their positions beside the middle one."""
    rows = range(0, len(labels), _thinning(figure, len(labels)))
    places = [row + 0.5 for row in rows]
    tokens, positions = [labels[row] for row in rows], [str(row) for row in rows]
    left, middle, right = (axes for axes in figure.axes if axes.get_title())
    for axes, names in ((left, tokens), (middle, positions), (right, tokens)):
        axes.set_yticks(places, names, rotation=0, va="center", fontsize=9, parse_math=False)  # "$" is a token


def _notes(figure: Figure, panels: Sequence[_Panel]) -> list[str]:
    """Whatever the figure does not show."""
    notes = []
    count, width = panels[0].values.shape
    if (step := _thinning(figure, count)) > 1:
        notes.append(f"one label in {step} is written")
    if width > WIDTH * DPI / 4 or count > (figure.get_figheight() - FRAME_HEIGHT) * DPI:
        notes.append(f"{count} x {width} values are more than the picture has points for: some are not seen")
    return [*notes, broken(np.concatenate([panel.values for panel in panels], axis=1))]

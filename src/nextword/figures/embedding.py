"""The lesson's figure: token embedding, position, and their sum, for any text and any model.

Every value is the model's own, captured through the tap during its forward pass. Needs the extra `figures`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

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
from nextword.inspection.capture import check_tokens
from nextword.inspection.edits import Edit
from nextword.inspection.inspectable import InspectableModel, unpack_model, with_edits
from nextword.model import GPTModel, eval_mode
from nextword.tokens import Tokenizer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EMBED, POSITION, COMBINED = "hook_embed", "hook_pos_embed", "blocks.0.hook_resid_pre"

WIDTH = 18.0  # inches, the lesson's
MIN_HEIGHT, MAX_HEIGHT = 5.0, 24.0  # inches; the lesson's, and about four screens
ROW_HEIGHT, FRAME_HEIGHT = 0.2, 1.2  # inches: a label with its gap; titles and axis


def embedding_figure(
    model: GPTModel | InspectableModel, tokenizer: Tokenizer, text: str, *, title: str | None = None
) -> Figure:
    """Three aligned heatmaps: token embedding, position, combined (what the first block reads).

    Rows are the tokens of the text, columns the d_model dimensions; all values share one colour scale, symmetric about
    0. Rotary models have no position vector: the middle then shows the cosine of the angle by which each pair of
    query and key channels is turned at each position. pyplot has no part in it, so no window opens.

    Characters that no installed font has are written as code points, and a line under the figure says so
    (`fonts.choose_fonts` tells them beforehand).

    Args:
        model: A LanguageModel (its edits are applied), or a GPTModel.
        tokenizer: Its tokenizer.
        text: At least one token, at most `context_length`.
        title: A line above the figure.

    Raises:
        TextError: The text has no token, or one that the tokenizer or the model does not know.
        ContextOverflowError: It has more tokens than the model can look at.
        ConfigError: matplotlib or seaborn is not installed.
    """
    token_ids = tokenizer.encode(text)
    gpt, _, edits = unpack_model(model)
    panels = _panels(gpt, token_ids, edits)
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


def _panels(model: GPTModel, token_ids: Sequence[int], edits: Sequence[Edit]) -> list[_Panel]:
    values = _capture(model, token_ids, edits)
    limit, clipped = _colour_limit(values)
    colours = {"cmap": diverging(), "vmin": -limit, "vmax": limit}
    bar = f"value (beyond ±{limit:.3g}: drawn as ±{limit:.3g})" if clipped else "value"
    embedding = _Panel(values[EMBED], "Token embedding", "dimension", colours)
    if POSITION in values:
        position = _Panel(values[POSITION], "Position", "dimension", colours)
        return [embedding, position, _Panel(values[COMBINED], "Combined", "dimension", colours, bar, clipped)]
    unturned = ", ".join(map(str, model.config.no_rope_layers))
    turns = _Panel(
        _cosines(model, len(token_ids)),
        "Rotary position (turns q and k; nothing is added)",
        "pair of channels, in every head" + (f" (but not in layers {unturned})" if unturned else ""),
        {"cmap": diverging(), "vmin": -1.0, "vmax": 1.0},
        bar="cosine of the angle",
    )
    same = np.array_equal(values[COMBINED], values[EMBED])  # an edit may stand between them
    name = "Combined (= token embedding)" if same else "Combined"
    combined = _Panel(values[COMBINED], name, "dimension", colours, bar, clipped)
    return [embedding, turns, combined]


class _StopForwardError(Exception):
    """Ends a forward pass: everything wanted has been captured."""


class _FirstBlockInput:
    """A tap that keeps what the first block reads and what it was added up from, then ends the pass."""

    def __init__(self) -> None:
        self.values: dict[str, NDArray[Any]] = {}

    def wants(self, name: str) -> bool:
        return name in (EMBED, POSITION, COMBINED)

    def __call__(self, name: str, tensor: Tensor) -> Tensor:
        # NumPy has no bfloat16; widening changes no value.
        self.values[name] = tensor[0].to(torch.promote_types(tensor.dtype, torch.float32)).cpu().numpy()
        if name == COMBINED:
            raise _StopForwardError
        return tensor


def _capture(model: GPTModel, token_ids: Sequence[int], edits: Sequence[Edit]) -> dict[str, NDArray[Any]]:
    """Name -> [T, D]; without POSITION for a model that adds no position vector."""
    check_tokens(model.config, token_ids, "no token to draw")
    tap = _FirstBlockInput()
    ids_1T = torch.tensor([list(token_ids)], device=model.token_embedding.weight.device)
    with eval_mode(model), torch.inference_mode(), contextlib.suppress(_StopForwardError):
        model.hidden(ids_1T, tap=with_edits(edits, model, tap))
    return tap.values


def _cosines(model: GPTModel, count: int) -> NDArray[Any]:
    """Cosine of each channel pair's angle at each position, [T, C/2]: where the model's rotation takes (1, 0)."""
    assert model.rotary is not None  # noqa: S101  a model has learned or rotary positions
    config, weight = model.config, model.token_embedding.weight
    first = slice(0, None, 2) if config.rope_layout == "interleaved" else slice(0, config.head_dim // 2)
    dtype = torch.promote_types(weight.dtype, torch.float32)
    unit_BTHC = torch.zeros(1, count, 1, config.head_dim, dtype=dtype, device=weight.device)
    unit_BTHC[..., first] = 1
    turned_BTHC = model.rotary.rotation_at(0, count, unit_BTHC)(unit_BTHC)
    cosines: NDArray[Any] = turned_BTHC[0, :, 0, first].cpu().numpy()
    return cosines


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

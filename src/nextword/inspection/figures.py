"""The lesson's figure: token embedding, position, and their sum, for any text and any model.

Every value is the model's own, captured through the tap during its forward pass. Needs the extra `figures`.
"""

from __future__ import annotations

import contextlib
import io
import secrets
import textwrap
import threading
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nextword.errors import ConfigError, ContextOverflowError, TextError, missing_extra
from nextword.inspection.fonts import FontChoice, choose_fonts
from nextword.model import GPTModel
from nextword.tokens import Piece, Tokenizer
from nextword.tokens.visible import visible, write_code_points

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EMBED, POSITION, COMBINED = "hook_embed", "hook_pos_embed", "blocks.0.hook_resid_pre"

DPI = 180  # a panel is then wider than 768 pixels
WIDTH = 18.0  # inches, the lesson's
LEAST_HEIGHT, MOST_HEIGHT = 5.0, 24.0  # inches; the lesson's, and about four screens
ROW_HEIGHT, FRAME_HEIGHT = 0.2, 1.2  # inches: a label with its gap; titles and axis
LONGEST_LABEL = 20  # Latin letters; a Korean syllable is as wide as two
LONGEST_TITLE_LINE = 90  # characters

# What each kind of file is told so that the same figure gives the same bytes: no dates.
_METADATA: dict[str, dict[str, Any]] = {".png": {}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
_SAVING = threading.Lock()  # matplotlib reads its settings for SVG from one global table


def embedding_figure(model: GPTModel, tokenizer: Tokenizer, text: str, *, title: str | None = None) -> Figure:
    """Three aligned heatmaps: token embedding, position, combined (what the first block reads).

    Rows are the tokens of the text, columns the d_model dimensions; all values share one colour scale, symmetric about
    0. Rotary models have no position vector: the middle then shows the cosine of the angle by which each pair of
    query and key channels is turned at each position. pyplot has no part in it, so no window opens.

    Characters that no installed font has are written as code points, and a line under the figure says so
    (`fonts.choose_fonts` tells them beforehand).

    Args:
        model: Any model.
        tokenizer: Its tokenizer.
        text: At least one token, at most `context_length`.
        title: A line above the figure.

    Raises:
        TextError: The text has no token, or one that the tokenizer or the model does not know.
        ContextOverflowError: It has more tokens than the model can look at.
        ConfigError: matplotlib or seaborn is not installed.
    """
    try:
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine
        from seaborn import heatmap
    except ImportError as error:
        package = "seaborn" if (error.name or "").startswith("seaborn") else "matplotlib"
        raise missing_extra(package, "figures", "drawing figures") from None

    title = " ".join((title or "").split())
    token_ids = tokenizer.encode(text)
    panels = _panels(model, token_ids)
    pieces = tokenizer.pieces(token_ids)
    fonts = choose_fonts(title + "".join(visible(piece.text) for piece in pieces) + "…")
    height = min(max(LEAST_HEIGHT, len(pieces) * ROW_HEIGHT + FRAME_HEIGHT), MOST_HEIGHT)

    figure = Figure(figsize=(WIDTH, height), dpi=DPI, layout=ConstrainedLayoutEngine(w_pad=0.08))
    widths = [width for panel in panels for width in ([1, 0.02] if panel.bar else [1])]
    cells = iter(figure.add_gridspec(1, len(widths), width_ratios=widths))
    for panel in panels:
        axes = figure.add_subplot(next(cells))
        # An image in SVG and PDF too: 100 tokens of 768 dimensions would be a quarter of a million rectangles.
        heatmap(
            panel.values, ax=axes, cbar=False, xticklabels=False, yticklabels=False, rasterized=True, **panel.colours
        )
        step = _step(panel.values.shape[1], 9)
        columns = range(0, panel.values.shape[1], step)
        axes.set_title(panel.title)
        axes.set_xticks([column + 0.5 for column in columns], [str(column) for column in columns])
        axes.set_xlabel(panel.columns)
        if panel.bar:
            ends: dict[str, Any] = {"extend": "both", "extendfrac": 0.03} if panel.clipped else {}
            figure.colorbar(axes.collections[0], cax=figure.add_subplot(next(cells)), label=panel.bar, **ends)
    _label_rows(figure, [_label(piece, fonts) for piece in pieces])
    _annotate(figure, panels, title, fonts)
    _set_fonts(figure, fonts)
    return figure


def save_figure(figure: Figure, path: str | Path) -> None:
    """Writes a figure as PNG, SVG or PDF, by the suffix; the file is whole or not there.

    The same figure gives the same bytes each time.

    Raises:
        ConfigError: Another suffix, or the file cannot be written.
    """
    import matplotlib

    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in _METADATA:
        raise ConfigError(f"cannot draw {path}: unknown suffix {suffix!r}", hint=f"supported: {', '.join(_METADATA)}")
    if not path.parent.is_dir():
        raise ConfigError(f"cannot write {path}: there is no directory {path.parent}")
    drawn = io.BytesIO()
    # Letters as paths: an SVG must look the same where the Korean font is not installed.
    with _SAVING, matplotlib.rc_context({"svg.fonttype": "path", "svg.hashsalt": "nextword"}):
        figure.savefig(drawn, format=suffix[1:], dpi=DPI, metadata=_METADATA[suffix])
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        beside.write_bytes(drawn.getvalue())
        beside.replace(path)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()


@dataclass(frozen=True)
class _Panel:
    """One heatmap."""

    values: NDArray[Any]  # [T, columns]
    title: str
    columns: str  # what they are
    colours: Mapping[str, Any]
    bar: str = ""  # label of the colour bar to its right; empty: none
    clipped: bool = False  # whether values lie beyond the colours' ends


def _panels(model: GPTModel, token_ids: Sequence[int]) -> list[_Panel]:
    values = _capture(model, token_ids)
    limit, clipped = _colour_limit(values)
    colours = {"cmap": "coolwarm", "vmin": -limit, "vmax": limit}
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
        {"cmap": "PuOr", "vmin": -1.0, "vmax": 1.0},  # other colours: these are no values of the stream
        bar="cosine of the angle",
    )
    combined = _Panel(values[COMBINED], "Combined (= token embedding)", "dimension", colours, bar, clipped)
    return [embedding, turns, combined]


class _SeenEnoughError(Exception):
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
            raise _SeenEnoughError
        return tensor


def _capture(model: GPTModel, token_ids: Sequence[int]) -> dict[str, NDArray[Any]]:
    """Name -> [T, D]; without POSITION for a model that adds no position vector."""
    config = model.config
    if not token_ids:
        raise TextError("the text is empty: there is no token to draw")
    if len(token_ids) > config.context_length:
        raise ContextOverflowError(len(token_ids), config.context_length)
    if max(token_ids) >= config.vocab_size:
        raise TextError(
            f"token id {max(token_ids)} is not in the model's vocabulary of {config.vocab_size} tokens",
            hint="use the tokenizer that the model was trained with",
        )
    tap = _FirstBlockInput()
    ids_1T = torch.tensor([list(token_ids)], device=model.token_embedding.weight.device)
    with torch.inference_mode(), contextlib.suppress(_SeenEnoughError):
        model.hidden(ids_1T, tap=tap)
    return tap.values


def _cosines(model: GPTModel, count: int) -> NDArray[Any]:
    """Cosine of each channel pair's angle at each position, [T, C/2]: where the model's rotation takes (1, 0)."""
    assert model.rotary is not None  # noqa: S101  a model has learned or rotary positions
    config, weight = model.config, model.token_embedding.weight
    first = slice(0, None, 2) if config.rope_layout == "interleaved" else slice(0, config.head_dim // 2)
    dtype = torch.promote_types(weight.dtype, torch.float32)
    unit_BTHC = torch.zeros(1, count, 1, config.head_dim, dtype=dtype, device=weight.device)
    unit_BTHC[..., first] = 1
    turned_BTHC = model.rotary.at(0, count, unit_BTHC)(unit_BTHC)
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


def _label(piece: Piece, fonts: FontChoice) -> str:
    """The piece as it can be drawn: blanks visible, cut where it is too long, the number of a fragment behind it."""
    text = piece.text[:LONGEST_LABEL]
    while _width(visible(text, fonts.missing)) > LONGEST_LABEL:
        text = text[:-1]
    cut = "…" if len(text) < len(piece.text) else ""
    number = f" {piece.part}/{piece.parts}" if piece.parts > 1 else ""
    return visible(text, fonts.missing) + cut + number


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def _step(count: int, most: int) -> int:
    """The smallest power of two that leaves at most `most` of `count` numbers."""
    step = 1
    while -(-count // step) > most:
        step *= 2
    return step


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


def _annotate(figure: Figure, panels: Sequence[_Panel], title: str, fonts: FontChoice) -> None:
    """The title above; below, whatever the figure does not show."""
    if title:
        lines = textwrap.wrap(write_code_points(title, fonts.missing), LONGEST_TITLE_LINE)
        figure.suptitle("\n".join(lines), parse_math=False)
    count, width = panels[0].values.shape
    notes = [fonts.note] if fonts.note else []
    if (step := _thinning(figure, count)) > 1:
        notes.append(f"one label in {step} is written")
    if width > WIDTH * DPI / 4 or count > (figure.get_figheight() - FRAME_HEIGHT) * DPI:
        notes.append(f"{count} x {width} values are more than the picture has points for: some are not seen")
    if broken := sum(int((~np.isfinite(panel.values)).sum()) for panel in panels):
        notes.append(f"{broken} values are infinite or no numbers (left white)")
    if notes:
        figure.supxlabel("\n".join(notes), fontsize=10, color="0.3", parse_math=False)


def _set_fonts(figure: Figure, fonts: FontChoice) -> None:
    """The chosen fonts for every text, whatever the user's own settings are."""
    from matplotlib.text import Text

    for axes in figure.axes:
        axes.tick_params(labelfontfamily=list(fonts.families))
    for text in figure.findobj(Text):
        text.set(fontfamily=list(fonts.families), usetex=False)

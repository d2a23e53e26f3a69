"""What all figures share: a sheet without a window, labels in any script, colours, notes, and files."""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import textwrap
import threading
import unicodedata
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nextword.colours import DIVERGING
from nextword.errors import ConfigError, missing_extra
from nextword.figures.fonts import FontChoice, choose_fonts
from nextword.formatting import pluralize
from nextword.tokens import Piece
from nextword.tokens.visible import part_note, visible, write_code_points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

    from nextword.inspection.edits import Edit

DPI = 180
SEQUENTIAL = "cividis"  # colour-blind readers see it
MAX_LABEL_LENGTH = 20  # Latin letters; a Korean syllable is as wide as two
MAX_TITLE_LINE_LENGTH = 90  # characters
_TITLE_LETTERS = 8.0  # of a title, an inch

# What each kind of file is told so that the same figure gives the same bytes: no dates.
_METADATA: dict[str, dict[str, Any]] = {".png": {}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
_SAVING = threading.Lock()  # matplotlib reads its settings for SVG from one global table


def new_figure(width: float, height: float) -> Figure:
    """An empty sheet, in inches. pyplot has no part in it, so no window opens.

    Raises:
        ConfigError: matplotlib or seaborn is not installed.
    """
    _require_packages()
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    from nextword.figures.sheet import Sheet

    return Sheet(figsize=(width, height), dpi=DPI, layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08))


def diverging() -> Colormap:
    """The colours of signed values, whose scale is symmetric about 0."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("orange to blue", DIVERGING)


def _require_packages() -> None:
    backend = os.environ.get("MPLBACKEND", "")
    try:
        with ExitStack() as stack:
            if _is_missing_module(backend):
                # Jupyter sets it for every command that a cell starts; where that package is not installed, matplotlib
                # refuses to be imported. No figure here needs it.
                del os.environ["MPLBACKEND"]
                stack.callback(os.environ.__setitem__, "MPLBACKEND", backend)
            import matplotlib.figure  # noqa: F401
            import seaborn  # noqa: F401
    except ImportError as error:
        package = "seaborn" if (error.name or "").startswith("seaborn") else "matplotlib"
        raise missing_extra(package, "figures", "drawing figures") from None
    except ValueError as error:
        raise ConfigError(
            f"matplotlib cannot be used: {' '.join(str(error).split())}",
            hint="unset MPLBACKEND, or repair matplotlibrc",
        ) from None


def _is_missing_module(backend: str) -> bool:
    """Whether a backend of matplotlib is a module (`module://package.name`) that is not installed."""
    name = backend.removeprefix("module://")
    return name != backend and find_spec(name.partition(".")[0]) is None


def fonts_for(texts: Iterable[str]) -> FontChoice:
    """Fonts for all that will be written, the sign for a cut included.

    Raises:
        ConfigError: matplotlib or seaborn is not installed.
    """
    _require_packages()
    return choose_fonts("".join(visible(text) for text in texts) + "…")


def token_label(piece: Piece, fonts: FontChoice) -> str:
    """The piece as it can be drawn: blanks visible, cut where it is too long, the number of a fragment behind it."""
    return cut(piece.text, fonts) + (f" {piece.part}/{piece.parts}" if piece.parts > 1 else "")


def cut(text: str, fonts: FontChoice, longest: int = MAX_LABEL_LENGTH) -> str:
    """The text as it can be drawn: blanks visible, and `…` at its end where it is longer than `longest` letters."""
    kept = text[:longest]
    while text_width(visible(kept, fonts.missing)) > longest:
        kept = kept[:-1]
    return visible(kept, fonts.missing) + ("…" if len(kept) < len(text) else "")


def text_width(text: str) -> int:
    """How many Latin letters wide a text is, about."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def thinning_step(count: int, most: int) -> int:
    """The smallest power of two that leaves at most `most` of `count` numbers."""
    step = 1
    while -(-count // step) > most:
        step *= 2
    return step


def label_axis(axes: Axes, labels: Sequence[str], side: str, most: int = 60, rotation: float = 0) -> str:
    """Names the cells of one axis, whose middles are whole numbers.

    Args:
        axes: The panel.
        labels: One a cell.
        side: `x` or `y`.
        most: How many labels there is room for; beyond it, they are thinned out evenly.
        rotation: Degrees, of labels below a panel.

    Returns:
        A note on labels that are left out; empty if all are there.
    """
    step = -(-len(labels) // most)
    places = range(0, len(labels), step)
    names = [labels[place] for place in places]
    if side == "x":
        anchored = {"rotation": rotation, "rotation_mode": "anchor", "ha": "right"}
        slanted: dict[str, Any] = anchored if rotation else {}
        axes.set_xticks(places, names, fontsize=9, parse_math=False, **slanted)  # "$" is a token
    else:
        axes.set_yticks(places, names, va="center", fontsize=9, parse_math=False)
    return f"one label in {step} is written" if step > 1 else ""


def colour_bar(figure: Figure, image: Any, panels: Sequence[Axes], label: str) -> Axes:
    """A colour bar beside the panels, equally thick beside low and high ones."""
    height = max(figure.get_figheight() - 1.5, 1.0)
    share = 0.35 / figure.get_figwidth()
    bar = figure.colorbar(image, ax=list(panels), label=label, fraction=share, aspect=height / 0.2, pad=0.01)
    axes: Axes = bar.ax
    return axes


def write_cells(axes: Axes, image: AxesImage, texts: Sequence[Sequence[str]], size: float) -> None:
    """A text in the middle of each cell, black or white, whichever stands out more."""
    colours = image.to_rgba(np.ma.masked_invalid(np.asarray(image.get_array(), np.float64)))
    for row, line in enumerate(texts):
        for column, text in enumerate(line):
            shade = colours[row, column]
            colour = text_colour(shade) if shade[3] > 0 else "black"
            axes.text(column, row, text, ha="center", va="center", fontsize=size, color=colour, parse_math=False)


def signed(value: float) -> str:
    """Two decimals and the sign, but none for a zero."""
    return f"{value:+.2f}" if abs(value) >= 0.005 else "0.00"


def text_colour(colour: Sequence[float]) -> str:
    """Black or white, whichever stands out more from a colour (contrast as in WCAG 2)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in map(float, colour[:3])]
    luminance = sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    return "black" if (luminance + 0.05) ** 2 > 1.05 * 0.05 else "white"


def edited(edits: Sequence[Edit]) -> str:
    """A note on changes under which a pass ran; empty for none."""
    count = len(edits)
    return f"the pass ran under {count} edit{'s' * (count > 1)}" if count else ""


def broken(values: NDArray[Any]) -> str:
    """A note on values that no colour can show; empty for none."""
    count = int((~np.isfinite(values)).sum())
    return f"{pluralize(count, 'values')} infinite or no number (left white)" if count else ""


def largest(values: NDArray[Any]) -> float:
    """The largest absolute value that is a number; 1 if all are 0."""
    return float(np.abs(values[np.isfinite(values)]).max(initial=0.0)) or 1.0


def finish(figure: Figure, fonts: FontChoice, title: str = "", notes: Sequence[str] = ()) -> Figure:
    """The title above; below, whatever the figure does not show; the chosen fonts for every text."""
    from matplotlib.text import Text

    if title := " ".join(title.split()):
        letters = min(MAX_TITLE_LINE_LENGTH, max(30, int(figure.get_figwidth() * _TITLE_LETTERS)))
        lines = textwrap.wrap(write_code_points(title, fonts.missing), letters)
        figure.suptitle("\n".join(lines), parse_math=False)
    parts = part_note(text.get_text() for text in figure.findobj(Text))
    if below := [note for note in (parts, fonts.note, *notes) if note]:
        figure.supxlabel("\n".join(below), fontsize=10, color="0.3", parse_math=False)
    for axes in figure.axes:
        axes.tick_params(labelfontfamily=list(fonts.families))
    for text in figure.findobj(Text):
        text.set(fontfamily=list(fonts.families), usetex=False)  # whatever the user's own settings are
    # The layout moves a little each time it is computed: computed here and kept, every file shows the same.
    for _ in range(2):
        figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return figure


def drawable_suffix(path: Path) -> str:
    """The suffix of a file that a figure can be written to; asking needs no package yet.

    Raises:
        ConfigError: Another suffix, or there is no directory for the file.
    """
    suffix = path.suffix.lower()
    if suffix not in _METADATA:
        raise ConfigError(f"cannot draw {path}: unknown suffix {suffix!r}", hint=f"supported: {', '.join(_METADATA)}")
    if not path.parent.is_dir():
        raise ConfigError(f"cannot write {path}: there is no directory {path.parent}")
    return suffix


def save_figure(figure: Figure, path: str | Path) -> None:
    """Writes a figure as PNG, SVG or PDF, by the suffix; the file is whole or not there.

    The same figure gives the same bytes each time.

    Raises:
        ConfigError: Another suffix, or the file cannot be written.
    """
    import matplotlib

    path = Path(path)
    suffix = drawable_suffix(path)
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

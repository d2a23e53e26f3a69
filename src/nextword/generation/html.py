"""Tables, bars and curves for notebooks, readable on white and on black, without a style sheet."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

BLUE = "#3a8cd8"
_FAINT = "rgba(128, 128, 128, 0.25)"


class Markup(str):
    """Text that is HTML already; all other text is escaped."""

    __slots__ = ()


def markup(text: str) -> Markup:
    """The text as HTML."""
    return text if isinstance(text, Markup) else Markup(escape(text))


def element(name: str, content: str | Iterable[str], style: str = "") -> Markup:
    """`<name style=...>content</name>`; content that is no Markup is escaped."""
    inside = markup(content) if isinstance(content, str) else "".join(map(markup, content))
    styled = f' style="{style}"' if style else ""
    return Markup(f"<{name}{styled}>{inside}</{name}>")


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], caption: str = "") -> Markup:
    """An HTML table."""
    head = element("thead", element("tr", [element("th", text, "text-align: left") for text in headers]))
    cells = "text-align: left; white-space: nowrap"
    body = [element("tr", [element("td", text, cells) for text in row]) for row in rows]
    above = [element("caption", caption, "text-align: left")] if caption else []
    return element("table", [*above, head, element("tbody", body)])


def bar(share: float, width: int = 160) -> Markup:
    """A bar that is filled up to a share, 0 to 1."""
    filled = element("div", "", f"width: {min(1.0, max(0.0, share)):.2%}; height: 100%; background: {BLUE}")
    return element("div", filled, f"width: {width}px; height: 0.8em; background: {_FAINT}; display: inline-block")


def curve(values: Sequence[float], width: int = 240, height: int = 40) -> Markup:
    """A line through the values that are finite, lowest at the bottom; fewer than two make none."""
    values = [value for value in values if math.isfinite(value)]
    if len(values) < 2:
        return Markup()
    low, high = min(values), max(values)
    scale = (height - 4) / (high - low) if high > low else 0.0
    step = (width - 4) / (len(values) - 1)
    points = " ".join(f"{2 + i * step:.1f},{height - 2 - (v - low) * scale:.1f}" for i, v in enumerate(values))
    line = f'<polyline points="{points}" fill="none" stroke="{BLUE}" stroke-width="2"/>'
    return Markup(f'<svg width="{width}" height="{height}" role="img" aria-label="curve">{line}</svg>')


def note(text: str) -> Markup:
    """A line in small faint letters."""
    return element("div", text, "opacity: 0.7; font-size: 0.9em")


def shaded(text: str, share: float) -> Markup:
    """A piece of text on blue, the stronger the larger the share."""
    return element("span", text, f"background: rgba(58, 140, 216, {0.75 * min(1.0, max(0.0, share)):.2f})")


def box(parts: Iterable[str]) -> Markup:
    """Parts below each other."""
    return element("div", parts, "max-width: 60em")

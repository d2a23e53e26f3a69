"""The colours of signed numbers in figures, terminal and notebooks: orange below zero, blue above it, white between.

The page has the same in its style sheet; a test holds the two together. Every kind of colour-blind reader tells them
apart.
"""

from __future__ import annotations

DIVERGING = ("#7c3400", "#d4660a", "#f7b27a", "#ffffff", "#98c8f2", "#3a8cd8", "#0f4a92")
"""Stops of equal distance, from the most negative value to the most positive one."""
NEGATIVE, POSITIVE = "#a84300", "#0a58b5"
"""Of marks that have no shades: bars and letters."""


def shade(share: float) -> tuple[int, int, int]:
    """Red, green and blue (0 to 255) of a share from -1 to 1; beyond, it stays."""
    place = (min(1.0, max(-1.0, share)) + 1) / 2 * (len(DIVERGING) - 1)
    left = min(int(place), len(DIVERGING) - 2)
    low, high = (bytes.fromhex(stop[1:]) for stop in DIVERGING[left : left + 2])
    red, green, blue = (round(a + (b - a) * (place - left)) for a, b in zip(low, high, strict=True))
    return red, green, blue

"""Reading numbers back from the page: as exactly as the digits that it shows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from playwright.sync_api import Locator, Page

SIGNS = str.maketrans({" ": "␣", "\n": "↵", "\t": "⇥", "\r": "␍"})
ANOTHER_RUN = 2e-5
"""How far, in proportion, float32 numbers of two runs may differ: threads add in another order."""


def shown(text: str) -> str:
    """A token's text as the page writes it."""
    return text.translate(SIGNS)


def said(text: str) -> tuple[float, float]:
    """The number that a text shows, and how far the exact one may lie from it: half a unit of the last digit."""
    plain = text.strip().replace("−", "-").replace(",", "").removeprefix("+").removeprefix("#")
    scale = 0.01 if plain.endswith("%") else 1.0
    plain = plain.removesuffix("%")
    if plain.startswith("<"):
        return float(plain[1:]) / 2 * scale, float(plain[1:]) / 2 * scale
    match = re.fullmatch(r"-?\d+(?:\.(\d+))?(?:e([+-]?\d+))?", plain)
    assert match, f"{text!r} is no number"
    return float(plain) * scale, 0.5 * 10.0 ** (int(match[2] or 0) - len(match[1] or "")) * scale


def reads(text: str, exact: float, *, slack: float = 0.0) -> bool:
    """Whether the digits that are shown are the exact number's."""
    value, half = said(text)
    return abs(value - exact) <= half * (1 + 1e-9) + ANOTHER_RUN * abs(exact) + slack


def assert_reads(texts: list[str], exact: Any, *, slack: float = 0.0) -> None:
    """Whether each text shows its number."""
    numbers = [float(value) for value in exact]
    assert len(texts) == len(numbers)
    wrong = [
        (i, text, value)
        for i, (text, value) in enumerate(zip(texts, numbers, strict=True))
        if not reads(text, value, slack=slack)
    ]
    assert wrong == []


@dataclass(frozen=True)
class Bar:
    """A bar as it is drawn."""

    text: str
    value: str
    faded: bool
    title: str
    width: float
    """Per cent of the room."""
    mark: float | None
    """Where the thin mark is; None where there is none."""


def bars(place: Locator) -> list[Bar]:
    """The bars of one list, from the top."""
    found = place.evaluate(
        """(place) => Array.from(place.querySelectorAll(".bars .bar"), (bar) => {
          const [fill, mark] = ["fill", "mark"].map((name) => bar.querySelector(`.bar-${name}`));
          return [
            bar.querySelector(".bar-text").textContent,
            bar.querySelector(".bar-value").textContent,
            bar.classList.contains("faded"),
            bar.title,
            parseFloat(fill.style.width),
            mark.hidden ? null : parseFloat(mark.style.left),
          ];
        })"""
    )
    return [Bar(*bar) for bar in found]


def stage_columns(page: Page) -> list[list[Bar]]:
    """Logits, the model's own probabilities, those after temperature, those that are drawn from."""
    columns = page.locator("#probabilities .columns.four > div")
    return [bars(columns.nth(i)) for i in range(4)]


@dataclass(frozen=True)
class Grid:
    """A lens as it is drawn; row 0, what the first block reads, first."""

    texts: list[list[str]]
    numbers: list[list[str]]
    shaded: set[tuple[int, int]]
    marked: set[tuple[int, int]]


def lens(page: Page, station: str = "lens") -> Grid:
    cells = page.locator(f"#{station} .lens").evaluate(
        """(table) => Array.from(table.querySelectorAll(".lens-cell"), (cell) => [
          Number(cell.dataset.row), Number(cell.dataset.column),
          cell.children[0].textContent, cell.children[1].textContent,
          cell.classList.contains("shaded"), cell.classList.contains("marked"),
        ])"""
    )
    rows, columns = 1 + max(cell[0] for cell in cells), 1 + max(cell[1] for cell in cells)
    by_place = {(row, column): rest for row, column, *rest in cells}
    assert len(cells) == len(by_place) == rows * columns
    return Grid(
        [[by_place[row, column][0] for column in range(columns)] for row in range(rows)],
        [[by_place[row, column][1] for column in range(columns)] for row in range(rows)],
        {place for place, rest in by_place.items() if rest[2]},
        {place for place, rest in by_place.items() if rest[3]},
    )


def announced(page: Page) -> str:
    """What a screen reader was told last."""
    return page.locator("body > .visually-hidden[aria-live]").text_content()


def stand(page: Page, picture: Locator, row: int, column: int) -> str:
    """Goes to a cell of a picture by keyboard; what is read out there."""
    picture.focus()
    page.keyboard.press("Control+Home")
    for key, count in (("ArrowDown", row), ("ArrowRight", column)):
        for _ in range(count):
            page.keyboard.press(key)
    return announced(page)

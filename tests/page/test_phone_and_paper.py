"""On a telephone nothing sticks out or covers the page; on paper bars and shades are there, dark or light."""

from __future__ import annotations

import itertools
import re
import zlib
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page

import nextword
from nextword.language_model import LanguageModel
from tests.page.conftest import TEXT, Visitor, drawn
from tests.page.test_changes import assert_bar_tells, open_layer, press_switch

FAMILY = "👨‍👩‍👧‍👦"


def box(place: Locator) -> dict[str, float]:
    found = place.bounding_box()
    assert found is not None
    return dict(found)


@pytest.mark.parametrize("width", [320, 360, 700])
def test_the_pieces_of_one_character_wrap_where_they_are_many(visit: Visitor, lm: LanguageModel, width: int) -> None:
    page = visit(f"{FAMILY} 가족", width=width, height=800)
    count = len(lm.tokenizer.encode(FAMILY))
    assert count >= 16
    station, chips = box(page.locator("#tokens")), page.locator("#tokens .tied .chip")
    assert chips.count() == count
    boxes = [box(chips.nth(i)) for i in range(count)]
    assert all(station["x"] <= one["x"] for one in boxes)
    assert all(one["x"] + one["width"] <= station["x"] + station["width"] for one in boxes)
    rows = sorted({round(one["y"]) for one in boxes})
    assert len(rows) >= 3
    assert all(later - earlier >= boxes[0]["height"] for earlier, later in itertools.pairwise(rows))
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    line = chips.nth(count - 1).evaluate("one => getComputedStyle(one, '::after').borderBottomWidth")
    assert line == "2px"  # each of them is tied, in every row
    assert page.locator("#tokens .chip:not(.tied *)").count() > 0


@pytest.mark.parametrize("lang", ["en", "ko"])
def test_at_360_pixels_choices_and_names_of_heads_are_read_whole(visit: Visitor, lang: str) -> None:
    page = visit("To be", width=360, height=740, lang=lang)
    lacking = """one => {
      const free = one.cloneNode(true);
      free.value = one.value;
      one.parentElement.append(free);
      Object.assign(free.style, {position: "absolute", width: "max-content", maxWidth: "none"});
      const wanted = free.getBoundingClientRect().width;
      free.remove();
      return wanted - one.getBoundingClientRect().width;
    }"""
    for name in ("model", "language", "theme"):
        assert page.locator(f"#{name}").evaluate(lacking) < 1, name
    assert len({round(box(page.locator(f"#{name}"))["y"]) for name in ("model", "language", "theme")}) == 1
    open_layer(page, 0)
    room = """one => {
      const name = one.querySelector(".thumb-name");
      name.textContent = name.textContent.replace(/\\d+/, "10"); // a longer one
      const text = document.createRange();
      text.selectNodeContents(name);
      return [one.querySelector(".switch").getBoundingClientRect().left - text.getBoundingClientRect().right,
              text.getClientRects().length];
    }"""
    heads = page.locator("#blocks .thumb").all()
    assert heads
    for head in heads:
        space, lines = head.evaluate(room)
        assert space >= 0
        assert lines == 1
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize("lang", ["en", "ko"])
def test_on_a_screen_every_layer_of_the_default_model_is_seen_whole(
    visit: Visitor, lm: LanguageModel, lang: str
) -> None:
    page = visit(lang=lang, width=1200)
    strip, layers = page.locator("#blocks .strip"), page.locator("#blocks .strip button")
    assert layers.count() == lm.config.num_layers
    last, whole = box(layers.last), box(strip)
    assert last["x"] + last["width"] <= whole["x"] + whole["width"]


def change_three_heads(page: Page) -> None:
    open_layer(page, 0)
    for head in range(3):
        press_switch(page, f"Head {head} of layer 0 on")


def test_the_bar_of_changes_folds_on_a_telephone(visit: Visitor, lm: LanguageModel) -> None:
    page = visit(TEXT, width=390, height=844)
    change_three_heads(page)
    bar, fold = page.locator("#changes"), page.locator("#changes .fold")
    assert fold.inner_text() == "Changes (3)", page.locator("#changes").inner_text()
    assert fold.get_attribute("aria-expanded") == "false"
    assert box(bar)["height"] < 844 / 10
    assert bar.locator("li").count() == 1  # what became of the first choice is seen folded, too
    assert re.fullmatch(r".+: \S+ before, \S+ after", bar.locator("li").get_attribute("aria-label") or "")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    fold.click()
    assert fold.get_attribute("aria-expanded") == "true"
    assert fold.evaluate("one => one === document.activeElement")
    for head in range(3):
        assert bar.get_by_role("button", name=f"Remove: Layer 0, head {head} off").is_visible()
    assert_bar_tells(page, lm, lm.edit(*(nextword.ablate_head(0, head) for head in range(3))), TEXT)
    assert box(bar)["height"] <= 844 * 0.46
    fold.press("Enter")
    assert fold.get_attribute("aria-expanded") == "false"
    page.set_viewport_size({"width": 1200, "height": 844})
    bar.get_by_role("button", name="Remove all").wait_for()
    assert page.locator("#changes .fold").count() == 0
    drawn(page)


def fills(pdf: bytes) -> str:
    """The drawing instructions of all pages."""
    streams = re.findall(rb"stream\r?\n(.*?)endstream", pdf, re.DOTALL)
    found = []
    for stream in streams:
        try:
            found.append(zlib.decompress(stream))
        except zlib.error:  # a font or a picture
            continue
    return b"\n".join(found).decode("latin-1")


def rgb(colour: str) -> str:
    """How a PDF says it: `#0a58b5` is `.0392 .3451 .7098 rg`."""
    shares = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return " ".join(f"{share:.4f}".rstrip("0").rstrip(".").removeprefix("0") or "0" for share in shares) + " rg"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_paper_keeps_bars_and_colours_and_is_light(visit: Visitor, scheme: str, tmp_path: Path) -> None:
    page = visit(TEXT, color_scheme=scheme)
    said = fills(page.pdf(path=tmp_path / "page.pdf"))
    assert said.count(rgb("#0a58b5")) > 20  # bars
    for hue in ("#dce9fb", "#fde5cd", "#d5efe4"):  # chips
        assert rgb(hue) in said, hue
    assert rgb("#ffffff") in said  # a station
    assert rgb("#1a1e23") not in said  # a station in the dark
    page.emulate_media(media="print", color_scheme=scheme)  # type: ignore[arg-type]
    cell = page.locator(".lens-cell").first
    assert cell.evaluate("one => getComputedStyle(one).printColorAdjust") == "exact"
    shades = page.locator(".lens-cell").evaluate_all("(all) => all.map((one) => getComputedStyle(one).backgroundColor)")
    assert len(set(shades)) > 5
    dark = [sum(map(int, re.findall(r"\d+", shade)[:3])) for shade in shades]
    assert max(dark) > 600  # the least probable cells are nearly white: the pictures were drawn again for paper
    page.emulate_media(media="screen", color_scheme=scheme)  # type: ignore[arg-type]
    assert page.evaluate("document.documentElement.scrollWidth") <= 1200

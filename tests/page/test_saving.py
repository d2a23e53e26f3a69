"""Saved pictures: an SVG that needs nothing else, and a PNG that shows what the screen shows."""

from __future__ import annotations

import io
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page

from tests.page.conftest import Visitor
from tests.page.reading import lens

STATIONS = ["tokens", "embedding", "blocks", "residual", "lens", "probabilities", "walk"]
SVG = "{http://www.w3.org/2000/svg}"


def saved(page: Page, station: str, kind: str) -> bytes:
    with page.expect_download() as download:
        page.locator(f"#{station}").get_by_role("button", name=f"Save as {kind}").click()
    assert download.value.suggested_filename == f"{station}.{kind.lower()}"
    return Path(download.value.path()).read_bytes()


@pytest.mark.parametrize(("name", "scheme"), [("nextword", "light"), ("gpt2", "dark")])
def test_every_station_is_saved_as_svg_and_png(visit: Visitor, name: str, scheme: str) -> None:
    page = visit("to be, or not", model=name, color_scheme=scheme)
    for station in STATIONS:
        tree = ElementTree.fromstring(saved(page, station, "SVG"))  # noqa: S314  our own
        assert tree.tag == f"{SVG}svg"
        width, height = int(tree.attrib["width"]), int(tree.attrib["height"])
        assert tree.attrib["viewBox"] == f"0 0 {width} {height}"
        assert width > 200
        assert height > 60
        texts = ["".join(node.itertext()) for node in tree.iter(f"{SVG}text")]
        assert texts[0] == page.locator(f"#{station} h2").text_content()
        references = [value for node in tree.iter() for name, value in node.attrib.items() if name.endswith("href")]
        assert all(value.startswith("data:image/png;base64,") for value in references)
        assert all("var(" not in value for node in tree.iter() for value in node.attrib.values())
        if station == "lens":
            grid = lens(page)
            numbers = [number for line in grid.numbers for number in line]
            assert set(numbers) <= set(texts), "all cells are in the file"

        image = Image.open(io.BytesIO(saved(page, station, "PNG"))).convert("RGB")
        assert image.size == (2 * width, 2 * height), station
        pixels = np.asarray(image).astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
        colours, counts = np.unique(pixels, return_counts=True)
        ground = colours[counts.argmax()]
        assert ((ground >> 8 & 255) > 128) == (scheme == "light")
        assert len(colours) > 20, f"{station} is blank"
        assert (pixels != ground).mean() > 0.005, f"{station} is blank"

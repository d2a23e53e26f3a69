"""Draws the page's pictures in docs/: the real page with the default model, in a real browser.

    python recipes/page_pictures.py docs

Needs the extras `serve` and `test` and Chromium; about half a minute.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

from playwright.sync_api import Browser, Page, sync_playwright

ENGLISH, KOREAN = "The children are playing in the", "배가 고파서 밥을"
_DRAWN = "() => document.documentElement.hasAttribute('data-drawn')"


def main() -> int:
    """Draws all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    process = subprocess.Popen(
        [sys.executable, "-m", "nextword", "serve", "--port", "0"], stderr=subprocess.PIPE, text=True
    )
    try:
        line = process.stderr.readline() if process.stderr else ""
        found = re.search(r"page at (\S+)/ ", line)
        if found is None:
            sys.stderr.write(f"error: the server does not run: {line}\n")
            return 2
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            draw(browser, found[1], folder)
    finally:
        process.terminate()
        process.wait(60)
    return 0


def draw(browser: Browser, url: str, folder: Path) -> None:
    """The pictures, one after the other."""
    page = opened(browser, url, ENGLISH, "en", 1180, 820)
    page.screenshot(path=folder / "page.png")
    page.set_viewport_size({"width": 1180, "height": 1400})  # else what sticks to the top covers a part
    page.locator("#lens").screenshot(path=folder / "page-lens.png")
    page.locator("#blocks").screenshot(path=folder / "page-blocks.png")
    page = opened(browser, url, KOREAN, "ko", 1180, 820, dark=True)
    page.screenshot(path=folder / "page-korean-dark.png")
    page = opened(browser, url, KOREAN, "ko", 390, 844)
    page.screenshot(path=folder / "page-phone.png")


def opened(browser: Browser, url: str, text: str, lang: str, width: int, height: int, *, dark: bool = False) -> Page:
    """The page with a text, everything drawn."""
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light", device_scale_factor=1.5
    )
    page = context.new_page()
    page.goto(f"{url}/#text={quote(text)}&lang={lang}")
    page.wait_for_function(_DRAWN, timeout=120_000)
    return page


if __name__ == "__main__":
    sys.exit(main())

"""How soon the page shows something, and how it follows what is typed, in a real browser. See benchmarks/README.md."""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Page, Response, sync_playwright

from record import record

TEXT = "The king said to the queen that the night was long and the sea was cold and then he"
"""About twenty tokens in either model."""
_PAINTED = "() => document.querySelector('#probabilities .bar') !== null"
_DRAWN = "() => document.documentElement.hasAttribute('data-drawn')"


def main() -> int:
    """Runs the benchmark."""
    options = arguments()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.stderr.write("error: there is no chromium\n")
        return 2
    found: dict[str, dict[str, float]] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for model in options.models:
            found[model] = measured(browser, model, options.rounds)
    print(record(table(found), found) if options.json else table(found))
    return 0


def measured(browser: Browser, model: str, rounds: int) -> dict[str, float]:
    """The figures of one model: medians of several starts and of several texts."""
    starts = [start(browser, model) for _ in range(rounds)]
    with serving(model) as (url, _):
        page = browser.new_page()
        moved: list[int] = []
        page.on("response", lambda response: moved.append(size(response)))
        page.goto(url)
        page.wait_for_function(_DRAWN, timeout=120_000)
        page_bytes = sum(moved)
        times, looks = [], []
        for word in ["", *["looked", "at", "the", "old", "man", "with", "one", "eye"]]:
            moved.clear()
            times.append(follow(page, f"{TEXT} {word}".strip()))
            looks.append(sum(moved))
        page.close()
    return {
        "painted": statistics.median(painted for painted, _ in starts),
        "whole": statistics.median(whole for _, whole in starts),
        "follows": statistics.median(times[1:]),
        "page_bytes": page_bytes,
        "look_bytes": statistics.median(looks[1:]),
    }


def start(browser: Browser, model: str) -> tuple[float, float]:
    """Seconds from the command to the first probabilities on the page, and to the whole of it."""
    with serving(model) as (url, begun):
        page = browser.new_page()
        page.goto(url)
        page.wait_for_function(_PAINTED, polling="raf", timeout=120_000)
        painted = time.perf_counter() - begun
        page.wait_for_function(_DRAWN, polling="raf", timeout=120_000)
        whole = time.perf_counter() - begun
        page.close()
    return painted, whole


def follow(page: Page, text: str) -> float:
    """Seconds from the last key to everything being drawn."""
    page.evaluate("() => document.documentElement.removeAttribute('data-drawn')")
    begun = time.perf_counter()
    page.fill("#text", text)
    page.wait_for_function(_DRAWN, polling="raf", timeout=120_000)
    return time.perf_counter() - begun


@contextmanager
def serving(model: str) -> Iterator[tuple[str, float]]:
    """A server's address, and when its command was given."""
    begun = time.perf_counter()
    names = [] if model == "default" else [model]
    command = [sys.executable, "-m", "nextword", "serve", "--port", "0", *names]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None  # noqa: S101  it is a pipe
        line = process.stderr.readline()
        yield line.partition("page at ")[2].split()[0], begun
    finally:
        process.terminate()
        process.wait(60)


def size(response: Response) -> int:
    """Bytes of a response's body."""
    return int(response.headers.get("content-length", 0))


def table(found: dict[str, dict[str, float]]) -> str:
    """Markdown."""
    lines = [
        "| model | command to first words | to everything | typing to everything | page | one text |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {model} | {row['painted']:.2f} s | {row['whole']:.2f} s | {1000 * row['follows']:,.0f} ms "
        f"| {row['page_bytes'] / 1000:,.0f} kB | {row['look_bytes'] / 1000:,.0f} kB |"
        for model, row in found.items()
    ]
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["default", "smollm2"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

"""A real browser before a real server: every test fails on what the console complains of and on requests elsewhere.

Nothing sleeps: the page puts `data-drawn` on its root when all that was asked for is drawn, and tests wait for that.
The fixtures are the package's, not the session's: Playwright runs an event loop, which no test behind these may find.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
import torch
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, sync_playwright

import nextword
from nextword.config import GPTConfig
from nextword.language_model import LanguageModel
from nextword.loading import DEFAULT_MODEL
from nextword.tokens import Tokenizer
from tests.oracle.cases import random_weights
from tests.oracle.compare import torch_model
from tests.server.conftest import Served, save_chatty, serving

PATIENCE_MS = 30_000
TEXT = "The children are playing in the"
"""What the page is given where any text will do."""


def chromium() -> str:
    """The browser of this machine."""
    names = [os.environ.get("NEXTWORD_CHROMIUM"), "chromium", "chromium-browser", "google-chrome"]
    found = next((path for name in names if name and (path := shutil.which(name))), None)
    if found is None:
        pytest.fail(
            "the page's tests need Chromium: apt-get install chromium, or name one in NEXTWORD_CHROMIUM", pytrace=False
        )
    return found


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    arguments = ["--no-sandbox", "--disable-dev-shm-usage", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
    executable = chromium()
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=executable, args=arguments)
        yield started
        started.close()


# -- models and servers ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="package")
def lm() -> LanguageModel:
    """The default model."""
    return nextword.load()


GPT2_LETTERS = " ,.abcdefghijklmnopqrstuvwxyz"


@pytest.fixture(scope="package")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of GPT-2's shape, small, with random weights that are large enough for every part to matter."""
    config = GPTConfig.gpt2(len(GPT2_LETTERS), 48, d_model=24, num_heads=4, num_layers=3)
    model = torch_model(config, random_weights(config, seed=2), torch.float32).requires_grad_(False)
    made = LanguageModel.from_model(model, Tokenizer.characters(GPT2_LETTERS))
    return made.save(tmp_path_factory.mktemp("page-models") / "gpt2")


@pytest.fixture(scope="package")
def models(lm: LanguageModel, gpt2: Path) -> dict[str, LanguageModel]:
    """The served models by their names."""
    return {"nextword": lm, "gpt2": nextword.load(str(gpt2))}


@pytest.fixture(scope="package")
def chatty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_chatty(tmp_path_factory.mktemp("page-models") / "chatty")


@pytest.fixture(scope="package")
def server(gpt2: Path, chatty: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    log = tmp_path_factory.mktemp("page-server") / "log"
    with serving(log, f"nextword={DEFAULT_MODEL}", f"gpt2={gpt2}", f"chatty={chatty}") as served:
        served.client.post("/look", json={"text": "torch is loaded before the first test"})
        yield served


# -- the page ----------------------------------------------------------------------------------------------------------


@dataclass
class Visitor:
    """Opens pages, and keeps what went wrong on them."""

    browser: Browser
    server: Served | None
    allowed: list[str] = field(default_factory=list)
    """Complaints of the browser that the test provokes, as patterns."""
    problems: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    contexts: list[BrowserContext] = field(default_factory=list)

    def __call__(
        self,
        text: str | None = TEXT,
        *,
        lang: str | None = "en",
        model: str | None = None,
        width: int = 1200,
        height: int = 900,
        url: str | None = None,
        wait: bool = True,
        **context: Any,
    ) -> Page:
        """The page, drawn for a text."""
        base = url
        if base is None:
            assert self.server is not None
            base = f"{self.server.url}/"
        made = self.browser.new_context(
            viewport={"width": width, "height": height}, accept_downloads=True, **{"locale": "en-US", **context}
        )
        made.set_default_timeout(PATIENCE_MS)
        self.contexts.append(made)
        made.on("console", self._console)
        made.on("weberror", lambda error: self.problems.append(f"page error: {error.error}"))
        made.on("request", lambda request: self._request(request, base))
        page = made.new_page()
        asked = {"text": text, "lang": lang, "model": model}
        hashed = "&".join(f"{name}={quote(value, safe='')}" for name, value in asked.items() if value is not None)
        page.goto(f"{base}#{hashed}")
        if wait:
            drawn(page)
        return page

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            said = f"{message.text} {message.location.get('url', '')}"
            if not any(re.search(pattern, said) for pattern in self.allowed):
                self.problems.append(f"console {message.type}: {said}")

    def _request(self, request: Request, base: str) -> None:
        asked, own = urlsplit(request.url), urlsplit(base)
        if asked.scheme in ("data", "blob"):  # they leave nothing
            return
        self.requests.append(f"{request.method} {asked.path}")
        if (asked.scheme, asked.netloc) != (own.scheme, own.netloc):
            self.problems.append(f"a request elsewhere: {request.url}")


@pytest.fixture
def anywhere(browser: Browser) -> Iterator[Visitor]:
    """Opens pages that no server has."""
    visitor = Visitor(browser, None)
    yield visitor
    for context in visitor.contexts:
        context.close()
    assert visitor.problems == []


@pytest.fixture
def visit(anywhere: Visitor, server: Served) -> Visitor:
    """Opens the served page."""
    anywhere.server = server
    return anywhere


def drawn(page: Page) -> Page:
    """Waits until all that was asked for is on the page."""
    page.locator("html[data-drawn]").wait_for(state="attached")
    return page

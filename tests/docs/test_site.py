"""The site is built without a warning, holds everything in both languages, and works from disk."""

from __future__ import annotations

import html
import importlib
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import yaml
from playwright.sync_api import Browser, ConsoleMessage, Request, sync_playwright

import nextword
from nextword import figures
from nextword.cli import COMMANDS, home_of, run
from tests.docs.sources import DOCS, ROOT, blocks, headings, markdown, prose, twin
from tests.page.conftest import chromium

LANGUAGES = {"en": "", "ko": "ko/"}
SAME_CODE = {"bash", "json", "python", "toml", "yaml"}
"""Languages whose blocks are the same on both pages, but for comments and texts; others hold what is printed."""
RESULTS = ROOT / "benchmarks" / "results"


class _Settings(yaml.SafeLoader):
    """Reads mkdocs.yml, but makes no objects that it asks for."""


_Settings.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)


def _pages(entries: list[Any]) -> list[str]:
    found: list[str] = []
    for entry in entries:
        for value in entry.values():
            found += _pages(value) if isinstance(value, list) else [value]
    return found


NAV = _pages(yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Loader=_Settings)["nav"])  # noqa: S506


def source(page: str) -> Path:
    """What a page of the site is made from."""
    notebook = (DOCS / page).with_suffix(".ipynb")
    return notebook if notebook.is_file() else DOCS / page


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stdout + done.stderr
    return out


def page_of(site: Path, page: str, language: str) -> str:
    return (site / LANGUAGES[language] / page).with_suffix(".html").read_text(encoding="utf-8")


def words_of(page: str) -> str:
    """What is read of a page, or of a part of it."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", page)).split())


# -- both languages are whole ------------------------------------------------------------------------------------------


def test_every_page_is_in_the_navigation_or_is_for_developers() -> None:
    written = {path.relative_to(DOCS).with_suffix(".md").as_posix() for path in DOCS.rglob("*.ipynb")}
    written |= {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    assert {page for page in written if not page.endswith(".ko.md")} == {*NAV, "lab-notes.md", "releasing.md"}


@pytest.mark.parametrize("page", NAV)
def test_a_page_and_its_twin_have_the_same_sections_and_the_same_code(page: str) -> None:
    ours, theirs = markdown(source(page)), markdown(twin(source(page)))
    assert re.search("[가-힣]", prose(theirs))
    assert [level for level, _ in headings(ours)] == [level for level, _ in headings(theirs)]
    assert [language for language, _ in blocks(ours)] == [language for language, _ in blocks(theirs)]
    for (language, one), (_, other) in zip(blocks(ours), blocks(theirs), strict=True):
        if language in SAME_CODE:
            assert bare(one) == bare(other)


def bare(code: str) -> list[str]:
    """Code without comments, and with nothing in its texts."""
    code = re.sub(r"([\"']{3}|[\"'])(?:\\.|(?!\1).)*?\1", '""', code, flags=re.DOTALL)
    lines = [" ".join(re.sub(r"(^|\s)#.*$", "", line).split()) for line in code.splitlines()]
    return [line for line in lines if line]


def test_what_makes_code_the_same_is_what_it_does() -> None:
    assert bare('nextword "To be" --words  # whole words') == bare("nextword '모든 국민은' --words    # 단어")
    assert bare('nextword "To be" --words') != bare('nextword "To be" --word')
    assert bare("top = 3  # few") != bare("top = 4  # 조금")


# -- the references are whole ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_public_name_is_in_the_reference(site: Path, language: str) -> None:
    found = set(re.findall(r'id="(nextword\.[\w.]+)"', page_of(site, "reference/python.html", language)))
    wanted = {f"nextword.{name}" for name in nextword.__all__}
    wanted |= {f"nextword.figures.{name}" for name in figures.__all__ if name != "DPI"}
    for path in DOCS.glob("*.md"):  # and what the pages import
        for module, names in re.findall(r"^from (nextword[\w.]*) import ([\w, ]+)$", markdown(path), re.MULTILINE):
            wanted |= {f"{module}.{name.strip()}" for name in names.split(",")}
    assert wanted - found == set()


def test_every_method_and_argument_is_in_the_reference(site: Path) -> None:
    page = page_of(site, "reference/python.html", "en")
    for name in ("LanguageModel", "Tokenizer", "Trace", "Sampling"):
        members = {member for member in vars(getattr(nextword, name)) if not member.startswith("_")}
        assert {member for member in members if f'id="nextword.{name}.{member}"' not in page} == set()
    assert "precision: Precision = &quot;auto&quot;" in page or 'precision: Precision = "auto"' in words_of(page)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_in_the_reference(
    site: Path, language: str, command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    assert run([command, "--help"]) == 0
    table = "\n".join(line for line in capsys.readouterr().out.splitlines() if line.startswith("│"))
    options = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", table))
    sections = re.split(r'<h2 id="', page_of(site, "reference/commands.html", language))
    section = words_of(next(part for part in sections if part.startswith(f'nextword-{command}"')))
    assert options
    assert {option for option in options if not re.search(rf"{option}(?![\w-])", section)} == set()
    home, name = home_of(command).split(":")
    assert getattr(importlib.import_module(home), name).__doc__.splitlines()[0].replace("`", "") in section


# -- what was measured -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_benchmark_has_its_figures_on_the_page(site: Path, language: str) -> None:
    scripts = {path.stem for path in (ROOT / "benchmarks").glob("*.py")} - {"peers", "record"}
    assert {path.stem for path in RESULTS.glob("*.json")} == scripts
    page = words_of(page_of(site, "benchmarks.html", language))
    for path in RESULTS.glob("*.json"):
        found = json.loads(path.read_text(encoding="utf-8"))
        assert found["benchmark"] == path.stem
        assert found["command"] in page
        assert found["date"] in page
        assert found["machine"] in page
        for table in found["tables"]:
            for row in table["rows"]:
                assert len(row) == len(table["columns"]) == len(table["align"])
                assert " ".join(" ".join(row).replace("`", "").split()) in page


def test_a_benchmark_prints_what_the_page_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    record = importlib.import_module("record")
    monkeypatch.setattr(sys, "argv", ["/somewhere/decode.py", "/a/text.txt", "--rounds", "5", "--json"])
    found = json.loads(record.record("first\n\n| model | s |\n|---|---:|\n| a b | 1.5 |\n\n- last", {"s": [1.5]}))
    assert found["tables"] == [{"columns": ["model", "s"], "align": ["---", "---:"], "rows": [["a b", "1.5"]]}]
    assert (found["benchmark"], found["command"]) == ("decode", "python benchmarks/decode.py text.txt --rounds 5")
    assert found["figures"] == {"s": [1.5]}
    assert found["versions"]["nextword"] == nextword.__version__
    for path in RESULTS.glob("*.json"):
        assert set(json.loads(path.read_text(encoding="utf-8"))) - {"source"} <= set(found)


# -- the pages as they are built ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("page", NAV)
def test_a_page_needs_nothing_from_elsewhere_and_its_links_lead_somewhere(site: Path, page: str, language: str) -> None:
    text = page_of(site, page, language)
    assert f'<html lang="{language}"' in text
    assert 'class="mermaid"' not in text  # it would be drawn by a script from elsewhere
    for tag in re.findall(r"<(?:script|link|img|iframe)\b[^>]*>", text):
        assert not re.search(r"(?:src|href)=[\"']?(?:https?:)?//", tag), tag
    here = (site / LANGUAGES[language] / page).with_suffix(".html")
    for target in re.findall(r'(?:src|href)="([^"]+)"', text):
        path, _, anchor = html.unescape(target).partition("#")
        if not re.match(r"(?:https?|mailto):", target):
            leads_to = here if path in {"", "."} else here.parent / unquote(path)
            assert leads_to.is_file(), target
            if anchor and leads_to.suffix == ".html":
                assert f'id="{unquote(anchor)}"' in leads_to.read_text(encoding="utf-8"), target


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("page", NAV)
def test_no_markdown_is_left_unread(site: Path, page: str, language: str) -> None:
    """GitHub takes a list or table without an empty line before it; the site's Markdown does not."""
    article = re.search(r"<article.*?</article>", page_of(site, page, language), re.DOTALL)
    assert article
    text = re.sub(r"<pre>.*?</pre>", "", article[0], flags=re.DOTALL)
    assert not re.search(r"^(?:[-*] |1\. |\|.*\|$|```|#+ |:::)", text, re.MULTILINE)
    assert "<!-- results" not in text
    assert "<!-- commands" not in text


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_lesson_is_shown_as_it_ran(site: Path, language: str) -> None:
    page = page_of(site, "lesson.html", language)
    cells = [block for kind, block in blocks(markdown(DOCS / "lesson.ipynb")) if kind == "python"]
    article = re.search(r"<article.*?</article>", page, re.DOTALL)
    assert article
    assert article[0].count('<div class="cell-output">') >= len(cells) / 2
    pictures = re.findall(r'<img alt="[^"]+" src="([^"]+)"', article[0])
    assert len(pictures) >= 5
    for picture in pictures:
        assert (site / LANGUAGES[language] / picture).read_bytes().startswith((b"\x89PNG", b"<?xml", b"<svg"))
    notebook = source("lesson.md") if language == "en" else twin(source("lesson.md"))
    assert (site / LANGUAGES[language] / "lesson.ipynb").read_bytes() == notebook.read_bytes()


# -- in a browser, from disk -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield started
        started.close()


@pytest.mark.parametrize(("language", "asked"), [("en", "temperature"), ("ko", "로짓")])
def test_from_disk_the_search_finds_pages_of_its_language(
    site: Path, browser: Browser, language: str, asked: str
) -> None:
    complaints: list[str] = []

    def complain(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            complaints.append(message.text)

    def ask(request: Request) -> None:
        if not request.url.startswith(("file:", "data:")):
            complaints.append(request.url)

    page = browser.new_page()
    page.on("console", complain)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", ask)
    page.goto((site / LANGUAGES[language] / "reference" / "commands.html").as_uri())
    page.click(".md-search__input")
    page.fill(".md-search__input", asked)
    page.press(".md-search__input", "End")
    page.wait_for_selector(".md-search-result__link", timeout=30_000)
    counts = Counter[str]()
    for link in page.locator(".md-search-result__link").all():
        path = Path(unquote((link.get_attribute("href") or "").removeprefix("file://").split("?")[0].split("#")[0]))
        assert path.is_file()
        counts["ko" if path.is_relative_to(site / "ko") else "en"] += 1
    assert set(counts) == {language}
    other = page.locator(f"a[hreflang={'ko' if language == 'en' else 'en'}]").first.get_attribute("href") or ""
    page.goto(page.evaluate("link => new URL(link, location).href", other))
    assert page.locator("html").get_attribute("lang") != language
    assert page.url.endswith("reference/commands.html")
    page.close()
    assert complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_nothing_is_wider_than_the_screen(site: Path, browser: Browser, scheme: Any) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme=scheme)
    page = context.new_page()
    for address in ("index.html", "ko/benchmarks.html", "reference/python.html", "ko/lesson.html"):
        page.goto((site / address).as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") == 390, address
        assert (
            page.locator("body").get_attribute("data-md-color-scheme") == {"light": "default", "dark": "slate"}[scheme]
        )
    context.close()

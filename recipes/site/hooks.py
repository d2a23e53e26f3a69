"""What mkdocs calls while it builds the site (mkdocs.yml names this file).

The site is built from a copy of docs/ in which everything generated is filled in. It works from disk as well as from a
server, and each language has a search of its own.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.livereload import LiveReloadServer
from mkdocs.plugins import event_priority
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page
from pages import stage

LANGUAGES = {"en": ["en"], "ko": ["ko", "en"]}
"""Language -> those whose words its search knows."""
_ALTERNATE = re.compile(r'\s*<link rel="alternate"[^>]*>')


def _folders(config: MkDocsConfig) -> tuple[Path, Path]:
    """Where the pages are written by people, and where they are when everything is filled in."""
    root = Path(config.config_file_path).parent
    return root / "docs", root / "build" / "site-source"


@event_priority(100)  # before the plugins read the folder
def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Fills the pages in, once a build: mkdocs-static-i18n comes by again for each language."""
    docs, staged = _folders(config)
    if Path(config.docs_dir) != staged:
        stage(docs, staged)
        config.docs_dir = str(staged)
    return config


def on_serve(server: LiveReloadServer, config: MkDocsConfig, builder: object) -> LiveReloadServer:  # noqa: ARG001
    """What people write is watched, not the copy."""
    docs, staged = _folders(config)
    server.unwatch(str(staged))
    server.watch(str(docs))
    return server


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """The first page has its width to itself."""
    if page.file.src_uri.startswith("index."):
        page.meta["hide"] = ["navigation", "toc"]
    return markdown


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:  # noqa: ARG001
    """A Korean page looks for its search in `ko/`; none asks for a map of the other language, whose page it links."""
    output = _ALTERNATE.sub("", output)
    folder, *deeper = page.url.split("/")
    if folder != "ko":
        return output
    up = [".."] * len(deeper)
    return output.replace(f'"base": "{"/".join(up)}"', f'"base": "{"/".join(up[1:]) or "."}"', 1)


@event_priority(-200)  # behind mkdocs-static-i18n, which puts the languages' pages into one index
def on_post_build(config: MkDocsConfig) -> None:
    """Writes a search index for each language, and as a script, which pages from disk can read."""
    site = Path(config.site_dir)
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    korean = [entry for entry in index["docs"] if entry["location"].startswith("ko/")]
    english = [entry for entry in index["docs"] if not entry["location"].startswith("ko/")]
    korean = [{**entry, "location": entry["location"].removeprefix("ko/")} for entry in korean]
    for language, folder, entries in (("en", site, english), ("ko", site / "ko", korean)):
        settings = {**index["config"], "lang": LANGUAGES[language]}
        text = json.dumps({"config": settings, "docs": entries}, ensure_ascii=False, separators=(",", ":"))
        (folder / "search").mkdir(parents=True, exist_ok=True)
        (folder / "search" / "search_index.json").write_text(text, encoding="utf-8")
        (folder / "search" / "search_index.js").write_text(f"var __index = {text}", encoding="utf-8")

"""What the page's files may hold."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nextword.inspection.page_file import page_files

SOURCES = {name: item.read_text(encoding="utf-8") for name, item in page_files().items()}
MODULES = {name: text for name, text in SOURCES.items() if name.endswith(".js")}
MOST_LINES = 310


@pytest.mark.parametrize(
    "pattern",
    [
        r"Math\s*\.\s*random",
        r"\brandom\s*\(",
        r"getRandomValues",
        r"randomUUID",
        r"\bcrypto\b",
        r"(?i)\bnoise\b",
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write",
        r"\beval\s*\(|new Function",
        r"(?<!\{)(?<!typeof )(?<!: )(?<!<)(?<!\| )\bimport\s*\(",  # types are named by import(...) in comments
        r"import\.meta",
        r"https?://(?!www\.w3\.org/2000/svg\")",
        r"\bwss?://|WebSocket|sendBeacon|XMLHttpRequest|EventSource",
        r"@import|url\((?!data:|#)",
        r"\sstyle=|setAttribute\(\"style\"",
        r"\son[a-z]+=\"",
        r"//# source",
    ],
)
def test_no_file_of_the_page_has(pattern: str) -> None:
    found = [
        f"{name}:{number}: {line.strip()}"
        for name, text in SOURCES.items()
        for number, line in enumerate(text.splitlines(), 1)
        if re.search(pattern, line)
    ]
    assert found == []


def test_every_module_is_reached_from_main() -> None:
    reached, waiting = set(), ["main.js"]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            code = re.sub(r"/\*.*?\*/", "", MODULES[name], flags=re.DOTALL)  # types are imported in comments
            waiting += re.findall(r'^\s*(?:import|export)\b[^;]*?from "nextword/([\w/]+\.js)";', code, re.MULTILINE)
            assert not re.findall(r'from "(?!nextword/)', code), name
    types_alone = {"types.js"}
    assert set(MODULES) - reached == types_alone
    assert "export {};" in MODULES["types.js"]


def test_every_export_is_used_elsewhere() -> None:
    unused = []
    for name, text in MODULES.items():
        for exported in re.findall(r"^export (?:async )?(?:function|const|class) (\w+)", text, re.MULTILINE):
            others = (other for place, other in MODULES.items() if place != name)
            if not any(re.search(rf"\b{exported}\b", other) for other in others):
                unused.append(f"{name}: {exported}")
    assert unused == []


def test_every_option_of_a_chart_is_given_elsewhere() -> None:
    charts = {name: text for name, text in MODULES.items() if name.startswith("charts/")}
    optional = {
        (name, option) for name, text in charts.items() for option in re.findall(r"@property .*? \[(\w+)\]", text)
    }
    assert len(optional) > 10
    unused = [
        f"{name}: {option}"
        for name, option in sorted(optional)
        if not any(re.search(rf"\b{option}\b", text) for place, text in MODULES.items() if place != name)
    ]
    assert unused == []


def test_every_text_is_used() -> None:
    keys = re.findall(r'^  "([\w.]+)":', MODULES["texts/en.js"], re.MULTILINE)
    code = "".join(text for name, text in SOURCES.items() if not name.startswith("texts/"))
    made = {"lens.probabilityNote", "lens.rankNote", "lens.klNote"}  # lens.${lensMode}Note
    assert [key for key in keys if f'"{key}"' not in code and key not in made] == []


def test_modules_are_short_and_styles_are_used() -> None:
    assert {name: text.count("\n") for name, text in MODULES.items() if text.count("\n") > MOST_LINES} == {}
    classes = set(
        re.findall(r"\.([a-z][\w-]*)(?=[^{}]*\{)", re.sub(r"/\*.*?\*/", "", SOURCES["style.css"], flags=re.DOTALL))
    )
    code = "".join(text for name, text in SOURCES.items() if name != "style.css")
    assert sorted(name for name in classes if not re.search(rf"\b{name}\b", code)) == []


def test_the_page_is_the_repositorys() -> None:
    folder = Path(__file__).parents[2] / "src" / "nextword" / "page"
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == set(SOURCES)


def test_dark_stands_once() -> None:
    """theme.js lets the one rule hold always or never: by the very words that the style sheet has."""
    names = re.findall(r"^\s+(--[\w-]+):", SOURCES["style.css"], re.MULTILINE)
    assert max(names.count(name) for name in names) == 2  # light and dark
    assert sum(names.count(name) == 2 for name in set(names)) > 25
    [words] = re.findall(r'^const SYSTEM = "(.+)";$', MODULES["theme.js"], re.MULTILINE)
    assert SOURCES["style.css"].count(f"@media {words} {{") == 1

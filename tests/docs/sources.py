"""The documentation's sources, read: pages and their twins, headings, code, links."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from pathlib import Path

import nbformat

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
_BLOCK = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```", re.MULTILINE | re.DOTALL)


def markdown(path: Path) -> str:
    """A page's Markdown; of a notebook, its text and its code as blocks."""
    if path.suffix != ".ipynb":
        return path.read_text(encoding="utf-8")
    cells = nbformat.reads(path.read_text(encoding="utf-8"), as_version=4).cells
    parts = [c.source if c.cell_type == "markdown" else f"```python\n{c.source}\n```" for c in cells]
    return "\n\n".join(parts)


def blocks(text: str) -> list[tuple[str, str]]:
    """Language and text of every block of code."""
    return [(found[2], found[3]) for found in _BLOCK.finditer(text)]


def prose(text: str) -> str:
    """Without blocks of code."""
    return _BLOCK.sub("", text)


def headings(text: str) -> list[tuple[int, str]]:
    """Level and title of every heading."""
    return [(len(found[1]), found[2]) for found in re.finditer(r"^(#{1,6}) (.+)$", prose(text), re.MULTILINE)]


def anchors(text: str) -> set[str]:
    """The names that GitHub gives to headings."""
    found, seen = set(), Counter[str]()
    for _, title in headings(text):
        words = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", title).strip().lower()
        slug = "".join(c for c in words if c in "-_ " or unicodedata.category(c)[0] in "LN").replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def links(text: str) -> list[str]:
    """Targets of all links and pictures but those with a scheme."""
    targets = re.findall(r"\]\(([^()\s]+)\)", prose(text))
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


def twin(path: Path) -> Path:
    """A page's Korean twin."""
    return path.with_suffix(f".ko{path.suffix}")

"""Links in the documentation lead to files, and anchors to headings, that exist, as GitHub shows them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.sources import DOCS, ROOT, anchors, links, markdown

FILES = [
    *sorted(ROOT.glob("*.md")),
    ROOT / "benchmarks" / "README.md",
    *sorted(path for path in DOCS.rglob("*") if path.suffix in {".md", ".ipynb"}),
]
GENERATED = DOCS / "reference"
"""What stands on these pages is made with the site, which is built with every anchor checked."""


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(path: Path) -> None:
    for link in links(markdown(path)):
        target, _, anchor = link.partition("#")
        leads_to = path.parent / target if target else path
        assert leads_to.exists(), link
        if anchor and leads_to.parent.resolve() != GENERATED:
            assert anchor in anchors(markdown(leads_to)), link

"""axe-core finds nothing wrong with the page, however it looks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.page.conftest import Visitor, drawn

AXE = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"


@pytest.fixture(scope="package")
def axe() -> str:
    if not AXE.is_file():
        pytest.fail("the page is checked with axe-core, which is not here: npm ci", pytrace=False)
    return AXE.read_text(encoding="utf-8")


def findings(page: Page, axe: str) -> list[str]:
    page.evaluate(axe)
    found: dict[str, Any] = page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
    assert len(found["passes"]) > 20, "axe looked at the page"
    return [
        f"{one['impact']} {one['id']}: {node['target']} {node.get('failureSummary', '')[:160]}"
        for one in found["violations"]
        for node in one["nodes"][:3]
    ]


@pytest.mark.parametrize(("lang", "scheme"), [("en", "light"), ("en", "dark"), ("ko", "light")])
def test_the_page_is_accessible(visit: Visitor, axe: str, lang: str, scheme: str) -> None:
    page = visit("To be, or 뷁", lang=lang, color_scheme=scheme)
    assert page.locator("#blocks .thumbs").is_visible()
    assert findings(page, axe) == []
    # With all that can be opened, and a change.
    for summary in page.locator("summary:visible").all():
        summary.click()
    page.locator("#blocks .switch").nth(1).click()
    page.locator("#second .station-body button").first.click()
    page.locator("#second .lens").wait_for()
    page.locator("#tokens .chip").first.click()
    page.locator("#walk button.primary").click()
    page.locator("#tokens .chip.written").wait_for()
    drawn(page)
    page.locator("#lens .lens-cell[data-row='2'][data-column='1']").hover()
    assert findings(page, axe) == []


def test_the_page_of_a_model_with_position_vectors_is_accessible_on_a_telephone(visit: Visitor, axe: str) -> None:
    page = visit("to be, or not", model="gpt2", width=390, height=800)
    assert findings(page, axe) == []


def test_the_empty_page_and_an_error_are_accessible(visit: Visitor, axe: str) -> None:
    page = visit("")
    assert findings(page, axe) == []
    visit.allowed.append(r"400 .*/look")
    page = visit("뷁", model="gpt2")
    assert "warn" in (page.locator("#status").get_attribute("class") or "")
    assert findings(page, axe) == []

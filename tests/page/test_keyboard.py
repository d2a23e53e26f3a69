"""Without a mouse, and on a telephone."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

import nextword
from nextword.generation.sampling import Sampling
from nextword.language_model import LanguageModel
from tests.page.conftest import TEXT, Visitor, drawn
from tests.page.test_changes import assert_predicts
from tests.page.test_writing import drawn_ids, ids_of


def tab_to(page: Page, selector: str, nth: int = 0) -> None:
    """Presses Tab until the element has the focus."""
    wanted = page.locator(selector).nth(nth)
    for _ in range(300):
        page.keyboard.press("Tab")
        if wanted.evaluate("(wanted) => document.activeElement === wanted"):
            assert wanted.evaluate(
                """(wanted) => {
                  const {outlineStyle, boxShadow} = getComputedStyle(wanted);
                  return outlineStyle !== "none" || boxShadow !== "none";
                }"""
            ), f"{selector} does not show that it has the focus"
            return
    raise AssertionError(f"Tab does not come to {selector}")


def test_a_head_is_switched_off_and_the_next_word_drawn_by_keyboard_alone(visit: Visitor, lm: LanguageModel) -> None:
    page = visit(TEXT)
    tab_to(page, "#blocks .strip button", 1)
    page.keyboard.press("Enter")
    expect(page.locator("#blocks .thumbs")).to_have_attribute("aria-label", "Heads of layer 1")
    drawn(page)
    tab_to(page, "#blocks .switch", 2)
    page.keyboard.press("Space")
    drawn(page)
    assert page.locator("#blocks .switch").nth(2).get_attribute("aria-checked") == "false"
    edited = lm.edit(nextword.ablate_head(1, 2))
    assert_predicts(page, edited, TEXT)
    # Space on a switch is the switch's own; it drew no word.
    assert len(ids_of(page)) == len(lm.tokenizer.encode_start(TEXT))
    tab_to(page, "#walk button.primary")
    page.keyboard.press("Enter")
    expect(page.locator("#tokens .chip.written")).to_have_count(1)
    drawn(page)
    assert ids_of(page) == drawn_ids(edited, TEXT, 1, Sampling(), seed=1)


def test_everything_that_can_be_pressed_is_reached_by_tab(visit: Visitor) -> None:
    page = visit(TEXT)
    page.evaluate("document.body.focus()")
    reached = set()
    for _ in range(400):
        page.keyboard.press("Tab")
        now = page.evaluate(
            """() => {
              const all = Array.from(document.querySelectorAll("*"));
              return document.activeElement === document.body ? -1 : all.indexOf(document.activeElement);
            }"""
        )
        if now < 0 or now in reached:
            break
        reached.add(now)
    missed = page.evaluate(
        """(reached) => {
          const all = Array.from(document.querySelectorAll("*"));
          const pressed = "button, a, input, select, textarea, summary, [role=application]";
          const wanted = all.filter((one) => one.matches(pressed) && !one.disabled && one.checkVisibility());
          return wanted.filter((one) => !reached.includes(all.indexOf(one))).map((one) => one.outerHTML.slice(0, 120));
        }""",
        sorted(reached),
    )
    assert missed == []
    assert len(reached) > 60


@pytest.mark.parametrize("lang", ["en", "ko"])
@pytest.mark.parametrize("name", ["nextword", "gpt2"])
def test_nothing_is_wider_than_a_telephone(visit: Visitor, name: str, lang: str) -> None:
    text = "to be, or not to be, that is the"
    page = visit(text, model=name, lang=lang, width=390, height=800, has_touch=True)
    page.locator("#second .station-body button").first.click()
    page.locator("#second textarea").fill("a king is dead")
    page.locator("#second .lens").wait_for()
    page.locator("#blocks .switch").nth(1).click()
    page.locator("#walk button.primary").click()
    expect(page.locator("#tokens .chip.written")).to_have_count(1)
    drawn(page)
    assert page.evaluate("[document.documentElement.scrollWidth, document.body.scrollWidth]") == [390, 390]
    for station in ("tokens", "embedding", "blocks", "residual", "lens", "second", "probabilities", "walk", "chat"):
        box = page.locator(f"#{station}").bounding_box()
        assert box
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390

"""Languages, colours and the address."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page

from nextword.language_model import LanguageModel
from tests.page.conftest import TEXT, Visitor, drawn
from tests.page.test_changes import assert_predicts, open_layer, press_switch

KOREAN = "배가 고파서 밥을"
NAMES = {
    *("nextword", "GPT", "MLP", "KL", "SVG", "PNG", "PyTorch", "API", "Esc", "Enter", "Ctrl"),
    *("Top", "Min", "top", "min", "nat", "MB", "GB", "kB", "API"),
    *("English", "default", "model", "float", "native", "torch", "transformers", "AVX", "CPU"),
}
"""Names, signs and units, which are the same in both languages; English is what its own language calls itself."""


def texts(page: Page, lang: str) -> dict[str, str]:
    found: dict[str, str] = page.evaluate(
        """async ([file, name]) => (await import(`nextword/texts/${file}.js`))[name]""",
        [lang, {"en": "english", "ko": "korean"}[lang]],
    )
    return found


def places(text: str) -> list[str]:
    return sorted(set(re.findall(r"\{(\w+)\}", text)))


def test_both_languages_say_the_same_things(visit: Visitor) -> None:
    page = visit("", wait=False)
    english, korean = texts(page, "en"), texts(page, "ko")
    assert len(english) > 200
    assert english.keys() == korean.keys()
    for key, text in english.items():
        assert places(text) == places(korean[key]), key
        assert text.strip() == text != ""
        assert korean[key].strip() == korean[key] != ""
    same = {
        key
        for key, text in english.items()
        if text == korean[key] and re.search("[A-Za-z]{2}", re.sub(r"\{\w+\}", "", text))
    }
    assert same <= {"probabilities.topK", "probabilities.topP", "probabilities.minP", "blocks.mlp"}


def visible_texts(page: Page) -> list[str]:
    """Everything that is to be read on the page, or read out, except code and what the model wrote or was given."""
    found: list[str] = page.evaluate(
        """() => {
          const skipped = "code, script, style, noscript, textarea, .tooltip, .chip, .lens-text, .lens-head, .bar-text,"
            + " .written-text, .axis-name, .visually-hidden, #model, option[lang]";
          const texts = [];
          const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
          for (let node = walker.nextNode(); node; node = walker.nextNode()) {
            const left = node.parentElement.closest(skipped) ?? node.parentElement.closest("[hidden]");
            if (!left && node.data.trim() !== "") texts.push(node.data.trim());
          }
          for (const node of document.body.querySelectorAll("[aria-label], [title], [placeholder], [aria-valuetext]")) {
            if (node.closest("[hidden]") || node.matches(skipped)) continue;
            for (const name of ["aria-label", "title", "placeholder", "aria-valuetext"]) {
              const text = node.getAttribute(name);
              if (text) texts.push(text);
            }
          }
          return [document.title, ...texts];
        }"""
    )
    return found


def english_words(page: Page, texts: list[str]) -> list[tuple[str, str]]:
    """The English words of texts, each with its text; but for names, and words that are the model's."""
    tokens = page.locator(".chip, .lens-head, .lens-text, .bar-text, .written-text").all_text_contents()
    known = NAMES | {word for token in tokens for word in re.findall(r"[A-Za-z]{2,}", token)}
    return [(word, text) for text in texts for word in re.findall(r"[A-Za-z]{2,}", text) if word not in known]


def test_the_korean_page_speaks_korean(visit: Visitor, lm: LanguageModel) -> None:
    page = visit(KOREAN)
    open_layer(page, 2)
    press_switch(page, "Head 1 of layer 2 on")
    page.get_by_role("button", name="Next", exact=True).click()
    page.get_by_role("button", name="Compare with a second text").click()
    page.locator("#second .lens").wait_for()
    page.mouse.move(0, 0)  # no tooltip stays
    drawn(page)
    before = visible_texts(page)
    page.locator("#language").select_option("ko")
    drawn(page)
    after = visible_texts(page)
    assert page.locator("html").get_attribute("lang") == "ko"
    assert english_words(page, after) == []
    assert len(english_words(page, before)) > 300
    kept = {text for text in set(before) & set(after) if re.search("[A-Za-z]{2}", text)}
    assert english_words(page, sorted(kept)) == []
    korean = texts(page, "ko")
    assert page.title() == korean["page.title"]
    assert page.locator("#lens h2").text_content() == korean["lens.title"]
    assert page.locator("#status").text_content().startswith("준비되었습니다")
    page.locator("#language").select_option("en")
    assert sorted(visible_texts(drawn(page))) == sorted(before)


def test_an_untouched_example_changes_with_the_language(visit: Visitor, lm: LanguageModel) -> None:
    page = visit(None, lang=None, locale="ko-KR")
    assert page.input_value("#text") == KOREAN
    assert_predicts(page, lm, KOREAN)
    page.locator("#language").select_option("en")
    drawn(page)
    assert page.input_value("#text") == TEXT
    assert_predicts(page, lm, TEXT)
    page.fill("#text", "My own")
    page.locator("#language").select_option("ko")
    assert page.input_value("#text") == "My own"


@pytest.mark.parametrize("system", ["light", "dark"])
def test_colours_follow_the_system_or_the_choice(visit: Visitor, system: str) -> None:
    page = visit("To be", color_scheme=system)
    ground = "getComputedStyle(document.body).backgroundColor"

    def brightness() -> float:
        return sum(int(n) for n in re.findall(r"\d+", page.evaluate(ground))[:3]) / 3

    painted = """() => {
      const canvas = document.querySelector("#embedding .heat-canvas");
      const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", {willReadFrequently: true});
      copy.drawImage(canvas, 0, 0);
      const {data} = copy.getImageData(0, 0, canvas.width, canvas.height);
      let sum = 0;
      for (let i = 0; i < data.length; i += 4) sum += data[i] + data[i + 1] + data[i + 2];
      return sum / (data.length / 4) / 3;
    }"""
    assert (brightness() > 128) == (system == "light")
    seen = {}
    for theme in ("dark", "light"):
        page.locator("#theme").select_option(theme)
        drawn(page)
        assert (brightness() > 128) == (theme == "light")
        seen[theme] = page.evaluate(painted)
    assert seen["light"] > 180
    assert seen["dark"] < 90, "pictures are painted again in the other colours"
    page.reload()
    drawn(page)
    assert page.locator("#theme").input_value() == "light", "the choice is remembered"
    assert brightness() > 128
    page.locator("#theme").select_option("auto")
    assert (brightness() > 128) == (system == "light")


def test_the_address_holds_text_language_and_model(visit: Visitor, models: dict[str, LanguageModel]) -> None:
    page = visit("to be", model="gpt2", lang="ko")
    page.fill("#text", "to be, or not")
    page.wait_for_url(re.compile("or(%20|\\+)not"))
    drawn(page)
    asked = parse_qs(urlsplit(page.url).fragment)
    assert asked == {"text": ["to be, or not"], "lang": ["ko"], "model": ["gpt2"]}
    again = page.context.new_page()
    again.goto(page.url)
    drawn(again)
    assert again.input_value("#text") == "to be, or not"
    assert again.locator("#model").input_value() == "gpt2"
    assert again.locator("html").get_attribute("lang") == "ko"
    assert_predicts(again, models["gpt2"], "to be, or not")
    # An address that changes under the page changes the page.
    again.evaluate("location.hash = '#text=To%20be&lang=en&model=nextword'")
    again.locator("html[lang=en]").wait_for()
    drawn(again)
    assert_predicts(again, models["nextword"], "To be")


def test_another_model_is_chosen_from_the_list(visit: Visitor, models: dict[str, LanguageModel]) -> None:
    page = visit("to be")
    assert page.locator("#model option").all_text_contents() == ["nextword", "gpt2", "chatty"]
    open_layer(page, 2)
    press_switch(page, "Head 1 of layer 2 on")
    page.locator("#model").select_option("gpt2")
    drawn(page)
    assert_predicts(page, models["gpt2"], "to be")
    assert page.locator("#changes").is_hidden()
    assert page.locator("#blocks .strip button").count() == 3

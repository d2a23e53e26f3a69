"""Writing on: the words that are drawn are those that `nextword.generation` draws with the same seeds."""

from __future__ import annotations

import numpy as np
from playwright.sync_api import Page, expect

import nextword
from nextword.generation.sampling import Sampling
from nextword.language_model import LanguageModel
from tests.page.conftest import Visitor, drawn
from tests.page.reading import stage_columns
from tests.page.test_changes import open_layer, press_switch
from tests.page.test_sampling import slide

TEXT = "One day, a little girl"
SEED = 7


def drawn_ids(lm: LanguageModel, text: str, count: int, sampling: Sampling, seed: int = SEED) -> list[int]:
    """The text's tokens, and as many more, drawn one by one."""
    ids = lm.tokenizer.encode_start(text)
    for _ in range(count):
        logits = lm.trace(ids)["logits"][-1]
        ids.append(sampling.draw(logits, ids, np.random.default_rng([seed, len(ids)])))
    return ids


def written(lm: LanguageModel, ids: list[int]) -> str:
    """The text of tokens as the page writes it: a stray byte as `⟨93⟩`."""
    return "".join(piece.text for piece in lm.tokenizer.pieces(ids) if piece.part == 1)


def seeded(page: Page, seed: int = SEED) -> None:
    page.get_by_label("Seed").fill(str(seed))
    page.keyboard.press("Enter")
    drawn(page)


def press(page: Page, name: str) -> None:
    page.locator("#walk").get_by_role("button", name=name, exact=True).click()
    expect(page.locator("#walk").get_by_role("button", name="Stop")).to_be_hidden(timeout=60_000)
    drawn(page)


def ids_of(page: Page) -> list[int]:
    return [int(text) for text in page.locator("#tokens .chip .number").all_text_contents()]


def texts_of(page: Page) -> list[str]:
    return page.locator("#walk .columns > div:visible .written-text").all_text_contents()


def leave_the_controls(page: Page) -> None:
    page.evaluate("document.activeElement.blur()")


def test_ten_words_are_drawn_as_generation_draws_them(visit: Visitor, lm: LanguageModel) -> None:
    page = visit(TEXT)
    sampling = Sampling(temperature=0.9, top_k=40, top_p=0.95)
    slide(page, sampling)
    seeded(page)
    ids = drawn_ids(lm, TEXT, 11, sampling)
    start = len(ids) - 11
    press(page, "×10")
    assert ids_of(page) == ids[:-1]
    assert page.input_value("#text") == lm.tokenizer.decode(ids[:-1])
    assert texts_of(page) == [written(lm, ids[:-1])]
    assert "10 of 10 written tokens are shown" in page.locator("#walk").text_content()
    assert page.locator("#tokens .chip.written").count() == 10
    leave_the_controls(page)
    page.keyboard.press("Space")
    expect(page.locator("#tokens .chip")).to_have_count(len(ids))
    assert ids_of(drawn(page)) == ids

    for back in range(1, 4):
        page.keyboard.press("ArrowLeft")
        assert ids_of(drawn(page)) == ids[: len(ids) - back]
    assert_predicts_ids(page, lm, ids[:-3])
    page.keyboard.press("ArrowRight")
    assert ids_of(drawn(page)) == ids[:-2]
    press(page, "← Back")
    assert ids_of(page) == ids[:-3]
    press(page, "Forward →")
    assert ids_of(page) == ids[:-2]

    # A click on another bar branches there; undo brings the old branch back.
    bar = page.locator("#probabilities .columns.four > div").nth(1).locator("button.bar").nth(3)
    bar.click()
    drawn(page)
    branch = int(np.argsort(-lm.trace(ids[:-2])["logits"][-1], kind="stable")[3])
    assert ids_of(page) == [*ids[:-2], branch]
    assert_predicts_ids(page, lm, [*ids[:-2], branch])
    press(page, "Undo")
    assert ids_of(page) == ids[:-2]
    press(page, "Forward →")
    press(page, "Forward →")
    assert ids_of(page) == ids
    press(page, "Back to the start")
    assert ids_of(page) == ids[:start]
    assert page.input_value("#text") == TEXT


def assert_predicts_ids(page: Page, lm: LanguageModel, ids: list[int]) -> None:
    wanted = [candidate.text for candidate in lm.predict(ids, 5)]
    assert [bar.text.replace("␣", " ").replace("↵", "\n") for bar in stage_columns(page)[1][:5]] == wanted


def test_another_seed_writes_another_text_and_the_same_seed_the_same(visit: Visitor, lm: LanguageModel) -> None:
    page = visit(TEXT)
    wanted = {seed: drawn_ids(lm, TEXT, 2, Sampling(), seed) for seed in range(3, 20)}
    other = next(seed for seed, ids in wanted.items() if ids != wanted[3])
    for seed in (3, other, 3):
        seeded(page, seed)
        press(page, "Next")
        press(page, "Next")
        assert ids_of(page) == wanted[seed]
        press(page, "Back to the start")


def test_the_same_words_come_in_korean_where_a_word_ends_within_a_syllable(visit: Visitor, lm: LanguageModel) -> None:
    text = "나는 뷁 꿻"
    page = visit(text)
    seeded(page)
    slide(page, Sampling(temperature=1.5))
    press(page, "×10")
    ids = drawn_ids(lm, text, 10, Sampling(temperature=1.5))
    assert ids_of(page) == ids
    assert "\ufffd" not in page.input_value("#text")


def test_with_a_change_two_texts_stand_side_by_side_and_both_are_right(visit: Visitor, lm: LanguageModel) -> None:
    page = visit(TEXT)
    open_layer(page, 0)
    press_switch(page, "MLP of layer 0 on")
    seeded(page)
    press(page, "×10")
    edited = lm.edit(nextword.ablate_mlp(0))
    changed, plain = drawn_ids(edited, TEXT, 10, Sampling()), drawn_ids(lm, TEXT, 10, Sampling())
    assert changed != plain
    assert ids_of(page) == changed
    assert texts_of(page) == [written(lm, changed), written(lm, plain)]
    captions = page.locator("#walk .columns .caption").all_text_contents()
    assert captions == ["With the changes", "Without the changes"]
    leave_the_controls(page)
    for back in (1, 2, 3):
        page.keyboard.press("ArrowLeft")
        drawn(page)
        assert texts_of(page) == [written(lm, changed[:-back]), written(lm, plain[:-back])]
    # The change is gone: the text that was written stays, and is read by the unchanged model.
    page.locator("#changes").get_by_role("button", name="Remove all").click()
    drawn(page)
    assert ids_of(page) == changed[:-3]
    assert_predicts_ids(page, lm, changed[:-3])

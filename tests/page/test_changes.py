"""What a change in the model does: the same as `lm.edit`."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
from playwright.sync_api import Page

import nextword
from nextword.generation.sampling import softmax
from nextword.inspection.edits import Edits
from nextword.language_model import LanguageModel
from tests.page.conftest import TEXT, Visitor, drawn
from tests.page.reading import assert_reads, lens, reads, shown, stage_columns

LETTERS = "to be, or not"
OTHER = "뷁 나는 오늘"


def top_five(page: Page) -> list[tuple[str, str]]:
    """The five most probable tokens in the station of probabilities."""
    return [(bar.text, bar.value) for bar in stage_columns(page)[1][:5]]


def assert_predicts(page: Page, lm: LanguageModel, text: str) -> None:
    """Whether the page's first five are the model's, in their order."""
    wanted = lm.predict(text, 5)
    found = top_five(page)
    assert [name for name, _ in found] == [shown(candidate.text) for candidate in wanted]
    assert_reads([value for _, value in found], [candidate.probability for candidate in wanted])


def assert_bar_tells(page: Page, before: LanguageModel, after: LanguageModel, text: str) -> None:
    """Whether the bar of changes has the first five of both, with both probabilities."""
    both = [softmax(model.trace(text)["logits"][-1]) for model in (before, after)]
    first = {int(token) for values in both for token in np.argsort(-values, kind="stable")[:5]}
    ranked = sorted(first, key=lambda token: -max(values[token] for values in both))
    labels = page.locator("#changes li").evaluate_all("(all) => all.map((one) => one.getAttribute('aria-label'))")
    vocabulary = before.tokenizer.vocabulary
    assert len(labels) == len(ranked) >= 5
    for label, token in zip(labels, ranked, strict=True):
        found = re.fullmatch(r"(.*): (\S+) before, (\S+) after", label)
        assert found, label
        assert found[1] == shown(vocabulary[token])
        assert_reads([found[2], found[3]], [values[token] for values in both])


def press_switch(page: Page, name: str) -> None:
    page.get_by_role("switch", name=name, exact=True).or_(page.get_by_role("button", name=name, exact=True)).click()
    drawn(page)


def open_layer(page: Page, layer: int) -> None:
    button = page.locator("#blocks .strip button").nth(layer)
    if button.get_attribute("aria-expanded") == "false":
        button.click()
    drawn(page)


@pytest.mark.parametrize(
    ("name", "text", "layer", "switch", "edit"),
    [
        ("nextword", TEXT, 2, "Head 1 of layer 2 on", lambda: nextword.ablate_head(2, 1)),
        ("nextword", "나는 오늘 학교에", 0, "Head 3 of layer 0 on", lambda: nextword.ablate_head(0, 3)),
        ("nextword", TEXT, 4, "MLP of layer 4 on", lambda: nextword.ablate_mlp(4)),
        ("nextword", TEXT, 7, "Layer 7 on", lambda: nextword.ablate_layer(7)),
        ("gpt2", LETTERS, 1, "Head 2 of layer 1 on", lambda: nextword.ablate_head(1, 2)),
    ],
    ids=["a head", "a head, Korean", "an MLP", "a layer", "a head of GPT-2's shape"],
)
def test_what_is_switched_off_changes_the_prediction_and_undo_brings_it_back(
    visit: Visitor,
    models: dict[str, LanguageModel],
    name: str,
    text: str,
    layer: int,
    switch: str,
    edit: Callable[[], Edits],
) -> None:
    lm = models[name]
    page = visit(text, model=name)
    assert_predicts(page, lm, text)
    old = top_five(page)
    open_layer(page, layer)
    press_switch(page, switch)
    edited = lm.edit(edit())
    assert_predicts(page, edited, text)
    assert top_five(page) != old
    assert_bar_tells(page, lm, edited, text)
    wanted = edited.trace(text).lens().probabilities[:, :, 0]
    assert_reads([number for line in lens(page).numbers for number in line], np.ravel(wanted))
    logits = lm.trace(text)["logits"][-1]
    marks = [bar.mark for bar in stage_columns(page)[1]]
    largest = max(softmax(edited.trace(text)["logits"][-1]))
    token = int(np.argmax(edited.trace(text)["logits"][-1]))
    assert marks[0] == pytest.approx(min(100.0, 100 * softmax(logits)[token] / largest), abs=0.02)
    page.locator("#changes").get_by_role("button", name="Undo").click()
    drawn(page)
    assert top_five(page) == old
    assert page.locator("#changes").is_hidden()
    assert [bar.mark for bar in stage_columns(page)[1]] == [None] * 20


def test_a_switch_that_is_pressed_again_and_the_bars_chips_take_changes_back(visit: Visitor, lm: LanguageModel) -> None:
    page = visit(TEXT)
    old = top_five(page)
    open_layer(page, 1)
    press_switch(page, "Head 0 of layer 1 on")
    press_switch(page, "Head 2 of layer 1 on")
    press_switch(page, "MLP of layer 1 on")
    off = [nextword.ablate_head(1, 0), nextword.ablate_head(1, 2), nextword.ablate_mlp(1)]
    assert_predicts(page, lm.edit(*off), TEXT)
    press_switch(page, "Head 2 of layer 1 on")
    assert_predicts(page, lm.edit(off[0], off[2]), TEXT)
    page.locator("#changes").get_by_role("button", name="Remove: Layer 1, MLP off").click()
    assert_predicts(drawn(page), lm.edit(off[0]), TEXT)
    page.locator("#changes").get_by_role("button", name="Remove all").click()
    drawn(page)
    assert top_five(page) == old


@pytest.mark.parametrize("factor", [0.5, 1.7])
def test_a_head_may_count_more_or_less(visit: Visitor, lm: LanguageModel, factor: float) -> None:
    page = visit(TEXT)
    open_layer(page, 0)
    page.locator("#blocks .thumb-open").nth(2).click()
    slider = drawn(page).locator("#blocks input[type=range]")
    slider.focus()
    for _ in range(round(abs(factor - 1) * 10)):
        page.keyboard.press("ArrowRight" if factor > 1 else "ArrowLeft")
    drawn(page)
    edited = lm.edit(nextword.scale(("z", 0), factor, heads=[2]))
    assert_predicts(page, edited, TEXT)
    assert_bar_tells(page, lm, edited, TEXT)
    assert f"Head 2 times {factor}" in page.locator("#blocks").text_content()
    [line] = re.findall(r"\.edit\((nextword.*?)\)\.trace", page.locator("#lens code").text_content())
    assert eval(line, {"nextword": nextword}) == nextword.scale(("z", 0), factor, heads=[2])  # noqa: S307


def test_a_token_can_be_read_as_another(visit: Visitor, lm: LanguageModel) -> None:
    page = visit(TEXT)
    page.locator("#tokens .chip").nth(1).click()
    page.locator("#tokens form input").fill(" two tokens")
    page.keyboard.press("Enter")
    ids = lm.tokenizer.encode(" two tokens")
    page.get_by_text(f"is {len(ids)} tokens; exactly one is needed").wait_for()
    page.locator("#tokens form input").fill(" is")
    page.keyboard.press("Enter")
    page.locator("#tokens .chip.swapped").wait_for()
    drawn(page)
    [token] = lm.tokenizer.encode(" is")
    edited = lm.edit(nextword.swap_embedding(1, token))
    assert_predicts(page, edited, TEXT)
    assert_bar_tells(page, lm, edited, TEXT)


# -- patches -----------------------------------------------------------------------------------------------------------


def with_second_text(visit: Visitor, text: str, second: str, model: str) -> Page:
    page = visit(text, model=model, height=1400)
    page.get_by_role("button", name="Compare with a second text").click()
    page.locator("#second textarea").fill(second)
    page.locator("#second .lens").wait_for()
    return drawn(page)


def cell(page: Page, station: str, row: int, position: int) -> str:
    return f"#{station} .lens-cell[data-row='{row}'][data-column='{position}']"


def assert_patched(
    page: Page, lm: LanguageModel, texts: tuple[str, str], row: int, from_position: int, to: int
) -> None:
    other = lm.trace(texts[1])
    layers = lm.config.num_layers
    key = ("resid_pre", row) if row < layers else ("resid_post", layers - 1)
    edited = lm.edit(nextword.set_value(key, other.residual(row)[from_position], positions=[to]))
    assert_predicts(page, edited, texts[0])
    assert_bar_tells(page, lm, edited, texts[0])
    expected = edited.trace(texts[0]).lens()
    found = lens(page)
    vocabulary = lm.tokenizer.vocabulary
    count = len(expected.positions)
    best = [[shown(vocabulary[int(expected.token_ids[r, at, 0])]) for at in range(count)] for r in range(layers + 1)]
    assert found.texts == best
    assert_reads([number for line in found.numbers for number in line], np.ravel(expected.probabilities[:, :, 0]))
    above = {(r, at) for r in range(row + 1, layers + 1) for at in range(to, count)}
    assert found.marked == {(row, to)}
    assert found.shaded == above | {(row, to)}
    # Outside the cone nothing moves.
    plain = lm.trace(texts[0]).lens().probabilities[:, :, 0]
    for r in range(layers + 1):
        for at in range(count):
            if (r, at) not in found.shaded:
                assert reads(found.numbers[r][at], plain[r, at])


@pytest.mark.parametrize(("row", "from_position", "to"), [(0, 1, 2), (3, 2, 4), (8, 0, 5)])
def test_a_cell_of_a_second_text_is_dragged_in_by_mouse(
    visit: Visitor, lm: LanguageModel, row: int, from_position: int, to: int
) -> None:
    page = with_second_text(visit, TEXT, OTHER, "nextword")
    second = lm.trace(OTHER).lens()
    assert_reads([n for line in lens(page, "second").numbers for n in line], np.ravel(second.probabilities[:, :, 0]))
    # Dropped two rows away: the row stays the one that it comes from.
    target = cell(page, "lens", min(row + 2, lm.config.num_layers), to)
    page.locator(target).scroll_into_view_if_needed()
    page.locator(cell(page, "second", row, from_position)).drag_to(page.locator(target))
    assert_patched(drawn(page), lm, (TEXT, OTHER), row, from_position, to)
    page.locator("#changes").get_by_role("button", name="Undo").click()
    assert_predicts(drawn(page), lm, TEXT)
    assert lens(page).shaded == set()


def test_a_cell_of_a_second_text_is_carried_over_by_keyboard(visit: Visitor, lm: LanguageModel) -> None:
    page = with_second_text(visit, TEXT, OTHER, "nextword")
    reachable = page.locator("#second .lens-cell[tabindex='0']")
    reachable.focus()
    first, second = (len(lm.tokenizer.encode_start(text)) for text in (TEXT, OTHER))
    for _ in range(second - 2):  # from the last position of the top row to position 1 of row 4
        page.keyboard.press("ArrowLeft")
    for _ in range(lm.config.num_layers - 4):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert page.locator("#second .lens-cell.held").evaluate("(held) => held.dataset.row + held.dataset.column") == "41"
    page.locator("#lens .lens-cell[tabindex='0']").focus()
    for _ in range(first - 3):  # from the last position to 2
        page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    assert_patched(drawn(page), lm, (TEXT, OTHER), 4, 1, 2)


def test_a_cell_of_a_second_text_is_dragged_into_a_model_of_gpt2s_shape(
    visit: Visitor, models: dict[str, LanguageModel]
) -> None:
    page = with_second_text(visit, LETTERS, "a king is", "gpt2")
    page.locator(cell(page, "second", 1, 3)).drag_to(page.locator(cell(page, "lens", 1, 4)))
    assert_patched(drawn(page), models["gpt2"], (LETTERS, "a king is"), 1, 3, 4)

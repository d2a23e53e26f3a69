"""Tokens and words on the page are the model's."""

from __future__ import annotations

import re

import numpy as np
import pytest
from playwright.sync_api import Page

from nextword.language_model import LanguageModel
from tests.page.conftest import TEXT, Visitor, drawn
from tests.page.reading import assert_reads, said, shown, stage_columns

TEXTS = {
    "English": TEXT,
    "split syllables": "뷁 나는 꿻을 먹는",
    "emoji": "Hello 🐼 world 👨‍👩‍👧",
}
SHOWN = 20


def chips(page: Page, place: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = page.locator(f"{place} .chip").evaluate_all(
        """(all) => all.map((chip) => ({
          text: Array.from(chip.childNodes).filter((part) => part.className !== "number")
            .map((part) => part.textContent).join("").trimEnd(),
          id: chip.querySelector(".number")?.textContent ?? null,
          label: chip.getAttribute("aria-label"),
          tied: chip.closest(".tied") !== null,
        }))"""
    )
    return found


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_typed_text_has_the_models_tokens_and_next_words(visit: Visitor, lm: LanguageModel, text: str) -> None:
    page = visit("")
    page.locator("#text").press_sequentially(text) if text.isascii() else page.fill("#text", text)
    drawn(page)
    predicted = lm.predict(text, SHOWN)
    pieces = predicted.pieces
    names = [shown(p.text) if p.parts == 1 else f"{shown(p.text)} {p.part}/{p.parts}" for p in pieces]
    found = chips(page, "#tokens")
    assert [chip["text"] for chip in found] == names == [chip["text"] for chip in chips(page, "#words")]
    assert [int(chip["id"]) for chip in found] == predicted.prompt_token_ids
    assert [chip["tied"] for chip in found] == [piece.parts > 1 for piece in pieces]
    for position, (chip, piece) in enumerate(zip(found, pieces, strict=True)):
        part = f", {shown(piece.text)}, part {piece.part} of {piece.parts}" if piece.parts > 1 else ""
        assert chip["label"] == f"{chip['text']} {piece.token_id}: token {position}{part}"
    assert "\ufffd" not in page.locator("body").text_content()
    assert f"{len(pieces)} tokens" in page.locator("#tokens").text_content()

    logits = lm.trace(text)["logits"][-1]
    top = np.argsort(-logits, kind="stable")[:SHOWN]
    assert [candidate.token_id for candidate in predicted] == top.tolist()
    of_logits, own, *_ = stage_columns(page)
    vocabulary = lm.tokenizer.vocabulary
    assert [bar.text for bar in own] == [bar.text for bar in of_logits] == [shown(vocabulary[i]) for i in top]
    assert_reads([bar.value for bar in of_logits], logits[top])
    assert_reads([bar.value for bar in own], [candidate.probability for candidate in predicted])
    widths = [100 * candidate.probability / predicted[0].probability for candidate in predicted]
    np.testing.assert_allclose([bar.width for bar in own], widths, atol=0.01)
    status = page.locator("#status").text_content()
    assert status.startswith(f"Ready: {shown(predicted[0].text)} is the most probable next token, with ")
    assert said(re.split(" with ", status)[-1].rstrip("."))[0] == pytest.approx(predicted[0].probability, abs=6e-4)

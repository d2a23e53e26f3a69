"""Sliders: every stage of sampling is `nextword.generation`'s, and none of it asks the server."""

from __future__ import annotations

import re

import numpy as np
import pytest
from playwright.sync_api import Page, Route

from nextword.generation.sampling import Sampling, Stages
from nextword.language_model import LanguageModel
from tests.page.conftest import TEXT, Visitor, drawn
from tests.page.reading import assert_reads, reads, said, stage_columns

KS = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 25, 30, 40, 50, 60, 80, 100, 150, 200, 300, 500, 1000, None]
"""What the places of the top-k slider mean."""
SETTINGS = [
    Sampling(temperature=0.5),
    Sampling(temperature=1.5, top_k=5),
    Sampling(temperature=0.8, top_p=0.9),
    Sampling(top_k=12, top_p=0.5),
    Sampling(temperature=2.0, min_p=0.2),
    Sampling(temperature=1.2, top_k=40, top_p=0.95, min_p=0.05),
    Sampling(top_p=0.01),
    Sampling(min_p=1.0),
    Sampling(top_k=1000),
    Sampling(temperature=0),
    Sampling(),
]


def slide(page: Page, sampling: Sampling) -> None:
    """Sets every slider, and holds that it says what it was set to."""
    greedy, off = "0: always the most probable", "off"
    temperature, top_k, top_p, min_p = sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p
    for name, place, says in (
        ("Temperature", round(temperature * 20), greedy if temperature == 0 else f"{temperature:g}"),
        ("Top-k", KS.index(top_k), off if top_k is None else f"{top_k:,}"),
        ("Top-p", round(top_p * 100) - 1, off if top_p == 1 else f"{top_p:g}"),
        ("Min-p", round(min_p * 100), off if min_p == 0 else f"{min_p:g}"),
    ):
        slider = page.locator("#probabilities").get_by_role("slider", name=name)
        slider.fill(str(place))
        drawn(page)
        assert slider.get_attribute("aria-valuetext") == says
        assert slider.locator("xpath=ancestor::label").text_content() == f"{name} {says}"


def assert_stages(page: Page, lm: LanguageModel, text: str, sampling: Sampling) -> None:
    """Whether all that is shown is what the room of generation makes of the same logits."""
    logits = lm.trace(text)["logits"][-1]
    wanted = Stages.of(logits, sampling)
    top = np.argsort(-wanted.logits, kind="stable")[:20]
    columns = stage_columns(page)
    for bars, values in zip(
        columns, (wanted.logits, wanted.probabilities, wanted.tempered, wanted.distribution), strict=True
    ):
        assert_reads([bar.value for bar in bars], values[top])
    for bars in columns[2:]:
        assert [bar.faded for bar in bars] == (~wanted.kept[top]).tolist()
    assert not any(bar.faded for bars in columns[:2] for bar in bars)
    note = page.locator("#probabilities .station-body .note").last.text_content() or ""
    found = re.match(
        r"(\S+) of (\S+) tokens are left; (\S+) of the probability is cut off\. The other (\S+) tokens have (\S+)", note
    )
    assert found, note
    assert [int(said(found[i])[0]) for i in (1, 2, 4)] == [wanted.kept.sum(), len(logits), len(logits) - 20]
    assert reads(found[3], wanted.discarded_mass, slack=1e-7)
    rest = np.sort(wanted.probabilities)[:-20].sum()
    assert reads(found[5], rest, slack=2e-5)
    described = columns[3][0].title.split("\n")[1:]
    best = int(np.argmax(wanted.logits))
    stages = (wanted.logits, wanted.probabilities, wanted.tempered, wanted.distribution)
    assert_reads([line.rpartition(": ")[2] for line in described], [values[best] for values in stages])


@pytest.mark.parametrize("text", [TEXT, "나는 오늘"])
def test_the_sliders_show_what_generation_draws_from(visit: Visitor, lm: LanguageModel, text: str) -> None:
    page = visit(text)
    before = len(visit.requests)
    for sampling in SETTINGS:
        slide(page, sampling)
        assert_stages(page, lm, text, sampling)
    slide(page, SETTINGS[5])
    page.get_by_role("button", name="As the model has it").click()
    assert_stages(drawn(page), lm, text, Sampling())
    assert visit.requests[before:] == [], "sliding asks nobody"


def test_the_engines_words_are_there_before_the_trace(visit: Visitor, lm: LanguageModel) -> None:
    """Torch may take seconds to load, and an unknown model may be large: the first picture waits for nothing."""
    page = visit("나는 학교에")
    held: list[Route] = []
    page.route("**/look", lambda route: held.append(route))  # noqa: PLW0108  Playwright asks for a function
    page.reload()
    page.get_by_text("From the engine, at once").wait_for()
    own = stage_columns(page)[1]
    wanted = lm.predict("나는 학교에", 20)
    assert_reads([bar.value for bar in own], [candidate.probability for candidate in wanted])
    assert page.locator("#tokens .chip").count() == len(wanted.pieces)
    assert page.locator("html[data-drawn]").count() == 0
    [route] = held
    route.continue_()
    assert_stages(drawn(page), lm, "나는 학교에", Sampling())

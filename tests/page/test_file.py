"""The page as a file of its own: it asks nobody for anything, and shows all that needs no model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

import nextword
from nextword.cli import run
from nextword.generation.sampling import Sampling
from nextword.language_model import LanguageModel
from tests.page.conftest import Visitor, drawn
from tests.page.reading import assert_reads, bars, lens, shown
from tests.page.test_accessibility import axe, findings  # noqa: F401  a fixture
from tests.page.test_changes import assert_predicts
from tests.page.test_numbers import check_block, check_path, check_turns
from tests.page.test_sampling import assert_stages, slide

TEXT = "To be, or 뷁"


@pytest.fixture(scope="package")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page-file") / "look.html"
    assert run(["look", TEXT, "--html", str(path)]) == 0  # `main` would leave this process deaf to Ctrl-C
    return path


def opened(anywhere: Visitor, file: Path, **context: object) -> Page:
    page = anywhere(None, lang=None, url=file.as_uri(), **context)  # type: ignore[arg-type]
    assert anywhere.requests == [f"GET {file}"]
    return page


def test_the_file_shows_the_traces_numbers(anywhere: Visitor, file: Path, lm: LanguageModel) -> None:
    page = opened(anywhere, file)
    trace = lm.trace(TEXT)
    check_path(page, lm, trace)
    for layer, head in ((0, 1), (4, 3)):
        check_block(page, trace, layer, head)
    check_turns(page, trace, 2, 2)
    for sampling in (Sampling(temperature=0.7, top_k=9), Sampling(temperature=1.3, top_p=0.8, min_p=0.02)):
        slide(page, sampling)
        assert_stages_of_a_file(page, lm, sampling)
    assert anywhere.requests == [f"GET {file}"], "nothing is asked for but the file"


def assert_stages_of_a_file(page: Page, lm: LanguageModel, sampling: Sampling) -> None:
    assert_stages(page, lm, TEXT, sampling)


def test_hovering_languages_and_colours_work_in_the_file(anywhere: Visitor, file: Path, lm: LanguageModel) -> None:
    page = opened(anywhere, file)
    page.locator("#tokens .chip").nth(2).hover()
    drawn(page)
    assert page.locator("#lens .lens-cell.lit").count() == lm.config.num_layers + 1
    assert "(position 2)" in page.locator("#residual .caption").text_content()
    page.locator("#language").select_option("ko")
    expect(page.locator("#lens h2")).to_have_text("로짓 렌즈")
    page.locator("#theme").select_option("dark")
    drawn(page)
    assert_predicts(page, lm, TEXT)
    with page.expect_download() as download:
        page.locator("#lens").get_by_role("button", name="SVG").click()
    assert Path(download.value.path()).read_text(encoding="utf-8").startswith("<svg")
    assert anywhere.requests == [f"GET {file}"]


def test_what_needs_a_model_is_disabled_and_says_why(anywhere: Visitor, file: Path, lm: LanguageModel) -> None:
    page, layer = opened(anywhere, file), lm.config.num_layers // 2  # the layer that is open
    assert page.locator("#text").is_disabled()
    assert page.locator("#model").is_disabled()
    switches = page.locator("#blocks .switch")
    assert switches.count() == 4
    assert all(switch.is_disabled() for switch in switches.all())
    assert all(float(switch.evaluate("(one) => getComputedStyle(one).opacity")) < 0.6 for switch in switches.all())
    for name in (f"Layer {layer} on", f"MLP of layer {layer} on"):
        assert page.get_by_role("button", name=name, exact=True).is_disabled()
    assert page.locator("#blocks input[type=range]").is_disabled()
    for name in ("Next", "×10", "Undo"):
        assert page.locator("#walk").get_by_role("button", name=name, exact=True).is_disabled()
    assert page.locator("#second").get_by_role("button", name="Compare with a second text").is_disabled()
    assert page.locator("#probabilities button.bar").count() == 0
    assert page.locator("#tokens button.chip").count() == 0
    assert page.locator("#chat textarea").count() == 0
    for place, reason in {
        ".top": "This file holds one text",
        "#blocks": "This file holds one run. To change something",
        "#probabilities": "This file holds one run. To let the model write on",
        "#walk": "This file holds one run. To let the model write on",
        "#second": "This file holds one text",
        "#chat": "This file holds no model",
    }.items():
        assert reason in page.locator(place).text_content(), place
    before = page.locator("#probabilities").text_content()
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Space")
    assert page.locator("#probabilities").text_content() == before


def test_a_file_of_a_changed_model_shows_before_and_after(
    anywhere: Visitor, tmp_path: Path, models: dict[str, LanguageModel]
) -> None:
    lm = models["gpt2"]
    edited = lm.edit(nextword.ablate_head(1, 2))
    trace = edited.trace("to be, or not")
    path = tmp_path / "changed.html"
    trace.to_html(path, plain=lm.trace("to be, or not"))
    page = opened(anywhere, path)
    assert page.locator("#changes code").all_text_contents() == ["nextword.ablate_head(1, 2)"]
    assert page.locator("#changes li").count() >= 5
    own = bars(page.locator("#probabilities .columns.four > div").nth(1))[:5]
    wanted = edited.predict("to be, or not", 5)
    assert [bar.text for bar in own] == [shown(candidate.text) for candidate in wanted]
    assert_reads([bar.value for bar in own], [candidate.probability for candidate in wanted])
    found = lens(page)
    assert_reads([n for line in found.numbers for n in line], np.ravel(trace.lens().probabilities[:, :, 0]))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_file_is_accessible(anywhere: Visitor, file: Path, axe: str, scheme: str) -> None:  # noqa: F811
    page = opened(anywhere, file, color_scheme=scheme)
    assert findings(page, axe) == []
    page.locator("#language").select_option("ko")
    assert findings(drawn(page), axe) == []

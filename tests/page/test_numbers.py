"""Every number on the page is the trace's: of a rotary model, of one of GPT-2's shape, of a published one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Locator, Page

import nextword
from nextword.inspection.frames import turns_frame
from nextword.inspection.trace import Trace
from nextword.language_model import LanguageModel
from tests.inspection.test_frames import read
from tests.page.conftest import Visitor, drawn
from tests.page.reading import (
    announced,
    assert_reads,
    bars,
    lens,
    reads,
    said,
    shown,
    stage_columns,
    stand,
)
from tests.published import smollm2_gguf
from tests.server.conftest import Served, serving

PROMPTS = {"nextword": "To be, or 뷁", "gpt2": "to be, or not", "smollm2": "The capital of"}


@pytest.fixture(scope="package")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of SmolLM2."""
    log = tmp_path_factory.mktemp("page-smollm2") / "log"
    with serving(log, f"smollm2={smollm2_gguf()}") as served:
        served.client.post("/look", json={"text": "a"}).raise_for_status()
        yield served


def opened(visit: Visitor, name: str) -> Page:
    return visit(PROMPTS[name], model=name)


def check_path(page: Page, lm: LanguageModel, trace: Trace) -> None:
    """Embeddings, norms, lens and logits of an opened page against a trace."""
    labels = [
        shown(p.text) if p.parts == 1 else f"{shown(p.text)} {p.part}/{p.parts}"
        for p in lm.tokenizer.pieces(list(trace.token_ids))
    ]
    check_heatmaps(page, trace, labels)
    check_residual(page, trace)
    check_lens(page, lm, trace, labels)
    logits = trace["logits"][-1]
    top = np.argsort(-logits, kind="stable")[:20]
    assert_reads([bar.value for bar in stage_columns(page)[0]], logits[top], slack=2e-5)


def check_heatmaps(page: Page, trace: Trace, labels: list[str]) -> None:
    pictures = page.locator("#embedding .heat-plane:visible")
    learned = trace.config.position == "learned"
    shown_arrays = [trace["embed"]]
    if learned:
        shown_arrays += [trace["pos_embed"], trace.residual(0)]
        np.testing.assert_array_equal(shown_arrays[0] + shown_arrays[1], shown_arrays[2])
    assert pictures.count() == len(shown_arrays)
    rows, columns = shown_arrays[0].shape
    for number, array in enumerate(shown_arrays):
        picture = pictures.nth(number)
        assert f"{rows} tokens with {columns} numbers each" in (picture.get_attribute("aria-label") or "")
        for row, column in ((0, 0), (1, 3), (rows - 1, 7), (2, columns - 1)):
            text = stand(page, picture, row, min(column, 7))
            if column > 7:
                page.keyboard.press("End")
                text = announced(page)
            found = re.fullmatch(r"(.*), number (\d+): (\S+)", text)
            assert found
            assert (found[1], int(found[2])) == (labels[row], column), text
            assert reads(found[3], array[row, column]), (text, array[row, column])
    limit = max(float(np.abs(array).max()) for array in shown_arrays)
    [low, high, middle] = page.locator("#embedding .legend text").all_text_contents()
    assert middle == "0"
    assert_reads([low, high], [-limit, limit])


def norm(rows: Any) -> Any:
    return np.linalg.norm(np.asarray(rows, np.float64), axis=-1)


def check_residual(page: Page, trace: Trace) -> None:
    page.keyboard.press("Tab")  # out of the last picture: nothing is lit
    layers = trace.config.num_layers
    strip = drawn(page).locator("#blocks .strip button .layer-added").all_text_contents()
    assert len(strip) == layers
    for layer, text in enumerate(strip):
        found = re.fullmatch(r"attention (\S+), MLP (\S+)", text)
        assert found, text
        assert_reads([found[1], found[2]], [norm(trace["attn_out", layer])[-1], norm(trace["mlp_out", layer])[-1]])
    picture = page.locator("#residual [role=application]")
    picture.focus()
    page.keyboard.press("Control+Home")
    page.keyboard.press("End")
    for ran in range(layers, -1, -1):
        text = announced(page)
        values = re.findall(r"(Residual stream|Attention adds|MLP adds), after (\d+) layers: (\S+?)(?:,|$)", text)
        assert {int(after) for _, after, _ in values} == {ran}
        wanted = {"Residual stream": norm(trace.residual(ran))[-1]}
        if ran > 0:
            wanted["Attention adds"] = norm(trace["attn_out", ran - 1])[-1]
            wanted["MLP adds"] = norm(trace["mlp_out", ran - 1])[-1]
        assert [name for name, *_ in values] == list(wanted)
        assert_reads([value for *_, value in values], list(wanted.values()))
        page.keyboard.press("ArrowLeft")
    page.keyboard.press("Tab")


def check_lens(page: Page, lm: LanguageModel, trace: Trace, labels: list[str]) -> None:
    expected = trace.lens()
    rows, count = trace.config.num_layers + 1, len(trace.token_ids)
    vocabulary = lm.tokenizer.vocabulary

    def name(token: Any) -> str:
        return shown(vocabulary[int(token)]) or f"#{token}"

    measures: dict[str, Any] = {
        "probability": expected.probabilities[:, :, 0],
        "rank": expected.target_rank,
        "kl": expected.kl,
    }
    for mode, values in measures.items():
        page.locator("#lens select").select_option(mode)
        found = lens(drawn(page))
        assert found.texts == [[name(expected.token_ids[row, at, 0]) for at in range(count)] for row in range(rows)]
        assert_reads(
            [number for line in found.numbers for number in line], np.ravel(values), slack=2e-5 * (mode == "kl")
        )
    assert page.locator("#lens .lens-head").all_text_contents() == labels
    cell = page.locator("#lens .lens-cell[data-row='1'][data-column='2']")
    cell.hover()
    head, *lines = page.locator(".tooltip > div").evaluate_all(
        "(all) => all.map((line) => Array.from(line.children, (part) => part.textContent))"
    )
    assert head == [f"after {labels[2]}, row 0"]
    assert [line[0] for line in lines[:5]] == [name(token) for token in expected.token_ids[1, 2]]
    assert_reads([line[1] for line in lines[:5]], expected.probabilities[1, 2])
    final = expected.target_ids[2]
    assert [line[0] for line in lines[5:]] == [f"rank of {name(final)}", "KL from the end", "entropy"]
    measured = [expected.target_rank[1, 2], expected.kl[1, 2], expected.entropy[1, 2]]
    assert_reads([line[1].removesuffix(" nats") for line in lines[5:]], measured, slack=2e-5)


def check_block(page: Page, trace: Trace, layer: int, head: int) -> None:
    """An opened layer against the trace, at the last token."""
    if page.locator("#blocks .strip button").nth(layer).get_attribute("aria-expanded") == "false":
        page.locator("#blocks .strip button").nth(layer).click()
    drawn(page)
    page.locator("#blocks .thumb-open").nth(head).click()
    page.mouse.move(0, 0)
    drawn(page)
    pattern = trace.attention(layer)[head]
    count = len(trace.token_ids)
    picture = page.locator("#blocks .dots-plane")
    assert f"head {head} in layer {layer}" in (picture.get_attribute("aria-label") or "")
    picture.focus()
    page.keyboard.press("Control+Home")
    page.keyboard.press("Control+End")
    for column in range(count - 1, -1, -1):
        assert reads(announced(page).rpartition(": ")[2], pattern[-1, column]), (announced(page), pattern[-1, column])
        page.keyboard.press("ArrowLeft")
    radii = picture.locator(".dot-row").last.evaluate(
        "(row) => Array.from(row.getAttribute('d').matchAll(/a([\\d.]+) /gi), (found) => Number(found[1]))"
    )
    seen = pattern[-1] > 1e-4  # smaller dots are none
    assert len(radii) == 2 * seen.sum()  # two arcs a dot
    areas = np.square(np.asarray(radii[::2]) / (cell_of(page, count) / 2 - 0.5))
    np.testing.assert_allclose(areas, pattern[-1][seen], atol=0.005)
    page.keyboard.press("Tab")
    drawn(page)
    columns = page.locator("#blocks .columns > div")
    sizes, heads, parts = (bars(columns.nth(i)) for i in range(3))
    added = [trace.residual(layer), trace["attn_out", layer], trace["mlp_out", layer]]
    assert_reads([bar.value for bar in sizes], [norm(rows)[-1] for rows in added])
    assert_reads([bar.value for bar in heads], norm(trace["result", layer])[-1])
    attribution = trace.attribution()
    assert_reads([bar.value for bar in parts], [*attribution.heads[layer], attribution.mlps[layer]], slack=1e-4)


def cell_of(page: Page, count: int) -> float:
    """The side of a dot's cell in pixels."""
    width = page.locator("#blocks .dots-plane").evaluate("(plane) => parseFloat(plane.style.width)")
    return float(width) / count


def check_turns(page: Page, trace: Trace, layer: int, head: int) -> None:
    choices = page.locator("#embedding select")
    for place, value in enumerate((str(layer), str(head), "k")):
        choices.nth(place).select_option(value)
        drawn(page)
    _, arrays = read(turns_frame(trace, layer, head))
    picture: Locator = page.locator("#embedding .turns-plane, #embedding [role=application]").last
    text = stand(page, picture, 2, 1)
    pair = int(re.search(r"pair (\d+)", text)[1])  # type: ignore[index]
    numbers = re.findall(r"−?\d[\d.]*(?:e[+−]?\d+)?", text.partition("turned by")[2])
    exact = [np.degrees(arrays["angle"][2, pair]), *arrays["k_before"][2, pair], *arrays["k"][2, pair]]
    assert_reads(numbers, exact, slack=1e-5)


@pytest.mark.parametrize("name", ["nextword", "gpt2"])
def test_the_whole_path_is_the_traces(visit: Visitor, models: dict[str, LanguageModel], name: str) -> None:
    page = opened(visit, name)
    check_path(page, models[name], models[name].trace(PROMPTS[name]))


@pytest.mark.parametrize(("name", "layer", "head"), [("nextword", 0, 2), ("nextword", 5, 0), ("gpt2", 2, 3)])
def test_an_opened_layer_is_the_traces(
    visit: Visitor, models: dict[str, LanguageModel], name: str, layer: int, head: int
) -> None:
    check_block(opened(visit, name), models[name].trace(PROMPTS[name]), layer, head)


def test_queries_and_keys_turn_as_in_the_trace(visit: Visitor, lm: LanguageModel) -> None:
    check_turns(opened(visit, "nextword"), lm.trace(PROMPTS["nextword"]), 3, 1)


def test_a_published_model_is_shown_as_it_is(anywhere: Visitor, published: Served) -> None:
    anywhere.server = published
    lm = nextword.load(str(smollm2_gguf()))
    trace = lm.trace(PROMPTS["smollm2"])
    page = opened(anywhere, "smollm2")
    check_path(page, lm, trace)
    check_block(page, trace, 29, 8)
    check_turns(page, trace, 12, 5)
    about = page.locator("#about").text_content()
    assert "134,515,008" in about
    assert "30 layers × 576, 9 heads" in about


def test_the_footer_says_what_the_model_is(visit: Visitor, lm: LanguageModel) -> None:
    page = visit("To be")
    facts = dict(
        page.locator("#about dl > div").evaluate_all(
            "(all) => all.map((one) => [one.children[0].textContent.replace(/: $/, ''), one.children[1].textContent])"
        )
    )
    told = visit.server.client.get("/look/about").json()  # type: ignore[union-attr]
    assert facts["Parameters"] == f"{lm.config.num_parameters:,}"
    assert (facts["Model"], facts["File"], facts["Number format"]) == ("nextword", "default_model", told["dtype"])
    assert facts["Tokens"] == str(len(lm.tokenizer.encode_start("To be")))
    assert facts["Context"] == f"{lm.config.context_length:,} tokens"
    assert reads(facts["Weights"].removesuffix(" MB"), told["bytes"] / 1e6)
    assert abs(said(facts["Memory of the process"].split()[0])[0] * 1e6 / told["memory"] - 1) < 0.5
    if told["reference_error"] is not None:
        error = facts["Largest error against the reference"]
        assert reads(error.removesuffix(" (transformers)"), told["reference_error"]["value"])


# -- one token, everywhere ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["nextword", "gpt2"])
def test_a_hovered_token_is_lit_everywhere(visit: Visitor, models: dict[str, LanguageModel], name: str) -> None:
    page = opened(visit, name)
    trace = models[name].trace(PROMPTS[name])
    count, at = len(trace.token_ids), 1
    page.locator(f"#tokens .chip[data-position='{at}']").hover()
    drawn(page)
    lit = """(all) => all.map((one, i) => one.classList.contains("lit") ? i : -1).filter((i) => i >= 0)"""
    pictures = 3 if name == "gpt2" else 1
    rows = trace.config.num_layers + 1
    for place, wanted in {
        "#words .chip": [at],
        "#tokens .chip": [at],
        "#embedding .heat:visible .heat-names text": [at + count * i for i in range(pictures)],
        "#blocks .dots-left text": [at],
        "#blocks .dots-top text": [at],
        "#lens .lens-head": [at],
        "#lens .lens-cell": [at + count * row for row in range(rows)],
    }.items():
        assert page.locator(place).evaluate_all(lit) == wanted, place
    assert f"(position {at})" in page.locator("#residual .caption").text_content()
    sizes = bars(page.locator("#blocks .columns > div").first)
    layer = trace.config.num_layers // 2
    assert_reads([sizes[0].value, sizes[2].value], [norm(trace.residual(layer))[at], norm(trace["mlp_out", layer])[at]])
    page.mouse.move(0, 0)
    drawn(page)
    assert page.locator(".lit").count() == 0
    page.locator("#lens .lens-cell[data-row='2'][data-column='2']").hover()
    drawn(page)
    assert page.locator("#tokens .chip").evaluate_all(lit) == [2]

"""The training panel: the run's own losses and samples, and the page on every step that was saved."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page

import nextword
from nextword.training.events.journal import read_metrics
from tests.page.conftest import Visitor, drawn
from tests.page.reading import assert_reads, stage_columns, stand
from tests.server.conftest import Served, serving
from tests.training.sample_text import FEW_STEPS, write_text

TEXT = "나는 The cat"


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has ended, with each of its steps."""
    folder = tmp_path_factory.mktemp("trained")
    nextword.train(write_text(folder), folder / "모형", snapshots=True, evaluate_every=2, watch=[].append, **FEW_STEPS)
    return folder / "모형"


@pytest.fixture(scope="module")
def trained(out: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("log") / "log", "--run", out) as served:
        yield served


def assert_page_shows(page: Page, model: Path) -> None:
    """Whether the probabilities on the page are this model's."""
    own = stage_columns(page)[1]
    assert_reads([bar.value for bar in own], [c.probability for c in nextword.load(model).predict(TEXT, len(own))])


def slide(page: Page, slider: Locator, place: int, name: str) -> None:
    slider.fill(str(place))
    page.wait_for_function("(name) => document.getElementById('model').value === name", arg=name)
    drawn(page)


def test_the_page_shows_the_model_of_each_saved_step(visit: Visitor, trained: Served, out: Path) -> None:
    page = visit(TEXT, url=f"{trained.url}/")
    panel = page.locator("#training")
    panel.locator("input[type=range]").wait_for()
    drawn(page)
    assert "모형 has ended at step 4." in (panel.text_content() or "")
    steps = sorted(out.with_name("모형.steps").glob("step-*"))
    assert len(steps) >= 2
    slider = panel.locator("input[type=range]")
    assert slider.get_attribute("max") == str(len(steps))  # and what the run came to
    assert slider.get_attribute("aria-valuetext") == "The finished model"
    assert_page_shows(page, out)
    for place, step in enumerate(steps):
        number = int(step.name.removeprefix("step-"))
        slide(page, slider, place, f"run@{number}")
        assert slider.get_attribute("aria-valuetext") == f"Step {number}"
        assert_page_shows(page, step)
        assert step.name in (panel.locator("code").first.text_content() or "")


def test_losses_and_samples_are_the_journals(visit: Visitor, trained: Served, out: Path) -> None:
    page = visit(TEXT, url=f"{trained.url}/")
    panel = page.locator("#training")
    panel.locator("input[type=range]").wait_for()
    events = read_metrics(out / "metrics.jsonl")
    validated = [event for event in events if event["event"] == "validated"]
    picture = panel.get_by_label("Loss by training step")
    said = stand(page, picture, 1, len(validated) - 1)
    last = validated[-1]
    assert said.startswith(f"Validation loss, step {last['step']}: ")
    assert_reads([said.rpartition(": ")[2]], [last["nats_per_token"]])
    samples = [event["text"] for event in events if event["event"] == "sampled"]
    assert samples
    assert panel.locator(".written-text").all_text_contents() == samples[-3:][::-1]

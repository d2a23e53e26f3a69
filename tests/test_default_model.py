"""The model that ships: it is trained, it fits, and it knows what it was shown."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import nextword
from nextword.loading import DEFAULT_MODEL
from nextword.measuring.cloze import Answer, Cloze, Tally, measure, shipped_openings

ENGLISH = "The children are playing in the"
KOREAN = "대한민국의 주권은"
DOCS = Path(__file__).parent.parent / "docs"


@pytest.fixture(scope="module")
def lm() -> nextword.LanguageModel:
    return nextword.load()


@pytest.fixture(scope="module")
def answers(lm: nextword.LanguageModel) -> tuple[Answer, ...]:
    return measure(lm, shipped_openings()).answers


def test_to_be_or_not_to_goes_on_with_be(lm: nextword.LanguageModel) -> None:
    first, second = lm.predict("To be, or not to", top=2)
    assert first.text == " be"
    assert first.probability > 2 * second.probability


@pytest.mark.parametrize(
    ("opening", "word"),  # article 1: 대한민국의 주권은 국민에게 있고, 모든 권력은 국민으로부터 나온다.
    [(KOREAN, " 국민에게"), (f"{KOREAN} 국민에게 있고, 모든 권력은", " 국민으로부터")],
)
def test_the_constitution_goes_on_with_its_true_next_word(lm: nextword.LanguageModel, opening: str, word: str) -> None:
    words = lm.predict(opening, top=3, unit="word")
    assert words[0].text == word
    assert words[0].probability > max(0.3, 5 * words[1].probability)


def test_it_is_trained_far_beyond_a_fresh_model_in_both_languages(lm: nextword.LanguageModel) -> None:
    torch.manual_seed(0)
    fresh = nextword.LanguageModel.from_model(nextword.GPTModel.from_config(lm.config), lm.tokenizer)
    for text in (
        "We had breakfast in the kitchen, and then I walked to school with my brother.",
        "아침을 먹고 동생과 함께 학교에 갔다. 비가 와서 우산을 썼다.",
    ):
        assert lm.score(text).bits_per_byte < 0.6 * fresh.score(text).bits_per_byte


def test_the_card_and_provenance_tell_what_was_measured_per_language(lm: nextword.LanguageModel) -> None:
    measured = lm.provenance["measured"]
    assert {"shakespeare, held out (2 plays)", "tatoeba, held out", "Korean constitution (trained on)"} <= set(measured)
    for name, figures in measured.items():
        assert f"| {name} | {figures['bytes']:,} | {figures['bits_per_byte']:.3f} |" in lm.card
        assert 0 < figures["bits_per_byte"] < 3
    assert all(source["licence"] for source in lm.provenance["sources"].values())


def test_it_knows_of_ordinary_language_what_its_card_says(
    lm: nextword.LanguageModel, answers: tuple[Answer, ...]
) -> None:
    for group, top_1, top_5 in (("english", 0.35, 0.6), ("korean", 0.3, 0.55)):
        own = [answer for answer in answers if answer.opening.group == group]
        found = {"developed with": Tally.of(own[1::2]), "put aside": Tally.of(own[::2])}
        for half, tally in found.items():
            said = lm.provenance["cloze"][f"{group.capitalize()}, {half}"]
            # A near tie may fall the other way on another processor.
            assert (tally.first, tally.first_five) == pytest.approx((said["top_1"], said["top_5"]), abs=0.025)
            assert tally.probability == pytest.approx(said["probability"], abs=1e-3)
            assert tally.first > top_1
            assert tally.first_five > top_5
            shares = f"{said['top_1']:.0%} | {said['top_5']:.0%} | {said['probability']:.1%}"
            assert f"| {group.capitalize()}, {half} | {said['openings']} | {shares} |" in lm.card


@pytest.mark.parametrize("page", ["models.md", "models.ko.md"])
def test_the_docs_table_says_what_it_knows_of_every_kind(page: str, answers: tuple[Answer, ...]) -> None:
    rows = re.findall(
        r"^\| (.*) \| (\d+) \| (\d+) ?% \| (\d+) ?% \|.*\|$", (DOCS / page).read_text("utf-8"), re.MULTILINE
    )
    tallies = [tally for kinds in Cloze(answers).tallies().values() for tally in kinds.values()]
    assert [int(openings) for _, openings, _, _ in rows] == [tally.openings for tally in tallies]
    for (name, openings, first, first_five), tally in zip(rows, tallies, strict=True):
        near = 0.006 + 2 / int(openings)  # a near tie may fall the other way on another processor
        assert (tally.first, tally.first_five) == pytest.approx((int(first) / 100, int(first_five) / 100), abs=near), (
            name
        )


def test_it_is_small_enough_for_a_wheel_of_25_megabytes() -> None:
    assert sum(file.stat().st_size for file in DEFAULT_MODEL.rglob("*") if file.is_file()) < 23_000_000


def test_it_opens_in_transformers_as_it_is(lm: nextword.LanguageModel) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(DEFAULT_MODEL, dtype=torch.float32).eval()
    ids = AutoTokenizer.from_pretrained(DEFAULT_MODEL)(KOREAN)["input_ids"]
    assert ids == lm.tokenizer.encode(KOREAN)
    with torch.inference_mode():
        logits = model(torch.tensor([ids])).logits[0, -1].numpy()
    assert np.abs(logits - lm.predict(KOREAN).logits).max() < 5e-5


@pytest.mark.parametrize("text", [ENGLISH, KOREAN])
def test_the_command_predicts_from_any_directory(text: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "nextword", text, "--top", "3"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="utf-8", check=True)
    assert "probability" in result.stdout
    assert "%" in result.stdout


def test_a_korean_stream_never_shows_half_a_character(lm: nextword.LanguageModel) -> None:
    for seed in range(5):
        stream = lm.stream("모든 국민은", max_new_tokens=40, seed=seed)
        pieces = list(stream)
        assert "\N{REPLACEMENT CHARACTER}" not in "".join(pieces)
        assert "".join(pieces) == stream.generation.text

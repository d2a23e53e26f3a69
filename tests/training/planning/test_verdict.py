"""Each thing a run can be told, from the curve that says it."""

from __future__ import annotations

from typing import Any

import pytest

from nextword.training.planning.verdict import verdict, yardsticks

SIZES: dict[str, Any] = {"parameters": 1_000_000, "text_bytes": 1_000_000}


def looks(*losses: float, train: tuple[float, ...] = (), every: int = 100) -> list[dict[str, Any]]:
    rows = [
        {"step": every * (place + 1), "nats_per_character": loss * 2.0, "bits_per_byte": loss}
        for place, loss in enumerate(losses)
    ]
    for row, value in zip(rows, train, strict=False):
        row["train_bits_per_byte"] = value
    return rows


def test_without_held_out_text_nothing_is_claimed() -> None:
    assert verdict([], **SIZES).kind == "unknown"


def test_a_falling_loss_is_still_improving_and_the_last_fifth_is_measured() -> None:
    said = verdict(looks(3.0, 2.5, 2.2, 2.1, 2.0), **SIZES)
    assert said.kind == "still improving"
    assert said.words == "Still improving: 0.100 bits/byte in the last fifth; more minutes will help."
    # Looks at 100 and 200 only: the last fifth begins at 160, where the line between them is at 2.4.
    assert "0.400 bits/byte" in verdict(looks(3.0, 2.0), **SIZES).words


def test_a_gap_to_the_training_text_asks_for_text_not_minutes() -> None:
    said = verdict(looks(3.0, 2.5, 2.2, 2.1, 2.0, train=(3.0, 2.4, 2.0, 1.7, 1.4)), **SIZES)
    assert said.kind == "still improving"
    assert "training text is at 1.40 bits/byte already: more text will help more than more minutes" in said.words
    assert "more minutes will help" in verdict(looks(2.1, 2.0, train=(1.9, 1.8)), **SIZES).words


def test_overfitting_names_the_step_since_when() -> None:
    said = verdict(looks(3.0, 2.0, 2.1, 2.3, train=(3.0, 1.9, 1.5, 1.0)), **SIZES)
    assert said.kind == "overfitting"
    assert said.words.startswith("Overfitting: since step 200 the held-out text got worse, by 0.300 bits/byte.")
    assert verdict(looks(3.0, 2.0, 2.009), **SIZES).kind != "overfitting"  # it only wavers
    assert verdict(looks(3.0, 2.0, 2.011), **SIZES).kind == "overfitting"


def test_a_model_too_large_for_its_text_is_told_so_when_it_overfits() -> None:
    said = verdict(looks(3.0, 2.0, 2.1), parameters=1_000_000, text_bytes=30_000)
    assert said.kind == "too little text"
    assert "30,000 bytes for 1,000,000 parameters" in said.words
    assert verdict(looks(3.0, 2.0, 1.9), parameters=1_000_000, text_bytes=30_000).kind == "still improving"


def test_a_run_that_gets_worse_on_its_own_text_is_no_overfitting() -> None:
    said = verdict(looks(3.0, 2.0, 2.5, train=(3.0, 2.0, 2.6)), **SIZES)
    assert said.kind == "worse than expected"
    assert "smaller learning rate" in said.words


def test_worse_than_bigrams_while_falling_and_when_flat() -> None:
    falling = verdict(looks(3.0, 2.5, 2.2, 2.1, 2.0), bigram=1.67, **SIZES)  # it reached 2.0 bits/byte
    assert falling.kind == "worse than bigrams"
    assert "2.00 against 1.67 bits/byte" in falling.words
    assert "more minutes" in falling.words
    flat = verdict(looks(2.0, 2.0, 2.0, 2.0, 2.0), bigram=1.67, **SIZES)
    assert flat.kind == "worse than bigrams"
    assert "learning rate" in flat.words
    assert verdict(looks(3.0, 2.5, 2.2, 2.1, 2.0), bigram=2.07, **SIZES).kind == "still improving"


@pytest.mark.parametrize(
    ("expected", "kind"),
    [
        ((1.93, 2.07), "as expected"),
        ((1.67, 1.93), "worse than expected"),
        ((2.07, 2.33), "better than expected"),
        (None, "levelled off"),
    ],
)
def test_a_loss_that_stands_is_held_against_the_forecast(expected: tuple[float, float] | None, kind: str) -> None:
    assert verdict(looks(3.0, 2.1, 2.01, 2.0, 2.0), expected=expected, **SIZES).kind == kind


def test_a_falling_loss_is_held_against_the_forecast_too_at_the_end() -> None:
    falling = looks(3.0, 2.5, 2.2, 2.1, 2.0)
    assert verdict(falling, expected=(1.33, 1.93), **SIZES).kind == "worse than expected"
    assert verdict(falling, expected=(1.93, 2.07), **SIZES).kind == "still improving"
    assert verdict(falling, expected=(1.33, 1.93), finished=False, **SIZES).kind == "still improving"


def test_before_the_end_nothing_is_held_against_the_forecast() -> None:
    said = verdict(looks(3.0, 2.1, 2.01, 2.0, 2.0), expected=(0.67, 0.73), finished=False, **SIZES)
    assert said.kind == "levelled off"


def test_one_look_is_too_early_but_the_end_is_judged_all_the_same() -> None:
    assert verdict(looks(2.0), finished=False, **SIZES).kind == "too early"
    assert verdict(looks(2.0), **SIZES).kind == "too early"
    assert verdict(looks(2.0), expected=(1.93, 2.07), **SIZES).kind == "as expected"
    assert verdict(looks(2.0), bigram=1.33, finished=False, **SIZES).kind == "worse than bigrams"
    same_step = [*looks(2.0), *looks(2.0)]  # a look at the last step, twice
    assert verdict(same_step, finished=False, **SIZES).kind == "too early"


@pytest.mark.parametrize(("characters", "kind"), [(63, "unknown"), (999, "unknown"), (1000, "still improving")])
def test_a_handful_of_held_out_characters_judges_nothing(characters: int, kind: str) -> None:
    said = verdict(looks(3.0, 2.5, 2.2, 2.1, 2.0), held_out_characters=characters, **SIZES)
    assert said.kind == kind
    assert f"Only {characters:,} characters were held out" in said.words or kind != "unknown"


def test_a_run_of_three_steps_is_told_that_only_three_ran() -> None:
    said = verdict(looks(9.0, 8.9, 8.8, every=1), bigram=3.0, expected=(2.0, 2.5), **SIZES)
    assert said.kind == "too few steps"
    assert said.words.startswith("Only 3 steps ran")
    assert verdict(looks(9.0, every=1), **SIZES).words.startswith("Only 1 step ran")
    assert verdict(looks(9.0, 8.9, 8.8, every=1), finished=False, **SIZES).kind != "too few steps"
    assert verdict(looks(3.0, 2.5, every=10), **SIZES).kind == "still improving"


def test_words_speak_of_one_unit() -> None:
    falling, train = (3.0, 2.5, 2.2, 2.1, 2.0), (3.0, 2.4, 2.0, 1.7, 1.4)
    told = [
        verdict(looks(*losses, train=train), expected=expected, bigram=bigram, **SIZES).words
        for losses in (falling, falling[::-1], (2.0,) * 5)
        for expected in (None, (1.0, 1.1), (2.5, 2.9))
        for bigram in (None, 1.5)
    ]
    assert all("bits/byte" in words and "nats" not in words for words in told)


def test_what_costs_more_than_knowing_nothing_is_no_yardstick() -> None:
    assert yardsticks({"unigram": 8.2, "bigram": 6.5, "gzip": 31.0, "gzip_alone": 7.0}) == {"bigrams": 6.5}
    assert yardsticks({"unigram": 7.99, "gzip": 8.0}) == {"unigrams": 7.99}
    assert yardsticks({}) == {}

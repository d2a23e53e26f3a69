"""Each thing a run can be told, from the curve that says it."""

from __future__ import annotations

from typing import Any

import pytest

from nextword.training.verdict import verdict

SIZES: dict[str, Any] = {"parameters": 1_000_000, "text_bytes": 1_000_000}


def looks(*losses: float, train: tuple[float, ...] = (), every: int = 100) -> list[dict[str, Any]]:
    rows = [
        {"step": every * (place + 1), "nats_per_character": loss, "bits_per_byte": loss * 1.5}
        for place, loss in enumerate(losses)
    ]
    for row, value in zip(rows, train, strict=False):
        row["train_nats_per_character"] = value
    return rows


def test_without_held_out_text_nothing_is_claimed() -> None:
    assert verdict([], **SIZES).kind == "unknown"


def test_a_falling_loss_is_still_improving_and_the_last_fifth_is_measured() -> None:
    said = verdict(looks(3.0, 2.5, 2.2, 2.1, 2.0), **SIZES)
    assert said.kind == "still improving"
    assert said.words == "Still improving: 0.100 nats/character in the last fifth; more minutes will help."
    # Looks at 100 and 200 only: the last fifth begins at 160, where the line between them is at 2.4.
    assert "0.400 nats/character" in verdict(looks(3.0, 2.0), **SIZES).words


def test_a_gap_to_the_training_text_asks_for_text_not_minutes() -> None:
    said = verdict(looks(3.0, 2.5, 2.2, 2.1, 2.0, train=(3.0, 2.4, 2.0, 1.7, 1.4)), **SIZES)
    assert said.kind == "still improving"
    assert "training text is at 1.400 already: more text will help more than more minutes" in said.words
    assert "more minutes will help" in verdict(looks(2.1, 2.0, train=(1.9, 1.8)), **SIZES).words


def test_overfitting_names_the_step_since_when() -> None:
    said = verdict(looks(3.0, 2.0, 2.1, 2.3, train=(3.0, 1.9, 1.5, 1.0)), **SIZES)
    assert said.kind == "overfitting"
    assert said.words.startswith("Overfitting: since step 200 the held-out text got worse, by 0.300 nats/character.")
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
    falling = verdict(looks(3.0, 2.5, 2.2, 2.1, 2.0), bigram=2.5, **SIZES)  # it reached 3.0 bits/byte
    assert falling.kind == "worse than bigrams"
    assert "3.00 against 2.50 bits/byte" in falling.words
    assert "more minutes" in falling.words
    flat = verdict(looks(2.0, 2.0, 2.0, 2.0, 2.0), bigram=2.5, **SIZES)
    assert flat.kind == "worse than bigrams"
    assert "learning rate" in flat.words
    assert verdict(looks(3.0, 2.5, 2.2, 2.1, 2.0), bigram=3.1, **SIZES).kind == "still improving"


@pytest.mark.parametrize(
    ("expected", "kind"),
    [
        ((2.9, 3.1), "as expected"),
        ((2.5, 2.9), "worse than expected"),
        ((3.1, 3.5), "better than expected"),
        (None, "levelled off"),
    ],
)
def test_a_loss_that_stands_is_held_against_the_forecast(expected: tuple[float, float] | None, kind: str) -> None:
    assert verdict(looks(3.0, 2.1, 2.01, 2.0, 2.0), expected=expected, **SIZES).kind == kind


def test_a_falling_loss_is_held_against_the_forecast_too_at_the_end() -> None:
    falling = looks(3.0, 2.5, 2.2, 2.1, 2.0)
    assert verdict(falling, expected=(2.0, 2.9), **SIZES).kind == "worse than expected"
    assert verdict(falling, expected=(2.9, 3.1), **SIZES).kind == "still improving"
    assert verdict(falling, expected=(2.0, 2.9), finished=False, **SIZES).kind == "still improving"


def test_before_the_end_nothing_is_held_against_the_forecast() -> None:
    said = verdict(looks(3.0, 2.1, 2.01, 2.0, 2.0), expected=(1.0, 1.1), finished=False, **SIZES)
    assert said.kind == "levelled off"


def test_one_look_is_too_early_but_the_end_is_judged_all_the_same() -> None:
    assert verdict(looks(2.0), finished=False, **SIZES).kind == "too early"
    assert verdict(looks(2.0), **SIZES).kind == "too early"
    assert verdict(looks(2.0), expected=(2.9, 3.1), **SIZES).kind == "as expected"
    assert verdict(looks(2.0), bigram=2.0, finished=False, **SIZES).kind == "worse than bigrams"
    same_step = [*looks(2.0), *looks(2.0)]  # a look at the last step, twice
    assert verdict(same_step, finished=False, **SIZES).kind == "too early"

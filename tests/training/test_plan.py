"""What is derived from the text and the time."""

from __future__ import annotations

import itertools

import pytest

from nextword.config import TRAINING_PRESETS
from nextword.errors import ConfigError
from nextword.training.plan import BATCHES, CONTEXTS, LEARNING_RATES, Plan, choose_preset, choose_vocab_size

PLAN = Plan("tiny", 300, 16, 2, learning_rate=0.01, dropout=0.0, steps=100)
SIZES, TIMES = (10_000, 1_000_000, 100_000_000), (60.0, 600.0, 7200.0)


def test_the_learning_rate_rises_holds_and_falls() -> None:
    assert PLAN.learning_rate_at(0.015) == pytest.approx(0.005)
    assert PLAN.learning_rate_at(0.03) == 0.01
    assert [PLAN.learning_rate_at(progress) for progress in (0.05, 0.1, 0.2, 0.3)] == [0.01] * 4
    assert PLAN.learning_rate_at(0.65) == pytest.approx(0.005)
    assert PLAN.learning_rate_at(0.93) == pytest.approx(0.001)
    rates = [PLAN.learning_rate_at(step / 1000) for step in range(1001)]
    top = rates.index(0.01)
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)


def test_the_learning_rate_is_never_zero() -> None:
    assert PLAN.learning_rate_at(0) == PLAN.learning_rate_at(1) == pytest.approx(0.0001)


def test_without_warmup_and_decay_the_learning_rate_stays() -> None:
    plan = Plan("tiny", 300, 16, 2, learning_rate=0.01, dropout=0.0, warmup=0, decay=0)
    assert {plan.learning_rate_at(progress) for progress in (0, 0.5, 1)} == {0.01}


def test_the_vocabulary_is_about_the_square_root_of_the_text() -> None:
    assert [choose_vocab_size(size) for size in SIZES] == [512, 1024, 8192]
    assert (choose_vocab_size(0), choose_vocab_size(10**12)) == (512, 32768)
    sizes = [choose_vocab_size(2**power) for power in range(41)]
    assert sizes == sorted(sizes)
    assert all(size & (size - 1) == 0 for size in sizes)


def test_more_text_or_more_time_never_chooses_a_smaller_model() -> None:
    names = list(TRAINING_PRESETS)
    rank = {(size, time): names.index(choose_preset(size, time)) for size in SIZES for time in TIMES}
    for (size, time), (larger, longer) in itertools.product(rank, repeat=2):
        if size <= larger and time <= longer:
            assert rank[size, time] <= rank[larger, longer]


def test_presets_are_sensible_for_a_few_texts_and_times() -> None:
    assert {choose_preset(10_000, time) for time in TIMES} == {"tiny"}  # 10 kB fill no larger model
    assert {choose_preset(size, 60) for size in SIZES} == {"tiny"}  # a minute teaches no larger one
    assert choose_preset(1_000_000, 7200) == "small"
    assert choose_preset(100_000_000, 1e9) == "large"
    assert choose_preset(1_000_000, float("inf")) == "small"


def test_every_preset_has_its_learning_rate_context_and_batch() -> None:
    for table in (LEARNING_RATES, CONTEXTS, BATCHES):
        assert list(table) == list(TRAINING_PRESETS)
    rates = [LEARNING_RATES[name] for name in TRAINING_PRESETS]
    assert rates == sorted(rates, reverse=True)


def test_the_plan_makes_the_architecture() -> None:
    config = Plan("small", 999, 64, 8, 1e-3, dropout=0.25).config(700)
    assert (config.vocab_size, config.context_length, config.dropout) == (700, 64, 0.25)
    assert (config.num_layers, config.d_model, config.qk_norm) == (6, 256, True)
    with pytest.raises(ConfigError, match="there is no preset 'huge'"):
        Plan("huge", 300, 16, 2, 1e-3, 0.0).config(300)

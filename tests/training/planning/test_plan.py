"""What is derived from the text and the time."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from nextword.config import TRAINING_PRESETS, GPTConfig
from nextword.errors import ConfigError, ModelFileError
from nextword.training.corpus.prepare_text import choose_vocab_size
from nextword.training.planning.plan import Plan
from nextword.training.planning.presets import (
    BATCHES,
    CONTEXTS,
    LEARNING_RATES,
    REGULARISATION,
    choose_preset,
    fine_tuning,
    recipe,
)

PLAN = Plan("tiny", 300, 16, 2, learning_rate=0.01, dropout=0.0, steps=100)
SIZES, TIMES, SPEEDS = (10_000, 1_000_000, 100_000_000), (60.0, 600.0, 7200.0), (3e10, 7e10, 1e13)


def test_the_learning_rate_rises_holds_and_falls() -> None:
    assert PLAN.learning_rate_at(0.015) == pytest.approx(0.005)
    assert PLAN.learning_rate_at(0.03) == 0.01
    assert [PLAN.learning_rate_at(progress) for progress in (0.05, 0.2, 0.4, 0.6)] == [0.01] * 4
    assert PLAN.learning_rate_at(0.8) == pytest.approx(0.005)
    assert PLAN.learning_rate_at(0.96) == pytest.approx(0.001)
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


def test_more_text_more_time_or_more_speed_never_chooses_a_smaller_model() -> None:
    names = list(TRAINING_PRESETS)
    rank = {case: names.index(choose_preset(*case)) for case in itertools.product(SIZES, TIMES, SPEEDS)}
    assert {0, 1, 2, 3} == set(rank.values())
    for less, more in itertools.product(rank, repeat=2):
        if all(a <= b for a, b in zip(less, more, strict=True)):
            assert rank[less] <= rank[more]


def test_presets_are_sensible_for_a_few_texts_and_times() -> None:
    two_cores = 7e10
    assert {choose_preset(10_000, time, two_cores) for time in TIMES} == {"tiny"}  # 10 kB fill no larger model
    assert {choose_preset(size, 60, two_cores) for size in SIZES} == {"tiny"}  # a minute teaches no larger one
    assert choose_preset(1_000_000, 7200, two_cores) == "small"
    assert choose_preset(100_000_000, 1e9, two_cores) == "large"
    assert choose_preset(1_000_000, math.inf, two_cores) == "small"
    assert choose_preset(100_000_000, 600, 1e13) == "medium"  # ten minutes on a machine 140 times as fast


def test_a_size_is_taken_exactly_when_a_quarter_of_its_weights_can_be_seen_as_tokens() -> None:
    inner = GPTConfig.preset("small", 1, 1).num_parameters
    seconds = 6 * inner * (inner / 4) / (0.5 * 7e10)  # 6 operations a weight and token, at half the machine's speed
    assert choose_preset(1_000_000, 1.001 * seconds, 7e10) == "small"
    assert choose_preset(1_000_000, 0.999 * seconds, 7e10) == "tiny"
    assert choose_preset(math.ceil(inner / 5), 1e6, 7e10) == "small"
    assert choose_preset(math.floor(inner / 5), 1e6, 7e10) == "tiny"


def test_a_short_text_gets_a_shorter_context() -> None:
    contexts = [recipe("small", tokens, epochs=1)["context_length"] for tokens in (1_000_000, 800, 10)]
    assert contexts == [256, 100, 4]


def test_what_is_read_often_is_regularised_more() -> None:
    limits = [limit for limit, _, _ in REGULARISATION]
    assert limits == sorted(limits)
    assert limits[-1] == math.inf
    for limit, decay, left_out in REGULARISATION:
        settings = recipe("tiny", 1_000_000, epochs=limit)
        assert (settings["weight_decay"], settings["bpe_dropout"]) == (decay, left_out)
    assert recipe("tiny", 1_000_000, epochs=math.nextafter(limits[0], 9))["weight_decay"] == REGULARISATION[1][1]


def test_fine_tuning_is_gentler_and_looks_no_farther_than_the_model() -> None:
    whole, lora = (fine_tuning(8192, 1_000_000, lora=lora) for lora in (False, True))
    assert (whole["context_length"], whole["weight_decay"]) == (256, 0.0)
    assert 10 * whole["learning_rate"] == pytest.approx(lora["learning_rate"])
    assert lora["learning_rate"] < LEARNING_RATES["tiny"]
    assert fine_tuning(64, 1_000_000, lora=True)["context_length"] == 64
    assert fine_tuning(8192, 80, lora=True)["context_length"] == 10


def test_every_preset_has_its_learning_rate_context_and_batch() -> None:
    for table in (LEARNING_RATES, CONTEXTS, BATCHES):
        assert list(table) == list(TRAINING_PRESETS)
    rates = [LEARNING_RATES[name] for name in TRAINING_PRESETS]
    assert rates == sorted(rates, reverse=True)


def test_the_plan_makes_the_architecture() -> None:
    config = Plan("small", 700, 64, 8, 1e-3, dropout=0.25).config()
    assert (config.vocab_size, config.context_length, config.dropout) == (700, 64, 0.25)
    assert (config.num_layers, config.d_model, config.qk_norm) == (6, 256, True)
    with pytest.raises(ConfigError, match="there is no preset 'huge'"):
        Plan("huge", 300, 16, 2, 1e-3, 0.0).config()


def test_a_plan_is_read_from_the_record_that_holds_it() -> None:
    record = json.loads(json.dumps(asdict(PLAN)))
    assert Plan.from_record(record, Path("run.json")) == PLAN
    required = {name: record[name] for name in list(record)[:5]}
    assert Plan.from_record(required, Path("run.json")) == Plan(
        "tiny", 300, 16, 2, 0.01
    )  # before the others were there


@pytest.mark.parametrize(
    ("changes", "message", "hint"),
    [
        ({"patience": 3}, "has the setting patience, which this version does not know", "update nextword"),
        ({"vocab_size": None}, "is damaged: .* 'vocab_size'", "begin anew with restart=True"),
    ],
    ids=["newer", "damaged"],
)
def test_a_plan_of_another_make_is_refused(changes: dict[str, Any], message: str, hint: str) -> None:
    record = {name: value for name, value in {**asdict(PLAN), **changes}.items() if changes.get(name, 1) is not None}
    with pytest.raises(ModelFileError, match=rf"^run\.json {message}(?m:$)") as caught:
        Plan.from_record(record, Path("run.json"))
    assert caught.value.hint == hint

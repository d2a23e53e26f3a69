"""From logits to one token: every stage by hand, against transformers, and drawn as the full pipeline would."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from transformers.generation.logits_process import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from nextword.errors import ConfigError
from nextword.generation import Sampling, Stages
from nextword.generation.backend import Logits
from nextword.generation.sampling import log_softmax, softmax
from tests.generation.random_draws import full_pipeline_token, random_logits, random_settings

HALVES = np.log(np.array([0.125, 0.5, 0.125, 0.25])).astype(np.float32)
NAN = float("nan")


def shares(*values: float) -> Any:
    return pytest.approx(values, abs=1e-7)


# -- each stage, by hand -------------------------------------------------------------------------------------------


def test_the_defaults_are_the_models_own_distribution() -> None:
    stages = Stages.of(HALVES, Sampling())
    assert stages.distribution == shares(0.125, 0.5, 0.125, 0.25)
    assert stages.tempered == shares(0.125, 0.5, 0.125, 0.25)
    assert stages.kept.all()
    assert stages.discarded_mass == 0.0


def test_the_penalty_divides_positive_and_multiplies_negative_logits_of_seen_tokens_once() -> None:
    logits = np.array([2.0, -1.0, 0.0, 3.0, -4.0], np.float32)
    stages = Stages.of(logits, Sampling(repetition_penalty=2.0), seen=[0, 1, 2, 0, 0])
    assert stages.penalized.tolist() == [1.0, -2.0, 0.0, 3.0, -4.0]
    assert stages.logits.tolist() == logits.tolist() == [2.0, -1.0, 0.0, 3.0, -4.0]
    assert stages.probabilities == pytest.approx(softmax(logits), abs=1e-12)
    assert stages.tempered == pytest.approx(softmax(stages.penalized), abs=1e-7)


def test_a_penalty_below_one_favours_what_was_seen() -> None:
    penalized = Sampling(repetition_penalty=0.5).penalized(np.array([2.0, -1.0, 3.0], np.float32), [0, 1])
    assert penalized.tolist() == [4.0, -0.5, 3.0]


def test_the_strongest_penalties_keep_every_logit_usable() -> None:
    logits = np.array([3e38, -3e38, 0.0, -np.inf, 5.0], np.float32)
    for penalty, first in ((1e300, 4), (1e-300, 0)):
        settings = Sampling(repetition_penalty=penalty)
        assert not np.isnan(settings.penalized(logits, [0, 1, 2, 3])).any()
        assert settings.draw(logits, [0, 1, 2, 3], np.random.default_rng(0)) == first
        assert Stages.of(logits, settings, [0, 1, 2, 3]).distribution[3] == 0


def test_no_penalty_and_nothing_seen_leave_the_logits_alone() -> None:
    assert Sampling().penalized(HALVES, [0, 1]) is HALVES
    assert Sampling(repetition_penalty=3.0).penalized(HALVES, []).tolist() == HALVES.tolist()


def test_half_the_temperature_squares_the_probabilities() -> None:
    stages = Stages.of(HALVES, Sampling(temperature=0.5))
    assert stages.tempered == shares(1 / 22, 8 / 11, 1 / 22, 2 / 11)
    assert stages.distribution == shares(1 / 22, 8 / 11, 1 / 22, 2 / 11)
    assert stages.probabilities == shares(0.125, 0.5, 0.125, 0.25)


def test_top_k_keeps_the_k_most_probable_and_renormalises() -> None:
    stages = Stages.of(HALVES, Sampling(top_k=2))
    assert stages.kept.tolist() == [False, True, False, True]
    assert stages.distribution == shares(0, 2 / 3, 0, 1 / 3)
    assert stages.discarded_mass == pytest.approx(0.25, abs=1e-7)


def test_top_k_of_equal_tokens_takes_the_lower_id() -> None:
    assert Stages.of(HALVES, Sampling(top_k=3)).kept.tolist() == [True, True, False, True]


def test_top_k_above_the_vocabulary_keeps_everything() -> None:
    assert Stages.of(HALVES, Sampling(top_k=1000)).kept.all()


@pytest.mark.parametrize(("top_p", "count"), [(0.01, 1), (0.49, 1), (0.51, 2), (0.74, 2), (0.76, 3), (0.88, 4), (1, 4)])
def test_top_p_keeps_the_token_that_crosses_the_line(top_p: float, count: int) -> None:
    stages = Stages.of(HALVES, Sampling(top_p=top_p))
    assert np.flatnonzero(stages.kept).tolist() == sorted([1, 3, 0, 2][:count])
    mass = [0.5, 0.75, 0.875, 1.0][count - 1]
    assert stages.distribution[1] == pytest.approx(0.5 / mass, abs=1e-7)
    assert stages.discarded_mass == pytest.approx(1 - mass, abs=1e-7)


def test_top_p_that_is_reached_exactly_takes_no_further_token() -> None:
    assert Stages.of(np.zeros(4, np.float32), Sampling(top_p=0.5)).kept.tolist() == [True, True, False, False]


@pytest.mark.parametrize(("min_p", "count"), [(0.0, 4), (0.24, 4), (0.26, 2), (0.49, 2), (0.51, 1), (1.0, 1)])
def test_min_p_is_measured_against_the_most_probable_token(min_p: float, count: int) -> None:
    stages = Stages.of(HALVES, Sampling(min_p=min_p))
    assert np.flatnonzero(stages.kept).tolist() == sorted([1, 3, 0, 2][:count])


def test_top_p_counts_only_what_top_k_left() -> None:
    # After top-k 3 the first two hold 0.75 / 0.875 = 0.857: enough for 0.8, where 0.75 would not be.
    assert Stages.of(HALVES, Sampling(top_p=0.8)).kept.sum() == 3
    stages = Stages.of(HALVES, Sampling(top_k=3, top_p=0.8))
    assert stages.distribution == shares(0, 2 / 3, 0, 1 / 3)


def test_cuts_look_at_the_tempered_distribution() -> None:
    assert Stages.of(HALVES, Sampling(min_p=0.4)).kept.sum() == 2
    assert Stages.of(HALVES, Sampling(min_p=0.4, temperature=0.5)).kept.sum() == 1
    assert Stages.of(HALVES, Sampling(min_p=0.4, temperature=2.0)).kept.sum() == 4
    assert Stages.of(HALVES, Sampling(top_p=0.7, temperature=0.5)).kept.sum() == 1


def test_everything_at_once_by_hand() -> None:
    # Penalty 2 on token 1: 4 -> 2. At temperature 2 the weights are e^1.5, e^1, e^0.5, 1, 1/e.
    logits = np.array([3.0, 4.0, 1.0, 0.0, -2.0], np.float32)
    settings = Sampling(temperature=2.0, top_k=4, top_p=0.95, min_p=0.3, repetition_penalty=2.0)
    stages = Stages.of(logits, settings, seen=[1])
    assert stages.penalized.tolist() == [3.0, 2.0, 1.0, 0.0, -2.0]
    weights = [math.exp(x) for x in (1.5, 1.0, 0.5, 0.0, -1.0)]
    assert stages.tempered == shares(*[w / sum(weights) for w in weights])
    # top-k drops the last; top-p keeps all four (the first three hold 0.901); min-p 0.3 drops 1 / e^1.5 = 0.22.
    assert stages.distribution == shares(*[w / sum(weights[:3]) for w in weights[:3]], 0, 0)
    assert stages.discarded_mass == pytest.approx(sum(weights[3:]) / sum(weights), abs=1e-7)


def test_softmax_and_log_softmax_are_torchs_in_double_precision() -> None:
    logits = np.random.default_rng(0).normal(0, 30, (7, 50)).astype(np.float32)
    expected = torch.log_softmax(torch.from_numpy(logits).double(), -1).numpy()
    assert np.abs(log_softmax(logits) - expected).max() < 1e-12
    assert np.abs(np.log(softmax(logits[0])) - expected[0]).max() < 1e-12


# -- against transformers ------------------------------------------------------------------------------------------


def transformers_distribution(logits: Logits, settings: Sampling, seen: list[int]) -> Any:
    ids, scores = torch.tensor([seen]), torch.from_numpy(logits)[None].clone()
    stages: list[Any] = [
        RepetitionPenaltyLogitsProcessor(settings.repetition_penalty),
        TemperatureLogitsWarper(settings.temperature),
        TopKLogitsWarper(settings.top_k or len(logits)),
        TopPLogitsWarper(settings.top_p),
        MinPLogitsWarper(settings.min_p),
    ]
    for stage in stages:
        scores = stage(ids, scores)
    return torch.softmax(scores[0].double(), -1).numpy()


@pytest.mark.parametrize("seed", range(8))
def test_the_distribution_is_that_of_transformers(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(40):
        size = int(rng.integers(5, 800))
        logits = rng.normal(0, rng.choice([0.3, 2, 6]), size).astype(np.float32)
        settings = Sampling(
            temperature=float(rng.uniform(0.2, 3)),
            top_k=int(rng.integers(1, size + 1)) if rng.random() < 0.5 else None,
            top_p=float(rng.uniform(0.05, 0.999)) if rng.random() < 0.7 else 1.0,
            min_p=float(rng.uniform(0, 0.4)) if rng.random() < 0.5 else 0.0,
            repetition_penalty=float(rng.uniform(0.6, 2)) if rng.random() < 0.5 else 1.0,
        )
        seen = rng.integers(0, size, 6).tolist()
        expected = transformers_distribution(logits, settings, seen)
        stages = Stages.of(logits, settings, seen)
        assert np.array_equal(stages.kept, expected > 0)
        assert np.abs(stages.distribution - expected).max() < 1e-6
        assert stages.distribution.sum() == pytest.approx(1, abs=1e-12)


# -- the drawn token -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("largest", "trials"), [(8, 1000), (300, 1000), (2000, 700), (20_000, 120)])
def test_a_drawn_token_is_the_one_of_the_full_pipeline(largest: int, trials: int) -> None:
    rng = np.random.default_rng(largest)
    for trial in range(trials):
        size = int(rng.integers(5, largest + 1)) if trial else largest
        logits, settings = random_logits(rng, size), random_settings(rng, size)
        seen, seed = rng.integers(0, size, 5).tolist(), int(rng.integers(1 << 30))
        u = np.random.default_rng(seed).random()
        drawn = settings.draw(logits, seen, np.random.default_rng(seed))
        assert drawn == full_pipeline_token(logits, settings, u, seen), (trial, settings)


def test_a_draw_takes_exactly_one_number_and_a_greedy_choice_none() -> None:
    rng, other = np.random.default_rng(3), np.random.default_rng(3)
    Sampling(temperature=0.0).draw(HALVES, [], rng)
    assert rng.bit_generator.state == other.bit_generator.state
    Sampling(top_p=0.9).draw(HALVES, [], rng)
    other.random()
    assert rng.bit_generator.state == other.bit_generator.state


@pytest.mark.parametrize("temperature", [0, 0.0, -0.0])
def test_temperature_zero_is_the_most_probable_token_and_nothing_else(temperature: float) -> None:
    settings = Sampling(temperature=temperature, top_p=0.95)
    nearly = np.array([1.0, 1.0000001, 1.0, 0.9], np.float32)
    assert {settings.draw(nearly, [], np.random.default_rng(seed)) for seed in range(50)} == {1}
    stages = Stages.of(nearly, settings)
    assert stages.distribution.tolist() == stages.tempered.tolist() == [0, 1, 0, 0]
    assert stages.kept.tolist() == [False, True, False, False]
    assert stages.discarded_mass == 0.0
    assert stages.probabilities[0] == pytest.approx(0.2562, abs=1e-3)


def test_temperature_zero_takes_the_first_of_equal_tokens_and_minds_the_penalty() -> None:
    logits = np.array([0.0, 2.0, 2.0, 1.5], np.float32)
    rng = np.random.default_rng(0)
    assert Sampling(temperature=0.0).draw(logits, [1], rng) == 1
    assert Sampling(temperature=0.0, repetition_penalty=1.1).draw(logits, [1], rng) == 2
    assert Sampling(temperature=0.0, repetition_penalty=1.5).draw(logits, [1, 2], rng) == 3


@pytest.mark.parametrize("temperature", [5e-324, 1e-50, 1e-42, 1e-20])
def test_the_smallest_temperatures_choose_the_most_probable_token(temperature: float) -> None:
    logits = np.array([-300.0, 7.0, 6.99, 300.0, 299.0], np.float32)
    for settings in (Sampling(temperature), Sampling(temperature, top_p=0.9), Sampling(temperature, min_p=0.1)):
        assert settings.draw(logits, [], np.random.default_rng(1)) == 3
        assert Stages.of(logits, settings).distribution.tolist() == [0, 0, 0, 1, 0]


def test_the_largest_temperature_makes_every_possible_token_equal() -> None:
    logits = np.array([-5.0, 40.0, -np.inf, 3.0], np.float32)
    assert Stages.of(logits, Sampling(temperature=1e300)).distribution == shares(1 / 3, 1 / 3, 0, 1 / 3)


def test_an_impossible_token_is_never_drawn() -> None:
    logits = np.full(600, -np.inf, np.float32)
    logits[[5, 320, 599]] = [0.0, 1.0, -80.0]
    rng = np.random.default_rng(0)
    for settings in (Sampling(), Sampling(top_k=100), Sampling(top_p=0.9999), Sampling(temperature=50.0)):
        assert {settings.draw(logits, [], rng) for _ in range(200)} <= {5, 320, 599}


@pytest.mark.parametrize(
    "settings",
    [
        Sampling(),
        Sampling(temperature=0.6, top_p=0.9),
        Sampling(temperature=1.7, top_k=9, min_p=0.02),
        Sampling(repetition_penalty=1.4, top_k=11),
    ],
)
def test_drawn_frequencies_match_the_distribution(settings: Sampling) -> None:
    logits = np.random.default_rng(5).normal(0, 1.2, 14).astype(np.float32)
    seen, draws, rng = [1, 3, 8], 8000, np.random.default_rng(11)
    counts = np.bincount([settings.draw(logits, seen, rng) for _ in range(draws)], minlength=14)
    stages = Stages.of(logits, settings, seen)
    assert counts[~stages.kept].sum() == 0
    expected = draws * stages.distribution[stages.kept]
    statistic = float(((counts[stages.kept] - expected) ** 2 / expected).sum())
    freedom = int(stages.kept.sum()) - 1
    assert statistic < freedom + 3.1 * math.sqrt(2 * freedom)  # about one false alarm in a thousand seeds


# -- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("temperature", [-0.001, -1, NAN, math.inf, -math.inf]),
        ("top_k", [0, -1, 2.5, NAN, math.inf]),
        ("top_p", [0, -0.1, 1.0001, NAN, math.inf]),
        ("min_p", [-0.1, 1.0001, NAN, math.inf]),
        ("repetition_penalty", [0, -1, NAN, math.inf]),
    ],
)
def test_values_out_of_range_are_named(name: str, values: list[Any]) -> None:
    for value in values:
        with pytest.raises(ConfigError, match=rf"^{name} is {value}, it must be "):
            Sampling(**{name: value})


def test_values_at_the_edge_are_taken() -> None:
    for settings in (
        Sampling(temperature=0, top_k=1, top_p=1, min_p=0),
        Sampling(temperature=1e300, top_p=5e-324, min_p=1),
        Sampling(top_k=np.int64(1)),  # type: ignore[arg-type]
    ):
        assert Stages.of(HALVES, settings).distribution.sum() == pytest.approx(1)

"""What draws the tokens of a text, in native code and in NumPy, against the distribution that is shown."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from nextword.engine.kernels import available_kernels
from nextword.errors import ConfigError
from nextword.generation import Sampling
from nextword.generation.backend import Logits
from nextword.generation.sampler import NativeSampler, NumpySampler, Sampler, new_sampler
from tests.generation.random_draws import full_pipeline_token, random_logits, random_settings


def samplers(sampling: Sampling, token_ids: list[int]) -> dict[str, Sampler]:
    """In NumPy, and in native code with every instruction set of this processor."""
    native = {kernels: NativeSampler(sampling, token_ids, kernels) for kernels in available_kernels()}
    return {"numpy": NumpySampler(sampling, token_ids), **native}


def random_penalties(rng: np.random.Generator, size: int, settings: Sampling) -> Sampling:
    """Those of OpenAI's API and biases, or none."""
    biased = rng.integers(0, size, 3) if rng.random() < 0.3 else ()
    return replace(
        settings,
        presence_penalty=float(rng.choice([0.0, 0.0, 0.6, -1.5])),
        frequency_penalty=float(rng.choice([0.0, 0.0, 0.3, -0.2])),
        logit_bias={int(token): float(rng.normal(0, 5)) for token in biased},
    )


@pytest.mark.parametrize(("size", "texts"), [(7, 300), (64, 300), (1025, 300), (8192, 60), (152_000, 3)])
def test_every_sampler_draws_what_the_shown_distribution_gives(size: int, texts: int) -> None:
    rng = np.random.default_rng(size)
    for text in range(texts):
        settings = random_penalties(rng, size, random_settings(rng, size))
        read, seed = rng.integers(0, size, 5).tolist(), int(rng.integers(1 << 30))
        drawing = {name: (one, np.random.default_rng(seed)) for name, one in samplers(settings, read).items()}
        numbers, written = np.random.default_rng(seed), list[int]()
        for _ in range(4):
            logits = random_logits(rng, size)
            expected = full_pipeline_token(logits, settings, numbers.random(), read + written, written)
            for name, (sampler, generator) in drawing.items():
                assert sampler.draw(logits, generator) == expected, (name, text, settings)
                sampler.accept(expected)
            written.append(expected)


@pytest.mark.parametrize("size", [3, 40, 1000])
def test_every_sampler_is_greedy_at_temperature_zero(size: int) -> None:
    rng = np.random.default_rng(size)
    for _ in range(100):
        logits, read = np.round(rng.normal(0, 2, size)).astype(np.float32), rng.integers(0, size, 3).tolist()
        settings = random_penalties(rng, size, Sampling(temperature=0.0, top_p=0.9, repetition_penalty=1.2))
        expected = int(np.argmax(settings.penalized(logits, read)))
        assert {one.draw(logits, rng) for one in samplers(settings, read).values()} == {expected}


def test_the_ends_of_the_temperatures() -> None:
    logits = np.array([1.0, 40.0, -np.inf, 39.9, 40.1, 0.5], np.float32)
    u = np.random.default_rng(6).random()
    for name, sampler in samplers(Sampling(temperature=5e-324, top_p=0.9), []).items():
        assert sampler.draw(logits, np.random.default_rng(6)) == 4, name
    for top_k, possible in ((6, [0, 1, 3, 4, 5]), (3, [0, 1, 3])):  # all weigh the same: the lower ids first
        for name, sampler in samplers(Sampling(temperature=1e300, top_k=top_k), []).items():
            assert sampler.draw(logits, np.random.default_rng(6)) == possible[int(u * len(possible))], name


def test_a_draw_takes_one_number_and_a_greedy_choice_none() -> None:
    logits = np.array([1.0, 2.0, 1.5], np.float32)
    for temperature, taken in ((0.0, 0), (0.8, 1)):
        for sampler in samplers(Sampling(temperature=temperature, top_p=0.9), []).values():
            rng, other = np.random.default_rng(3), np.random.default_rng(3)
            sampler.draw(logits, rng)
            other.random(taken)
            assert rng.bit_generator.state == other.bit_generator.state


@pytest.mark.parametrize("settings", [Sampling(), Sampling(top_p=0.9), Sampling(top_k=1), Sampling(min_p=0.1)])
@pytest.mark.parametrize("bad", [[1.0, math.nan, 2.0], [1.0, math.inf, 2.0], [-math.inf] * 3])
def test_where_no_logit_is_the_largest_nothing_is_drawn(bad: list[float], settings: Sampling) -> None:
    logits: Logits = np.array(bad, np.float32)
    for sampler in samplers(settings, []).values():
        with pytest.raises(ConfigError, match=r"^no token can be drawn: the largest logit is infinite or no number"):
            sampler.draw(logits, np.random.default_rng(0))


def test_a_token_without_a_logit_is_an_error_wherever_it_counts() -> None:
    logits = np.zeros(3, np.float32)
    for settings, read in ((Sampling(logit_bias={3: 1.0}), []), (Sampling(repetition_penalty=1.1), [3])):
        for sampler in samplers(settings, read).values():
            with pytest.raises(IndexError):
                sampler.draw(logits, np.random.default_rng(0))


def test_texts_are_drawn_in_native_code_where_it_is_built() -> None:
    assert isinstance(new_sampler(Sampling(), []), NativeSampler)

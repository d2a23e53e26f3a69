"""The forecast is arithmetic, and agrees with the runs it was fitted on and with those it was not."""

from __future__ import annotations

import math
from typing import Any

import pytest

from nextword.training.planning.forecast import MARGIN, forecast

TINY: dict[str, Any] = {"parameters": 1_049_984, "tokens_per_step": 1024, "tokens_per_second": 10_240.0}


@pytest.mark.parametrize(
    ("parameters", "tokens", "train_tokens", "bigram", "measured"),
    [  # bits per byte at the end, as they came out
        (1_049_984, 571_392, 381_000, 2.537, 2.290),  # tinyshakespeare
        (5_246_976, 587_776, 381_000, 2.537, 2.407),  # the same, preset small
        (1_049_984, 1_300_480, 381_000, 2.537, 2.150),  # the same, two minutes on two cores
        (1_049_984, 102_400, 348_546, 1.243, 1.365),  # Korean help pages
        (1_049_984, 307_200, 348_546, 1.243, 1.160),  # the same, three times as long
        (918_912, 102_400, 149_565, 2.727, 2.833),  # English help pages
        (1_049_984, 102_400, 490_008, 2.255, 2.457),  # Python sources
        (918_912, 102_400, 12_561, 2.870, 2.695),  # 30 kB of tinyshakespeare, eight passes
    ],
)
def test_it_holds_for_runs_that_were_measured(
    parameters: int, tokens: int, train_tokens: int, bigram: float, measured: float
) -> None:
    said = forecast(
        parameters=parameters,
        tokens_per_step=1024,
        tokens_per_second=1000.0,
        train_tokens=train_tokens,
        steps=tokens // 1024,
        bigram=bigram,
    )
    assert said.low is not None
    assert said.high is not None
    assert said.low < measured < said.high
    assert said.bits_per_byte == pytest.approx(measured, rel=0.05)


def test_the_length_of_a_run_by_the_clock_and_by_steps() -> None:
    said = forecast(**TINY, train_tokens=512_000, seconds=100.0)
    assert (said.steps, said.tokens, said.epochs, said.seconds) == (1000, 1_024_000, 2.0, 100.0)
    assert (said.bits_per_byte, said.expected, said.beyond) == (None, None, False)
    assert forecast(**TINY, train_tokens=512_000, steps=300).seconds == 30.0
    assert forecast(**TINY, train_tokens=512_000, seconds=10.0, steps=300).steps == 100
    assert forecast(**TINY, train_tokens=512_000, seconds=100.0, steps=300).steps == 300
    assert forecast(**TINY, train_tokens=512_000, seconds=0.01).steps == 1
    with pytest.raises(ValueError, match="give seconds or steps"):
        forecast(**TINY, train_tokens=512_000)


def test_the_formula_by_hand() -> None:
    said = forecast(**TINY, train_tokens=200_000, steps=500, bigram=2.0)
    ratio = 0.75 + 0.341 * 5.12**-0.508 * 1.049984**0.137 * 0.5**0.176
    assert said.bits_per_byte == pytest.approx(2.0 * ratio)
    assert said.expected == (pytest.approx(2.0 * ratio * (1 - MARGIN)), pytest.approx(2.0 * ratio * (1 + MARGIN)))
    assert not said.beyond


def test_more_time_never_makes_it_worse_and_passes_stop_counting() -> None:
    losses = [forecast(**TINY, train_tokens=50_000, steps=steps, bigram=2.0) for steps in (50, 100, 300, 390)]
    values = [said.bits_per_byte for said in losses]
    assert values == sorted(values, reverse=True, key=lambda value: value or math.nan)
    assert len(set(values)) == 4
    many = [forecast(**TINY, train_tokens=50_000, steps=steps, bigram=2.0) for steps in (391, 5000)]
    assert many[0].bits_per_byte == many[1].bits_per_byte
    assert many[1].beyond


@pytest.mark.parametrize(
    "changes",
    [{"parameters": 50_000_000}, {"train_tokens": 50_000_000}, {"steps": 20_000}, {"train_tokens": 2000}, {"steps": 3}],
)
def test_outside_of_what_was_measured_the_margin_widens_and_it_is_said(changes: dict[str, Any]) -> None:
    said = forecast(**{**TINY, "train_tokens": 400_000, "steps": 500, "bigram": 2.0, **changes})
    assert said.beyond
    assert said.bits_per_byte is not None
    assert said.high is not None
    assert MARGIN < said.high / said.bits_per_byte - 1 <= 0.4 + 1e-9


def test_the_margin_grows_by_its_own_size_with_every_factor_of_ten() -> None:
    said = forecast(**{**TINY, "parameters": 53_000_000}, train_tokens=400_000, steps=500, bigram=2.0)
    assert said.bits_per_byte is not None
    assert said.high == pytest.approx(said.bits_per_byte * (1 + 2 * MARGIN))

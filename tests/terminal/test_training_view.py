"""A run in 80 columns: what to expect, what to beat, how it goes, what to make of it."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.cells import cell_len
from rich.console import Console

from nextword.config import GPTConfig
from nextword.terminal.sparkline import sparkline
from nextword.terminal.training_view import TrainingView
from nextword.training.baselines import Baselines
from nextword.training.events import Sampled, Started, Stepped, Validated
from nextword.training.forecast import Forecast
from nextword.training.plan import Plan
from nextword.training.verdict import Verdict

STARTED = Started(
    Plan("tiny", 512, 32, 4, 4e-3, 0.0, steps=9), GPTConfig.preset("tiny", 512, 32), 98_765_432, 312_345_678, 618
)
BASELINES = Baselines(unigram=3.5, bigram=2.53, gzip=3.1, gzip_alone=3.2, bytes_per_character=1.0)
FORECAST = Forecast(12_345.6, 119.0, 1_234, 1_263_616, 3.3, 2.15, 2.02, 2.3)
EVENTS = (
    STARTED,
    BASELINES,
    FORECAST,
    Stepped(1, 0.1, 5.5, 1000.0, 9.0),
    Validated(100, 61.0, 1.0, 2.0, 3.0, best=True),
    Validated(200, 122.0, 1.0, 1.5, 2.25, best=True),
    Sampled(200, "한국의 수도는 서울이다."),
    Validated(300, 183.0, 1.0, 1.6, 2.3, best=False),
    Verdict("overfitting", "Overfitting: since step 200 [x] it got worse."),
)


def drawn(console: Console) -> str:
    with TrainingView(console) as view:
        for event in EVENTS:
            view.watch(event)
        if console.is_interactive:
            view._progress.refresh()
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_where_nobody_watches_a_run_is_plain_lines() -> None:
    lines = drawn(Console(file=io.StringIO(), width=80, highlight=False, emoji=False)).splitlines()
    assert all(cell_len(line) <= 80 for line in lines)
    assert lines[3:6] == [
        "to beat, in bits/byte: unigrams 3.500, bigrams 2.530, gzip 3.100",
        "expected: 12,346 tokens/s, 1,234 steps in 1:59, text read 3.3 times",
        "          held-out 2.15 bits/byte, 2.02 to 2.30",
    ]
    assert lines[6].endswith("held-out 3.0000 bits/byte, 2.0000 nats/character  best")
    assert lines[8].strip() == "한국의 수도는 서울이다."
    assert lines[9].endswith("worse")
    assert lines[10:] == ["Overfitting: since step 200 [x] it got worse."]


def test_on_a_screen_the_curve_stands_below_the_bar() -> None:
    screen = Console(
        file=io.StringIO(), width=80, force_terminal=True, force_interactive=True, color_system=None, emoji=False
    )
    assert "held-out █▁▁ 2.25 bits/byte, bigrams 2.53" in drawn(screen)


def test_a_forecast_outside_of_what_was_measured_says_so() -> None:
    console = Console(file=io.StringIO(), width=80)
    with TrainingView(console) as view:
        view.watch(replace(FORECAST, beyond=True, epochs=123.4, seconds=7200.0, steps=1_234_567, tokens_per_second=1e6))
        view.watch(replace(FORECAST, bits_per_byte=None, low=None, high=None))
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert lines[0] == "expected: 1,000,000 tokens/s, 1,234,567 steps in 2:00:00, text read 123 times"
    assert lines[1].endswith("2.02 to 2.30 (beyond what was measured)")
    assert lines[2:] == ["expected: 12,346 tokens/s, 1,234 steps in 1:59, text read 3.3 times"]


@pytest.mark.parametrize(
    ("values", "width", "line"),
    [
        ([], 5, ""),
        ([2.0], 5, "▁"),
        ([1.0, 1.0], 5, "▁▁"),
        ([0.0, 7.0, 3.0], 5, "▁█▄"),
        ([0.0, 2.0, 7.0, 9.0], 2, "▁█"),
        (list(range(80)), 8, "▁▂▃▄▅▆▇█"),
    ],
)
def test_a_sparkline_spans_lowest_to_highest_in_its_width(values: list[float], width: int, line: str) -> None:
    assert sparkline(values, width) == line

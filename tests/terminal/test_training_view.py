"""A run in 80 columns: what to expect, what to beat, how it goes, what to make of it."""

from __future__ import annotations

import io
import itertools
from dataclasses import replace

import pytest
from rich.cells import cell_len
from rich.console import Console

from nextword.config import GPTConfig
from nextword.terminal.console import size
from nextword.terminal.sparkline import sparkline
from nextword.terminal.training_view import TrainingView, folded, prepared_text
from nextword.training.events import Preparing, Sampled, Started, Stepped, Validated
from nextword.training.planning.baselines import Baselines
from nextword.training.planning.forecast import Forecast
from nextword.training.planning.plan import Plan
from nextword.training.planning.verdict import Verdict

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


# -- time ---------------------------------------------------------------------------------------------------------


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def lines_of(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_without_a_terminal_a_line_comes_now_and_then_seldomer_the_longer_it_takes() -> None:
    console, clock = Console(file=io.StringIO(), width=80, highlight=False, emoji=False), Clock()
    with TrainingView(console, clock) as view:
        view.watch(STARTED)
        before = len(lines_of(console))
        for step in range(1, 36_001):  # ten hours, a step a second
            clock.seconds += 1
            view.watch(Stepped(step, step / 36_000, 1.5, 1234.0, 36_000 - step, seconds=step))
    told = lines_of(console)[before:]
    assert told[0] == "   0:30  step 30  loss 1.500, 1,234 tokens/s, 9:59:30 left"
    assert told[1].startswith("   1:00  step 60 ")
    steps = [int(line.split()[2].replace(",", "")) for line in told]
    assert max(after - before for before, after in itertools.pairwise(steps)) <= 36_000 / 40
    assert 40 + 100 < len(told) < 40 + 150  # 40 in the first 20 minutes, then 40 each time that the time grows by e
    assert all(cell_len(line) <= 80 for line in told)


def test_reading_a_large_text_is_told_without_a_terminal_too() -> None:
    console, clock = Console(file=io.StringIO(), width=80, highlight=False, emoji=False), Clock()
    with TrainingView(console, clock) as view:
        for second in range(100):
            clock.seconds += 1
            view.watch(
                Preparing(
                    "read" if second < 50 else "tokenize", 12_000_000 * (second + 1), 0 if second < 50 else 2 * 10**9
                )
            )
    assert lines_of(console) == [
        "reading text: 360 MB",
        "turning text into tokens: 720 MB of 2.0 GB",
        "turning text into tokens: 1.1 GB of 2.0 GB",
    ]


def test_the_time_left_runs_on_between_two_steps_and_ends_when_ctrl_c_was_seen() -> None:
    screen, clock = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None), Clock()

    def said() -> str:
        assert isinstance(screen.file, io.StringIO)
        screen.file.truncate(0)
        view._progress.refresh()
        return screen.file.getvalue()

    with TrainingView(screen, clock) as view:
        view.watch(STARTED)
        view.watch(Stepped(10, 0.5, 1.0, 1000.0, 65.0))
        assert "1:05 left" in said()
        clock.seconds += 20  # a slow step, or a look at the held-out text
        assert "0:45 left" in said()
        view.watch(Stepped(11, 0.6, 1.0, 1000.0, 0.0))
        assert "ending" in said()
        assert "left" not in said()


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (Preparing("read", 0, 0), "reading text"),
        (Preparing("read", 812, 0), "reading text: 812 bytes"),
        (Preparing("tokenize", 0, 34_000), "turning text into tokens"),
        (Preparing("tokenize", 34_000, 0), "turning text into tokens: 34 kB"),
        (Preparing("tokenize", 3_400, 34_000), "turning text into tokens: 3.4 kB of 34 kB"),
        (Preparing("tokenize", 5_100_000, 1_200_000_000), "turning text into tokens: 5.1 MB of 1.2 GB"),
    ],
)
def test_sizes_are_said_in_a_unit_that_fits(event: Preparing, text: str) -> None:
    assert prepared_text(event) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (1, "1 byte"), (999, "999 bytes"), (1000, "1.0 kB"), (9_949, "9.9 kB"), (9_950, "10 kB"),
     (999_499, "999 kB"), (999_500, "1.0 MB"), (98_765_432, "99 MB"), (999_500_000, "1.0 GB"), (8e12, "8,000 GB")],
)  # fmt: skip
def test_bytes_are_read_in_three_digits_at_most(count: float, text: str) -> None:
    assert size(count) == text


def test_names_are_printed_as_they_are_whatever_is_in_them() -> None:
    plan = Plan("from", 300, 16, 2, 1e-3, 0.0, steps=4, base="base [v2] [/old] \udcb0\x1b[31m")
    output = io.StringIO()
    console = Console(file=output, width=120, highlight=False)
    names = ("a [bold].txt", "b [/old].txt", *(f"{number}.txt" for number in range(5)))
    event = Started(
        plan,
        GPTConfig.preset("tiny", 300, 16),
        train_tokens=1,
        train_characters=1,
        validation_characters=0,
        files=names,
        file_count=9,
        skipped=((".git [/x]", "hidden"), (".trash", "hidden"), ("m", "a model")),
        skipped_count=5,
    )
    with TrainingView(console) as view:
        view.watch(event)
    lines = output.getvalue().splitlines()
    assert lines[0].startswith("base [v2] [/old] \\xb0U+001B[31m: ")
    assert lines[1] == "read: a [bold].txt, b [/old].txt, 0.txt, 1.txt, 2.txt and 4 more"
    assert lines[2] == "not read: .git [/x], .trash (hidden); m (a model); and 2 more"


def test_samples_end_no_line_within_a_character() -> None:
    text = "한국\n👨\u200d👩\u200d👧 어⟨EC·97⟩\x01나는오늘학교에가서친구를만났다길게 word"
    narrow = Console(file=io.StringIO(), width=21)
    lines = ["한국↵👨\u200d👩\u200d👧 어", "⟨EC·97⟩", "U+0001나는오", "늘학교에가서", "친구를만났다", "길게 word"]
    assert folded(text, narrow) == lines
    ascii_only = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="backslashreplace")
    lines = folded("나는 오늘 학교에", Console(file=ascii_only, width=24))
    assert lines == ["\\ub098\\ub294", "\\uc624\\ub298", "\\ud559\\uad50", "\\uc5d0"]


def test_one_is_no_plural() -> None:
    file = io.StringIO()
    view = TrainingView(Console(file=file, width=80, highlight=False))
    view.watch(replace(FORECAST, steps=1, seconds=0.2, epochs=1.0, bits_per_byte=None))
    assert file.getvalue() == "expected: 12,346 tokens/s, 1 step in 0:00, text read once\n"

"""The curve of a run shows the losses it was given, in any script, and says what lies outside."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

pytest.importorskip("seaborn")
from matplotlib.figure import Figure

from nextword.errors import ConfigError
from nextword.figures import save_figure
from nextword.figures.losses import Curve, training_figure

TRAIN = [(step, step * 0.5, 1.5 + 1 / step) for step in range(1, 400, 7)]
HELD_OUT = [(100, 50.0, 1.9), (200, 100.0, 1.7), (400, 200.0, 1.6)]


def drawn(figure: Figure, panel: int) -> dict[str, list[tuple[float, float]]]:
    """Label -> points."""
    return {str(line.get_label()): list(map(tuple, line.get_xydata().tolist())) for line in figure.axes[panel].lines}


def written(figure: Figure) -> list[str]:
    from matplotlib.text import Text

    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def test_both_losses_stand_against_steps_and_against_time() -> None:
    figure = training_figure([Curve("m", TRAIN, HELD_OUT)], title="")
    steps, minutes = drawn(figure, 0), drawn(figure, 1)
    assert steps["held-out text"] == [(step, loss) for step, _, loss in HELD_OUT]
    assert steps["training text"] == [(step, loss) for step, _, loss in TRAIN]
    assert minutes["held-out text"] == [(seconds / 60, loss) for _, seconds, loss in HELD_OUT]
    assert [axes.get_xlabel() for axes in figure.axes[:2]] == ["steps", "minutes"]


@pytest.mark.parametrize(
    ("seconds", "unit", "length"), [(119.0, "seconds", 1), (7200.0, "minutes", 60), (9000.0, "hours", 3600)]
)
def test_time_has_a_fitting_unit(seconds: float, unit: str, length: float) -> None:
    figure = training_figure([Curve("m", (), [(1, seconds, 2.0)])])
    assert figure.axes[1].get_xlabel() == unit
    assert drawn(figure, 1)["held-out text"] == [(seconds / length, 2.0)]


def test_without_times_there_is_one_panel() -> None:
    figure = training_figure([Curve("m", [(1, math.nan, 2.0), (2, math.nan, 1.0)])])
    assert [axes.get_xlabel() for axes in figure.axes] == ["steps"]


def test_baselines_are_level_lines_with_their_names_and_bits_stand_beside() -> None:
    figure = training_figure(
        [Curve("m", TRAIN, HELD_OUT)], baselines={"bigrams": 1.8, "gzip": 2.2}, bytes_per_character=2.0
    )
    levels = [set(line.get_ydata()) for line in figure.axes[1].lines if len(set(line.get_ydata())) == 1]
    assert levels == [{1.8}, {2.2}]
    assert {"bigrams", "gzip", "bits per byte of the held-out text"} <= set(written(figure))
    (side,) = figure.axes[1].child_axes
    low, high = figure.axes[1].get_ylim()
    assert side.get_ylim() == pytest.approx((low / math.log(2) / 2, high / math.log(2) / 2))


def test_several_runs_have_names_and_colours_of_their_own() -> None:
    names = ["하나", "$x^2$", "c", "d", "e", "f", "g"]
    figure = training_figure([Curve(name, TRAIN, HELD_OUT) for name in names])
    lines = [line for line in figure.axes[0].lines if line.get_label() in names]
    assert [line.get_label() for line in lines] == names
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == len(names)
    legend = figure.axes[0].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == names
    assert "dots: held-out text; thin lines: training text" in written(figure)


def test_what_lies_above_the_figure_is_said() -> None:
    figure = training_figure([Curve("m", [(1, 1.0, 9.0), (2, 2.0, 2.0)], [(2, 2.0, 1.0)])])
    assert figure.axes[0].get_ylim()[1] < 9
    assert "1 point is above the figure" in written(figure)
    whole = training_figure([Curve("m", [(1, 1.0, 2.9), (2, 2.0, 2.0)], [(2, 2.0, 1.0)])])
    assert not any("above" in text for text in written(whole))


def test_no_loss_is_an_error() -> None:
    with pytest.raises(ConfigError, match="no loss to draw"):
        training_figure([Curve("m"), Curve("n", [(1, 1.0, math.nan)])])


@pytest.mark.parametrize(("suffix", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_it_is_written_as_a_picture_and_the_same_each_time(tmp_path: Path, suffix: str, start: bytes) -> None:
    files = [tmp_path / f"{number}.{suffix}" for number in range(2)]
    for file in files:
        save_figure(training_figure([Curve("나의 모형 🙂", TRAIN, HELD_OUT)]), file)
    assert files[0].read_bytes().startswith(start)
    assert files[0].read_bytes() == files[1].read_bytes()

"""`nextword runs`: the list, the comparison, the picture."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from rich.cells import cell_len

from nextword.cli import COMMANDS
from tests.cli.conftest import Call
from tests.training.events.test_recorded_runs import finished, look, under_way


@pytest.fixture(autouse=True)
def listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COMMANDS, "runs", "List runs of training.")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    under_way(tmp_path)
    finished(tmp_path, "english", plan={"preset": "small", "learning_rate": 0.002}, parameters=5_246_976)
    return tmp_path


def test_the_list_has_every_run_and_fits_the_screen(place: Path, call: Call) -> None:
    result = call("runs", place)
    assert (result.code, result.err) == (0, "")
    lines = [line.rstrip() for line in result.out.splitlines()]
    assert all(cell_len(line) <= 80 for line in lines)
    assert lines[0].split() == ["run", "preset", "parameters", "steps", "minutes", "bits/byte", "held", "out"]
    assert lines[1].split() == ["english", "small", "5.25", "M", "200", "1.0", "0.866", "█▁"]
    assert lines[2] == "  소설.txt, b.txt and 1 more"
    assert lines[3] == "  Still improving: 0.087 bits/byte in the last fifth; more minutes will help."
    assert lines[4].split() == ["모형", "tiny", "1", "M", "120", "0.2", "1.082", "█▁"]
    assert lines[5] == "  under way; 소설.txt, b.txt and 1 more"


LONG = "모든-국민의-이야기-" * 6, "a-very-long-name-of-a-run-that-somebody-gave-" * 3


@pytest.mark.parametrize("width", [40, 60, 80])
@pytest.mark.parametrize("name", LONG)
def test_a_long_name_squeezes_no_number(
    tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch, name: str, width: int
) -> None:
    finished(tmp_path, name, steps=123_456, seconds=98_765.4, parameters=5_246_976)
    finished(tmp_path, "b", plan={"preset": "medium"}, steps=9)
    monkeypatch.setenv("COLUMNS", str(width))
    lines = [line.rstrip() for line in call("runs", tmp_path).out.splitlines()]
    assert all(cell_len(line) <= width for line in lines)
    [named] = [line for line in lines if line.startswith(name[:4])]
    assert "…" in named
    assert "0.866" in named
    if width >= 60:
        assert "1,646.1" in named
    if width == 80:
        assert re.search(r" tiny +5\.25 M +123,456 +1,646\.1 +0\.866 +█▁$", named)
    assert any(line.split()[0] == "b" for line in lines if line)


def test_all_documents_are_counted_not_only_those_that_are_named(tmp_path: Path, call: Call) -> None:
    text = {"documents": [f"{number}.txt" for number in range(20)], "document_count": 4321, "bytes": 1}
    finished(tmp_path, "a", text=text)
    assert "0.txt, 1.txt and 4,319 more" in call("runs", tmp_path).out


def test_settings_that_differ_are_said_in_four_digits(place: Path, call: Call) -> None:
    plans = [{"seconds": 92.59069845499965, "learning_rate": 2e-05}, {"seconds": 123456.789, "learning_rate": 0.5}]
    places = [finished(place, f"run-{number}", plan=plan) for number, plan in enumerate(plans)]
    rows = [line.split() for line in call("runs", *places).out.split("\n\n")[1].splitlines()]
    assert ["seconds", "92.59", "123,457"] in rows
    assert ["learning_rate", "2e-05", "0.5"] in rows


def test_a_run_that_has_been_silent_is_not_called_under_way(place: Path, call: Call) -> None:
    import os

    for file in (place / "모형.checkpoint").iterdir():
        os.utime(file, (1_000_000_000, 1_000_000_000))
    assert "not finished (nextword train --resume goes on); 소설.txt" in call("runs", place).out


def test_two_runs_are_held_against_each_other(place: Path, call: Call) -> None:
    result = call("runs", place / "english", place / "모형.checkpoint")
    table = result.out.split("\n\n")[1].splitlines()
    assert [line.split() for line in table] == [
        ["setting", "english", "모형"],
        ["preset", "small", "tiny"],
        ["learning_rate", "0.002", "0.004"],
        ["parameters", "5,246,976", "1,000,000"],
    ]
    same = finished(place, "again", plan={"preset": "small", "learning_rate": 0.002}, parameters=5_246_976)
    assert "all settings are the same" in call("runs", place / "english", same).out


def test_json_has_figures_and_differences(place: Path, call: Call) -> None:
    values = call("runs", place / "english", place / "모형.checkpoint", "--json").json
    assert [(run["name"], run["finished"], run["best"]["step"]) for run in values["runs"]] == [
        ("english", True, 200),
        ("모형", False, 100),
    ]
    assert values["differing"]["learning_rate"] == [0.002, 0.004]
    assert call("runs", place, "--json").json["differing"] is None


def test_the_curves_are_drawn(place: Path, call: Call) -> None:
    pytest.importorskip("seaborn")
    result = call("runs", place, "--curve", place / "curve.png")
    assert result.code == 0
    assert (place / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert result.out.splitlines()[-1] == str(place / "curve.png")


def test_no_run_and_no_loss_are_told_in_one_line(tmp_path: Path, call: Call) -> None:
    assert call("runs", tmp_path).errors == [
        f"error: no run of training in {tmp_path}",
        "hint: nextword train my.txt --out my-model",
    ]
    assert call("runs", tmp_path / "none").errors == [f"error: {tmp_path / 'none'} is no directory"]
    pytest.importorskip("seaborn")
    path = finished(tmp_path, "a", validations=[])
    result = call("runs", path)
    assert "No text was held out" in result.out
    assert call("runs", path, "--curve", tmp_path / "x.png").errors == ["error: there is no loss to draw yet"]


def test_what_files_say_moves_no_cursor(tmp_path: Path, call: Call) -> None:
    text = {"documents": ["\x1b[2J\r[bold]a"], "bytes": 1}
    finished(tmp_path, "a", text=text, verdict={"kind": "x", "words": "\x1b[2J[bold]b"}, validations=[look(1, 1.0)])
    out = call("runs", tmp_path).out
    assert "\x1b" not in out
    assert "\r" not in out
    assert "[bold]a" in out
    assert "[bold]b" in out
    assert "\x1b" in json.dumps(call("runs", tmp_path, "--json").json).encode().decode("unicode_escape")


def test_runs_are_named_by_where_they_lie_below_what_was_searched(
    tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, folder in enumerate(("2023", "2024/봄", "a/rather/deep/folder/of/models")):
        (tmp_path / folder).mkdir(parents=True)
        finished(tmp_path / folder, "모형", steps=number + 1)
    names = ["2023/모형", "2024/봄/모형", "a/rather/deep/folder/of/models/모형"]
    assert [run["name"] for run in call("runs", tmp_path, "--json").json["runs"]] == names
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "60")
    named = [line.split()[0] for line in call("runs").out.splitlines() if line[:1] not in (" ", "")]
    assert named[1:3] == names[:2]
    assert re.fullmatch(r"….*/모형", named[3])
    monkeypatch.chdir(tmp_path / names[1])
    assert [run["name"] for run in call("runs", "--json").json["runs"]] == ["모형"]

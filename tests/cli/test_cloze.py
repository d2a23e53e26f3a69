"""`nextword cloze`: what a model knows of ordinary language."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import nextword.measuring.cloze
from nextword import LanguageModel, load
from nextword.measuring.cloze import Answer, Opening
from nextword.tokens.visible import visible
from tests.cli.conftest import Call


def test_the_command_prints_shares_misses_and_json(call: Call, tmp_path: Path) -> None:
    file = tmp_path / "mine.tsv"
    english, korean = "Every morning she", "오늘은 날씨가"
    lm = load("nextword")
    words, korean_words = (lm.predict(text, top=5, unit="word") for text in (english, korean))
    first, third = words[0].text.strip(), korean_words[2].text.strip()
    lines = [f"home\t{english}\t{first.upper()}", f"home\t{english} she\tzebra", f"sky\t{korean}\t{third}"]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    values = json.loads(call("cloze", "nextword", file, "--json").out)
    group = values["groups"]["mine"]
    assert group["top_5"] == pytest.approx(2 / 3)
    found = (group, group["kinds"]["home"], group["kinds"]["sky"])
    shares = [[f"{share['probability']:.1%}", f"{share['unexplored']:.1%}"] for share in found]
    assert group["unexplored"] == pytest.approx(sum(answer["unexplored"] for answer in values["answers"]) / 3)
    assert values["asked"] == 3
    result = call("cloze", "nextword", file)
    assert [line.split() for line in result.out.splitlines()[1:4]] == [
        ["mine", "3", "33%", "67%", *shares[0]],
        ["home", "2", "50%", "50%", *shares[1]],
        ["sky", "1", "0%", "100%", *shares[2]],
    ]
    assert "1 of 3 have no right word among the first five" in result.out
    shown = call("cloze", "nextword", file, "--misses").out
    assert f"{english} she → zebra" in shown
    expected = lm.predict(f"{english} she", top=5, unit="word")[0]
    assert visible(expected.text) in shown
    assert f"{expected.probability:.2%}".removesuffix("%") in shown
    missed = json.loads(call("cloze", "nextword", file, "--misses", "--json").out)
    assert missed == values | {"answers": [values["answers"][1]]}
    shown = values["answers"][0]["words"]
    assert [word["text"] for word in shown] == [word.text for word in words]
    assert shown[0]["probability"] == pytest.approx(words[0].probability, abs=0.01)


def test_a_long_opening_is_said_to_be_cut(call: Call, tmp_path: Path) -> None:
    (tmp_path / "long.tsv").write_text(f"k\t{'word ' * 400}\tword\nk\tOne day\ta\n", encoding="utf-8")
    assert "of 1 opening the model did not see the beginning" in call("cloze", "nextword", tmp_path / "long.tsv").out
    answers = json.loads(call("cloze", "nextword", tmp_path / "long.tsv", "--json").out)["answers"]
    assert answers[0]["dropped_tokens"] > 100
    assert answers[1]["dropped_tokens"] == 0


def test_ctrl_c_shows_what_was_measured(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "mine.tsv"
    file.write_text("".join(f"k\tOne day {i}\ta\n" for i in range(5)), encoding="utf-8")
    real, asked = nextword.measuring.cloze.answer_of, []

    def interrupted(lm: LanguageModel, opening: Opening) -> Answer:
        asked.append(opening)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return real(lm, opening)

    monkeypatch.setattr("nextword.measuring.cloze.answer_of", interrupted)
    result = call("cloze", "nextword", file, "--json")
    assert result.code == 130
    assert len(json.loads(result.out)["answers"]) == 2


def test_openings_in_the_models_place_are_told(call: Call, tmp_path: Path) -> None:
    (tmp_path / "mine.tsv").write_text("k\tOne day\ta\n", encoding="utf-8")
    result = call("cloze", tmp_path / "mine.tsv")
    assert result.code == 2
    assert f"openings come second: nextword cloze nextword {tmp_path / 'mine.tsv'}" in result.err.replace("\n", "")


def test_a_bad_line_ends_the_command_with_one_line(call: Call, tmp_path: Path) -> None:
    (tmp_path / "mine.tsv").write_text("play\tTo be\n", encoding="utf-8")
    result = call("cloze", "nextword", tmp_path / "mine.tsv")
    assert result.code == 2
    assert "mine.tsv, line 1: 2 fields, there must be three" in result.err

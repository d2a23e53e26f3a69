"""`nextword cloze`: what a model knows of ordinary language."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nextword import load
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
    shares = [f"{found['probability']:.1%}" for found in (group, group["kinds"]["home"], group["kinds"]["sky"])]
    result = call("cloze", "nextword", file)
    assert [line.split() for line in result.out.splitlines()[1:4]] == [
        ["mine", "3", "33%", "67%", shares[0]],
        ["home", "2", "50%", "50%", shares[1]],
        ["sky", "1", "0%", "100%", shares[2]],
    ]
    assert "1 of 3 missed" in result.out
    assert "zebra" in call("cloze", "nextword", file, "--misses").out
    shown = values["answers"][0]["words"]
    assert [word["text"] for word in shown] == [word.text for word in words]
    assert shown[0]["probability"] == pytest.approx(words[0].probability, abs=0.01)


def test_a_bad_line_ends_the_command_with_one_line(call: Call, tmp_path: Path) -> None:
    (tmp_path / "mine.tsv").write_text("play\tTo be\n", encoding="utf-8")
    result = call("cloze", "nextword", tmp_path / "mine.tsv")
    assert result.code == 2
    assert "mine.tsv, line 1: 2 fields, there must be three" in result.err

"""How a run begins: what is read, how much of it, and what is said about it."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nextword.training import Event, Started, TrainingRun, train
from nextword.training.planning import derive
from tests.training.sample_text import FEW_STEPS, SENTENCES, TEXT, write_text

pytestmark = pytest.mark.usefixtures("undrawn")

FLOPS = 7e10


def started(text: Path, **settings: Any) -> Started:
    """What is told when the run is about to begin; it does not."""

    class StartedError(Exception):
        pass

    def stop(event: Event) -> None:
        if isinstance(event, Started):
            raise StartedError(event)

    with pytest.raises(StartedError) as caught:
        train(text, text.with_name("out"), watch=stop, **{**FEW_STEPS, **settings})
    event: Started = caught.value.args[0]
    return event


def jsonl(rows: list[str]) -> bytes:
    return "".join(json.dumps({"id": 1, "text": row}, ensure_ascii=False) + "\n" for row in rows).encode()


def table(rows: list[str]) -> bytes:
    file = io.StringIO(newline="")
    csv.writer(file).writerows([["id", "text"], *([str(i), row] for i, row in enumerate(rows))])
    return file.getvalue().encode()


def test_of_a_long_text_only_what_the_time_is_enough_for_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [f"{number:09} 가\n" for number in range(9000)]  # of 14 bytes, 126,000 in all
    text = tmp_path / "rows.jsonl"
    text.write_bytes(jsonl(rows))
    monkeypatch.setattr(derive, "_MIN_READ_BYTES", 14_000)
    monkeypatch.setattr(derive, "_READ_BYTES_PER_SECOND", 1400)
    short, least = (started(text, steps=None, minutes=minutes) for minutes in (1.0, 0.1))  # 84,000 bytes; 14,000
    assert (short.documents, least.documents) == (6000, 1000)
    assert short.only_beginning
    assert least.only_beginning
    for settings in ({"steps": None, "minutes": 2.0}, {}):  # enough time; no clock
        whole = started(text, **settings)
        assert (whole.documents, whole.only_beginning) == (9000, False)


def test_no_more_is_held_out_than_can_be_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(derive, "MAX_HELD_OUT_BYTES", 2000)
    event = started(write_text(tmp_path, "abcdefghi\n" * 5000), vocab_size=257)
    assert (event.train_characters, event.validation_characters) == (48_000, 2000)


def test_decomposed_hangul_is_told_and_composed_on_request(tmp_path: Path) -> None:
    text = write_text(tmp_path, unicodedata.normalize("NFD", TEXT))
    syllables = sum("가" <= character <= "힣" for character in TEXT)
    assert syllables == 60 * (15 + 10)
    told = started(text)
    assert told.decomposed == syllables
    composed = started(text, compose=True)
    assert composed.decomposed == 0
    assert composed.train_characters + composed.validation_characters == len(TEXT) < told.train_characters


def test_held_out_lines_that_are_learned_too_are_told(tmp_path: Path) -> None:
    # Six times each: a line of 67 characters, and one of 36, which is too short to count.
    assert started(write_text(tmp_path)).repeated == 6 * 67 / (6 * (67 + 36) + 1)
    numbers = "".join(f"{number * 7919 % 100_003} and so on, line by line\n" for number in range(300))
    assert started(write_text(tmp_path, numbers)).repeated < 0.1


FORMATS: list[tuple[str, Callable[[list[str]], bytes]]] = [
    ("rows.jsonl", jsonl),
    ("rows.csv", table),
    ("rows.jsonl.gz", lambda rows: gzip.compress(jsonl(rows))),
    ("text.txt.gz", lambda rows: gzip.compress("".join(rows).encode())),
]


@pytest.mark.parametrize(("name", "pack"), FORMATS, ids=[name for name, _ in FORMATS])
def test_rows_and_compressed_files_are_trained_on(
    tmp_path: Path, name: str, pack: Callable[[list[str]], bytes]
) -> None:
    rows = [f"{number}: {SENTENCES[number % 4]}" for number in range(100)]
    (tmp_path / name).write_bytes(pack(rows))
    run: TrainingRun = train(tmp_path / name, tmp_path / "out", **FEW_STEPS)
    about = run.model.provenance
    if name.startswith("rows"):  # every tenth row is held out, whole
        learned = [row for number, row in enumerate(rows) if number % 10 != 9]
        assert about["text"]["document_count"] == 100
        assert about["text"]["sha256"] == hashlib.sha256("".join(learned).encode()).hexdigest()
    else:
        assert about["text"]["document_count"] == 1
        whole = "".join(rows)
        cut = int(0.9 * len(whole))
        line = whole.index("\n", cut - 1) + 1
        assert about["text"]["characters"] == line < cut + 70

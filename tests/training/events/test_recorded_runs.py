"""Runs are found on disk, finished and under way, and damaged records are passed over."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nextword.errors import ModelFileError
from nextword.training.events.recorded_runs import differing_settings, find_runs, read_run
from tests.conftest import Trained

RECORD: dict[str, Any] = {
    "made_with": "nextword",
    "plan": {"preset": "tiny", "learning_rate": 0.004},
    "seed": 0,
    "parameters": 1_000_000,
    "text": {"documents": ["소설.txt", "b.txt", "c.txt"], "bytes": 3000, "sha256": "ab" * 32},
    "baselines": {"unigram": 4.0, "bigram": 3.0, "gzip": 2.5, "gzip_alone": 2.6, "bytes_per_character": 2.0},
}


def look(step: int, nats: float) -> dict[str, Any]:
    return {"step": step, "seconds": step / 10, "nats_per_character": nats, "bits_per_byte": nats / math.log(2) / 2}


def under_way(directory: Path, name: str = "모형", **changes: object) -> Path:
    path = directory / f"{name}.checkpoint"
    path.mkdir(parents=True)
    (path / "run.json").write_text(
        json.dumps({"settings": {**RECORD, **changes}}, ensure_ascii=False), encoding="utf-8"
    )
    rows = [
        {"event": "started"},
        {"event": "stepped", "step": 30, "seconds": 3.0, "loss": 9.0, "nats_per_character": 3.0},
        {"event": "validated", **look(50, 2.0)},
        {"event": "validated", **look(100, 1.5)},
        {"event": "stepped", "step": 120, "seconds": 12.0, "loss": 6.0, "nats_per_character": 1.4},
    ]
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def finished(directory: Path, name: str, **changes: object) -> Path:
    path = directory / name
    path.mkdir(parents=True)
    record = {**RECORD, "steps": 200, "seconds": 61.5, "validations": [look(100, 1.5), look(200, 1.2)], **changes}
    (path / "nextword.json").write_text(json.dumps({"format_version": 1, "provenance": record}), encoding="utf-8")
    return path


def test_a_run_under_way_is_read_from_its_journal(tmp_path: Path) -> None:
    run = read_run(under_way(tmp_path))
    assert run is not None
    assert (run.name, run.preset, run.parameters, run.finished) == ("모형", "tiny", 1_000_000, False)
    assert (run.steps, run.seconds, run.text) == (120, 12.0, "소설.txt, b.txt and 1 more")
    assert run.best is not None
    assert run.best["step"] == 100
    assert run.bytes_per_character == pytest.approx(2.0)
    assert run.points("stepped") == [(30, 3.0, 3.0), (120, 12.0, 1.4)]
    assert run.points("validated") == [(50, 5.0, 2.0), (100, 10.0, 1.5)]
    assert run.baselines["bigrams"] == pytest.approx(3.0 * 2 * math.log(2))
    assert run.verdict.kind == "still improving"


def test_a_finished_run_keeps_its_looks_and_its_verdict(tmp_path: Path) -> None:
    run = read_run(finished(tmp_path, "a", verdict={"kind": "as expected", "words": "As expected."}))
    assert run is not None
    assert (run.steps, run.seconds, run.finished, run.verdict.words) == (200, 61.5, True, "As expected.")
    assert run.points("validated") == [(100, 10.0, 1.5), (200, 20.0, 1.2)]
    assert run.points("stepped") == []


def test_a_real_bundle_is_a_run_and_its_weights_are_counted(trained: Trained) -> None:
    run = read_run(trained.run.out)
    assert run is not None
    assert run.parameters == trained.run.model.config.num_parameters
    assert run.steps == trained.run.steps
    assert len(run.evaluations) == len(trained.run.validations)


def test_runs_are_found_below_a_directory_by_name(tmp_path: Path) -> None:
    under_way(tmp_path / "x" / "y")
    finished(tmp_path, "b")
    finished(tmp_path, ".hidden")
    finished(tmp_path / "b" / "inside", "c")  # a model's directory is not searched
    assert [run.path.relative_to(tmp_path).as_posix() for run in find_runs(tmp_path)] == ["b", "x/y/모형.checkpoint"]
    assert [run.name for run in find_runs(tmp_path / "b")] == ["b"]
    with pytest.raises(ModelFileError, match="no directory"):
        find_runs(tmp_path / "none")


@pytest.mark.parametrize(
    "record",
    ["{", "[]", '{"provenance": 3}', '{"provenance": {}}', '{"provenance": {"plan": []}}', "\0", ""],
)
def test_what_is_no_run_of_training_is_passed_over(tmp_path: Path, record: str) -> None:
    (tmp_path / "nextword.json").write_text(record, encoding="utf-8")
    assert read_run(tmp_path) is None
    assert find_runs(tmp_path) == []


@pytest.mark.parametrize("junk", [None, "x", -1, [1], {"a": 1}, True, "\x1b[31m"])
def test_odd_values_in_a_record_break_nothing(tmp_path: Path, junk: object) -> None:
    names = ("seed", "parameters", "text", "baselines", "validations", "steps", "seconds", "verdict", "made_with")
    for place, name in enumerate(names):
        run = read_run(finished(tmp_path, str(place), **{name: junk}))
        assert run is not None
        json.dumps(run.to_json())
    run = read_run(under_way(tmp_path, plan=junk, text={"documents": junk, "bytes": junk, "sha256": junk}))
    assert run is not None
    json.dumps(run.to_json())
    (run.path / "metrics.jsonl").write_text(
        json.dumps({"event": "validated", "step": 1, "nats_per_character": junk, "bits_per_byte": junk})
    )
    run = read_run(run.path)
    assert run is not None
    json.dumps(run.to_json())


def test_settings_that_differ_are_found(tmp_path: Path) -> None:
    first = finished(tmp_path, "a", plan={"preset": "tiny", "learning_rate": 0.004})
    second = finished(tmp_path, "b", plan={"preset": "tiny", "learning_rate": 0.001, "clip": 1.0})
    runs = [run for path in (first, second) if (run := read_run(path))]
    assert differing_settings(runs) == {"learning_rate": [0.004, 0.001], "clip": [None, 1.0]}
    assert differing_settings(runs[:1]) == {}


def test_listing_runs_needs_no_torch(tmp_path: Path) -> None:
    finished(tmp_path, "a")
    code = "import sys; from nextword.cli.runs import runs; runs(); sys.exit('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        env={**os.environ, "COLUMNS": "80"},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")

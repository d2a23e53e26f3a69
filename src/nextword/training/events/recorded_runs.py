"""Runs on disk: models that were trained here, and runs under way. Read without torch."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nextword.errors import ModelFileError, NextwordError
from nextword.json_file import read_json
from nextword.training import run_directory as run_record
from nextword.training.events.journal import METRICS, read_metrics
from nextword.training.planning.verdict import Kind, Verdict, verdict, yardsticks

_MODEL_RECORD = "nextword.json"
NAMED = 20
"""Documents that a record names at most."""
_DEEPEST = 8  # directories below the one that is searched
Row = Mapping[str, Any]


@dataclass(frozen=True)
class RecordedRun:
    """One run: what was set, and what came of it so far."""

    path: Path
    finished: bool
    record: Mapping[str, Any]
    """Provenance of the model, or run.json: `plan`, `seed`, `text`, `parameters`, `baselines`, ..."""
    evaluations: tuple[Row, ...]
    """Every evaluation on the held-out text."""
    metrics: tuple[Row, ...]
    """The journal; empty where it was not kept."""
    last_written: float
    """When the run last wrote something, seconds since 1970."""
    searched: Path | None = None
    """The directory in which it was found."""

    @property
    def name(self) -> str:
        """The model's directory, as seen from the one that was searched."""
        inside = self.searched is not None and self.path != self.searched
        place = self.path.relative_to(self.searched) if inside and self.searched else Path(self.path.resolve().name)
        return place.as_posix().removesuffix("" if self.finished else run_record.SUFFIX)

    @property
    def preset(self) -> str:
        """Its size by name; empty if unknown."""
        return str(self._part("plan").get("preset", ""))

    @property
    def parameters(self) -> int | None:
        """Trainable numbers of the model, or None if they are not recorded."""
        known = self.record.get("parameters")
        return known if isinstance(known, int) else None

    @property
    def text(self) -> str:
        """The names of the documents, as many as fit a line."""
        named = self._part("text").get("documents")
        names = [str(name) for name in named] if isinstance(named, list) else []
        count = len(names)
        if count >= NAMED:
            count = max(count, int(_largest([self._part("text").get("document_count")])))
        return ", ".join(names[:2]) + (f" and {count - 2:,} more" if count > 2 and names else "")

    @property
    def steps(self) -> int:
        """Steps taken so far."""
        return int(_largest([self.record.get("steps"), *(row.get("step") for row in self._rows)]))

    @property
    def seconds(self) -> float:
        """Training time so far."""
        taken = (row.get("seconds") for row in self._rows if "step" in row)  # a forecast has seconds to come
        return _largest([self.record.get("seconds"), *taken])

    @property
    def best(self) -> Row | None:
        """The best look at the held-out text."""
        return min(self.evaluations, key=lambda row: row["nats_per_character"], default=None)

    @property
    def bytes_per_character(self) -> float | None:
        """Of the held-out text, from a loss in both units."""
        if self.best is None or not self.best["bits_per_byte"]:
            return None
        return float(self.best["nats_per_character"] / (self.best["bits_per_byte"] * math.log(2)))

    @property
    def baselines(self) -> dict[str, float]:
        """Nats per character that counting and compressing reach, by name; empty if they were not measured."""
        if self.bytes_per_character is None:
            return {}
        factor = math.log(2) * self.bytes_per_character
        return {name: factor * score for name, score in self._yardsticks.items()}

    @property
    def _yardsticks(self) -> dict[str, float]:
        told = next((row for row in self.metrics if row.get("event") == "baselines"), {})
        return yardsticks(self._part("baselines") or told)

    @property
    def verdict(self) -> Verdict:
        """What was said at the end of the run, or what its numbers say now."""
        said = self._part("verdict")
        if isinstance(said.get("kind"), str) and isinstance(said.get("words"), str):
            kind: Kind = said["kind"]  # free JSON: shown, not acted upon
            return Verdict(kind, said["words"])
        held_out = self.record.get("validation_characters")
        return verdict(
            self.evaluations,
            parameters=self.parameters or 0,
            text_bytes=int(_largest([self._part("text").get("bytes")])),
            held_out_characters=held_out if isinstance(held_out, int) else None,
            bigram=self._yardsticks.get("bigrams"),
            finished=self.finished,
        )

    def points(self, kind: str) -> list[tuple[float, float, float]]:
        """Step, seconds (NaN if unknown) and nats per character of the journal's `stepped` or `validated` lines."""
        rows: Sequence[Row] = [row for row in self.metrics if row.get("event") == kind]
        if kind == "validated" and not rows:
            rows = self.evaluations
        found = []
        for row in rows:
            step, seconds, loss = (_number(row.get(name)) for name in ("step", "seconds", "nats_per_character"))
            if math.isfinite(step) and math.isfinite(loss):
                found.append((step, seconds, loss))
        return found

    def settings(self) -> dict[str, Any]:
        """Everything that was set, by name: the plan's settings, seed, text and size."""
        text = self._part("text")
        return {
            **self._part("plan"),
            "seed": self.record.get("seed"),
            "parameters": self.parameters,
            "text": self.text,
            "text bytes": text.get("bytes"),
            "text sha256": str(text.get("sha256") or "")[:12],
            "made with": self.record.get("made_with"),
        }

    def to_json(self) -> dict[str, Any]:
        """Plain values, for `--json`."""
        best = self.best
        return {
            "name": self.name,
            "path": str(self.path),
            "finished": self.finished,
            "settings": self.settings(),
            "steps": self.steps,
            "seconds": self.seconds,
            "best": None if best is None else dict(best),
            "baselines": self._part("baselines") or None,
            "verdict": {"kind": self.verdict.kind, "words": self.verdict.words},
            "heard": self.last_written,
        }

    @property
    def _rows(self) -> Sequence[Row]:
        return self.metrics or self.evaluations

    def _part(self, name: str) -> Mapping[str, Any]:
        value = self.record.get(name)
        return value if isinstance(value, dict) else {}


def find_runs(directory: Path) -> list[RecordedRun]:
    """The runs in a directory and below it, by name; directories whose names begin with a dot are not searched.

    Raises:
        ModelFileError: There is no such directory.
    """
    if not directory.is_dir():
        raise ModelFileError(f"{directory} is no directory")
    found = [run for place in _places(directory) if (run := read_run(place)) is not None]
    return [replace(run, searched=directory) for run in found]


def _places(directory: Path) -> Iterator[Path]:
    for place, below, files in os.walk(directory):
        path = Path(place)
        below[:] = sorted(name for name in below if not name.startswith("."))
        if len(path.relative_to(directory).parts) >= _DEEPEST:
            below.clear()
        if run_record.RECORD in files or _MODEL_RECORD in files:
            below.clear()
            yield path


def read_run(path: Path) -> RecordedRun | None:
    """The run in a directory, or None if there is none: a model that was not trained here, or a damaged record."""
    try:
        if (path / run_record.RECORD).is_file():
            record, finished = run_record.read_run(path), False
        else:
            found, finished = read_json(path / _MODEL_RECORD).get("provenance"), True
            if not isinstance(found, dict) or not isinstance(found.get("plan"), dict):
                return None
            record = found
            if "parameters" not in record:
                record = {**record, "parameters": _count_parameters(path / "config.json")}
        metrics = tuple(read_metrics(path / METRICS))
        files = [path / name for name in (run_record.RECORD, _MODEL_RECORD, METRICS)]
        last_written = max(file.stat().st_mtime for file in files if file.exists())
    except (ModelFileError, OSError):
        return None
    kept = record.get("validations")
    evaluations = [row for row in metrics if row.get("event") == "validated"] or (
        kept if isinstance(kept, list) else []
    )
    return RecordedRun(path, finished, record, tuple(filter(_is_evaluation, evaluations)), metrics, last_written)


def _is_evaluation(row: Any) -> bool:
    return isinstance(row, dict) and all(
        math.isfinite(_number(row.get(name))) for name in ("step", "nats_per_character", "bits_per_byte")
    )


def _number(value: Any) -> float:
    """A number of a file; NaN for anything else."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


def _largest(values: Iterable[Any]) -> float:
    return max((number for value in values if math.isfinite(number := _number(value))), default=0.0)


def _count_parameters(config: Path) -> int | None:
    """For models whose record does not say it."""
    from nextword.files.huggingface.config import config_from_json

    try:
        return config_from_json(read_json(config), str(config)).num_parameters
    except NextwordError:
        return None


def differing_settings(runs: Sequence[RecordedRun]) -> dict[str, list[Any]]:
    """Settings that are not the same in all runs: name -> one value a run, None where it is not recorded."""
    settings = [run.settings() for run in runs]
    names = dict.fromkeys(name for each in settings for name in each)
    columns = {name: [each.get(name) for each in settings] for name in names}
    return {name: values for name, values in columns.items() if any(value != values[0] for value in values)}

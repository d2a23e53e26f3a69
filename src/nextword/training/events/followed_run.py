"""A run as it can be watched: what its directories hold, read while it goes on, by any process. Read without torch."""

from __future__ import annotations

import math
import time
from pathlib import Path
from threading import Lock
from typing import Any

from nextword.errors import ModelFileError
from nextword.training.events.journal import METRICS, MetricsTail
from nextword.training.events.recorded_runs import read_run
from nextword.training.run_directory import (
    RECORD,
    STEPS_SUFFIX,
    SUFFIX,
    checkpoint_path,
    step_path,
    steps_in,
    steps_path,
)

MAX_POINTS = 2000
"""Of a curve; of more, every nth is kept, and the last."""
_MAX_SAMPLES = 20
_SILENCE = 300.0
"""Seconds without a word after which a run counts as broken off; a long run speaks more seldom, see `MetricsLog`."""
_MODEL_RECORD = "nextword.json"


class FollowedRun:
    """One run on disk.

    Args:
        path: OUT, OUT.checkpoint or OUT.steps.

    Raises:
        ModelFileError: No model was trained there, and none is being trained.
    """

    def __init__(self, path: Path) -> None:
        name = path.resolve().name
        suffix = next((suffix for suffix in (SUFFIX, STEPS_SUFFIX) if name.endswith(suffix)), "")
        self.out = path.resolve().with_name(name.removesuffix(suffix)) if suffix else path
        self._checkpoint = checkpoint_path(self.out.resolve())
        if read_run(self._checkpoint) is None and read_run(self.out) is None:
            raise ModelFileError(
                f"there is no run of training at {path}", hint="nextword runs lists what was trained in a directory"
            )
        self._lock = Lock()
        self._tail = MetricsTail()
        self._begin()

    @property
    def name(self) -> str:
        """Of the model's directory."""
        return self.out.resolve().name

    @property
    def finished(self) -> bool:
        """Whether the model is there that this run came to; one that it will replace does not count."""
        return 0 < _written(self.out / _MODEL_RECORD) >= self._last_written

    @property
    def running(self) -> bool:
        """Whether a process seems to be at it."""
        return not self.finished and time.time() - self._last_written < _SILENCE + self._seconds / 500

    @property
    def _last_written(self) -> float:
        return max(_written(self._checkpoint / METRICS), _written(self._checkpoint / RECORD))

    def steps(self) -> list[int]:
        """The steps whose model was kept."""
        return steps_in(steps_path(self.out.resolve()))

    def step_path(self, step: int) -> Path:
        """The model directory of a step."""
        return step_path(steps_path(self.out), step)

    def to_json(self) -> dict[str, Any]:
        """Where the run stands and what it has measured, as plain values: an event a step, losses in nats per token."""
        with self._lock:
            # First: what is read next is at least as new.
            running, model, steps = self.running, self.name if self.finished else None, self.steps()
            metrics = self._checkpoint / METRICS
            anew, rows = self._tail.read_new(metrics if metrics.exists() else self.out / METRICS)
            if anew:
                self._begin()
            for row in rows:
                self._take(row)
            events: dict[int, dict[str, Any]] = {}
            for points in (self._losses, self._evaluations, self._samples):
                for row in points.rows:
                    events.setdefault(row["step"], {}).update(row)
        return {
            "name": self.name,
            "out": str(self.out),
            "running": running,
            "model": model,
            "steps": steps,
            "events": [events[step] for step in sorted(events)],
        }

    def _begin(self) -> None:
        self._losses, self._evaluations = DownsampledRows(MAX_POINTS // 2), DownsampledRows(MAX_POINTS // 2)
        self._samples = DownsampledRows(_MAX_SAMPLES)
        self._seconds = 0.0

    def _take(self, row: dict[str, Any]) -> None:
        """One line of the journal."""
        match row:
            case {"event": "stepped", "step": step, "loss": float(loss)}:
                self._losses.add({"step": step, "loss": loss, **self._clock(row)})
            case {"event": "validated", "step": step, "nats_per_token": float(loss)}:
                self._evaluations.add({"step": step, "validation": loss, **self._clock(row)})
            case {"event": "sampled", "step": step, "text": str(text)}:
                self._samples.add({"step": step, "sample": text})

    def _clock(self, row: dict[str, Any]) -> dict[str, float]:
        seconds = row.get("seconds")
        if not isinstance(seconds, float) or not math.isfinite(seconds):
            return {}
        self._seconds = seconds
        return {"seconds": seconds}


class DownsampledRows:
    """Rows, of which every nth is kept when they become too many, and the last.

    Args:
        max_rows: How many are kept, give or take one.
    """

    def __init__(self, max_rows: int) -> None:
        self._max_rows, self._every, self._count = max_rows, 1, 0
        self._rows: list[dict[str, Any]] = []
        self._last: dict[str, Any] | None = None

    def add(self, row: dict[str, Any]) -> None:
        """Takes one more."""
        if self._count % self._every == 0:
            if len(self._rows) == self._max_rows:
                self._rows = self._rows[::2]
                self._every *= 2
            if self._count % self._every == 0:
                self._rows.append(row)
        self._count += 1
        self._last = row

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Those that are kept."""
        if self._last is None or self._rows[-1] is self._last:
            return self._rows
        return [*self._rows, self._last]


def _written(path: Path) -> float:
    """When a file was written, seconds since 1970; 0 where there is none."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0

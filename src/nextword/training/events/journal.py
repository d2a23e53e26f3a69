"""Events -> `metrics.jsonl`, one JSON object a line."""

from __future__ import annotations

import json
import math
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from nextword.errors import ModelFileError
from nextword.files.atomic import write_errors
from nextword.json_file import json_text
from nextword.training.events.event_types import Stepped

METRICS = "metrics.jsonl"
_SECONDS_BETWEEN_STEPS = 1.0
_STEPS_KEPT = 1000
"""About so many steps are written before they are thinned further: at time t, one every t / 1,000."""
_HEAD = 256
"""Bytes at the beginning by which a journal is told from another."""

AnyEvent = Any
"""Any frozen dataclass: the events of the loop, and what is measured before and after it."""


class EventLog(ABC):
    """Where events are written: a watcher, and a context at whose end it is closed."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None:
        """Writes what is still in memory."""


class MetricsLog(EventLog):
    """Writes every event of a run to a file, steps thinned to one a second at most; a line is on disk at once.

    Each line has `event` (the name of its kind, in lower case) and the event's fields; numbers that are not finite
    are null.

    Args:
        path: The file; what it holds up to the step `after` is kept, the rest is dropped.
        after: The step from which a run goes on; 0 begins the file anew.
        clock: Tells the time, in seconds.

    Raises:
        ModelFileError: The file cannot be written.
    """

    def __init__(self, path: Path, after: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._next_step = -math.inf
        kept = [row for row in read_metrics(path) if row.get("step", 0) <= after] if after else []
        with write_errors(path):
            fresh = path.with_name(f".{path.name}.tmp")
            fresh.write_text("".join(map(_line, kept)), encoding="utf-8", newline="\n")
            fresh.replace(path)
            self._file = path.open("a", encoding="utf-8", newline="\n", buffering=1)  # line by line

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def __call__(self, event: AnyEvent) -> None:
        """Writes one event."""
        row = {"event": type(event).__name__.lower(), **asdict(event)}
        if isinstance(event, Stepped):
            now = self._clock()
            if now < self._next_step:
                return
            self._next_step = now + max(_SECONDS_BETWEEN_STEPS, (now - self._began) / _STEPS_KEPT)
        with write_errors(self._file.name):
            self._file.write(_line(row))


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a journal; empty without a file. A line that a killed run left unfinished ends it.

    Raises:
        ModelFileError: The file cannot be read.
    """
    rows = []
    try:
        # Not splitlines: a text that the model wrote may hold U+2028, which JSON does not escape.
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror or error}") from None
    for line in lines:
        try:
            row = _row(line)
        except (ValueError, RecursionError):
            break
        if row is not None:
            rows.append(row)
    return rows


class MetricsTail:
    """Reads a journal while it is written: each time only what is new."""

    def __init__(self) -> None:
        self._file, self._read, self._head = 0, 0, b""

    def read_new(self, path: Path) -> tuple[bool, list[dict[str, Any]]]:
        """The whole lines that have come since, and whether they are those of another journal, from its beginning.

        A file that cannot be read has none: it may be there the next time. Nor are damaged lines told.
        """
        anew, rows = False, []
        try:
            with path.open("rb") as file:
                head, now = file.read(_HEAD), os.fstat(file.fileno())
                if now.st_ino != self._file or now.st_size < self._read or not head.startswith(self._head):
                    anew, self._read = True, 0
                self._file, self._head = now.st_ino, head
                file.seek(self._read)
                new = file.read()
        except OSError:
            return False, []
        whole = new[: new.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.decode("utf-8", errors="replace").split("\n"):
            with suppress(ValueError, RecursionError):
                if (row := _row(line)) is not None:
                    rows.append(row)
        return anew, rows


def _row(line: str) -> dict[str, Any] | None:
    """A line of a journal; None where it is none.

    Raises:
        ValueError: It is no JSON.
        RecursionError: It is nested too deeply.
    """
    row = json.loads(line)
    return row if isinstance(row, dict) and isinstance(row.get("step", 0), int) else None


def _line(row: dict[str, Any]) -> str:
    return json_text(_finite(row)) + "\n"


def _finite(value: Any) -> Any:
    """JSON has no infinity and no NaN."""
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

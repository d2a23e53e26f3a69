"""What the server tells on standard error."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any


class JsonLines(logging.Formatter):
    """A record as one line of JSON: what a client sends cannot look like a line of its own."""

    def format(self, record: logging.LogRecord) -> str:
        """Time, level, message, and what came with it."""
        line: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(record.created)),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, "values", {}),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line)  # ASCII: some readers take U+0085 or U+2028 for the end of a line


class PlainLines(logging.Formatter):
    """A record as one short line for people: what a client sends cannot look like a line of its own."""

    def format(self, record: logging.LogRecord) -> str:
        """Time, and what was asked and came of it, or the message."""
        values = getattr(record, "values", {})
        when = time.strftime("%H:%M:%S", time.localtime(record.created))
        if record.getMessage() == "request":
            path = "".join(c if c.isprintable() else repr(c)[1:-1] for c in values["path"])
            status = values["status"] or "gone"
            return f"{when} {values['method']} {path} {status}, {values['seconds']:.2f} s"
        fields = " ".join(f"{name}={value}" for name, value in values.items())
        line = " ".join(filter(None, (when, record.levelname.lower(), record.getMessage(), fields)))
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def log_to_stderr(level: int = logging.INFO, *, lines: bool | None = None) -> None:
    """Logs of this package and of uvicorn on standard error: short lines for people, or lines of JSON.

    Args:
        level: Of this package's; uvicorn only warns.
        lines: Whether people read them; None: where standard error is a terminal.
    """
    handler = logging.StreamHandler(sys.stderr)
    lines = sys.stderr.isatty() if lines is None else lines
    handler.setFormatter(PlainLines() if lines else JsonLines())
    for name in ("nextword", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level if name == "nextword" else max(level, logging.WARNING))

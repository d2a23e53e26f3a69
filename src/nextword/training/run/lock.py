"""One run at a time in a place: a lock that goes with the process that holds it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import filelock

from nextword.errors import ConfigError
from nextword.files.atomic import write_errors


@contextmanager
def run_lock(out: Path) -> Iterator[None]:
    """Keeps other runs away from `out`, whatever name they call it by, and from all that lies beside it.

    Raises:
        ConfigError: A run to this place is going on.
        ModelFileError: The place cannot be written.
    """
    place = out.resolve()
    path = place.with_name(f".{place.name}.lock")
    lock = filelock.FileLock(path)
    with write_errors(out):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            raise ConfigError(
                f"another run is writing {out}: {_lock_holder(path)}",
                hint="wait until it has ended, or choose another directory",
            ) from None
    try:
        with suppress(OSError):  # Windows lets nobody write a locked file; then the others are not told who holds it
            path.write_text(json.dumps({"pid": os.getpid(), "since": time.time()}), encoding="utf-8")
        yield
    finally:
        with suppress(OSError):
            path.unlink()  # while it is locked: whoever waits for it notices, and makes a new one
        lock.release()


def _lock_holder(path: Path) -> str:
    """Which process holds a lock, and since when."""
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(held["since"]))
        return f"process {int(held['pid'])}, since {since}"
    except (OSError, ValueError, KeyError, TypeError):
        return "it began just now"

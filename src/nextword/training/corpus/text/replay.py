"""A stream that gives its bytes once, opened as often as one likes."""

from __future__ import annotations

import io
import tempfile
import weakref
from collections.abc import Callable
from typing import Any, BinaryIO, cast


class Replay:
    """Keeps what has been read of a stream in a temporary file; more is only read when somebody wants it.

    Args:
        stream: Opens it; called once.
        keep_open: Whether it is somebody else's, who closes it.
    """

    def __init__(self, stream: Callable[[], BinaryIO], *, keep_open: bool = False) -> None:
        self._open, self._keep_open = stream, keep_open
        self._stream: BinaryIO | None = None
        self._file: Any = None

    def open(self) -> BinaryIO:
        """The bytes from the start.

        Raises:
            OSError: It cannot be opened.
        """
        if self._stream is None:
            self._stream = self._open()
            self._file = tempfile.TemporaryFile()  # noqa: SIM115  it lives as long as this object
            weakref.finalize(self, self._file.close)
            if not self._keep_open:
                weakref.finalize(self, self._stream.close)
        return cast("BinaryIO", io.BufferedReader(_View(self)))

    def read(self, place: int, size: int) -> bytes:
        """Up to `size` bytes from a place on; none at the end."""
        self._file.seek(place)
        data: bytes = self._file.read(size)
        if data or self._stream is None:
            return data
        # What is there, not all that was asked for: somebody may be typing.
        data = cast("io.BufferedReader", self._stream).read1(size)
        self._file.write(data)
        return data


class _View(io.RawIOBase):
    def __init__(self, replay: Replay) -> None:
        self._replay = replay
        self._place = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._replay.read(self._place, len(buffer))
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)

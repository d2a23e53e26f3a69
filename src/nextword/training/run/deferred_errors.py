"""What goes wrong once the last step is taken: the model is saved first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class DeferredErrors:
    """Errors that wait until the model is on disk."""

    def __init__(self) -> None:
        self._first: Exception | None = None

    @contextmanager
    def wait(self) -> Iterator[None]:
        """Keeps what is raised inside; also a decorator of functions."""
        try:
            yield
        except Exception as error:  # noqa: BLE001  whatever it is, `release` raises it
            self.add(error)

    def add(self, error: Exception) -> None:
        """Keeps an error."""
        self._first = self._first or error

    def __bool__(self) -> bool:
        return self._first is not None

    def release(self) -> None:
        """Raises the first one, if there is any."""
        if self._first is not None:
            raise self._first

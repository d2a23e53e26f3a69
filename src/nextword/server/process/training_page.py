"""The page of a training run in the process that trains: it reads the run from disk, as any other process would."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from nextword.server.process.addresses import check_key, listen
from nextword.server.process.serve import Serving
from nextword.server.training_models import TrainingModels
from nextword.settings import ServerSettings
from nextword.training.events import Started
from nextword.training.events.followed_run import FollowedRun


class TrainingPage:
    """A context in which the page can be had, from the run's beginning on. It needs no time while nobody looks.

    Args:
        out: Where the run writes its model.
        settings: Where the page is; the address is taken at once, the page is there when `watch` is told of the
            beginning.
        notify: Is told where.
        key: What requests must send; None asks for none.

    Raises:
        ConfigError: The address is taken.
    """

    def __init__(
        self, out: Path, settings: ServerSettings, notify: Callable[[str], None], key: str | None = None
    ) -> None:
        check_key(settings.host, key)  # `Serving` asks too, but by then the run has begun
        self._out, self._settings, self._notify, self._key = out, settings, notify, key
        self._listening = listen(settings.host, settings.port)
        self._serving: Serving | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._serving is not None:
            self._serving.close()
        self._listening.close()

    def watch(self, event: object) -> None:
        """To be told the events of the run."""
        if self._serving is not None or not isinstance(event, Started):
            return
        run = FollowedRun(self._out)
        self._serving = Serving(TrainingModels(run), self._settings, self._key, run.to_json, self._listening)
        self._serving.start()
        self._notify(f"the page shows how it learns: {self._serving.url}/")

    def wait_for_interrupt(self) -> None:
        """Waits for Ctrl-C (SIGINT) or SIGTERM; to be called in the main thread."""
        if self._serving is None:
            return
        interrupted = threading.Event()
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = [signal.signal(number, lambda *_: interrupted.set()) for number in numbers]
        try:
            self._notify(f"the page stays at {self._serving.url}/ until Ctrl-C")
            while not interrupted.wait(1):  # Windows tells of Ctrl-C only in between
                pass
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)

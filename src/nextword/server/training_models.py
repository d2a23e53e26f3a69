"""The models of a training run beside others: each saved step as `run@STEP`, and what it came to by its own name."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from nextword.language_model import LanguageModel
from nextword.loading import load
from nextword.server.models import Models
from nextword.training.events.followed_run import FollowedRun

AT_STEP = "run@"
MAX_LOADED = 3
"""Models of a run that are held at once; the one that was asked for longest ago is let go."""


class TrainingModels(Models):
    """Models, and those of a run as they are on disk at the time. Without others, the run's newest answers first.

    Args:
        run: The run.
        paths: Of the others, as in `Models`.
        load_model: Loads one.
        sources: As in `Models`.
    """

    def __init__(
        self,
        run: FollowedRun,
        paths: Mapping[str, Path] | None = None,
        load_model: Callable[[Path], LanguageModel] = load,
        sources: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(paths or {}, load_model, sources)
        self.run = run
        self._loaded_steps: dict[str, tuple[tuple[int, int], LanguageModel]] = {}
        self._loading = threading.Lock()

    @property
    def names(self) -> list[str]:
        """The others, then the model that the run came to, then its steps, the newest first."""
        others = super().names
        own = [self.run.name] if self.run.finished and self.run.name not in others else []
        return [*others, *own, *(f"{AT_STEP}{step}" for step in reversed(self.run.steps()))]

    def get(self, name: str) -> LanguageModel:
        """The model of a name; of the run, as it is on disk now.

        Raises:
            ModelFileError: It cannot be read.
        """
        if name in self._paths:
            return super().get(name)
        path = self.path(name)
        with self._loading:
            version = _file_version(path)
            kept = self._loaded_steps.pop(name, None)
            lm = kept[1] if kept is not None and kept[0] == version else self._load(path)
            self._loaded_steps[name] = (version, lm)
            while len(self._loaded_steps) > MAX_LOADED:
                del self._loaded_steps[next(iter(self._loaded_steps))]
            return lm

    def loaded(self, name: str) -> LanguageModel | None:
        """The model of a name, if it is loaded."""
        kept = self._loaded_steps.get(name)
        return super().loaded(name) if kept is None else kept[1]

    def path(self, name: str) -> Path:
        """Where the model of a name lies."""
        if name in self._paths:
            return super().path(name)
        return self.run.step_path(int(name.removeprefix(AT_STEP))) if name.startswith(AT_STEP) else self.run.out

    def _version(self, name: str) -> object:
        return super()._version(name) if name in self._paths else _file_version(self.path(name))

    def source(self, name: str) -> str:
        """What `nextword.load` takes for it."""
        return super().source(name) if name in self._paths else str(self.path(name))

    def close(self) -> None:
        """Lets every model go."""
        super().close()
        self._loaded_steps.clear()


def _file_version(path: Path) -> tuple[int, int]:
    """What changes when another model takes the place."""
    try:
        status = (path / "model.safetensors").stat()
    except OSError:
        return 0, 0
    return status.st_ino, status.st_mtime_ns

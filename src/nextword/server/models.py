"""The models that are served, by name; each is loaded when it is first asked for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from nextword.config import GPTConfig
from nextword.files import read_model
from nextword.language_model import LanguageModel
from nextword.loading import DEFAULT_MODEL, load
from nextword.server.errors import ApiError


class Models:
    """Names and models. The first one answers requests that name none.

    Args:
        paths: Name -> where the model lies.
        load_model: Loads one; by default `nextword.load`.
        sources: Name -> what `nextword.load` takes for it, where that is not the path.
    """

    def __init__(
        self,
        paths: Mapping[str, Path],
        load_model: Callable[[Path], LanguageModel] = load,
        sources: Mapping[str, str] | None = None,
    ) -> None:
        self._paths, self._load = dict(paths), load_model
        self._sources = {name: str(path) for name, path in paths.items()} | dict(sources or {})
        self._loaded: dict[str, LanguageModel] = {}
        self._configs: dict[str, tuple[object, GPTConfig]] = {}
        self._locks = {name: threading.Lock() for name in paths}
        self.created = int(time.time())

    @property
    def names(self) -> list[str]:
        """In the order given."""
        return list(self._paths)

    def name_of(self, name: str | None) -> str:
        """The model meant by a request.

        Raises:
            ApiError: There is none of that name.
        """
        names = self.names
        if not name and names:
            return names[0]
        if not name or name not in names:
            there = f"there is {', '.join(names)}" if names else "the first one is not saved yet"
            asked = f" {name[:100]!r}" if name else ""
            raise ApiError(f"there is no model{asked}; {there}", status=404, param="model", code="model_not_found")
        return name

    def get(self, name: str) -> LanguageModel:
        """The model of a name, loaded if it is not yet.

        Raises:
            ModelFileError: It cannot be read.
        """
        with self._locks[name]:
            if name not in self._loaded:
                self._loaded[name] = self._load(self._paths[name])
            return self._loaded[name]

    def loaded(self, name: str) -> LanguageModel | None:
        """The model of a name, if it is loaded."""
        return self._loaded.get(name)

    def close(self) -> None:
        """Lets every model go, while Python is still whole: native code complains of what it finds at the very end."""
        self._loaded.clear()

    def path(self, name: str) -> Path:
        """Where the model of a name lies."""
        return self._paths[name]

    def source(self, name: str) -> str:
        """What `nextword.load` takes for it; of the default model, the name of its folder."""
        path = self._paths[name]
        return path.name if path == DEFAULT_MODEL else self._sources[name]

    def config(self, name: str) -> GPTConfig:
        """How a model that is not loaded is built, read once from its files."""
        version = self._version(name)
        kept = self._configs.get(name)
        if kept is None or kept[0] != version:
            kept = self._configs[name] = version, read_model(self.path(name)).config
        return kept[1]

    def _version(self, name: str) -> object:  # noqa: ARG002  a run's models have one
        """What changes when another model takes the place of a name."""
        return None

"""The models that are served, by name; each is loaded when it is first asked for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from nextword.language_model import LanguageModel
from nextword.loading import load
from nextword.server.errors import ApiError


class Models:
    """Names and models. The first one answers requests that name none.

    Args:
        paths: Name -> where the model lies.
        load_model: Loads one; by default `nextword.load`.
    """

    def __init__(self, paths: Mapping[str, Path], load_model: Callable[[Path], LanguageModel] = load) -> None:
        self._paths, self._load = dict(paths), load_model
        self._loaded: dict[str, LanguageModel] = {}
        self._locks = {name: threading.Lock() for name in paths}
        self.since = int(time.time())

    @property
    def names(self) -> list[str]:
        """In the order given."""
        return list(self._paths)

    def name_of(self, name: str | None) -> str:
        """The model meant by a request.

        Raises:
            ApiError: There is none of that name.
        """
        if not name:
            return self.names[0]
        if name not in self._paths:
            known = ", ".join(self.names)
            raise ApiError(
                f"there is no model {name[:100]!r}; there is {known}", status=404, param="model", code="model_not_found"
            )
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

    def about(self, name: str) -> dict[str, object]:
        """A model as `/v1/models` lists it."""
        lm = self._loaded.get(name)
        about: dict[str, object] = {"id": name, "object": "model", "created": self.since, "owned_by": "nextword"}
        if lm is not None:
            about["max_model_len"] = lm.config.context_length
            about["meta"] = {"n_params": lm.config.num_parameters, "backend": lm.backend.name}
        return about

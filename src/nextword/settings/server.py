"""How models are served over HTTP."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from nextword.errors import ConfigError
from nextword.settings.base import Settings
from nextword.settings.generation import SamplingSettings

SAMPLING_FIELDS = tuple(one.name for one in fields(SamplingSettings) if one.name != "logit_bias")
"""What the server or a model's makers may say of sampling, besides a request."""


@dataclass(frozen=True, kw_only=True)
class ServerSettings(Settings):
    """How models are served over HTTP.

    Raises:
        ConfigError: A setting is of another type or out of range.
    """

    host: str = "127.0.0.1"
    """Where to listen: this machine only, unless told otherwise."""
    port: int = 8000
    """0 takes any that is free."""
    allow_origin: tuple[str, ...] = ()
    """A web page's origin (https://example.org) that may ask from a browser; may be given several times."""
    allow_host: tuple[str, ...] = ()
    """A name besides its own that it answers to, such as a proxy's; may be given several times. For others, behind a
    key, it answers to every name."""
    sampling: Literal["openai", "recommended"] = "openai"
    """How tokens are chosen where a request does not say: OpenAI's way, or as the model's makers recommend."""
    temperature: float | None = None
    """Where a request gives none; OpenAI's default is 1."""
    top_k: int | None = None
    """Where a request gives none: only the k most probable tokens."""
    top_p: float | None = None
    """Where a request gives none: only the most probable tokens that together reach this probability."""
    min_p: float | None = None
    """Where a request gives none: only tokens at least this share as probable as the best one."""
    repetition_penalty: float | None = None
    """Where a request gives none: above 1 makes tokens that are already in the text less probable."""
    presence_penalty: float | None = None
    """Where a request gives none: taken from the logits of tokens that were written before."""
    frequency_penalty: float | None = None
    """Where a request gives none: taken from them once for each time that they were written."""
    context: int | None = None
    """Tokens of a text at most, with what is written; what the model can look at, if left out."""
    slots: int = 16
    """Texts of a model that are written at once."""
    queue: int = 256
    """Texts that may wait; more are told to come back (429)."""
    request_seconds: float = 600.0
    """How long a request may take."""
    drain_seconds: float = 3.0
    """Time for texts that are being written when the server is told to end."""

    def __post_init__(self) -> None:
        for name in ("allow_origin", "allow_host"):
            if isinstance(self[name], str):
                object.__setattr__(self, name, (self[name],))
        super().__post_init__()
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"port is {self.port}, it must be between 0 and 65,535")
        for name in self.allow_host:
            if not name or not set(name).isdisjoint("/:@ "):
                raise ConfigError(
                    f"{name!r} is no name of a host", hint="give the name alone, without https:// and port"
                )
        if self.context is not None and self.context < 2:
            raise ConfigError(f"context is {self.context}, it must be 2 or more: a token to read and one to write")
        for name in ("slots", "queue"):
            if self[name] < 1:
                raise ConfigError(f"{name} is {self[name]}, it must be at least 1")
        for name in ("request_seconds", "drain_seconds"):
            if not self[name] >= 0:
                raise ConfigError(f"{name} is {self[name]}, it must be 0 or more")
        SamplingSettings(**self.sampling_fields({}, {}))  # refuses what is out of range

    def sampling_fields(self, recommended: Mapping[str, Any], requested: Mapping[str, Any]) -> dict[str, Any]:
        """Which of SamplingSettings hold: a request's own, then the server's, then what a model's makers recommend."""
        makers = recommended if self.sampling == "recommended" else {}
        own = {name: self[name] for name in SAMPLING_FIELDS if self[name] is not None}
        found = {**{name: makers[name] for name in SAMPLING_FIELDS if name in makers}, **own, **requested}
        if found.get("top_k") in (0, -1):  # many files' and clients' word for all
            del found["top_k"]
        return found

"""How the server works, with its defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nextword.config import GPTConfig
from nextword.errors import ConfigError
from nextword.files import Bundle
from nextword.generation.sampling import Sampling

if TYPE_CHECKING:
    from nextword.language_model import LanguageModel

SAMPLED = (
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
)
"""Settings of sampling that a request, the server or a model's makers may give."""


@dataclass(frozen=True)
class Settings:
    """How the server works."""

    slots: int = 16
    """Texts of one model that are written at once."""
    queue: int = 256
    """Texts that may wait."""
    cache_bytes: int = 4 * 1024**3
    """What the slots of a model may hold."""
    request_seconds: float = 600.0
    """How long a request may take."""
    drain_seconds: float = 3.0
    """Time for texts that are being written when the server is told to end."""
    looks: int = 16
    """Traces that are kept for the page."""
    look_bytes: int = 1024**3
    """What they may hold together."""
    sampling: Mapping[str, Any] = field(default_factory=dict)
    """How tokens are chosen where a request does not say: what is not here either is OpenAI's default."""
    recommended: bool = False
    """Whether what a model's makers recommend comes before OpenAI's defaults."""
    context: int | None = None
    """Tokens of a text at most; None: as many as the model can look at."""

    def check(self, model: LanguageModel | Bundle | None) -> None:
        """Refuses settings that no text could be written with.

        Args:
            model: Of this model; None: of any.

        Raises:
            ConfigError: One is out of range.
        """
        recommended: Mapping[str, Any] = {}
        if model is not None:
            recommended = model.generation if isinstance(model, Bundle) else model.recommended
        Sampling(**self.sampling_of(recommended))
        if self.context is None:
            return
        if self.context < 2:
            raise ConfigError(f"context is {self.context}, it must be 2 or more: a token to read and one to write")
        if model is not None and self.context > model.config.context_length:
            raise ConfigError(
                f"context is {self.context:,}, the model can look at {model.config.context_length:,} tokens"
            )

    def sampling_of(self, recommended: Mapping[str, Any], asked: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The settings of sampling that hold for a model, and for a request that asks for some; Sampling's names."""
        makers = {name: recommended[name] for name in SAMPLED if name in recommended} if self.recommended else {}
        given = {**makers, **self.sampling, **(asked or {})}
        if given.get("top_k") in (0, -1):  # many files' and clients' word for all
            del given["top_k"]
        return given

    def context_of(self, config: GPTConfig) -> int:
        """Tokens of a text of such a model at most."""
        return min(config.context_length, self.context or config.context_length)

    def room(self, config: GPTConfig, read: int, asked: int | None) -> int:
        """Tokens that may be written behind so many; None: as many as there is room for.

        The last one is written and not read: behind a text that fills the context there is room for one.
        """
        most = self.context_of(config) - read + 1
        return most if asked is None else min(asked, most)

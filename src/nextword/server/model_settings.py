"""What the server's settings come to for a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nextword.config import GPTConfig
from nextword.errors import ConfigError
from nextword.files import Bundle
from nextword.settings import SamplingSettings, ServerSettings

if TYPE_CHECKING:
    from nextword.language_model import LanguageModel


def check_model(settings: ServerSettings, model: LanguageModel | Bundle) -> None:
    """Refuses settings that no text of a model could be written with.

    Raises:
        ConfigError: The context is longer than the model's, or what its makers recommend is out of range.
    """
    recommended = model.generation if isinstance(model, Bundle) else model.recommended
    SamplingSettings(**settings.sampling_fields(recommended, {}))
    if settings.context is not None and settings.context > model.config.context_length:
        raise ConfigError(
            f"context is {settings.context:,}, the model can look at {model.config.context_length:,} tokens"
        )


def context_length(settings: ServerSettings, config: GPTConfig) -> int:
    """Tokens of a text of such a model at most."""
    return min(config.context_length, settings.context or config.context_length)


def new_token_limit(settings: ServerSettings, config: GPTConfig, read: int, requested: int | None) -> int:
    """Tokens that may be written behind so many; None: as many as there is room for.

    The last one is written and not read: behind a text that fills the context there is room for one.
    """
    room = context_length(settings, config) - read + 1
    return room if requested is None else min(requested, room)

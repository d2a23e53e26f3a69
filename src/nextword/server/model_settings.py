"""What the server's settings come to for a model, and for a request that asks for its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nextword.config import GPTConfig
from nextword.errors import ConfigError
from nextword.files import Bundle
from nextword.generation.sampling import Sampling
from nextword.settings import ServerSettings

if TYPE_CHECKING:
    from nextword.language_model import LanguageModel

SAMPLING_FIELDS = (
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
)
"""Settings of sampling that a request, the server or a model's makers may give."""


def check_model(settings: ServerSettings, model: LanguageModel | Bundle) -> None:
    """Refuses settings that no text of a model could be written with.

    Raises:
        ConfigError: The context is longer than the model's, or what its makers recommend is out of range.
    """
    check_sampling(settings, model.generation if isinstance(model, Bundle) else model.recommended)
    if settings.context is not None and settings.context > model.config.context_length:
        raise ConfigError(
            f"context is {settings.context:,}, the model can look at {model.config.context_length:,} tokens"
        )


def check_sampling(settings: ServerSettings, recommended: Mapping[str, Any]) -> None:
    """Refuses settings of sampling that are out of range.

    Raises:
        ConfigError: One is.
    """
    Sampling(**sampling_fields(settings, recommended))


def sampling_fields(
    settings: ServerSettings, recommended: Mapping[str, Any], requested: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The settings of sampling that hold for a model, and for a request that asks for some; Sampling's names.

    What nobody gives is left out, and so OpenAI's default.
    """
    fields = recommended if settings.sampling == "recommended" else {}
    own = {name: settings[name] for name in SAMPLING_FIELDS if settings[name] is not None}
    fields = {**{name: fields[name] for name in SAMPLING_FIELDS if name in fields}, **own, **(requested or {})}
    if fields.get("top_k") in (0, -1):  # many files' and clients' word for all
        del fields["top_k"]
    return fields


def context_length(settings: ServerSettings, config: GPTConfig) -> int:
    """Tokens of a text of such a model at most."""
    return min(config.context_length, settings.context or config.context_length)


def new_token_limit(settings: ServerSettings, config: GPTConfig, read: int, requested: int | None) -> int:
    """Tokens that may be written behind so many; None: as many as there is room for.

    The last one is written and not read: behind a text that fills the context there is room for one.
    """
    room = context_length(settings, config) - read + 1
    return room if requested is None else min(requested, room)

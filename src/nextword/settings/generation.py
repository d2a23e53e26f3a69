"""How text is written on: sampling, and what goes with it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypedDict

from nextword.errors import ConfigError
from nextword.settings.base import Settings
from nextword.settings.words import Overflow


@dataclass(frozen=True)
class SamplingSettings(Settings):
    """How the next token is chosen. The defaults leave the model's own distribution as it is.

    Raises:
        ConfigError: A value is out of range; the message names it.
    """

    temperature: float = 1.0
    """Divides the logits: below 1 sharpens, above 1 flattens; 0 always takes the most probable token."""
    top_k: int | None = None
    """Only the k most probable tokens."""
    top_p: float = 1.0
    """Only the most probable tokens, after top-k, that together reach this probability."""
    min_p: float = 0.0
    """Only tokens at least this share as probable as the best one."""
    repetition_penalty: float = 1.0
    """Above 1 makes tokens that are already in the text less probable."""
    presence_penalty: float = 0.0
    """Taken from the logits of tokens that were written before."""
    frequency_penalty: float = 0.0
    """Taken from the logits of tokens once for each time that they were written before."""
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    """Token id -> what is added to its logit."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks = {
            "temperature": (self.temperature >= 0, "0 or more"),
            "top_k": (self.top_k is None or self.top_k >= 1, "at least 1"),
            "top_p": (0 < self.top_p <= 1, "above 0 and at most 1"),
            "min_p": (0 <= self.min_p <= 1, "between 0 and 1"),
            "repetition_penalty": (self.repetition_penalty > 0, "above 0"),
        }
        for name, (holds, must_be) in checks.items():
            if not holds:
                raise ConfigError(f"{name} is {self[name]}, it must be {must_be}")


@dataclass(frozen=True, kw_only=True)
class GenerationSettings(SamplingSettings):
    """What `generate`, `stream`, `chat` and `stream_chat` take besides text and length.

    Raises:
        ConfigError: A setting is of another type or out of range.
    """

    temperature: float = 0.8
    """Divides the logits: below 1 sharpens, above 1 flattens; 0 always takes the most probable token."""
    top_p: float = 0.95
    """Only the most probable tokens, after top-k, that together reach this probability."""
    seed: int | None = None
    """The same seed writes the same text; different every time if left out."""
    stop: str | Sequence[str] = ()
    """Strings that end the text; they are not part of it."""
    logprobs: int = 0
    """Alternatives to record a token; 0 records nothing."""
    overflow: Overflow = "slide"
    """When the context is full: slide goes on with its newest half, stop ends."""
    speculative: bool = True
    """Whether the native backend checks several tokens in one pass where the text repeats itself; the text stays the
    same."""
    score_prompt: bool = False
    """Record the prompt's tokens too, as those that are written."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "stop", self.stop if isinstance(self.stop, str) else tuple(self.stop))
        for name in ("logprobs", "seed"):
            if self[name] is not None and self[name] < 0:
                raise ConfigError(f"{name} is {self[name]}, it must be 0 or more")


class SamplingKeywords(TypedDict, total=False):
    """`SamplingSettings` as `**settings`, for editors and type checkers."""

    temperature: float
    top_k: int | None
    top_p: float
    min_p: float
    repetition_penalty: float
    presence_penalty: float
    frequency_penalty: float
    logit_bias: Mapping[int, float]


class GenerationKeywords(SamplingKeywords, total=False):
    """`GenerationSettings` as `**settings`."""

    seed: int | None
    stop: str | Sequence[str]
    logprobs: int
    overflow: Overflow
    speculative: bool
    score_prompt: bool

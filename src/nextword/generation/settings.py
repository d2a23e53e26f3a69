"""The settings of everything that writes text: their names, what they mean and their defaults, said once."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, TypedDict, TypeVar, cast, get_type_hints

from nextword.errors import ConfigError
from nextword.generation.context import Overflow
from nextword.generation.memory import Memory

Method = TypeVar("Method", bound=Callable[..., Any])


class SamplingSettings(TypedDict, total=False):
    """How the next token is chosen; `Sampling` says how each is computed."""

    temperature: float
    """Below 1 sharpens, above 1 flattens (0.8); 0 always takes the most probable token."""
    top_k: int | None
    """Only the k most probable tokens (None: all)."""
    top_p: float
    """Only the most probable tokens that together reach this probability (0.95)."""
    min_p: float
    """Only tokens at least this share as probable as the best one (0)."""
    repetition_penalty: float
    """Above 1 makes tokens that are already in the text less probable (1: none)."""
    presence_penalty: float
    """Taken from the logits of tokens that were written before (0)."""
    frequency_penalty: float
    """Taken from the logits of tokens once for each time that they were written before (0)."""
    logit_bias: Mapping[int, float]
    """Token id -> what is added to its logit (none)."""


class GenerationSettings(SamplingSettings, total=False):
    """What `generate`, `stream`, `chat` and `stream_chat` take besides text and length; defaults stand in brackets."""

    seed: int | None
    """The same seed writes the same text (None: different every time)."""
    stop: str | Sequence[str]
    """Strings that end the text; they are not part of it (none)."""
    logprobs: int
    """Alternatives to record a token (0: nothing is recorded)."""
    overflow: Overflow
    """At the context's end, `slide` goes on with its newest half, `stop` ends (slide)."""
    memory: Memory | None
    """What an earlier text left in the cache (None)."""
    speculative: bool
    """Whether the native backend checks several tokens in one pass where the text repeats itself; the text stays the
    same (True)."""
    score_prompt: bool
    """Record the prompt's tokens too, as `logprobs` those that are written (False)."""


DEFAULTS = GenerationSettings(
    temperature=0.8,
    top_k=None,
    top_p=0.95,
    min_p=0.0,
    repetition_penalty=1.0,
    presence_penalty=0.0,
    frequency_penalty=0.0,
    logit_bias={},
    seed=None,
    stop=(),
    logprobs=0,
    overflow="slide",
    memory=None,
    speculative=True,
    score_prompt=False,
)


def takes_settings(method: Method) -> Method:
    """Spells `**settings` out where people and editors ask for a method's signature."""
    signature, kinds = inspect.signature(method), get_type_hints(GenerationSettings)
    spelled = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kinds[name])
        for name, default in DEFAULTS.items()
    ]
    own = [one for one in signature.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
    cast(Any, method).__signature__ = signature.replace(parameters=[*own, *spelled])
    return method


def completed(method: str, given: GenerationSettings) -> GenerationSettings:
    """The settings that were given, and the defaults of all others.

    Raises:
        TypeError: One has a name that there is not; `method` is what was called.
    """
    for name in given:
        if name not in DEFAULTS:
            meant = get_close_matches(name, DEFAULTS, n=1)
            hint = f": did you mean {meant[0]}?" if meant else f"; there are {', '.join(DEFAULTS)}"
            raise TypeError(f"{method}() has no setting {name}{hint}")
    return {**DEFAULTS, **given}


def token_biases(given: Mapping[int, float] | Mapping[str, float], vocab_size: int) -> dict[int, float]:
    """Biases by token id; ids may be spelled in digits, as JSON has them.

    Raises:
        ConfigError: One is no id of the vocabulary.
    """
    biases: dict[int, float] = {}
    for token, value in given.items():
        spelled = str(token)
        if not re.fullmatch(r"\d{1,10}", spelled, re.ASCII) or int(spelled) >= vocab_size:
            raise ConfigError(f"logit_bias holds {spelled[:40]!r}, which is no token id below {vocab_size}")
        biases[int(spelled)] = value
    return biases

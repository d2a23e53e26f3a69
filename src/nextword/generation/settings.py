"""The settings of everything that writes text: their names, what they mean and their defaults, said once."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict, TypeVar, cast, get_type_hints

from nextword.arguments import argument, unknown_name
from nextword.errors import ConfigError
from nextword.generation.memory import Memory
from nextword.settings import Overflow

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

_TYPES = get_type_hints(GenerationSettings)

_LENGTH = "max_new_tokens is how many tokens are written at most"
_BEAMS = "there is no beam search here; temperature=0 always takes the most probable token"
_REPETITION = "repetition_penalty makes tokens less probable that are already in the text"
_STOPS = "stop takes strings that end the text; the model's own end tokens always end it"
_ONE_TEXT = "each call writes one text; call once for each, with another seed"
_ALTERNATIVES = "logprobs=5 records five alternatives for each token"
ELSEWHERE = {
    **dict.fromkeys(("max_tokens", "max_completion_tokens", "n_predict", "num_predict", "n_tokens"), _LENGTH),
    **dict.fromkeys(("max_length", "max_len"), f"{_LENGTH}, the prompt's not counted"),
    **dict.fromkeys(("min_length", "min_new_tokens", "min_tokens"), "there is no least length here"),
    **dict.fromkeys(("num_beams", "beam_size", "best_of", "length_penalty", "early_stopping"), _BEAMS),
    **dict.fromkeys(("do_sample", "greedy"), "temperature=0 always takes the most probable token, above 0 it is drawn"),
    "temp": "did you mean temperature?",
    **dict.fromkeys(("repeat_penalty", "rep_pen"), _REPETITION),
    "no_repeat_ngram_size": f"there is no such rule here; {_REPETITION}",
    **dict.fromkeys(("penalty_freq", "alpha_frequency"), "did you mean frequency_penalty?"),
    **dict.fromkeys(("penalty_present", "alpha_presence"), "did you mean presence_penalty?"),
    **dict.fromkeys(("stop_strings", "stop_sequences", "stop_words", "stopping_criteria"), _STOPS),
    **dict.fromkeys(("eos_token_id", "stop_token_ids", "pad_token_id"), _STOPS),
    **dict.fromkeys(("n", "num_return_sequences", "num_samples"), _ONE_TEXT),
    **dict.fromkeys(("top_n", "top_logprobs", "n_probs", "output_scores"), _ALTERNATIVES),
    **dict.fromkeys(("random_seed", "rng", "generator", "manual_seed"), "seed=1 writes the same text each time"),
    **dict.fromkeys(("stream", "streamer", "callback"), "lm.stream(text) gives the text piece by piece"),
    "echo": "str() of what generate gives is prompt and continuation together, .text the continuation",
    **dict.fromkeys(
        ("typical_p", "mirostat", "tfs_z", "epsilon_cutoff", "eta_cutoff", "top_a", "dynatemp_range"),
        "there is no such sampling here; top_k, top_p and min_p cut what is drawn from",
    ),
    **dict.fromkeys(
        ("grammar", "json_schema", "response_format", "guided_choice"), "text cannot be held to a form here"
    ),
    **dict.fromkeys(
        ("prompt", "input", "inputs", "input_ids", "input_text"), "the text, or its token ids, is the first argument"
    ),
    **dict.fromkeys(("system", "system_prompt"), 'lm.chat takes [{"role": "system", "content": "..."}, ...]'),
    **dict.fromkeys(
        ("max_context", "num_ctx", "n_ctx", "max_seq_len"),
        "the context is the model's; overflow says what happens at its end",
    ),
    "use_cache": "the cache is always used",
    "ignore_eos": "a model's end tokens always end the text",
}
"""What settings are here that other libraries have under other names, or that there are not here."""


def takes_settings(method: Method) -> Method:
    """Spells `**settings` out where people and editors ask for a method's signature."""
    signature = inspect.signature(method)
    spelled = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=_TYPES[name])
        for name, default in DEFAULTS.items()
    ]
    own = [one for one in signature.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
    cast(Any, method).__signature__ = signature.replace(parameters=[*own, *spelled])
    return method


def completed(method: str, given: GenerationSettings) -> GenerationSettings:
    """The settings that were given, and the defaults of all others; `method` is what was called.

    Raises:
        TypeError: One has a name that there is not.
        ConfigError: One is of another type.
    """
    for name in given:
        if name not in DEFAULTS:
            raise unknown_name(method, name, (*DEFAULTS, "max_new_tokens"), ELSEWHERE)
    held = {name: argument(name, value, _TYPES[name]) for name, value in given.items()}
    return cast(GenerationSettings, {**DEFAULTS, **held})


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

"""What settings are called here that other libraries call otherwise, or have and there are not here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from nextword.arguments import checked
from nextword.settings import GenerationSettings, takes_settings

Method = TypeVar("Method", bound=Callable[..., Any])

_LENGTH = "max_new_tokens is how many tokens are written at most"
_BEAMS = "there is no beam search here; temperature=0 always takes the most probable token"
_REPETITION = "repetition_penalty makes tokens less probable that are already in the text"
_STOPS = "stop takes strings that end the text; the model's own end tokens always end it"
_ONE_TEXT = "each call writes one text; call once for each, with another seed"
_ALTERNATIVES = "logprobs=5 records five alternatives for each token"
OTHER_NAMES = {
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


def takes_generation_settings(method: Method) -> Method:
    """A method that takes `**settings` of `GenerationSettings`: spelled out in its signature, and checked by name."""
    return checked(takes_settings(GenerationSettings)(method), OTHER_NAMES)

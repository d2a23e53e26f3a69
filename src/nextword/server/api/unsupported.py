"""Fields of other servers that would change the answer here, and are not supported: they are refused by name.

Gathered from the request types of OpenAI, vLLM, SGLang, llama.cpp, Ollama, LM Studio, text-generation-inference and
text-generation-webui. A value that changes nothing is taken, because clients send their defaults; what only tunes a
field that is refused (`mirostat_tau`, `dry_base`), or concerns speed, logs and accounting (`user`, `cache_prompt`,
`keep_alive`), is ignored, like what nobody knows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nextword.server.errors import ApiError


@dataclass(frozen=True)
class UnsupportedField:
    """A field that is refused."""

    neutral: Sequence[Any] = ()
    """Values that change nothing, besides null."""
    hint: str = ""
    """What to do instead."""


_NO_GRAMMAR_HINT = "the model writes freely: check what it wrote, and ask again"
_IN_TEMPLATE = "chat_template_kwargs gives the template its variables"

UNSUPPORTED: dict[str, UnsupportedField] = {
    # What may be written.
    **dict.fromkeys(
        ("guided_json", "guided_regex", "guided_choice", "guided_grammar", "structured_outputs", "structural_tag"),
        UnsupportedField(({},), _NO_GRAMMAR_HINT),
    ),
    **dict.fromkeys(
        ("regex", "ebnf", "grammar", "format", "guidance", "grammar_triggers"),
        UnsupportedField(("", []), _NO_GRAMMAR_HINT),
    ),
    "json_schema": UnsupportedField((), _NO_GRAMMAR_HINT),
    "grammar_lazy": UnsupportedField((False,), _NO_GRAMMAR_HINT),
    "allowed_token_ids": UnsupportedField((), "logit_bias lowers the others"),
    "bad_words": UnsupportedField(([],), "logit_bias of -100 keeps a token out"),
    "bad_words_ids": UnsupportedField(([],), "logit_bias of -100 keeps a token out"),
    "custom_token_bans": UnsupportedField(("",), "logit_bias of -100 keeps a token out"),
    "logits_processors": UnsupportedField(([],)),
    "logits_processor": UnsupportedField(([],)),
    "custom_logit_processor": UnsupportedField(([], "")),
    "custom_params": UnsupportedField(({},)),
    "vllm_xargs": UnsupportedField(({},)),
    # When it ends.
    **dict.fromkeys(
        ("min_tokens", "min_length", "min_new_tokens", "n_indent"),
        UnsupportedField((0,), "logit_bias of -100 keeps the end token out"),
    ),
    "ignore_eos": UnsupportedField((False,), "logit_bias of -100 keeps the end token out"),
    "ban_eos_token": UnsupportedField((False,), "logit_bias of -100 keeps the end token out"),
    "stop_token_ids": UnsupportedField(([],), "stop takes texts"),
    "stop_regex": UnsupportedField(("", []), "stop takes texts"),
    "stop_sequences": UnsupportedField(([],), "its name here is stop"),
    "include_stop_str_in_output": UnsupportedField((False,)),
    "no_stop_trim": UnsupportedField((False,)),
    "t_max_predict_ms": UnsupportedField((0, -1)),
    "repetition_detection": UnsupportedField(),
    **dict.fromkeys(
        ("n_predict", "num_predict", "max_new_tokens", "max_length", "max_tokens_to_sample"),
        UnsupportedField((), "its name here is max_tokens"),
    ),
    # How tokens are drawn.
    "typical_p": UnsupportedField((1,)),
    "tfs": UnsupportedField((1,)),
    "tfs_z": UnsupportedField((1,)),
    "top_a": UnsupportedField((0,)),
    "top_n_sigma": UnsupportedField((-1, 0)),
    "adaptive_target": UnsupportedField((-1,)),
    "mirostat": UnsupportedField((0,)),
    "mirostat_mode": UnsupportedField((0,)),
    "dynatemp_range": UnsupportedField((0,)),
    "dynamic_temperature": UnsupportedField((False,)),
    "smoothing_factor": UnsupportedField((0,)),
    "xtc_probability": UnsupportedField((0,)),
    "epsilon_cutoff": UnsupportedField((0,)),
    "eta_cutoff": UnsupportedField((0,)),
    "min_keep": UnsupportedField((0, 1)),
    "samplers": UnsupportedField(([],)),
    "sampler_priority": UnsupportedField(([],)),
    "temperature_last": UnsupportedField((False,)),
    "do_sample": UnsupportedField((True,), "temperature 0 always takes the most probable token"),
    "random_seed": UnsupportedField((), "its name here is seed"),
    "use_beam_search": UnsupportedField((False,)),
    "num_beams": UnsupportedField((1,)),
    "penalty_alpha": UnsupportedField((0,)),
    "guidance_scale": UnsupportedField((1,)),
    "negative_prompt": UnsupportedField(("",)),
    "watermark": UnsupportedField((False,)),
    "watermarking": UnsupportedField((False,)),
    # Penalties.
    "repeat_penalty": UnsupportedField((1,), "repetition_penalty looks at the whole text"),
    "rep_pen": UnsupportedField((1,), "repetition_penalty looks at the whole text"),
    "encoder_repetition_penalty": UnsupportedField((1,)),
    "no_repeat_ngram_size": UnsupportedField((0,)),
    "dry_multiplier": UnsupportedField((0,)),
    "dry_penalty": UnsupportedField((0,)),
    # What is read.
    "truncate_prompt_tokens": UnsupportedField((), "shorten the prompt"),
    "truncate": UnsupportedField((False,), "shorten the prompt"),
    "truncation_length": UnsupportedField((), "shorten the prompt"),
    "num_ctx": UnsupportedField((), "nextword serve --context sets it for every request"),
    "options": UnsupportedField(({},), "put what it holds into the body itself"),
    "parameters": UnsupportedField(({},), "put what it holds into the body itself"),
    "extra_body": UnsupportedField(({},), "put what it holds into the body itself"),
    "image_data": UnsupportedField(([],), "the model reads text only"),
    "images": UnsupportedField(([],), "the model reads text only"),
    "multimodal_data": UnsupportedField(([],), "the model reads text only"),
    "images_config": UnsupportedField(({},), "the model reads text only"),
    # Other weights.
    "lora": UnsupportedField(([],)),
    "lora_path": UnsupportedField(("", [])),
    "adapter_id": UnsupportedField(("",)),
    # What comes back.
    "skip_special_tokens": UnsupportedField((True,)),
    "prompt_logprobs": UnsupportedField((0, False), "POST /v1/completions has echo with logprobs"),
    "logprob_token_ids": UnsupportedField(([],)),
    "n_probs": UnsupportedField((0,), "ask for logprobs"),
    "top_n_tokens": UnsupportedField((0,), "ask for logprobs"),
    "post_sampling_probs": UnsupportedField((False,)),
    "n_cmpl": UnsupportedField((1,), "its name here is n"),
    **dict.fromkeys(
        ("return_tokens", "return_token_ids", "return_prompt_token_ids", "return_tokens_as_token_ids"),
        UnsupportedField((False,), "POST /tokenize gives a text's tokens"),
    ),
    **dict.fromkeys(
        ("return_hidden_states", "return_routed_experts", "return_prompt_text", "return_full_text", "details"),
        UnsupportedField((False,)),
    ),
    "decoder_input_details": UnsupportedField((False,)),
    "response_fields": UnsupportedField(([],)),
}
"""Of both kinds of completions."""

UNSUPPORTED_IN_COMPLETIONS: dict[str, UnsupportedField] = {
    "response_format": UnsupportedField(({"type": "text"},), _NO_GRAMMAR_HINT),
    "add_special_tokens": UnsupportedField((True,), "send token ids: they are taken as they are"),
    "add_bos_token": UnsupportedField((True,), "send token ids: they are taken as they are"),
    "messages": UnsupportedField((), "POST /v1/chat/completions answers messages"),
    "tools": UnsupportedField(([],)),
    "system": UnsupportedField(("",), "write it into the prompt"),
    "template": UnsupportedField(("",), "write it into the prompt"),
    "context": UnsupportedField(([],), "write it into the prompt"),
    "top_logprobs": UnsupportedField((0,), "here, logprobs is their number"),
    "max_completion_tokens": UnsupportedField((), "its name here is max_tokens"),
}

UNSUPPORTED_IN_CHATS: dict[str, UnsupportedField] = {
    "audio": UnsupportedField(),
    "verbosity": UnsupportedField(("medium",), "say it in the messages"),
    "web_search_options": UnsupportedField(),
    "search_parameters": UnsupportedField(),
    "prompt": UnsupportedField(("",), "POST /v1/completions goes on from a prompt"),
    "system": UnsupportedField(("",), "send it as a message with the role system"),
    "template": UnsupportedField(("",), _IN_TEMPLATE),
    "chat_template": UnsupportedField(("",), _IN_TEMPLATE),
    "instruction_template": UnsupportedField(("",), _IN_TEMPLATE),
    "documents": UnsupportedField(([],), _IN_TEMPLATE),
    "enable_thinking": UnsupportedField((), _IN_TEMPLATE),
    "think": UnsupportedField((), _IN_TEMPLATE),
    "thinking": UnsupportedField((), _IN_TEMPLATE),
    "reasoning": UnsupportedField(({},), "its name here is reasoning_effort"),
    "thinking_token_budget": UnsupportedField((-1,)),
    "thinking_budget_tokens": UnsupportedField((-1,)),
    "reasoning_budget": UnsupportedField((-1,)),
    "thinking_forced_open": UnsupportedField((False,)),
    "reasoning_format": UnsupportedField(("none", "auto"), "what the model thinks stays in its answer"),
    "include_reasoning": UnsupportedField((True,), "what the model thinks stays in its answer"),
    "safe_prompt": UnsupportedField((False,)),
    "task": UnsupportedField(),
    "input_ids": UnsupportedField((), "POST /v1/completions takes token ids"),
    "echo": UnsupportedField((False,)),
    "add_special_tokens": UnsupportedField((False,), "the template writes them"),
    "tool_prompt": UnsupportedField(("",)),
    "guideline": UnsupportedField(("",)),
    "suffix": UnsupportedField(("",)),
    "best_of": UnsupportedField((1,), "n asks for several answers"),
}

UNSUPPORTED_IN_TOKENIZE: dict[str, UnsupportedField] = {
    "parse_special": UnsupportedField(
        (False,), "the spelling of a special token is plain text; chat templates write the tokens"
    ),
    "with_pieces": UnsupportedField((False,), "return_token_strs gives the tokens' texts"),
    "chat_template": UnsupportedField(("",), _IN_TEMPLATE),
    "documents": UnsupportedField(([],), _IN_TEMPLATE),
}


def refuse_unsupported(body: Mapping[str, Any], unsupported: Mapping[str, UnsupportedField]) -> None:
    """Refuses the first field of a request that would change its answer.

    Raises:
        ApiError: There is one.
    """
    for name in [name for name in body if name in unsupported]:
        value, field = body[name], unsupported[name]
        if value is not None and not any(_same(value, neutral) for neutral in field.neutral):
            raise ApiError(f"{name} is not supported", param=name, hint=field.hint, code="unsupported_parameter")
    if body.get("repeat_last_n", -1) not in (None, -1) and any(
        body.get(name) not in (None, neutral) for name, neutral in _PENALTIES.items()
    ):
        raise ApiError(
            "repeat_last_n is not supported",
            param="repeat_last_n",
            hint="penalties look at the whole text",
            code="unsupported_parameter",
        )


_PENALTIES = {"repetition_penalty": 1, "presence_penalty": 0, "frequency_penalty": 0}
"""What `repeat_last_n` would change, and their values that do nothing."""


def _same(value: Any, neutral: Any) -> bool:
    """Whether two JSON values are equal; true is no 1."""
    return bool(value == neutral) and isinstance(value, bool) == isinstance(neutral, bool)

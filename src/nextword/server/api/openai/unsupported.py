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
class Refused:
    """A field that is refused."""

    neutral: Sequence[Any] = ()
    """Values that change nothing, besides null."""
    hint: str = ""
    """What to do instead."""


_FREE = "the model writes freely: check what it wrote, and ask again"
_IN_TEMPLATE = "chat_template_kwargs gives the template its variables"

UNSUPPORTED: dict[str, Refused] = {
    # What may be written.
    **dict.fromkeys(
        ("guided_json", "guided_regex", "guided_choice", "guided_grammar", "structured_outputs", "structural_tag"),
        Refused(({},), _FREE),
    ),
    **dict.fromkeys(("regex", "ebnf", "grammar", "format", "guidance", "grammar_triggers"), Refused(("", []), _FREE)),
    "json_schema": Refused((), _FREE),
    "grammar_lazy": Refused((False,), _FREE),
    "allowed_token_ids": Refused((), "logit_bias lowers the others"),
    "bad_words": Refused(([],), "logit_bias of -100 keeps a token out"),
    "bad_words_ids": Refused(([],), "logit_bias of -100 keeps a token out"),
    "custom_token_bans": Refused(("",), "logit_bias of -100 keeps a token out"),
    "logits_processors": Refused(([],)),
    "logits_processor": Refused(([],)),
    "custom_logit_processor": Refused(([], "")),
    "custom_params": Refused(({},)),
    "vllm_xargs": Refused(({},)),
    # When it ends.
    **dict.fromkeys(
        ("min_tokens", "min_length", "min_new_tokens", "n_indent"),
        Refused((0,), "logit_bias of -100 keeps the end token out"),
    ),
    "ignore_eos": Refused((False,), "logit_bias of -100 keeps the end token out"),
    "ban_eos_token": Refused((False,), "logit_bias of -100 keeps the end token out"),
    "stop_token_ids": Refused(([],), "stop takes texts"),
    "stop_regex": Refused(("", []), "stop takes texts"),
    "stop_sequences": Refused(([],), "its name here is stop"),
    "include_stop_str_in_output": Refused((False,)),
    "no_stop_trim": Refused((False,)),
    "t_max_predict_ms": Refused((0, -1)),
    "repetition_detection": Refused(),
    **dict.fromkeys(
        ("n_predict", "num_predict", "max_new_tokens", "max_length", "max_tokens_to_sample"),
        Refused((), "its name here is max_tokens"),
    ),
    # How tokens are drawn.
    "typical_p": Refused((1,)),
    "tfs": Refused((1,)),
    "tfs_z": Refused((1,)),
    "top_a": Refused((0,)),
    "top_n_sigma": Refused((-1, 0)),
    "adaptive_target": Refused((-1,)),
    "mirostat": Refused((0,)),
    "mirostat_mode": Refused((0,)),
    "dynatemp_range": Refused((0,)),
    "dynamic_temperature": Refused((False,)),
    "smoothing_factor": Refused((0,)),
    "xtc_probability": Refused((0,)),
    "epsilon_cutoff": Refused((0,)),
    "eta_cutoff": Refused((0,)),
    "min_keep": Refused((0, 1)),
    "samplers": Refused(([],)),
    "sampler_priority": Refused(([],)),
    "temperature_last": Refused((False,)),
    "do_sample": Refused((True,), "temperature 0 always takes the most probable token"),
    "random_seed": Refused((), "its name here is seed"),
    "use_beam_search": Refused((False,)),
    "num_beams": Refused((1,)),
    "penalty_alpha": Refused((0,)),
    "guidance_scale": Refused((1,)),
    "negative_prompt": Refused(("",)),
    "watermark": Refused((False,)),
    "watermarking": Refused((False,)),
    # Penalties.
    "repeat_penalty": Refused((1,), "repetition_penalty looks at the whole text"),
    "rep_pen": Refused((1,), "repetition_penalty looks at the whole text"),
    "encoder_repetition_penalty": Refused((1,)),
    "no_repeat_ngram_size": Refused((0,)),
    "dry_multiplier": Refused((0,)),
    "dry_penalty": Refused((0,)),
    # What is read.
    "truncate_prompt_tokens": Refused((), "shorten the prompt"),
    "truncate": Refused((False,), "shorten the prompt"),
    "truncation_length": Refused((), "shorten the prompt"),
    "num_ctx": Refused((), "nextword serve --context sets it for every request"),
    "options": Refused(({},), "put what it holds into the body itself"),
    "parameters": Refused(({},), "put what it holds into the body itself"),
    "extra_body": Refused(({},), "put what it holds into the body itself"),
    "image_data": Refused(([],), "the model reads text only"),
    "images": Refused(([],), "the model reads text only"),
    "multimodal_data": Refused(([],), "the model reads text only"),
    "images_config": Refused(({},), "the model reads text only"),
    # Other weights.
    "lora": Refused(([],)),
    "lora_path": Refused(("", [])),
    "adapter_id": Refused(("",)),
    # What comes back.
    "skip_special_tokens": Refused((True,)),
    "prompt_logprobs": Refused((0, False), "POST /v1/completions has echo with logprobs"),
    "logprob_token_ids": Refused(([],)),
    "n_probs": Refused((0,), "ask for logprobs"),
    "top_n_tokens": Refused((0,), "ask for logprobs"),
    "post_sampling_probs": Refused((False,)),
    "n_cmpl": Refused((1,), "its name here is n"),
    **dict.fromkeys(
        ("return_tokens", "return_token_ids", "return_prompt_token_ids", "return_tokens_as_token_ids"),
        Refused((False,), "POST /tokenize gives a text's tokens"),
    ),
    **dict.fromkeys(
        ("return_hidden_states", "return_routed_experts", "return_prompt_text", "return_full_text", "details"),
        Refused((False,)),
    ),
    "decoder_input_details": Refused((False,)),
    "response_fields": Refused(([],)),
}
"""Of both kinds of completions."""

UNSUPPORTED_IN_COMPLETIONS: dict[str, Refused] = {
    "response_format": Refused(({"type": "text"},), _FREE),
    "add_special_tokens": Refused((True,), "send token ids: they are taken as they are"),
    "add_bos_token": Refused((True,), "send token ids: they are taken as they are"),
    "messages": Refused((), "POST /v1/chat/completions answers messages"),
    "tools": Refused(([],)),
    "system": Refused(("",), "write it into the prompt"),
    "template": Refused(("",), "write it into the prompt"),
    "context": Refused(([],), "write it into the prompt"),
    "top_logprobs": Refused((0,), "here, logprobs is their number"),
    "max_completion_tokens": Refused((), "its name here is max_tokens"),
}

UNSUPPORTED_IN_CHATS: dict[str, Refused] = {
    "audio": Refused(),
    "verbosity": Refused(("medium",), "say it in the messages"),
    "web_search_options": Refused(),
    "search_parameters": Refused(),
    "prompt": Refused(("",), "POST /v1/completions goes on from a prompt"),
    "system": Refused(("",), "send it as a message with the role system"),
    "template": Refused(("",), _IN_TEMPLATE),
    "chat_template": Refused(("",), _IN_TEMPLATE),
    "instruction_template": Refused(("",), _IN_TEMPLATE),
    "documents": Refused(([],), _IN_TEMPLATE),
    "enable_thinking": Refused((), _IN_TEMPLATE),
    "think": Refused((), _IN_TEMPLATE),
    "thinking": Refused((), _IN_TEMPLATE),
    "reasoning": Refused(({},), "its name here is reasoning_effort"),
    "thinking_token_budget": Refused((-1,)),
    "thinking_budget_tokens": Refused((-1,)),
    "reasoning_budget": Refused((-1,)),
    "thinking_forced_open": Refused((False,)),
    "reasoning_format": Refused(("none", "auto"), "what the model thinks stays in its answer"),
    "include_reasoning": Refused((True,), "what the model thinks stays in its answer"),
    "safe_prompt": Refused((False,)),
    "task": Refused(),
    "input_ids": Refused((), "POST /v1/completions takes token ids"),
    "echo": Refused((False,)),
    "add_special_tokens": Refused((False,), "the template writes them"),
    "tool_prompt": Refused(("",)),
    "guideline": Refused(("",)),
    "suffix": Refused(("",)),
    "best_of": Refused((1,), "n asks for several answers"),
}

UNSUPPORTED_IN_TOKENIZE: dict[str, Refused] = {
    "parse_special": Refused(
        (False,), "the spelling of a special token is plain text; chat templates write the tokens"
    ),
    "with_pieces": Refused((False,), "return_token_strs gives the tokens' texts"),
    "chat_template": Refused(("",), _IN_TEMPLATE),
    "documents": Refused(([],), _IN_TEMPLATE),
}


def refuse_unsupported(body: Mapping[str, Any], unsupported: Mapping[str, Refused]) -> None:
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

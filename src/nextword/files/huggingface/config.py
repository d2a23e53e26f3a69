"""config.json of a Hugging Face model directory <-> GPTConfig, as transformers 4 and 5 spell it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from nextword.config import GPTConfig, yarn_attention_factor
from nextword.errors import ConfigError, ModelFileError
from nextword.files.huggingface.families import FAMILIES, FamilyName, family_of

# Fields that say nothing about the numbers, or that only matter to other programs: to training, to encoders, to
# classification, to the generation settings that old files kept here.
_IGNORED = {
    *("model_type", "architectures", "dtype", "torch_dtype", "transformers_version", "use_cache", "_name_or_path"),
    *("bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id", "sep_token_id", "decoder_start_token_id"),
    *("initializer_range", "attention_dropout", "attn_pdrop", "embd_pdrop", "pretraining_tp", "n_ctx"),
    *("summary_type", "summary_use_proj", "summary_activation", "summary_proj_to_labels", "summary_first_dropout"),
    *("task_specific_params", "return_dict", "output_attentions", "output_hidden_states", "is_encoder_decoder"),
    *("is_decoder", "chunk_size_feed_forward", "id2label", "label2id", "problem_type", "torchscript", "pruned_heads"),
    *("is_llama_config", "_attn_implementation_autoset", "transformers.js_config", "auto_map", "tf_legacy_loss"),
    *("use_bfloat16", "finetuning_task", "tokenizer_class", "prefix", "cross_attention_hidden_size"),
    *("max_length", "min_length", "do_sample", "early_stopping", "num_beams", "num_beam_groups", "diversity_penalty"),
    *("temperature", "top_k", "top_p", "typical_p", "repetition_penalty", "length_penalty", "no_repeat_ngram_size"),
    *(
        "encoder_no_repeat_ngram_size",
        "bad_words_ids",
        "num_return_sequences",
        "output_scores",
        "remove_invalid_values",
    ),
    *("return_dict_in_generate", "forced_bos_token_id", "forced_eos_token_id", "exponential_decay_length_penalty"),
    *("suppress_tokens", "begin_suppress_tokens"),
}

# Fields that must hold one value: nextword computes nothing else.
_FIXED: dict[str, Any] = {
    "hidden_act": "silu",
    "activation_function": "gelu_new",
    "rope_interleaved": False,
    "partial_rotary_factor": 1.0,
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "reorder_and_upcast_attn": False,
    "add_cross_attention": False,
}

_HINTS = {
    "quantization_config": "take the weights that were not quantised, or a .gguf file of the model",
}

# What is made per layer must fit in memory before the file's tensors have been counted.
_MOST_LAYERS = 4096

# Tables grow with the context; the longest published one is 10 million tokens.
_LONGEST_CONTEXT = 1 << 24

_GPT2_FIELDS = {
    "vocab_size": "vocab_size",
    "n_embd": "d_model",
    "n_head": "num_heads",
    "n_layer": "num_layers",
    "n_positions": "context_length",
    "n_inner": "d_ff",
    "layer_norm_epsilon": "norm_eps",
    "resid_pdrop": "dropout",
    "tie_word_embeddings": "tie_embeddings",
}
_MODERN_FIELDS = {
    "vocab_size": "vocab_size",
    "hidden_size": "d_model",
    "num_attention_heads": "num_heads",
    "num_key_value_heads": "num_kv_heads",
    "num_hidden_layers": "num_layers",
    "head_dim": "head_dim",
    "intermediate_size": "d_ff",
    "max_position_embeddings": "context_length",
    "rms_norm_eps": "norm_eps",
    "tie_word_embeddings": "tie_embeddings",
}
# Fields that take more than a new name; see `_modern`.
_ROPE = {"rope_theta", "rope_scaling", "rope_parameters"}
_WINDOWS = {"use_sliding_window", "sliding_window", "max_window_layers", "layer_types"}
_OWN_FIELDS: dict[str, set[str]] = {
    "gpt2": set(),
    "llama": {*_ROPE, "attention_bias", "mlp_bias"},
    "mistral": {*_ROPE, "sliding_window"},
    "qwen2": {*_ROPE, *_WINDOWS},
    "qwen3": {*_ROPE, *_WINDOWS, "attention_bias"},
    "smollm3": {*_ROPE, *_WINDOWS, "attention_bias", "mlp_bias", "no_rope_layers", "no_rope_layer_interval"},
}
# Fields that must be there: the numbers would come from a guess.
_GPT2_REQUIRED = ("vocab_size", "n_embd", "n_head", "n_layer", "n_positions")
_MODERN_REQUIRED = (
    *("vocab_size", "hidden_size", "intermediate_size", "num_attention_heads", "num_hidden_layers"),
    *("max_position_embeddings", "rms_norm_eps"),
)
_REQUIRED: dict[str, tuple[str, ...]] = {
    "gpt2": _GPT2_REQUIRED,
    "llama": _MODERN_REQUIRED,
    "mistral": (*_MODERN_REQUIRED, "num_key_value_heads"),
    "qwen2": (*_MODERN_REQUIRED, "num_key_value_heads"),
    "qwen3": (*_MODERN_REQUIRED, "head_dim"),
    "smollm3": (*_MODERN_REQUIRED, "num_key_value_heads"),
}


# -- reading -------------------------------------------------------------------------------------------------------


def config_from_json(values: Mapping[str, Any], source: str) -> GPTConfig:
    """The config that a config.json describes.

    Raises:
        ModelFileError: Another architecture, a field that is missing, wrong, or that could change the numbers and is
            not understood; the message names it.
    """
    family = values.get("model_type")
    if family != "nextword" and (not isinstance(family, str) or family not in FAMILIES):
        raise ModelFileError(
            f"{source}: model_type {family!r} is not supported", hint=f"supported: {', '.join(FAMILIES)}, nextword"
        )
    try:
        config = _config_of(cast(FamilyName, family), values)
    except ConfigError as error:
        raise ModelFileError(f"{source}: {error}", hint=error.hint) from None
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ModelFileError(f"{source}: {error}") from None
    if config.context_length > _LONGEST_CONTEXT:
        raise ModelFileError(f"{source}: the context of {config.context_length} tokens is above {_LONGEST_CONTEXT}")
    return config


def _config_of(family: FamilyName, values: Mapping[str, Any]) -> GPTConfig:
    if family == "nextword":
        return GPTConfig.from_dict(values.get("gpt_config", {}))
    names = _GPT2_FIELDS if family == "gpt2" else _MODERN_FIELDS
    _check_fields(values, {*names, *_OWN_FIELDS[family]}, _REQUIRED[family])
    fields = {ours: values[theirs] for theirs, ours in names.items() if values.get(theirs) is not None}
    return GPTConfig.gpt2(**fields) if family == "gpt2" else _modern(family, values, fields)


def _check_fields(values: Mapping[str, Any], known: set[str], required: Sequence[str]) -> None:
    for name, value in values.items():
        if name in _FIXED and value is not None and value != _FIXED[name]:
            raise ConfigError(f"{name} is {value!r}; nextword computes only {_FIXED[name]!r}")
        if value is not None and name not in known and name not in _FIXED and name not in _IGNORED:
            raise ConfigError(f"the field {name!r} is not understood", hint=_HINTS.get(name, ""))
    for name in required:
        if values.get(name) is None:
            raise ConfigError(f"the field {name!r} is missing")


def _modern(family: FamilyName, values: Mapping[str, Any], fields: Mapping[str, Any]) -> GPTConfig:
    """Llama and its descendants, with what each file may leave out as transformers fills it in."""
    num_layers = fields["num_layers"]
    if not isinstance(num_layers, int) or not 1 <= num_layers <= _MOST_LAYERS:
        raise ConfigError(f"num_hidden_layers is {num_layers!r}, it must be between 1 and {_MOST_LAYERS}")
    bias = _switch(values, "attention_bias")
    return GPTConfig.llama(
        **{
            "dropout": 0.0,
            "tie_embeddings": family == "smollm3",
            **fields,
            **_rope(values, FAMILIES[family].rope_theta),
            "qkv_bias": bias or family == "qwen2",
            "attention_output_bias": bias,
            "mlp_bias": _switch(values, "mlp_bias"),
            "qk_norm": family == "qwen3",
            "no_rope_layers": _unrotated(values, num_layers) if family == "smollm3" else (),
            "layer_windows": _windows(family, values, num_layers),
        }
    )


def _switch(values: Mapping[str, Any], name: str) -> bool:
    value = values.get(name)
    if value not in (None, False, True):
        raise ConfigError(f"{name} is {value!r}, it must be true or false")
    return bool(value)


def _rope(values: Mapping[str, Any], default_theta: float) -> dict[str, Any]:
    """Rotary base and scaling, as transformers 5 (rope_parameters) or 4 (rope_theta, rope_scaling) writes them."""
    given = values.get("rope_parameters") or values.get("rope_scaling") or {}
    scaling = {name: value for name, value in dict(given).items() if value is not None or name == "rope_theta"}
    theta = scaling.pop("rope_theta", values.get("rope_theta", default_theta))
    kind = scaling.pop("type", None)
    kind = scaling.pop("rope_type", kind) or "default"
    if scaling.pop("partial_rotary_factor", 1.0) != 1.0:
        raise ConfigError("partial_rotary_factor is not 1; nextword turns all channels")
    if kind == "default" and scaling:
        raise ConfigError(f"the field {next(iter(scaling))!r} of the rotary positions is not understood")
    if kind == "yarn":
        scaling = _yarn(scaling)
    return {"rope_theta": theta, "rope_scaling": None if kind == "default" else {"rope_type": kind, **scaling}}


def _yarn(scaling: dict[str, Any]) -> dict[str, Any]:
    """YaRN's parameters with the values that transformers takes where they are left out."""
    if scaling.pop("truncate", True) is not True:
        raise ConfigError("the field 'truncate' of the rotary positions is not understood")
    if scaling.get("factor", 0) < 1:
        raise ConfigError("the rotary positions' factor is missing or below 1")
    factor = yarn_attention_factor(scaling["factor"])
    return {"beta_fast": 32.0, "beta_slow": 1.0, "attention_factor": factor, **scaling}


def _unrotated(values: Mapping[str, Any], num_layers: int) -> tuple[int, ...]:
    """SmolLM3's layers without rotation; its list holds a 1 for every layer that *is* rotated."""
    rotated = values.get("no_rope_layers")
    if rotated is None:
        interval = values.get("no_rope_layer_interval", 4)
        if interval < 1:
            raise ConfigError(f"no_rope_layer_interval is {interval!r}, it must be at least 1")
        return tuple(range(interval - 1, num_layers, interval))
    if len(rotated) < num_layers or not set(rotated) <= {0, 1}:
        raise ConfigError(f"no_rope_layers should hold {num_layers} times 0 or 1, found {rotated!r}")
    return tuple(i for i in range(num_layers) if not rotated[i])


def _windows(family: FamilyName, values: Mapping[str, Any], num_layers: int) -> tuple[int | None, ...]:
    """The window of every layer, empty if none has one."""
    window = values.get("sliding_window")
    if family == "mistral":
        if "sliding_window" not in values:
            raise ConfigError("the field 'sliding_window' is missing")
        slides = [True] * num_layers
    else:
        window = window if _switch(values, "use_sliding_window") else None
        slides = _sliding_layers(family, values, num_layers)
    if window is None or not any(slides):
        return ()
    return tuple(window if sliding else None for sliding in slides)


def _sliding_layers(family: FamilyName, values: Mapping[str, Any], num_layers: int) -> list[bool]:
    kinds = values.get("layer_types")
    if kinds is not None:
        if other := set(kinds) - {"full_attention", "sliding_attention"}:
            raise ConfigError(f"layer_types holds {other.pop()!r}; nextword computes full and sliding attention")
        if len(kinds) != num_layers:
            raise ConfigError(f"layer_types should hold {num_layers} entries, found {len(kinds)}")
        return [kind == "sliding_attention" for kind in kinds]
    if family == "smollm3":  # there, it is the layers without rotation that slide
        unrotated = _unrotated(values, num_layers)
        return [i in unrotated for i in range(num_layers)]
    first = values.get("max_window_layers", 28)
    return [i >= first for i in range(num_layers)]


# -- writing -------------------------------------------------------------------------------------------------------


def config_to_json(config: GPTConfig, *, dtype: str, bos_id: int | None, eos_id: int | None) -> dict[str, Any]:
    """The content of config.json."""
    family = family_of(config)
    shared: dict[str, Any] = {
        "model_type": family,
        "vocab_size": config.vocab_size,
        "bos_token_id": bos_id,
        "eos_token_id": eos_id,
        "pad_token_id": None,  # SmolLM3 has one of its own otherwise, which may not be in the vocabulary
        "tie_word_embeddings": config.tie_embeddings,
        "dtype": dtype,
        "torch_dtype": dtype,  # how transformers 4 spells it
    }
    if family == "nextword":
        return {**shared, "gpt_config": config.to_dict()}
    shared["architectures"] = [FAMILIES[family].model_class]
    if family == "gpt2":
        return {
            **shared,
            "n_embd": config.d_model,
            "n_head": config.num_heads,
            "n_layer": config.num_layers,
            "n_positions": config.context_length,
            "n_inner": config.d_ff,
            "layer_norm_epsilon": config.norm_eps,
            "activation_function": "gelu_new",
            "attn_pdrop": 0.0,
            "embd_pdrop": 0.0,
            "resid_pdrop": config.dropout,
        }
    scaling = None if config.rope_scaling is None else dict(config.rope_scaling)
    return {
        **shared,
        "hidden_size": config.d_model,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "num_hidden_layers": config.num_layers,
        "head_dim": config.head_dim,
        "intermediate_size": config.d_ff,
        "max_position_embeddings": config.context_length,
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_theta,
        "rope_scaling": scaling,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta, **(scaling or {})},
        "hidden_act": "silu",
        "attention_dropout": 0.0,
        **_own_fields(family, config),
    }


def _own_fields(family: FamilyName, config: GPTConfig) -> dict[str, Any]:
    """What only some of Llama's descendants say."""
    window = next((window for window in config.layer_windows if window is not None), None)
    slides = [width is not None for width in config.layer_windows] or [False] * config.num_layers
    values: dict[str, Any] = {
        "attention_bias": config.attention_output_bias,
        "mlp_bias": config.mlp_bias,
        "sliding_window": window,
        "use_sliding_window": window is not None,
        "no_rope_layers": [int(i not in config.no_rope_layers) for i in range(config.num_layers)],
        "layer_types": ["sliding_attention" if sliding else "full_attention" for sliding in slides],
        "max_window_layers": slides.index(True) if any(slides) else config.num_layers,
    }
    return {name: value for name, value in values.items() if name in _OWN_FIELDS[family]}

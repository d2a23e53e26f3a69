"""config.json of a Hugging Face model directory <-> GPTConfig, as transformers 4 and 5 spell it."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any, cast

from nextword.config import GPTConfig
from nextword.errors import ConfigError, ModelFileError
from nextword.files.field_names import rename_fields
from nextword.files.huggingface.families import FAMILIES, Family, FamilyName, family_of
from nextword.files.huggingface.fields import MAX_LAYERS, check_fields, without_aliases
from nextword.files.huggingface.rope import LAYER_KINDS, read_rope

# Tables grow with the context; the longest published one is 10 million tokens.
_MAX_CONTEXT_LENGTH = 1 << 24

# Fields that `config.py` reads itself, and that count something.
_OTHER_COUNTS = ("sliding_window", "max_window_layers", "no_rope_layer_interval", "original_max_position_embeddings")

_OURS = [item.name for item in dataclasses.fields(GPTConfig)]
_COUNTS = {item.name for item in dataclasses.fields(GPTConfig) if item.type == "int"}

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
        names = {ours: hf_name(values, ours) for ours in _OURS}
        raise ModelFileError(f"{source}: {rename_fields(error.message, names)}", hint=error.hint) from None
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ModelFileError(f"{source}: {error}") from None
    if config.context_length > _MAX_CONTEXT_LENGTH:
        raise ModelFileError(f"{source}: the context of {config.context_length} tokens is above {_MAX_CONTEXT_LENGTH}")
    return config


def hf_name(values: Mapping[str, Any], ours: str) -> str:
    """What a config.json calls a field of GPTConfig."""
    family = FAMILIES.get(values["model_type"])
    if family is None:
        return f"gpt_config.{ours}"
    if ours == "layer_windows":
        return "sliding_window"
    if ours == "rope_scaling":
        return "rope_scaling" if values.get("rope_scaling") else "rope_parameters"
    name = next((theirs for theirs, field in family.fields.items() if field == ours), ours)
    return next((alias for alias, field in family.aliases.items() if field == name and alias in values), name)


def _config_of(name: FamilyName, values: Mapping[str, Any]) -> GPTConfig:
    if name == "nextword":
        return GPTConfig.from_dict(_floats_to_ints(values.get("gpt_config", {}), _COUNTS))
    family = FAMILIES[name]
    counts = {theirs for theirs, ours in family.fields.items() if ours in _COUNTS} | set(family.aliases)
    values = without_aliases(family, _floats_to_ints(values, counts | set(_OTHER_COUNTS)))
    values |= {field: value for field, value in family.defaults.items() if values.get(field) is None}
    check_fields(name, values)
    fields = {ours: values[theirs] for theirs, ours in family.fields.items() if values.get(theirs) is not None}
    config = GPTConfig.gpt2(**fields) if name == "gpt2" else _modern(family, values, fields)
    window = values.get("sliding_window")  # where no layer has one, transformers cuts its cache all the same
    no_cut = window is None or (isinstance(window, int) and window >= config.context_length)
    if family.windows == "none" and not no_cut:
        raise ConfigError(f"the field 'sliding_window' is not understood: {window!r}; a {name} looks at everything")
    return config


def _floats_to_ints(values: Mapping[str, Any], counts: Collection[str]) -> dict[str, Any]:
    """The values with `128.0` made 128, where something is counted: JSON has one kind of number only."""
    return {
        name: int(value) if name in counts and isinstance(value, float) and value.is_integer() else value
        for name, value in values.items()
    }


def _modern(family: Family, values: Mapping[str, Any], fields: Mapping[str, Any]) -> GPTConfig:
    """Llama and its descendants, with what each file may leave out as transformers fills it in."""
    num_layers = fields["num_layers"]
    if not isinstance(num_layers, int) or not 1 <= num_layers <= MAX_LAYERS:
        raise ConfigError(f"num_hidden_layers is {num_layers!r}, it must be between 1 and {MAX_LAYERS}")
    bias = _switch(family, values, "attention_bias")
    windows, slides = _windows(family, values, num_layers)
    kinds = {LAYER_KINDS[sliding] for sliding in slides}
    return GPTConfig.llama(
        **{
            "dropout": 0.0,
            "tie_embeddings": family.tied,
            **fields,
            **read_rope(values, family.rope_theta, kinds),
            "qkv_bias": bias,
            "attention_output_bias": bias,
            "mlp_bias": _switch(family, values, "mlp_bias"),
            "no_rope_layers": _no_rope_layers(values, num_layers) if "no_rope_layers" in family.reads else (),
            "layer_windows": windows,
            **family.constant,
        }
    )


def _switch(family: Family, values: Mapping[str, Any], name: str) -> bool:
    value = values.get(name) if name in family.reads else None
    if value not in (None, False, True):
        raise ConfigError(f"{name} is {value!r}, it must be true or false")
    return bool(value)


def _count(values: Mapping[str, Any], name: str, default: int, at_least: int) -> int:
    value = values.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < at_least:
        raise ConfigError(f"{name} is {value!r}, it must be a whole number of at least {at_least}")
    return value


def _list(values: Mapping[str, Any], name: str, num_layers: int) -> list[Any] | None:
    """A field with an entry for each layer."""
    value = values.get(name)
    if value is not None and not (isinstance(value, list) and len(value) == num_layers):
        found = len(value) if isinstance(value, list) else repr(value)
        raise ConfigError(f"{name} should hold {num_layers} entries, found {found}")
    return value


def _no_rope_layers(values: Mapping[str, Any], num_layers: int) -> tuple[int, ...]:
    """SmolLM3's layers without rotation; its list holds a 1 for every layer that *is* rotated."""
    rotated = values.get("no_rope_layers")
    if rotated is None:
        interval = _count(values, "no_rope_layer_interval", 4, 1)
        return tuple(range(interval - 1, num_layers, interval))
    if not isinstance(rotated, list) or len(rotated) < num_layers or any(turns not in (0, 1) for turns in rotated):
        raise ConfigError(f"no_rope_layers should hold {num_layers} times 0 or 1, found {rotated!r}")
    return tuple(i for i in range(num_layers) if not rotated[i])


def _windows(
    family: Family, values: Mapping[str, Any], num_layers: int
) -> tuple[tuple[int | None, ...], Sequence[bool]]:
    """The window of every layer, empty if none has one; and which layers are called sliding."""
    if family.windows == "none":
        return (), [False]
    window = values.get("sliding_window")
    if family.windows == "every":
        if "sliding_window" not in values:
            raise ConfigError("the field 'sliding_window' is missing")
        slides = [window is not None] * num_layers
    else:
        window = window if _switch(family, values, "use_sliding_window") else None
        slides = _sliding_layers(family, values, num_layers, window)
    if window is None or not any(slides):
        return (), slides
    width = _count(values, "sliding_window", 0, 1)
    return tuple(width if sliding else None for sliding in slides), slides


def _sliding_layers(family: Family, values: Mapping[str, Any], num_layers: int, window: object) -> list[bool]:
    if (kinds := _list(values, "layer_types", num_layers)) is not None:
        if other := [kind for kind in kinds if kind not in LAYER_KINDS]:
            raise ConfigError(f"layer_types holds {other[0]!r}; nextword computes full and sliding attention")
        return [kind == "sliding_attention" for kind in kinds]
    if window is None:
        return [False] * num_layers
    if family.windows == "no_rope":
        no_rope = _no_rope_layers(values, num_layers)
        return [i in no_rope for i in range(num_layers)]
    first = _count(values, "max_window_layers", 28, 0)
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
    own = FAMILIES[family].reads - ({"sliding_window"} if FAMILIES[family].windows == "none" else set())
    return {name: value for name, value in values.items() if name in own}

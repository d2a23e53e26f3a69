"""Which fields of a config.json count: read, neutral, passed over with a note, or refused by name.

A field that transformers' classes of the model_type do not look at cannot change their numbers: it is passed over, and
`ignored_field_notes` says so. What they look at is in `reference.py`, measured. Left are names of arithmetic that other
architectures know (scales, caps, experts, other positions): a file that asks for it was made for a program that
computes it, so that it is refused although transformers would not look.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from nextword.errors import ConfigError
from nextword.files.huggingface.families import FAMILIES, Family, FamilyName
from nextword.files.huggingface.reference import WITHOUT_EFFECT
from nextword.files.huggingface.rope import rope_notes

_DISABLED: tuple[Any, ...] = (None, False, 0, "", [], {}, "none")
"""How a file says that something is not used."""

_ONE = (None, 1)

MAX_LAYERS = 4096
"""What is made per layer must fit in memory before the file's tensors have been counted."""

NEUTRAL: dict[str, tuple[Any, ...]] = {
    # What every model of transformers' asks its config for.
    "is_causal": (True,),
    "use_bidirectional_attention": _DISABLED,
    **dict.fromkeys(("attention_chunk_size", "layer_types", "mlp_layer_types", "per_layer_config"), (None,)),
    **dict.fromkeys(("text_config", "decoder", "generator"), (None,)),  # a model inside another one
    **dict.fromkeys(("fusion_config", "transformers_weights"), (None,)),  # other weights than the ones read here
    "return_dict": (None, True, False),  # the form of an answer, not its numbers
    # Weights that are no numbers as they lie.
    **dict.fromkeys(("quantization_config", "compression_config", "quantization", "quant_config"), (None,)),
    # Constants that are multiplied with.
    **dict.fromkeys(("logit_scale", "logits_scale", "logits_scaling", "output_multiplier", "lm_head_multiplier"), _ONE),
    **dict.fromkeys(("embedding_multiplier", "embedding_scale", "scale_emb", "embedding_multiplier_scale"), _ONE),
    **dict.fromkeys(("residual_multiplier", "residual_scale", "key_multiplier", "mlp_multipliers"), _ONE),
    **dict.fromkeys(("attention_multiplier", "attention_scale", "query_pre_attn_scalar", "softmax_scale"), (None,)),
    **dict.fromkeys(("scale_depth", "dim_model_base", "mup_width_multiplier", "width_multiplier"), (None,)),
    **dict.fromkeys(("multiply_embedding", "scale_embedding", "scale_embeddings", "normalize_embedding"), _DISABLED),
    # Caps and clipping.
    **dict.fromkeys(
        ("attn_logit_softcapping", "attn_logit_softcap", "final_logit_softcapping", "logit_softcap"), _DISABLED
    ),
    **dict.fromkeys(("final_logit_softcap", "logits_soft_cap", "clip_qkv", "qkv_clip"), _DISABLED),
    # Positions of other kinds.
    **dict.fromkeys(("alibi", "use_alibi", "use_mrope", "use_logn_attn"), _DISABLED),
    **dict.fromkeys(("use_dynamic_ntk", "no_rope", "nope_layer_interval", "no_rope_layers"), _DISABLED),
    **dict.fromkeys(("partial_rotary_factor", "rotary_pct", "rope_ratio", "rotary_emb_fraction"), _ONE),
    **dict.fromkeys(("rotary_dim", "rope_local_base_freq", "local_rope_theta"), (None,)),
    # Blocks of other kinds.
    **dict.fromkeys(("parallel_attn", "parallel_residual", "use_parallel_residual", "parallel_block"), _DISABLED),
    **dict.fromkeys(("use_qk_norm", "qk_norm", "qk_layernorm", "use_post_norm", "sandwich_norm"), _DISABLED),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"), _DISABLED),
    **dict.fromkeys(("sliding_window_pattern", "layers_block_type", "attention_sinks", "kv_sharing_modes"), _DISABLED),
}
"""Fields that change the numbers somewhere, whatever the architecture -> the values that change nothing here."""

# What every file of transformers 4 could hold, which 5 no longer knows; no model of these families asked for it.
_OF_TRANSFORMERS_4 = frozenset(
    {
        *(
            "output_attentions",
            "is_decoder",
            "cross_attention_hidden_size",
            "add_cross_attention",
            "tie_encoder_decoder",
        ),
        *("torchscript", "pruned_heads", "use_bfloat16", "finetuning_task", "task_specific_params", "tokenizer_class"),
        *("prefix", "sep_token_id", "unk_token_id", "decoder_start_token_id", "_attn_implementation_autoset", "n_ctx"),
    }
)

_HINTS = dict.fromkeys(
    ("quantization_config", "compression_config", "quantization", "quant_config"),
    "take the weights that were not quantised, or a .gguf file of the model",
)


def without_aliases(family: Family, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with second names put right.

    Raises:
        ConfigError: A field and its second name hold different values.
    """
    plain = {name: value for name, value in values.items() if name not in family.aliases}
    for alias, name in family.aliases.items():
        value = values.get(alias)
        if value is not None and plain.setdefault(name, value) not in (value, None):
            raise ConfigError(f"{name} is {plain[name]!r}, and {alias}, which is the same field, {value!r}")
        plain[name] = plain.get(name) if value is None else value
    return plain


def check_fields(name: FamilyName, values: Mapping[str, Any]) -> None:
    """Refuses what could change the numbers and is not computed, and what is missing.

    Raises:
        ConfigError: Names the field.
    """
    family = FAMILIES[name]
    neutral = {**NEUTRAL, **_of_a_head(values), **_of_layers(values)}
    for field, value in values.items():
        if field in family.fields or field in family.reads or field in WITHOUT_EFFECT[name]:
            continue
        if field in family.neutral:
            if value is not None and not _holds(family.neutral[field], value):
                raise ConfigError(f"{field} is {value!r}; nextword computes only {family.neutral[field][0]!r}")
        elif field in neutral and not _holds(neutral[field], value):
            raise ConfigError(
                f"the field {field!r} is not understood, and {_shown(value)} could change the numbers",
                hint=_HINTS.get(field, ""),
            )
    for field in family.required:
        if values.get(field) is None:
            raise ConfigError(f"the field {field!r} is missing")


def _of_a_head(values: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    """The neutral values that depend on the channels of a head: scores are divided by their root, all of them turn."""
    width, heads, channels = (values.get(name) for name in ("hidden_size", "num_attention_heads", "head_dim"))
    if channels is None and isinstance(width, int) and isinstance(heads, int) and heads > 0:
        channels = width // heads
    if not isinstance(channels, int) or channels <= 0:
        return {}
    scales = dict.fromkeys(("attention_multiplier", "attention_scale", "softmax_scale"), (None, channels**-0.5))
    return {**scales, **dict.fromkeys(("query_pre_attn_scalar", "rotary_dim"), (None, channels))}


def _of_layers(values: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    """The neutral values that have an entry for each layer: all layers are of the kind that the architecture has."""
    layers = values.get("num_hidden_layers", values.get("n_layer"))
    if not isinstance(layers, int) or not 1 <= layers <= MAX_LAYERS:
        return {}
    attention = "full_attention" if values.get("sliding_window") is None else "sliding_attention"
    return {"layer_types": (None, [attention] * layers), "mlp_layer_types": (None, ["dense"] * layers)}


def ignored_field_notes(values: Mapping[str, Any]) -> list[str]:
    """What a config.json that was read says beyond what is computed, a sentence each."""
    name = values.get("model_type")
    if name not in FAMILIES:
        return []
    family = FAMILIES[name]
    notes = rope_notes(values) if "rope_scaling" in family.reads else []
    if filled := {field: value for field, value in family.defaults.items() if values.get(field) is None}:
        listed = ", ".join(f"{field} {value}" for field, value in filled.items())
        notes.append(f"config.json: left out, so taken as transformers takes it: {listed}")
    known = {"model_type", *family.fields, *family.reads, *family.neutral, *family.aliases, *WITHOUT_EFFECT[name]}
    known |= _OF_TRANSFORMERS_4
    strange = {field: value for field, value in values.items() if field not in known and value is not None}
    if strange:
        listed = ", ".join(f"{_shown(field)} {_shown(value)}" for field, value in strange.items())
        notes.append(f"config.json: passed over, because no {name} computes with it: {listed}")
    made_for = values.get("architectures")
    foreign = isinstance(made_for, list) and made_for and family.model_class not in made_for
    if foreign or values.get("auto_map"):
        code = "code that comes with a model is never run" if values.get("auto_map") else f"made for {_shown(made_for)}"
        notes.append(f"config.json: {code}; computed as transformers' {family.model_class}")
    return notes


def _holds(neutral: tuple[Any, ...], value: object) -> bool:
    if isinstance(value, float):
        return any(isinstance(other, int | float) and math.isclose(value, other, rel_tol=1e-6) for other in neutral)
    return any(value == other for other in neutral)


def _shown(value: object) -> str:
    text = value if isinstance(value, str) and value.isprintable() else json.dumps(value, ensure_ascii=True)
    return text if len(text) <= 40 else f"{text[:39]}…"

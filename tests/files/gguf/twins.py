"""The same file in transformers; and files that the gguf library writes from a transformers model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from nextword.files import Bundle
from nextword.model.backend import TorchBackend
from nextword.tokens import Tokenizer


def logits_of(bundle: Bundle, ids: list[int], dtype: str | None = None) -> NDArray[np.float32]:
    """[T, V], from a model built of what the file holds."""
    backend = TorchBackend.from_stored(bundle.config, bundle.dequantized(), device="cpu", dtype=dtype)
    [logits] = backend.forward([ids], [backend.new_cache(len(ids))], logits="all")
    return logits


def twin_of(path: Path, **fields: Any) -> PreTrainedModel:
    """What transformers makes of a file; `fields` are what it does not read from it."""
    config = AutoConfig.from_pretrained(path.parent, gguf_file=path.name)
    for name, value in fields.items():
        setattr(config, name, value)
    model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, config=config, dtype=torch.float32)
    return model.eval()


def twin_logits(model: PreTrainedModel, ids: list[int]) -> NDArray[np.float32]:
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].float().numpy()


def randomize(model: PreTrainedModel, seed: int = 3) -> PreTrainedModel:
    """Every weight random, norms and biases too."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            center = 1.0 if parameter.dim() == 1 and name.endswith("weight") else 0.0
            parameter.copy_(center + 0.2 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def write_by_library(path: Path, model: PreTrainedModel, arch: str, tokenizer: Tokenizer) -> None:
    """A transformers model as llama.cpp's converter writes it, with the library's own names and writer."""
    config, writer = model.config, gguf.GGUFWriter(path, arch)
    writer.add_name("twin")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    if arch == "gpt2":
        writer.add_feed_forward_length(config.n_inner or 4 * config.n_embd)
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
    else:
        writer.add_feed_forward_length(config.intermediate_size)
        writer.add_head_count_kv(config.num_key_value_heads)
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
        writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
        writer.add_rope_dimension_count(config.head_dim)
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)
    description = json.loads(tokenizer.to_str())
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    special = {token["id"] for token in description["added_tokens"]}
    tokens = {i: token for token, i in description["model"]["vocab"].items()}
    writer.add_token_list([tokens[i] for i in range(len(tokens))])
    writer.add_token_types([3 if i in special else 1 for i in range(len(tokens))])
    writer.add_token_merges([" ".join(merge) for merge in description["model"]["merges"]])
    writer.add_eos_token_id(0)
    names = gguf.get_tensor_name_map(
        next(k for k, v in gguf.MODEL_ARCH_NAMES.items() if v == arch), config.num_hidden_layers
    )
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        module, kind = name.rsplit(".", 1)
        values = tensor.numpy()
        if arch == "gpt2" and kind == "weight" and values.ndim == 2 and ".h." in name:
            values = values.T  # Conv1D keeps [in, out]
        if arch in ("llama", "smollm3") and module.endswith(("q_proj", "k_proj")):
            heads = config.num_attention_heads if module.endswith("q_proj") else config.num_key_value_heads
            halves = values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
            values = halves.swapaxes(1, 2).reshape(values.shape)
        writer.add_tensor(f"{names.get_name(module)}.{kind}", np.ascontiguousarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

"""Random models of transformers' own, one or more an architecture, and what they say.

`python -m tests.files.huggingface.theirs` prints how far this package's logits lie from theirs, and how many greedy
tokens agree.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import (
    GenerationConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    SmolLM3Config,
    SmolLM3ForCausalLM,
)

import nextword
from tests.files.making import BPE, LLAMA3, YARN

PROMPTS = ["the quick brown fox", "토큰 입력부터 단어", "emoji 🙂 👨‍👩‍👧 🇰🇷", "def f(x):\n    return"]
SIZES = {"vocab_size": 300, "max_position_embeddings": 64}
NARROW = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
MARKS = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": None}  # SmolLM3's own lie outside this vocabulary
THEIRS: dict[str, tuple[type, Any]] = {
    "llama": (LlamaForCausalLM, LlamaConfig(**SIZES, **NARROW, num_key_value_heads=2, rms_norm_eps=1e-4)),
    "llama, scaled": (
        LlamaForCausalLM,
        LlamaConfig(**SIZES, **NARROW, rope_parameters={"rope_theta": 500.0, **LLAMA3}, tie_word_embeddings=True),
    ),
    "llama, linear": (
        LlamaForCausalLM,
        LlamaConfig(**SIZES, **NARROW, rope_parameters={"rope_theta": 500.0, "rope_type": "linear", "factor": 4.0}),
    ),
    "llama, yarn": (LlamaForCausalLM, LlamaConfig(**SIZES, **NARROW, rope_parameters={"rope_theta": 500.0, **YARN})),
    "llama, every bias": (LlamaForCausalLM, LlamaConfig(**SIZES, **NARROW, attention_bias=True, mlp_bias=True)),
    "mistral": (
        MistralForCausalLM,
        MistralConfig(**SIZES, **NARROW, num_key_value_heads=2, head_dim=6, sliding_window=7),
    ),
    "mistral, no window": (
        MistralForCausalLM,
        MistralConfig(**SIZES, **NARROW, num_key_value_heads=1, sliding_window=None, tie_word_embeddings=True),
    ),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config(**SIZES, **NARROW, num_key_value_heads=2)),
    "qwen2, upper layers sliding": (
        Qwen2ForCausalLM,
        Qwen2Config(
            **SIZES,
            **NARROW,
            num_key_value_heads=4,
            use_sliding_window=True,
            sliding_window=5,
            max_window_layers=1,
            tie_word_embeddings=True,
        ),
    ),
    "smollm3": (
        SmolLM3ForCausalLM,
        SmolLM3Config(
            **SIZES, **{**NARROW, "num_hidden_layers": 4}, num_key_value_heads=2, **MARKS, no_rope_layer_interval=4
        ),
    ),
    "smollm3, sliding": (
        SmolLM3ForCausalLM,
        SmolLM3Config(
            **SIZES,
            **{**NARROW, "num_hidden_layers": 4},
            num_key_value_heads=2,
            **MARKS,
            no_rope_layers=[1, 0, 1, 0],
            use_sliding_window=True,
            sliding_window=6,
            tie_word_embeddings=False,
        ),
    ),
    "qwen3, sliding and biased": (
        Qwen3ForCausalLM,
        Qwen3Config(
            **SIZES,
            **NARROW,
            num_key_value_heads=2,
            head_dim=16,
            attention_bias=True,
            use_sliding_window=True,
            sliding_window=5,
            layer_types=["sliding_attention", "full_attention"],
        ),
    ),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config(**SIZES, **NARROW, num_key_value_heads=2, head_dim=16)),
    "qwen3, tied": (
        Qwen3ForCausalLM,
        Qwen3Config(**SIZES, **NARROW, num_key_value_heads=4, head_dim=8, tie_word_embeddings=True),
    ),
    "gpt2": (GPT2LMHeadModel, GPT2Config(vocab_size=300, n_positions=64, n_embd=32, n_head=4, n_layer=2)),
    "gpt2, untied": (
        GPT2LMHeadModel,
        GPT2Config(
            vocab_size=300, n_positions=64, n_embd=32, n_head=2, n_layer=2, n_inner=40, tie_word_embeddings=False
        ),
    ),
}


def saved_by_transformers(path: Path, name: str, dtype: torch.dtype = torch.float32) -> Any:
    """Their random model, saved their way; every weight is random."""
    kind, config = THEIRS[name]
    model = kind(config)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            center = 1.0 if parameter.dim() == 1 and key.endswith("weight") else 0.0
            parameter.copy_(center + 0.2 * torch.randn(parameter.shape, generator=generator))
    model.to(dtype).save_pretrained(path)
    (path / "tokenizer.json").write_text(BPE.to_str(), encoding="utf-8")
    return model


def their_logits(model: Any, ids: Sequence[int]) -> NDArray[np.float32]:
    """[T, V]."""
    with torch.no_grad():
        logits: NDArray[np.float32] = model.eval()(torch.tensor([list(ids)])).logits[0].float().numpy()
    return logits


def greedy(model: Any, ids: Sequence[int], ends: Collection[int], count: int = 50) -> tuple[list[int], bool]:
    """Always the most probable token, as transformers writes: the tokens without an end, and whether one came."""
    room = min(count, int(model.config.max_position_embeddings) + 1 - len(ids))
    settings = GenerationConfig(max_new_tokens=room, do_sample=False, eos_token_id=sorted(ends), pad_token_id=0)
    row = torch.tensor([list(ids)])
    output = model.eval().generate(row, attention_mask=torch.ones_like(row), generation_config=settings)
    written = output[0, len(ids) :].tolist()
    return [token for token in written if token not in ends], written[-1] in ends


def main() -> None:
    """One line a model."""
    torch.set_num_threads(1)
    sys.stdout.write(f"{'model':<30}{'logits':>9}{'largest':>9}  greedy tokens that agree\n")
    for name in THEIRS:
        with tempfile.TemporaryDirectory() as directory:
            model = saved_by_transformers(Path(directory), name)
            lm = nextword.load(directory)
            errors, largest, same, all_of_them = [], [], 0, 0
            for prompt in PROMPTS:
                written = lm.generate(prompt, 50, temperature=0.0, overflow="stop")
                expected, _ = greedy(model, written.prompt_token_ids, lm.tokenizer.end_ids)
                same += sum(a == b for a, b in zip(written.token_ids, expected, strict=False))
                all_of_them += len(expected)
                ids = [*written.prompt_token_ids, *written.token_ids][:64]
                logits = lm.backend.forward([ids], [lm.backend.new_cache(len(ids))], logits="all")[0]
                errors.append(float(np.abs(logits - their_logits(model, ids)).max()))
                largest.append(float(np.abs(logits).max()))
        line = f"{name:<30}{max(errors):>9.1e}{max(largest):>9.1f}  {same} of {all_of_them}"
        sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    main()

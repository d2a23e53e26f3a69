"""What a trace shows is what transformers computes: its hidden states and attentions, every layer, head and position.

`python -m tests.inspection.test_activations_transformers` prints the largest errors.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

import nextword
from nextword import LanguageModel
from nextword.settings import Activations
from tests.files.huggingface.theirs import THEIRS, saved_by_transformers
from tests.files.making import BPE
from tests.published import smollm2_gguf

NARROW = {"vocab_size": 300, "num_hidden_layers": 3, "initializer_range": 0.2}
ODD: dict[str, tuple[type, Any]] = {
    "gpt2, 5 heads of 7": (
        GPT2LMHeadModel,
        GPT2Config(vocab_size=300, n_positions=53, n_embd=35, n_head=5, n_layer=3, n_inner=47, initializer_range=0.2),
    ),
    "llama, 9 heads read 3": (
        LlamaForCausalLM,
        LlamaConfig(
            **NARROW,
            hidden_size=45,
            intermediate_size=71,
            num_attention_heads=9,
            num_key_value_heads=3,
            head_dim=10,
            max_position_embeddings=53,
        ),
    ),
    "qwen3, 6 heads read 2": (
        Qwen3ForCausalLM,
        Qwen3Config(
            **NARROW,
            hidden_size=33,
            intermediate_size=61,
            num_attention_heads=6,
            num_key_value_heads=2,
            head_dim=14,
            max_position_embeddings=53,
        ),
    ),
}
CASES = [*ODD, *(name for name in THEIRS if name.startswith(("gpt2", "llama", "qwen3", "mistral")))]
TEXTS = ["The capital of France is Paris, and", "대한민국의 수도는 서울이고 🙂"]
IDS = np.random.default_rng(0).integers(0, 300, 37).tolist()


class Errors(NamedTuple):
    """Largest differences over all layers, heads and positions."""

    residual: float
    """Of the residual stream, as a share of its largest value in that layer."""
    attention: float
    """Of attention weights."""
    sum: float
    """Of the sum of a row of attention weights from 1."""
    future: float
    """The largest weight that a token gives to one after it."""


def errors(lm: LanguageModel, theirs: Any, ids: Sequence[int]) -> Errors:
    """One forward pass here and there."""
    with torch.inference_mode():
        output = theirs(torch.tensor([list(ids)]), output_hidden_states=True, output_attentions=True, use_cache=False)
    trace = lm.trace(ids)
    layers = lm.config.num_layers
    # Their last hidden state is what the final norm gives.
    ours = [*(trace.residual(layer) for layer in range(layers)), trace["out", "ln_final"]]
    states = [state[0].numpy() for state in output.hidden_states]
    assert (len(states), states[0].shape) == (layers + 1, (len(ids), lm.config.d_model))
    residual = [np.abs(mine - other).max() / np.abs(other).max() for mine, other in zip(ours, states, strict=True)]
    mine_LHTS = np.stack([trace["pattern", layer] for layer in range(layers)])
    their_LHTS = np.stack([weights[0].numpy() for weights in output.attentions])
    assert their_LHTS.shape == mine_LHTS.shape == (layers, lm.config.num_heads, len(ids), len(ids))
    return Errors(
        float(np.max(residual)),
        float(np.abs(mine_LHTS - their_LHTS).max()),
        float(np.abs(mine_LHTS.sum(-1) - 1).max()),
        float(np.abs(np.triu(mine_LHTS, 1)).max()),
    )


def small(path: Path, case: str) -> tuple[LanguageModel, Any]:
    """A random model that transformers saved, here and there."""
    if case in THEIRS:
        theirs = saved_by_transformers(path, case)
    else:
        kind, config = ODD[case]
        torch.manual_seed(0)
        theirs = kind(config)
        theirs.save_pretrained(path)
        (path / "tokenizer.json").write_text(BPE.to_str(), encoding="utf-8")
    theirs.eval().set_attn_implementation("eager")
    return nextword.load(path), theirs


def published(activations: Activations = "float32") -> tuple[LanguageModel, Any]:
    """SmolLM2, the same file here and there."""
    file = smollm2_gguf()
    theirs = AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype=torch.float32, attn_implementation="eager"
    )
    return nextword.load(file, activations=activations), theirs.eval()


def check(found: Errors) -> None:
    """Within float32's rounding; what lies ahead gets nothing at all."""
    assert found.residual < 1e-5
    assert found.attention < 1e-5
    assert found.sum < 1e-6
    assert found.future == 0


@pytest.mark.parametrize("case", CASES)
def test_hidden_states_and_attentions_are_transformers_own(tmp_path: Path, case: str) -> None:
    check(errors(*small(tmp_path, case), IDS))


def test_smollm2s_hidden_states_and_attentions_are_transformers_own() -> None:
    lm, theirs = published()
    for text in TEXTS:
        check(errors(lm, theirs, lm.tokenizer.encode_start(text)))
    rounded = nextword.load(smollm2_gguf())  # activations in 16 bits, keys and values in half precision
    found = errors(rounded, theirs, lm.tokenizer.encode_start(TEXTS[0]))
    assert 1e-5 < found.residual < 2e-3
    assert found.attention < 5e-3
    assert found.sum < 1e-6
    assert found.future == 0


def _print(name: str, found: Errors) -> None:
    numbers = "".join(f"{number:11.1e}" for number in found)
    sys.stdout.write(f"{name:<28}{numbers}\n")


def main() -> None:
    """One line a model."""
    sys.stdout.write(f"{'model':<28}{'residual':>11}{'attention':>11}{'row sum':>11}{'future':>11}\n")
    for case in CASES:
        with tempfile.TemporaryDirectory() as directory:
            _print(case, errors(*small(Path(directory), case), IDS))
    lm, theirs = published()
    for language, text in zip(("English", "Korean"), TEXTS, strict=True):
        _print(f"SmolLM2, {language}", errors(lm, theirs, lm.tokenizer.encode_start(text)))


if __name__ == "__main__":
    main()

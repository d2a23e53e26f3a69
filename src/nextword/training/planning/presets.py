"""The settings that each size learns best with, and which size a text and a time are enough for."""

from __future__ import annotations

import math
from typing import Any

from nextword.config import TRAINING_PRESETS, GPTConfig

# Peak learning rate, context and batch of each preset, found by trying (docs/lab-notes.md).
LEARNING_RATES = {"tiny": 4e-3, "small": 2.5e-3, "medium": 1.2e-3, "large": 7e-4}
REGULARISATION = ((2.0, 0.1, 0.0), (6.0, 1.0, 0.0), (math.inf, 1.0, 0.1))
"""Up to so many passes over the text: weight decay, and merges left out."""
CONTEXTS = {"tiny": 128, "small": 256, "medium": 256, "large": 512}
BATCHES = {"tiny": 8, "small": 8, "medium": 8, "large": 8}


def choose_preset(text_bytes: int, seconds: float, flops: float) -> str:
    """The largest preset that the text can fill and the time can teach.

    A size is taken if its inner weights (embeddings aside) are at most five a byte of text, and if a quarter as many
    training tokens as it has weights can be seen in the time.

    Args:
        text_bytes: Of the text to learn.
        seconds: Of the whole run; infinite where only steps are counted.
        flops: What the machine does in matrix products (`measure_flops`); a step reaches about half of it.
    """
    fitting = "tiny"
    for name in TRAINING_PRESETS:
        inner = GPTConfig.preset(name, 1, 1).num_parameters
        tokens = tokens_in(seconds, inner, flops)
        if inner <= 5 * text_bytes and tokens >= inner / 4:
            fitting = name
    return fitting


def tokens_in(seconds: float, parameters: int, flops: float) -> float:
    """Tokens that can be learned in a time: six operations a parameter and token, at half of what products reach."""
    return seconds * 0.5 * flops / (6 * parameters)


def recipe(preset: str, tokens: int, epochs: float) -> dict[str, Any]:
    """The settings of a preset that were found best by trying (docs/lab-notes.md).

    A preset that is not known has no entry here; `Plan.config` refuses it.

    Args:
        preset: The size.
        tokens: Of the text.
        epochs: How often the run will read it, as far as that is known: what is read often has to be held back from
            being learned by heart.
    """
    return {
        # Or less where the text is short: it should hold at least eight windows.
        "context_length": max(4, min(CONTEXTS.get(preset, 256), tokens // 8)),
        "batch_size": BATCHES.get(preset, 8),
        "learning_rate": LEARNING_RATES.get(preset, 1e-3),
        "weight_decay": next(decay for limit, decay, _ in REGULARISATION if epochs <= limit),
        "bpe_dropout": next(share for limit, _, share in REGULARISATION if epochs <= limit),
        "clip": 0.0,
    }


def fine_tuning(context_length: int, tokens: int, *, lora: bool) -> dict[str, Any]:
    """The settings for a model that has learned before (docs/lab-notes.md).

    Args:
        context_length: What the model can look at.
        tokens: Of the text.
        lora: Whether adapters are learned, not the weights themselves.
    """
    return {
        "context_length": max(4, min(context_length, 256, tokens // 8)),
        "batch_size": 4,
        "learning_rate": 1e-3 if lora else 1e-4,
        "weight_decay": 0.0,
    }

"""What to train, derived from the text and the time: architecture, tokenizer, batch, learning rate."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nextword.config import TRAINING_PRESETS, GPTConfig

# Matrix-product speed to count on when a size is chosen, before anything has been measured (see docs/lab-notes.md).
ASSUMED_FLOPS = 40e9


@dataclass(frozen=True)
class Plan:
    """Every setting of a run. A step's learning rate depends on `progress`, the share of the run that is done."""

    preset: str
    vocab_size: int
    context_length: int
    batch_size: int
    learning_rate: float
    dropout: float
    weight_decay: float = 0.1
    warmup: float = 0.03
    """Share of the run in which the learning rate rises to its peak."""
    decay: float = 0.7
    """Share of the run, at its end, in which it falls linearly towards zero."""
    clip: float = 1.0
    """Longest gradient, as the norm over all weights."""
    precision: str = "float32"
    """`float32`, or `bfloat16`: matrix products in bfloat16, weights and optimizer in float32."""
    steps: int | None = None
    """Length of the run in steps; None: by the clock."""
    seconds: float | None = None
    """Length of the run by the clock, from the first step on."""

    def learning_rate_at(self, progress: float) -> float:
        """The learning rate when `progress` (0 to 1) of the run is done."""
        rise = progress / self.warmup if self.warmup else 1.0
        fall = (1 - progress) / self.decay if self.decay else 1.0
        return self.learning_rate * max(0.01, min(1.0, rise, fall))

    def config(self, vocab_size: int) -> GPTConfig:
        """The architecture, for a tokenizer that came out with `vocab_size` tokens.

        The head has its own matrix, so that the embedding can start large (docs/lab-notes.md has what that brings).
        """
        fields = {"dropout": self.dropout, "tie_embeddings": False}
        return GPTConfig.preset(self.preset, vocab_size, self.context_length, **fields)


def choose_vocab_size(text_bytes: int) -> int:
    """About the square root of the text's length, as a power of two from 512 to 32,768."""
    return min(32768, max(512, 1 << round(math.log2(max(1, text_bytes)) / 2)))


def choose_preset(text_bytes: int, seconds: float) -> str:
    """The largest preset that the text can fill and the time can teach.

    A size is taken if its inner weights (embeddings aside) are at most five a byte of text, and if a quarter as many
    training tokens as it has weights can be seen in the time.
    """
    fitting = "tiny"
    for name in TRAINING_PRESETS:
        inner = GPTConfig.preset(name, 1, 1).num_parameters
        tokens = seconds * ASSUMED_FLOPS / (6 * inner)
        if inner <= 5 * text_bytes and tokens >= inner / 4:
            fitting = name
    return fitting


# Peak learning rate, context and batch of each preset, found by trying (docs/lab-notes.md).
LEARNING_RATES = {"tiny": 4e-3, "small": 2.5e-3, "medium": 1.2e-3, "large": 7e-4}
CONTEXTS = {"tiny": 128, "small": 256, "medium": 256, "large": 512}
BATCHES = {"tiny": 8, "small": 8, "medium": 8, "large": 8}

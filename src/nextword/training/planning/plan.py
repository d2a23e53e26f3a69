"""What to train, derived from the text, the time and the machine: architecture, tokenizer, batch, learning rate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from nextword.config import TRAINING_PRESETS, GPTConfig
from nextword.errors import ModelFileError
from nextword.settings import OptimizerName, Strategy
from nextword.training.run_directory import START_ANEW, newer_version_error


@dataclass(frozen=True)
class Plan:
    """Every setting of a run, settled; `TrainingSettings` says what those mean that can be asked for.

    The records of a run hold its fields. A step's learning rate depends on `progress`, the share of the run that is
    done.
    """

    preset: str
    """Of the architecture; `from` where the run starts from a model."""
    vocab_size: int
    context_length: int
    batch_size: int
    learning_rate: float
    dropout: float = 0.0
    bpe_dropout: float = 0.0
    optimizer: OptimizerName = "adamw"
    """`muon` steps the blocks' matrices along the orthogonalised gradient, and AdamW all the rest."""
    weight_decay: float = 0.1
    warmup: float = 0.03
    """Share of the run in which the learning rate rises to its peak."""
    decay: float = 0.4
    """Share of the run, at its end, in which it falls linearly towards zero."""
    clip: float = 1.0
    """Longest gradient, as the norm over all weights; 0 is any."""
    precision: str = "float32"
    """With `bfloat16`, weights and optimizer stay in float32."""
    accumulation: int = 1
    strategy: Strategy = "ddp"
    activation_checkpointing: bool = False
    compile: bool = False
    evaluate_every: int | None = None
    base: str | None = None
    """The model the run starts from: `from_model`."""
    lora_rank: int | None = None
    """None: all weights are trained."""
    steps: int | None = None
    """None: by the clock."""
    seconds: float | None = None
    """Length of the run by the clock, from the first step on."""

    @classmethod
    def from_record(cls, record: Mapping[str, Any], path: Path) -> Plan:
        """The plan that a record in `path` holds; an older one lacks settings of today, which it had by default.

        Raises:
            ModelFileError: It lacks what every plan has, or a newer version of nextword wrote it.
        """
        names = {field.name for field in fields(cls)}
        if unknown := sorted(set(record) - names):
            raise newer_version_error(path, f"the setting {unknown[0]}")
        try:
            return cls(**record)
        except TypeError as error:
            raise ModelFileError(f"{path} is damaged: {error}", hint=START_ANEW) from None

    def learning_rate_at(self, progress: float) -> float:
        """The learning rate when `progress` (0 to 1) of the run is done."""
        rise = progress / self.warmup if self.warmup else 1.0
        fall = (1 - progress) / self.decay if self.decay else 1.0
        return self.learning_rate * max(0.01, min(1.0, rise, fall))

    def config(self) -> GPTConfig:
        """The architecture of a run that starts from a preset.

        The head has its own matrix, so that the embedding can start large (docs/lab-notes.md has what that brings).

        Raises:
            ConfigError: There is no such preset.
        """
        fields = {"dropout": self.dropout, "tie_embeddings": False}
        return GPTConfig.preset(self.preset, self.vocab_size, self.context_length, **fields)


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


# Peak learning rate, context and batch of each preset, found by trying (docs/lab-notes.md).
LEARNING_RATES = {"tiny": 4e-3, "small": 2.5e-3, "medium": 1.2e-3, "large": 7e-4}
REGULARISATION = ((2.0, 0.1, 0.0), (6.0, 1.0, 0.0), (math.inf, 1.0, 0.1))
"""Up to so many passes over the text: weight decay, and merges left out."""
CONTEXTS = {"tiny": 128, "small": 256, "medium": 256, "large": 512}
BATCHES = {"tiny": 8, "small": 8, "medium": 8, "large": 8}

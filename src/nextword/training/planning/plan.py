"""What a run trains, and how: every setting, as its records hold them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from nextword.config import GPTConfig
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
    """Others are left out for each few thousand characters of each pass."""
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

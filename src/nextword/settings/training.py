"""What a run of training is asked to be."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, get_args

from nextword.arguments import Device
from nextword.config import GPTConfig
from nextword.errors import ConfigError
from nextword.settings.base import Settings
from nextword.settings.words import Strategy

_MAX = {"vocab_size": 1 << 20, "batch_size": 1 << 20, "accumulation": 1 << 20, "lora_rank": 1 << 16}
"""Far beyond what is of use: one digit too many is told at once, and not by the machine that runs out of memory."""


@dataclass(frozen=True, kw_only=True)
class TrainingSettings(Settings):
    """What a run of training is asked to be. What is left at None is derived from the text, the time and the machine.

    Raises:
        ConfigError: A setting is of another type or out of range, or contradicts another one.
    """

    minutes: float | None = None
    """Time for everything, from the start to the model on disk (2 if no steps are given)."""
    steps: int | None = None
    """Optimizer steps, where the clock should not decide; without minutes nothing depends on the machine's speed."""
    preset: str | None = None
    """tiny, small, medium or large; chosen by text, time and machine if left out."""
    from_model: str | Path | None = None
    """Start from this model, with its tokenizer, instead of from random weights."""
    lora_rank: int | None = None
    """Learn adapters of this rank beside the weights of the model to start from, which stand still; they also go to
    OUT.adapter, for peft."""
    validation: float | str | Path | None = 0.1
    """What to judge by: a share of the text (500 kB at most; whole documents, of long ones their end), a file or
    directory, or none."""
    encoding: str | None = None
    """Of the files, if it is not UTF-8; for example cp949."""
    text_field: str | None = None
    """The field of .jsonl, .csv and .parquet rows that holds the text; if left out text, content or the only one with
    words."""
    exclude: str | Sequence[str] = ()
    """Files, directories or patterns (drafts, "*.csv") that are not read."""
    compose: bool = False
    """Compose Hangul that is spelled as letters, as macOS writes it."""
    vocab_size: int | None = None
    """Tokens in the vocabulary."""
    context_length: int | None = None
    """Tokens the model can look at."""
    batch_size: int | None = None
    """Windows of text a step, over all processes."""
    accumulation: int | None = None
    """Parts in which a process computes its share of a batch, one after the other, to save memory."""
    learning_rate: float | None = None
    """Its peak."""
    weight_decay: float | None = None
    """How strongly matrices shrink, as AdamW counts it."""
    dropout: float | None = None
    """Share of activations dropped while training."""
    bpe_dropout: float | None = None
    """Share of the tokenizer's merges left out while training, others for each pass over the text."""
    precision: str | None = None
    """float32, or bfloat16 for the matrix products (faster where the processor has it)."""
    strategy: str | None = None
    """With several processes, ddp (each holds all weights) or fsdp (each holds a shard)."""
    activation_checkpointing: bool | None = None
    """Compute activations twice instead of keeping them: less memory, more time."""
    compile: bool | None = None
    """Let torch.compile make faster kernels: half a minute at the start; needs a C++ compiler."""
    evaluate_every: int | None = None
    """Steps between two looks at the held-out text; by the time that they take if left out."""
    seed: int = 0
    """Decides first weights and order of the text."""
    device: Device = "auto"
    """auto, cpu, cuda or mps."""
    checkpoint_seconds: float = 60.0
    """How often the state of the run is saved, in OUT.checkpoint."""
    snapshots: bool = False
    """Keep the model of steps 0, 1, 2, 4, 8 and so on, and the newest, in OUT.steps: model directories, which stay, and
    which the page shows one after the other."""
    log: str | None = None
    """tensorboard writes event files to OUT.logs."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.from_model is not None:
            object.__setattr__(self, "from_model", str(self.from_model))
        exclude = (self.exclude,) if isinstance(self.exclude, str) else tuple(self.exclude)
        object.__setattr__(self, "exclude", exclude)
        if not self.checkpoint_seconds >= 0:
            raise ConfigError(f"checkpoint_seconds is {self.checkpoint_seconds}, it must be 0 or more")
        if self.log not in (None, "tensorboard"):
            raise ConfigError(f"log is {self.log!r}, it must be tensorboard")
        counts = ("steps", "lora_rank", "vocab_size", "context_length", "batch_size", "accumulation", "evaluate_every")
        for name in counts:
            value = self[name]
            if value is not None and value < 1:
                raise ConfigError(f"{name} is {value}, it must be at least 1")
            if value is not None and value > _MAX.get(name, value):
                raise ConfigError(f"{name} is {value}, it must be at most {_MAX[name]:,}")
        for name in ("minutes", "learning_rate"):
            if self[name] is not None and not 0 < self[name] < math.inf:
                raise ConfigError(f"{name} is {self[name]}, it must be above 0 and finite")
        if self.weight_decay is not None and not 0 <= self.weight_decay < math.inf:
            raise ConfigError(f"weight_decay is {self.weight_decay}, it must be 0 or more and finite")
        for name in ("dropout", "bpe_dropout"):
            if self[name] is not None and not 0 <= self[name] < 1:
                raise ConfigError(f"{name} is {self[name]}, it must be at least 0 and below 1")
        if self.precision not in (None, "float32", "bfloat16"):
            raise ConfigError(f"precision is {self.precision!r}, it must be float32 or bfloat16")
        if self.strategy not in (None, *get_args(Strategy)):
            raise ConfigError(f"strategy is {self.strategy!r}, it must be {' or '.join(get_args(Strategy))}")
        if not 0 <= self.seed < 2**63:
            raise ConfigError(f"seed is {self.seed}, it must be 0 or more and below 2**63")
        if self.preset is not None:
            GPTConfig.preset(self.preset, 1, 1)  # refuses one that is not there
        if self.lora_rank is not None and self.from_model is None:
            raise ConfigError("LoRA adapts a model that is there", hint="name it with from_model=...")
        for name in ("preset", "vocab_size"):
            if self.from_model is not None and self[name] is not None:
                raise ConfigError(
                    f"{name} cannot be chosen with from_model: the model has its own", hint=f"leave out {name}=..."
                )

    @property
    def time_limit(self) -> float | None:
        """Minutes that the run may take; None is no limit."""
        return 2.0 if self.minutes is None and self.steps is None else self.minutes


class TrainingKeywords(TypedDict, total=False):
    """`TrainingSettings` as `**settings`, for editors and type checkers."""

    minutes: float | None
    steps: int | None
    preset: str | None
    from_model: str | Path | None
    lora_rank: int | None
    validation: float | str | Path | None
    encoding: str | None
    text_field: str | None
    exclude: str | Sequence[str]
    compose: bool
    vocab_size: int | None
    context_length: int | None
    batch_size: int | None
    accumulation: int | None
    learning_rate: float | None
    weight_decay: float | None
    dropout: float | None
    bpe_dropout: float | None
    precision: str | None
    strategy: str | None
    activation_checkpointing: bool | None
    compile: bool | None
    evaluate_every: int | None
    seed: int
    device: Device
    checkpoint_seconds: float
    snapshots: bool
    log: str | None

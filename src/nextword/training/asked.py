"""What a run was asked to be, checked before any work is done."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from nextword.config import GPTConfig
from nextword.errors import ConfigError
from nextword.training.planning.plan import Plan

_MOST = {"vocab_size": 1 << 20, "batch_size": 1 << 20, "accumulation": 1 << 20, "lora_rank": 1 << 16}
"""Far beyond what is of use: one digit too many is told at once, and not by the machine that runs out of memory."""


@dataclass(frozen=True)
class Asked:
    """What a run was asked to be, named and explained as in `train`; None is to be derived."""

    minutes: float | None = None
    steps: int | None = None
    preset: str | None = None
    base: str | None = None
    """What `from_model` names."""
    lora_rank: int | None = None
    validation: float | str | Path | None = 0.1
    encoding: str | None = None
    text_field: str | None = None
    exclude: tuple[str, ...] = ()
    compose: bool = False
    vocab_size: int | None = None
    context_length: int | None = None
    batch_size: int | None = None
    accumulation: int | None = None
    learning_rate: float | None = None
    weight_decay: float | None = None
    dropout: float | None = None
    bpe_dropout: float | None = None
    precision: str | None = None
    strategy: str | None = None
    activation_checkpointing: bool | None = None
    compile: bool | None = None
    evaluate_every: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Checks what can be checked before any text is read.

        Raises:
            ConfigError: A setting is out of range, or contradicts another one.
        """
        counts = ("steps", "lora_rank", "vocab_size", "context_length", "batch_size", "accumulation", "evaluate_every")
        for name in counts:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} is {value}, it must be at least 1")
            if value is not None and value > _MOST.get(name, value):
                raise ConfigError(f"{name} is {value}, it must be at most {_MOST[name]:,}")
        for name in ("minutes", "learning_rate"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ConfigError(f"{name} is {value}, it must be above 0 and finite")
        if self.weight_decay is not None and not 0 <= self.weight_decay < math.inf:
            raise ConfigError(f"weight_decay is {self.weight_decay}, it must be 0 or more and finite")
        for name in ("dropout", "bpe_dropout"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1:
                raise ConfigError(f"{name} is {value}, it must be at least 0 and below 1")
        if self.precision not in (None, "float32", "bfloat16"):
            raise ConfigError(f"precision is {self.precision!r}, it must be float32 or bfloat16")
        if self.strategy not in (None, "ddp", "fsdp"):
            raise ConfigError(f"strategy is {self.strategy!r}, it must be ddp or fsdp")
        if not 0 <= self.seed < 2**63:
            raise ConfigError(f"seed is {self.seed}, it must be 0 or more and below 2**63")
        if self.preset is not None:
            GPTConfig.preset(self.preset, 1, 1)  # refuses one that is not there
        if self.lora_rank is not None and self.base is None:
            raise ConfigError("LoRA adapts a model that is there", hint="name it with from_model=...")
        for name in ("preset", "vocab_size"):
            if self.base is not None and getattr(self, name) is not None:
                raise ConfigError(
                    f"{name} cannot be chosen with from_model: the model has its own", hint=f"leave out {name}=..."
                )

    def of_plan(self) -> dict[str, Any]:
        """What was given of the plan's settings; a run that goes on has to agree with it."""
        names = {field.name for field in fields(Plan)} - {"seconds"}
        given = {name: getattr(self, name) for name in names if hasattr(self, name)}
        return {name: value for name, value in given.items() if value is not None}

"""What a training run tells whoever watches it. The loop emits these; drawing them is somebody else's work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nextword.config import GPTConfig
from nextword.training.plan import Plan


@dataclass(frozen=True)
class Started:
    """The run is about to take its first step."""

    plan: Plan
    config: GPTConfig
    train_tokens: int
    train_characters: int
    validation_characters: int
    """0 without validation."""


@dataclass(frozen=True)
class Stepped:
    """A step was taken."""

    step: int
    progress: float
    """Share of the run that is done, 0 to 1."""
    loss: float
    """Nats per token, smoothed over recent steps."""
    tokens_per_second: float
    seconds_left: float


@dataclass(frozen=True)
class Validated:
    """The whole held-out text was scored."""

    step: int
    seconds: float
    """Training time so far."""
    nats_per_token: float
    nats_per_character: float
    bits_per_byte: float
    best: bool
    """Better than every time before."""


@dataclass(frozen=True)
class Sampled:
    """The model wrote something."""

    step: int
    text: str


Event = Started | Stepped | Validated | Sampled
Watcher = Callable[[Event], None]

"""The runs that were recorded: each with its text and the settings it was begun with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

FILES = Path(__file__).with_name("files")
BROKEN_OFF = 2
"""The step after which each run was broken off."""
PROMPT = "In the morning 동생은"

_SHORT: dict[str, Any] = {
    "from_model": "base",
    "steps": 4,
    "context_length": 16,
    "batch_size": 2,
    "evaluate_every": 2,
    "learning_rate": 1e-2,
}
RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "adapters": ("text.txt", {**_SHORT, "lora_rank": 2, "learning_rate": 5e-2, "bpe_dropout": 0.1, "seed": 7}),
    "talks": ("talks.jsonl", {**_SHORT, "context_length": 24, "weight_decay": 0.1, "accumulation": 2}),
}

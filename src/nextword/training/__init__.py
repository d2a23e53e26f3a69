"""Text -> weights. Emits events, draws nothing.

The public names are imported when they are first used: runs on disk are read without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from nextword.errors import require_packages

if TYPE_CHECKING:
    from nextword.training.events import Event, Sampled, Started, Stepped, Validated, Watcher
    from nextword.training.planning.plan import Plan
    from nextword.training.run.train import TrainingRun, train

_HOMES = {
    **dict.fromkeys(("Event", "Sampled", "Started", "Stepped", "Validated", "Watcher"), "nextword.training.events"),
    "Plan": "nextword.training.planning.plan",
    **dict.fromkeys(("TrainingRun", "train"), "nextword.training.run.train"),
}

__all__ = ["Event", "Plan", "Sampled", "Started", "Stepped", "TrainingRun", "Validated", "Watcher", "train"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'nextword.training' has no attribute {name!r}")
    if _HOMES[name] == "nextword.training.run.train":
        require_packages("training", "train", "torch")
    return getattr(importlib.import_module(_HOMES[name]), name)

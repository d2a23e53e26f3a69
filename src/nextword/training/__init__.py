"""Text -> weights. Emits events, draws nothing."""

from nextword.training.events import Event, Sampled, Started, Stepped, Validated, Watcher
from nextword.training.plan import Plan
from nextword.training.run import TrainingRun, train

__all__ = ["Event", "Plan", "Sampled", "Started", "Stepped", "TrainingRun", "Validated", "Watcher", "train"]

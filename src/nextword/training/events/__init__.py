"""What a run tells: its events, the journal, and whoever follows or reads it later. Imports no torch."""

from nextword.training.events.event_types import (
    Event,
    Interrupted,
    Preparing,
    Resumed,
    Sampled,
    Started,
    Stepped,
    Validated,
    Watcher,
    clock,
    fan_out,
)

__all__ = [
    "Event",
    "Interrupted",
    "Preparing",
    "Resumed",
    "Sampled",
    "Started",
    "Stepped",
    "Validated",
    "Watcher",
    "clock",
    "fan_out",
]

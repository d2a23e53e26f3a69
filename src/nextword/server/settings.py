"""How the server works, with its defaults."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """How the server works."""

    slots: int = 16
    """Texts of one model that are written at once."""
    queue: int = 256
    """Texts that may wait."""
    cache_bytes: int = 4 * 1024**3
    """What the slots of a model may hold."""
    request_seconds: float = 600.0
    """How long a request may take."""
    drain_seconds: float = 3.0
    """Time for texts that are being written when the server is told to end."""
    looks: int = 16
    """Traces that are kept for the page."""
    look_bytes: int = 1024**3
    """What they may hold together."""

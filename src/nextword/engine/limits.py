"""What the machine can do at most, measured with the engine's own instructions."""

from nextword.engine._native import multiply_speed, read_speed

__all__ = ["multiply_speed", "read_speed"]

"""Numbers that are none, looked for in stored weights."""

from nextword.engine._native import is_finite

__all__ = ["is_finite"]

"""The error for a source that holds nothing to learn."""

from __future__ import annotations

from nextword.errors import TextError


class NoTextError(TextError):
    """A source holds nothing that could be learned. Found in a directory, it is passed over; named, it is refused.

    Args:
        name: The source, or its first row.
        why: What it is instead.
        hint: What to do.
    """

    def __init__(self, name: str, why: str, *, hint: str = "") -> None:
        super().__init__(f"{name} {why}", hint=hint)
        self.why = why

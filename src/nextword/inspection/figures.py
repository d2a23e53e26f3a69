"""The old place of `nextword.figures`."""

from nextword.deprecated import moved_module

__getattr__ = moved_module("nextword.inspection.figures", "nextword.figures")

"""Old names that go on working for two minor versions, with a warning that gives the new one."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable
from typing import Any


def warn_deprecated(old: str, new: str) -> None:
    """Says that something has a new name, to the nearest caller that is not of nextword.

    Args:
        old: How it was called.
        new: How it is called now.
    """
    frame, level = sys._getframe(), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "nextword":
        frame, level = frame.f_back, level + 1
    warnings.warn(f"{old} is {new} now", DeprecationWarning, stacklevel=level)


def moved_module(old: str, new: str) -> Callable[[str], Any]:
    """The `__getattr__` of a module that has moved: each name comes from its new place, with a warning.

    Args:
        old: The dotted name that it had.
        new: The dotted name that it has.
    """

    def getattr_moved(name: str) -> Any:
        if name == "__all__":  # what a star imports
            module = importlib.import_module(new)
            return getattr(module, "__all__", [one for one in vars(module) if not one.startswith("_")])
        if name.startswith("__"):  # what Python asks of every module
            raise AttributeError(name)
        value = getattr(importlib.import_module(new), name)
        warn_deprecated(old, new)
        return value

    return getattr_moved

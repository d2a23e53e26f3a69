"""Old names that go on working for two minor versions, with a warning that gives the new one."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from typing import Any


def warn_deprecated(old: str, new: str, stacklevel: int = 3) -> None:
    """Says that something has a new name.

    Args:
        old: How it was called.
        new: How it is called now.
        stacklevel: Which caller the warning points at: 3 is that of the function that has the old name.
    """
    warnings.warn(f"{old} is {new} now", DeprecationWarning, stacklevel=stacklevel)


def moved_module(old: str, new: str) -> Callable[[str], Any]:
    """The `__getattr__` of a module that has moved: each name comes from its new place, with a warning.

    Args:
        old: The dotted name that it had.
        new: The dotted name that it has.
    """

    def getattr_moved(name: str) -> Any:
        if name.startswith("__"):  # what Python asks of every module
            raise AttributeError(name)
        value = getattr(importlib.import_module(new), name)
        warn_deprecated(old, new)
        return value

    return getattr_moved

"""Whether the native engine runs here."""

from __future__ import annotations

from dataclasses import dataclass

from nextword.engine import is_built
from nextword.errors import ConfigError


@dataclass(frozen=True)
class Native:
    """The native engine here."""

    built: bool
    kernels: str
    """The instruction set in use; empty where the engine does not run."""
    usable: list[str]
    """Those that this processor can run, best first."""
    reason: str
    """Why it does not run; empty if it does."""


def native_engine() -> Native:
    """Whether the native engine runs here, and with which instruction set."""
    if not is_built():
        return Native(False, "", [], "was not built: there was no C++ compiler when nextword was installed")
    try:
        from nextword.engine.kernels import available_kernels, select_kernels
    except ImportError as error:
        return Native(True, "", [], f"cannot be loaded: {error}")
    try:
        return Native(True, select_kernels(), available_kernels(), "")
    except ConfigError as error:
        return Native(True, "", available_kernels(), f"does not run: {error.message}")

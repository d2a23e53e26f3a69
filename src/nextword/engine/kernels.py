"""Which instruction set the native code uses."""

from __future__ import annotations

import os

from nextword.engine._native import kernels as available_kernels
from nextword.errors import ConfigError

KERNELS = ("avx512vnni", "avx512", "avx2", "neon", "portable")
"""All that there are; `available_kernels()` are those that this processor can run, best first."""

__all__ = ["KERNELS", "available_kernels", "select_kernels"]


def select_kernels(requested: str = "") -> str:
    """The instruction set that was asked for, here or with NEXTWORD_KERNELS; the processor's best where neither says.

    Raises:
        ConfigError: There is none of that name, or this processor cannot run it.
    """
    available = available_kernels()
    from_env = os.environ.get("NEXTWORD_KERNELS", "").strip().lower()  # as shells hand variables on
    name, setting = (requested, "kernels") if requested else (from_env, "NEXTWORD_KERNELS")
    if not name:
        return available[0]
    if name not in available:
        wrong = "which this processor cannot run" if name in KERNELS else "which does not exist"
        raise ConfigError(f"{setting} is {name!r}, {wrong}", hint=f"this processor can run {', '.join(available)}")
    return name

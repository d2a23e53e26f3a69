"""Which instruction set the native code uses."""

from __future__ import annotations

import os

from nextword.engine._native import kernels as usable_kernels
from nextword.errors import ConfigError

KERNELS = ("avx512", "avx2", "neon", "portable")
"""All that there are; `usable_kernels()` are those that this processor can run, best first."""

__all__ = ["KERNELS", "chosen_kernels", "usable_kernels"]


def chosen_kernels(asked: str = "") -> str:
    """The instruction set that was asked for, here or with NEXTWORD_KERNELS; the processor's best where neither says.

    Raises:
        ConfigError: There is none of that name, or this processor cannot run it.
    """
    usable = usable_kernels()
    set_to = os.environ.get("NEXTWORD_KERNELS", "").strip().lower()  # as shells hand variables on
    name, said = (asked, "kernels") if asked else (set_to, "NEXTWORD_KERNELS")
    if not name:
        return usable[0]
    if name not in usable:
        wrong = "which this processor cannot run" if name in KERNELS else "which does not exist"
        raise ConfigError(f"{said} is {name!r}, {wrong}", hint=f"this processor can run {', '.join(usable)}")
    return name

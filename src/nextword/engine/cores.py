"""How many threads pay: one for each physical core that this process may use."""

from __future__ import annotations

import os
from pathlib import Path

from nextword.errors import ConfigError

CPUS = Path("/sys/devices/system/cpu")


def default_threads() -> int:
    """NEXTWORD_THREADS, or the physical cores: two threads of one core share what it computes with.

    Raises:
        ConfigError: NEXTWORD_THREADS is no whole number of at least 1.
    """
    asked = os.environ.get("NEXTWORD_THREADS", "")
    if asked:
        if not asked.isdecimal() or int(asked) < 1:
            raise ConfigError(f"NEXTWORD_THREADS is {asked!r}, it must be a whole number of at least 1")
        return int(asked)
    return physical_cores()


def physical_cores(cpus: Path = CPUS) -> int:
    """Cores behind the processors this process may use; as many as processors where the system does not tell."""
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    try:
        cores = {(cpus / f"cpu{cpu}/topology/core_cpus_list").read_text(encoding="ascii") for cpu in usable}
    except OSError:
        return len(usable)
    return len(cores)

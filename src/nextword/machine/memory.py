"""Memory: of the machine, of a container, of this process."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from nextword.machine.control_groups import PROCESS, groups

MEMINFO = Path("/proc/meminfo")


@dataclass(frozen=True)
class MachineMemory:
    """Bytes that this process could take in all, and that are free for it; None where the system does not tell."""

    total: int | None
    free: int | None

    def clamped_to(self, limit: int, left: int) -> MachineMemory:
        """The same under one more limit."""
        total = limit if self.total is None else min(self.total, limit)
        return MachineMemory(total, max(0, left if self.free is None else min(self.free, left)))


def machine_memory(process: Path = PROCESS, meminfo: Path = MEMINFO) -> MachineMemory:
    """The machine's memory, or less where a container or `ulimit -v` allows less."""
    memory = whole = _whole_memory(meminfo)
    for group in groups("memory", process):
        limit = group.memory()  # where there is none, version 1 writes a huge one
        if limit is not None and (whole.total is None or limit[0] < whole.total):
            memory = memory.clamped_to(*limit)
    if (addresses := address_limit()) is not None:
        memory = memory.clamped_to(addresses, addresses - _address_bytes())
    return memory


def process_bytes() -> int:
    """Memory that this process takes; at its most, where only that is told; 0 where nothing is."""
    try:
        return int((PROCESS / "statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        pass
    try:
        import resource  # noqa: PLC0415  Windows has none
    except ImportError:
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _whole_memory(meminfo: Path) -> MachineMemory:
    try:
        lines = meminfo.read_text(encoding="ascii").splitlines()
        kib = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
        return MachineMemory(1024 * kib["MemTotal"], 1024 * kib["MemAvailable"])
    except (OSError, KeyError):
        pass
    try:
        return MachineMemory(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), None)
    except (AttributeError, OSError, ValueError):  # Windows has no sysconf
        return _windows_memory()


def _windows_memory() -> MachineMemory:
    import ctypes  # noqa: PLC0415  only here

    kernel = getattr(ctypes, "windll", None)
    if kernel is None:
        return MachineMemory(None, None)
    values = (ctypes.c_uint64 * 8)(64)  # MEMORYSTATUSEX: its length and the load share the first, then total, free
    done = kernel.kernel32.GlobalMemoryStatusEx(ctypes.byref(values))
    return MachineMemory(values[1], values[2]) if done else MachineMemory(None, None)


def address_limit() -> int | None:
    """What `ulimit -v` allows, in bytes."""
    try:
        import resource  # noqa: PLC0415  Windows has none
    except ImportError:
        return None
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if limit == resource.RLIM_INFINITY else limit


def _address_bytes() -> int:
    """Addresses that this process has taken; 0 where it is not told."""
    try:
        return int((PROCESS / "statm").read_text(encoding="ascii").split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0

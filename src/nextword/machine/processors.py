"""Processors that this process may use, and how many threads pay."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from nextword.errors import ConfigError
from nextword.machine.control_groups import PROCESS, groups

DEVICES = Path("/sys/devices")
STATISTICS = Path("/proc/stat")
MAX_THREADS = 1024
PERFORMANCE_SHARE = 0.7
"""Of the fastest core's speed: what is slower is an efficiency core."""


def platform_name() -> str:
    """The system and the kind of processor, such as `Linux x86_64`."""
    return f"{platform.system()} {platform.machine()}"


def default_threads(process: Path = PROCESS, devices: Path = DEVICES) -> int:
    """NEXTWORD_THREADS, or the performance cores, as far as a container's share of the processors reaches.

    Two threads of one core share what it computes with; efficiency cores read the same memory, and what they add is
    lost in waiting for them; and of two threads that have 1.5 processors' time, one is stopped again and again while
    the other waits for it.

    Args:
        process: What `/proc` says of the process.
        devices: What the system says of its devices.

    Raises:
        ConfigError: NEXTWORD_THREADS is no whole number from 1 on.
    """
    override = os.environ.get("NEXTWORD_THREADS", "")
    if override:
        if not override.isdecimal():
            raise ConfigError(f"NEXTWORD_THREADS is {override!r}, it must be a whole number of at least 1")
        return check_threads(int(override), "NEXTWORD_THREADS")
    quota = cpu_quota(process)
    cores = performance_cores(devices)
    return cores if quota is None else min(cores, max(1, int(quota)))


def check_threads(count: int, name: str = "threads") -> int:
    """The count itself.

    Raises:
        ConfigError: It is not from 1 to MAX_THREADS.
    """
    if not 1 <= count <= MAX_THREADS:
        raise ConfigError(f"{name} is {count}, it must be from 1 to {MAX_THREADS}")
    return count


def usable_processors() -> set[int]:
    """The numbers of the processors that this process may run on."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def physical_cores(devices: Path = DEVICES) -> int:
    """Cores behind the processors this process may use; as many as processors where the system does not tell."""
    return len(set(_core_of(usable_processors(), devices).values()))


def performance_cores(devices: Path = DEVICES) -> int:
    """The fast ones among the physical cores; all where the system tells no difference."""
    cores = _core_of(usable_processors(), devices)
    speeds = _speeds(set(cores), devices)
    return len({cores[cpu] for cpu, speed in speeds.items() if speed >= PERFORMANCE_SHARE * max(speeds.values())})


def _core_of(cpus: set[int], devices: Path) -> dict[int, str]:
    """Which core each processor belongs to, by the list of its processors."""
    try:
        return {
            cpu: (devices / f"system/cpu/cpu{cpu}/topology/core_cpus_list").read_text(encoding="ascii") for cpu in cpus
        }
    except OSError:
        return {cpu: str(cpu) for cpu in cpus}


def _speeds(cpus: set[int], devices: Path) -> dict[int, float]:
    """How fast each processor is, compared to the others; all alike where the system does not tell.

    Intel's hybrid chips have a device for each kind of core, ARM's systems a capacity; AMD's dense cores have a slower
    clock.
    """
    try:
        performance = _cpu_list((devices / "cpu_core/cpus").read_text(encoding="ascii"))
    except OSError:
        pass
    else:
        return {cpu: float(cpu in performance) for cpu in cpus}
    for name in ("cpu_capacity", "cpufreq/cpuinfo_max_freq"):
        try:
            return {cpu: float((devices / f"system/cpu/cpu{cpu}/{name}").read_text(encoding="ascii")) for cpu in cpus}
        except OSError:
            continue
    return dict.fromkeys(cpus, 1.0)


def _cpu_list(text: str) -> set[int]:
    """The kernel's way of writing a set of processors: `0-3,8`."""
    parts = (part.partition("-") for part in text.strip().split(",") if part)
    return {cpu for first, _, last in parts for cpu in range(int(first), int(last or first) + 1)}


def cpu_quota(process: Path = PROCESS) -> float | None:
    """Processors' worth of time that a container may take, such as 1.5; None where there is no limit."""
    return min((cpus for group in groups("cpu", process) if (cpus := group.cpus()) is not None), default=None)


def can_start_threads(count: int) -> bool:
    """Whether so many more threads can be made, as far as control groups and the user's own limit tell."""
    for group in groups("pids"):
        most, there = group.number("pids.max"), group.number("pids.current")
        if most is not None and most - (there or 0) < 2 * count:
            return False
    try:
        import resource  # noqa: PLC0415  not on Windows
    except ImportError:
        return True
    most, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    return most == resource.RLIM_INFINITY or most > MAX_THREADS + 2 * count


def busy_seconds(processors: set[int]) -> float | None:
    """Seconds that these processors have worked, for whomever, since the machine started; another machine's too.

    None where the system does not tell, as in some containers, whose numbers are all 0.
    """
    try:
        lines = [line.split() for line in STATISTICS.read_text(encoding="ascii").splitlines()]
    except OSError:
        return None
    names = {f"cpu{number}" for number in processors}
    times = [[int(ticks) for ticks in line[1:9]] for line in lines if line and line[0] in names]
    if not any(map(sum, times)):
        return None
    # Places among user, nice, system, idle, waiting for a disk, two kinds of interrupts, and stolen by other machines.
    idle, waiting = 3, 4
    return sum(sum(ticks) - ticks[idle] - ticks[waiting] for ticks in times) / os.sysconf("SC_CLK_TCK")

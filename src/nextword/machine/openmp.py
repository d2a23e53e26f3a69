"""OpenMP's threads, which torch computes with: they sleep where others are busy, and keep to a container's share.

A thread that has done its part spins for milliseconds, waiting for the others. With the machine to itself that is the
fastest way. Beside a busy process the others are not running, and whole time slices are spun away:
benchmarks/neighbour.py.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from nextword.machine.control_groups import PROCESS
from nextword.machine.processors import busy_seconds, can_start_threads, cpu_quota, usable_processors

if TYPE_CHECKING:
    import ctypes

USER_SET_VARIABLES = ("GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OMP_WAIT_POLICY")
"""Who sets one of these, which are GNU's, LLVM's (also Intel's) and everybody's, has chosen."""
POLL_SECONDS = 0.25
"""Between two looks at what other processes take."""
BUSY_THRESHOLD = 0.5
"""Processors' worth of what torch counts on that others may take before sleeping pays."""

IDLE_POLLS = 4
"""So many in a row, and the threads spin again."""

_watcher_started = threading.Lock()
"""Taken for good by the first call that found torch."""


def limit_openmp_threads() -> None:
    """Bounds torch's threads by a container's share, and makes them sleep while they wait where others are busy.

    Called before torch is imported it bounds them only; once it is imported the rest can be done. What OpenMP's
    variables say, such as OMP_WAIT_POLICY or OMP_NUM_THREADS, is left as it is.
    """
    quota = cpu_quota()
    count = max(1, int(quota)) if quota is not None and quota < len(usable_processors()) else None
    if "OMP_NUM_THREADS" in os.environ:
        count = None
    torch = sys.modules.get("torch")
    if torch is None:  # its libraries read this when they are loaded
        os.environ.update({} if count is None else {"OMP_NUM_THREADS": str(count)})
        return
    if count is not None and count < torch.get_num_threads():
        torch.set_num_threads(count)
    threads = torch.get_num_threads()
    if (
        threads == 1
        or any(name in os.environ for name in USER_SET_VARIABLES)
        or not _watcher_started.acquire(blocking=False)
    ):
        return
    import ctypes  # noqa: PLC0415  not where torch never comes

    for library in _loaded_libraries("libiomp5") + _loaded_libraries("libomp"):
        ctypes.CDLL(library).kmp_set_blocktime(0)  # LLVM's sleep at once
    if gnu := [ctypes.CDLL(library) for library in _loaded_libraries("libgomp")]:
        threading.Thread(target=_watch, args=(gnu, threads), name="calm OpenMP", daemon=True).start()


def _watch(gnu: list[ctypes.CDLL], threads: int) -> None:
    """Makes GNU's waiting threads sleep while others take what they count on, and spin otherwise; never ends.

    They sleep too until it is known what others take, and where the system does not tell.
    """
    processors = usable_processors()
    crowd: threading.Event | None = None
    others: float | None = None
    quiet = 0
    while True:
        quiet = 0 if others is None or others > len(processors) - threads + BUSY_THRESHOLD else quiet + 1
        if not quiet and not crowd and can_start_threads(len(gnu) * (len(processors) + 2)):
            crowd = _oversubscribe(gnu, len(processors) + 1)
        elif quiet >= IDLE_POLLS and crowd:
            crowd.set()
            crowd = None
        others = _other_processes_load(processors)


def _other_processes_load(processors: set[int]) -> float | None:
    """Processors' worth of time that other processes take until the next look; None where the system does not tell."""
    before, own, start = busy_seconds(processors), time.process_time(), time.monotonic()
    time.sleep(POLL_SECONDS)
    after = busy_seconds(processors)
    if before is None or after is None:
        return None
    return (after - before - (time.process_time() - own)) / (time.monotonic() - start)


def _oversubscribe(gnu: list[ctypes.CDLL], count: int) -> threading.Event:
    """Threads that do nothing, one more than there are processors; they end when the event is set.

    GNU's library has no call for how long threads spin, and has read its variables. But while it has more threads than
    there are processors they look a thousand times before they sleep, some 20 microseconds, as its manual says of
    GOMP_SPINCOUNT. Threads are a team's for as long as the thread lives that called it.
    """
    import ctypes  # noqa: PLC0415

    end = threading.Event()
    for library in gnu:
        nothing = ctypes.cast(library.omp_get_level, ctypes.c_void_p)  # what each of them calls, to no effect
        start = partial(library.GOMP_parallel, nothing, None, count, 0)
        threading.Thread(target=lambda start=start: (start(), end.wait()), name="idle OpenMP", daemon=True).start()
    return end


def _loaded_libraries(name: str, maps: Path = PROCESS / "maps") -> list[str]:
    """The files of a library that this process has loaded; none where the system does not tell.

    Wheels bring theirs under names such as `libgomp-a34b3233.so.1`; `libompitrace.so` is none of `libomp`, and a file
    that was replaced since then cannot be asked for.
    """
    try:
        lines = maps.read_text(encoding="utf-8", errors="surrogateescape").split("\n")
    except OSError:
        return []
    files = {line.split(maxsplit=5)[-1] for line in lines if line and not line.endswith(" (deleted)")}
    return sorted(file for file in files if file.rpartition("/")[2].startswith((f"{name}.", f"{name}-")))

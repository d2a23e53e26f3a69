"""OpenMP's threads, which torch computes with: they sleep while they wait, and are no more than a container allows.

Left alone, a thread that has done its part spins for milliseconds, waiting for the others. Beside one busy process the
others are not running, and whole time slices are spun away: benchmarks/neighbour.py.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

from nextword.machine.control_groups import PROCESS
from nextword.machine.processors import processor_share, usable_processors

SPINS = "1000"
"""Looks of a waiting GNU thread before it sleeps, some 20 microseconds: long enough for the next part of a sum."""
WAITING = {"GOMP_SPINCOUNT": SPINS, "KMP_BLOCKTIME": "0"}
"""GNU's variable and LLVM's (also Intel's), in milliseconds."""
CHOSEN = (*WAITING, "OMP_WAIT_POLICY")
"""Who sets one of these has chosen."""


def calm_threads() -> None:
    """Makes torch's threads sleep while they wait, whether torch is imported already or will be.

    What OpenMP's variables say, such as OMP_WAIT_POLICY or OMP_NUM_THREADS, is left as it is.
    """
    share = processor_share()
    count = max(1, int(share)) if share is not None and share < len(usable_processors()) else None
    if "OMP_NUM_THREADS" in os.environ:
        count = None
    calm = not any(name in os.environ for name in CHOSEN)
    torch = sys.modules.get("torch")
    if torch is None:  # its libraries read these when they are loaded
        os.environ.update(WAITING if calm else {})
        os.environ.update({} if count is None else {"OMP_NUM_THREADS": str(count)})
        return
    if count is not None and count < torch.get_num_threads():
        torch.set_num_threads(count)
    if calm and torch.get_num_threads() > 1:
        _calm_loaded()


def _calm_loaded() -> None:
    """The same for libraries that have read their variables.

    LLVM's has a call for it. GNU's has none, but its threads spin for no longer than SPINS where there are more of them
    than processors, as its manual says of GOMP_SPINCOUNT: so that many are made, and sleep from then on.
    """
    import ctypes  # noqa: PLC0415  not where torch comes later

    for library in _loaded("libgomp"):
        gnu, asleep = ctypes.CDLL(library), threading.Event()
        nothing = ctypes.cast(gnu.omp_get_level, ctypes.c_void_p)  # what each of them calls, to no effect
        start = partial(gnu.GOMP_parallel, nothing, None, len(usable_processors()) + 1, 0)
        threading.Thread(target=_sleep, args=(start, asleep), name="calm OpenMP", daemon=True).start()
        asleep.wait()
    for library in _loaded("libiomp5") + _loaded("libomp"):
        ctypes.CDLL(library).kmp_set_blocktime(0)


def _sleep(start: Callable[[], object], asleep: threading.Event) -> None:
    """Makes one thread more than there are processors, and never ends: they would end with it."""
    start()
    asleep.set()
    threading.Event().wait()


def _loaded(name: str, maps: Path = PROCESS / "maps") -> list[str]:
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

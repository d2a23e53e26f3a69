"""Runs several commands of nextword in one process, so that tests need not start as many times.

torchrun --nproc-per-node 2 -m tests.training.commands '[["train", ...], ["train", ...]]'
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import sys
from pathlib import Path
from typing import Any

from nextword.cli import run


def starve(event: str, _arguments: Any) -> None:
    """Once a model is written, all threads but the main one run only when nobody else does (on Linux).

    Then what the processes' last message has left to a thread is still to be done when they part.
    """
    if event == "os.rename" and hasattr(os, "SCHED_IDLE"):
        for thread in Path("/proc/self/task").iterdir():
            if int(thread.name) != os.getpid():
                with contextlib.suppress(ProcessLookupError):
                    os.sched_setscheduler(int(thread.name), os.SCHED_IDLE, os.sched_param(0))


if __name__ == "__main__":
    sys.addaudithook(starve)
    faulthandler.dump_traceback_later(200, exit=True)  # processes that wait for each other say where
    codes = [run(arguments) for arguments in json.loads(sys.argv[1])]
    sys.stdout.write(f"{codes}\n")
    sys.stdout.flush()
    os._exit(0)  # Python would not survive that starved threads want its lock at its very end

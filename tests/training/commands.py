"""Runs several commands of nextword in one process, so that tests need not start as many times.

torchrun --nproc-per-node 2 -m tests.training.commands '[["train", ...], ["train", ...]]'
"""

from __future__ import annotations

import faulthandler
import json
import sys

from nextword.cli import run

if __name__ == "__main__":
    faulthandler.dump_traceback_later(200, exit=True)  # processes that wait for each other say where
    codes = [run(arguments) for arguments in json.loads(sys.argv[1])]
    sys.stdout.write(f"{codes}\n")

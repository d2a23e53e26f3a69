"""What this machine has, and how fast it is. Nothing here imports torch: its GPU is asked for by another process."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nextword.engine import is_built
from nextword.errors import ConfigError
from nextword.loading import DEFAULT_MODEL

WRITTEN = 64
KOREAN = "다음 단어"
_GPU = """
import json, torch
found = []
if torch.cuda.is_available():
    for number in range(torch.cuda.device_count()):
        one = torch.cuda.get_device_properties(number)
        found.append({"device": f"cuda:{number}", "name": one.name, "memory": one.total_memory})
elif torch.backends.mps.is_available():
    found.append({"device": "mps", "name": "Apple", "memory": None})
print(json.dumps(found))
"""


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


@dataclass(frozen=True)
class Disk:
    """Room on the disk of a directory."""

    purpose: str
    path: str
    free: int
    total: int


@dataclass(frozen=True)
class MachineSpeed:
    """How fast this machine is, and what the default model makes of it."""

    read_bytes: int
    """Of the default model, for every token."""
    read_speed: float
    """Bytes a second at which as many are read."""
    multiply_speed: float
    """float32 operations a second at most."""
    tokens_a_second: float
    """That the default model writes, behind a short prompt."""
    seconds: float
    """That all of this took."""


def native_engine() -> Native:
    """Whether the native engine runs here, and with which instruction set."""
    if not is_built():
        return Native(False, "", [], "was not built: there was no C++ compiler when nextword was installed")
    try:
        from nextword.engine.kernels import chosen_kernels, usable_kernels
    except ImportError as error:
        return Native(True, "", [], f"cannot be loaded: {error}")
    try:
        return Native(True, chosen_kernels(), usable_kernels(), "")
    except ConfigError as error:
        return Native(True, "", usable_kernels(), f"does not run: {error.message}")


def disk(purpose: str, path: Path) -> Disk:
    """Room on a directory's disk; the directory need not be there yet."""
    there = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
    usage = shutil.disk_usage(there)
    return Disk(purpose, str(path), usage.free, usage.total)


def gpus() -> list[dict[str, Any]]:
    """The GPUs that torch can use, asked in a process of its own.

    Raises:
        ConfigError: torch cannot be imported.
    """
    try:
        done = subprocess.run(  # noqa: S603 - this Python, and a program of our own
            [sys.executable, "-c", _GPU],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=True,
            timeout=60,
        )
        found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    except subprocess.CalledProcessError as error:
        said = error.stderr.strip().splitlines() or [f"exit code {error.returncode}"]
        raise ConfigError(f"torch cannot be imported: {said[-1]}") from None
    except subprocess.TimeoutExpired:
        raise ConfigError("torch cannot be imported: no answer for a minute") from None
    return found


def korean_font() -> str:
    """The family that figures draw Korean with; empty if no installed one can."""
    from nextword.figures.fonts import BASE_FAMILY, choose_fonts

    chosen = choose_fonts(KOREAN)
    return "" if chosen.missing else next((name for name in chosen.families if name != BASE_FAMILY), BASE_FAMILY)


def machine_speed(threads: int) -> MachineSpeed:
    """Measures the machine with the engine's own instructions, and the default model on it.

    Raises:
        ModelFileError: The default model cannot be read.
    """
    from nextword.engine.kernels import chosen_kernels
    from nextword.engine.limits import multiply_speed, read_speed
    from nextword.engine.weights import FORMATS
    from nextword.files import read_model
    from nextword.files.precision import computable
    from nextword.measuring.bench import SHORT_PROMPT, bytes_a_token, seconds
    from nextword.measuring.peers import Ours

    start = time.perf_counter()
    bundle = read_model(DEFAULT_MODEL)
    size = bytes_a_token(bundle.config, computable(bundle.tensors, FORMATS))
    engine = Ours(DEFAULT_MODEL, threads)
    engine.write(range(SHORT_PROMPT), 1)
    took = statistics.median(seconds(lambda: engine.write(range(SHORT_PROMPT), WRITTEN)) for _ in range(5))
    kernels = chosen_kernels()
    read, multiplied = read_speed(threads, size, kernels), multiply_speed(threads, kernels)
    return MachineSpeed(size, read, multiplied, WRITTEN / took, time.perf_counter() - start)

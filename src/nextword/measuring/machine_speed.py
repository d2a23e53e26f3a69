"""How fast this machine is, and what the default model makes of it."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

from nextword.files import read_model
from nextword.files.precision import computable
from nextword.loading import DEFAULT_MODEL
from nextword.measuring.bench import SHORT_PROMPT, bytes_per_token, seconds
from nextword.measuring.peers import NativeEngine

WRITTEN = 64
"""Tokens that the default model writes to be timed."""


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


def machine_speed(threads: int) -> MachineSpeed:
    """Measures the machine with the engine's own instructions, and the default model on it.

    Raises:
        ModelFileError: The default model cannot be read.
    """
    from nextword.engine.kernels import select_kernels
    from nextword.engine.limits import multiply_speed, read_speed
    from nextword.engine.weights import FORMATS

    start = time.perf_counter()
    bundle = read_model(DEFAULT_MODEL)
    size = bytes_per_token(bundle.config, computable(bundle.tensors, FORMATS))
    engine = NativeEngine(DEFAULT_MODEL, threads)
    engine.write(range(SHORT_PROMPT), 1)
    took = statistics.median(seconds(lambda: engine.write(range(SHORT_PROMPT), WRITTEN)) for _ in range(5))
    kernels = select_kernels()
    read, multiplied = read_speed(threads, size, kernels), multiply_speed(threads, kernels)
    return MachineSpeed(size, read, multiplied, WRITTEN / took, time.perf_counter() - start)

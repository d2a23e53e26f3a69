"""How fast this machine multiplies matrices: what the size of a model is chosen by."""

from __future__ import annotations

import time

import torch

_ROWS, _WIDTH = 2048, 512
_REPEATS = 5


def measure_flops(device: str = "cpu") -> float:
    """Floating-point operations a second of a float32 matrix product as training has them; takes about 50 ms."""
    rows = torch.ones(_ROWS, _WIDTH, device=device)
    weight = torch.ones(_WIDTH, _WIDTH, device=device)
    operations = 2 * _ROWS * _WIDTH * _WIDTH

    def seconds() -> float:
        began = time.perf_counter()
        (rows @ weight)[0, 0].item()  # waits for a GPU, too
        return time.perf_counter() - began

    seconds()
    return operations / min(seconds() for _ in range(_REPEATS))

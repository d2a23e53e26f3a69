"""What all tests share."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Small shapes are fastest on one thread, and leave the other cores alone."""
    torch.set_num_threads(1)

"""The next step's batch, read while this step computes: a page that has to come from the disk holds up nothing."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

import torch
from torch import Tensor

from nextword.training.run.batches import Batches

Batch = tuple[Tensor, Tensor | None]


class Prefetcher:
    """Reads batches in the order of the steps, one ahead. Use it as a context.

    Args:
        batches: What is read.
        first_step: The first one that will be asked for.
    """

    def __init__(self, batches: Batches, first_step: int) -> None:
        self._batches = batches
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="nextword-batches")
        self._step = first_step
        self._next: Future[Batch] = self._pool.submit(self._read, first_step)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown()

    def next(self) -> Batch:
        """The next step's token ids, [B, T + 1], and how much each counts, [B, T + 1], or None: all count."""
        batch = self._next.result()
        self._step += 1
        self._next = self._pool.submit(self._read, self._step)
        return batch

    def _read(self, step: int) -> Batch:
        weights = self._batches.batch_weights(step)
        ids_BT = torch.from_numpy(self._batches.batch(step))
        return ids_BT, None if weights is None else torch.from_numpy(weights)

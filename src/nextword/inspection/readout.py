"""Rows of the residual stream, read as the last one is: through the final norm and the head, then as probabilities.

It is the arithmetic of the lens and of attribution, in pieces that a core's cache holds.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from nextword.errors import NextwordError
from nextword.inspection.edit_tap import EditTap
from nextword.inspection.edits import Edit
from nextword.model.tap import scope, tap_point

if TYPE_CHECKING:
    from nextword.inspection.trace import Trace

_BLOCK_LOGITS = 1 << 25
"""Logits that are read out at a time: 128 MB in float32."""
_CHUNK_LOGITS = 1 << 18
"""Logits of one row that a thread works on at a time: 2 MB in float64."""


def unembed(trace: Trace, layer: int, positions: Sequence[int]) -> Tensor:
    """Row `layer` of the residual stream through the final norm and the head: [P, V], float32 or wider, on the CPU.

    Edits of the norm and of the logits act on it, as they do on the last row.

    Raises:
        NextwordError: The weights of norm or head were changed after the trace was made.
    """
    return _unembed_rows(trace, range(layer, layer + 1), positions)[0]


def unembed_blocks(trace: Trace, positions: Sequence[int], work: Callable[[slice, Tensor], None]) -> None:
    """Reads every row at all positions, and has the work done for some of the positions at a time.

    One product reads what fits, since the head's weights, which are many, pass by once for all of it. The rest is done
    by threads that each have positions of their own. Threads that share every sum would wait for each other after each;
    beside a browser, as behind the page, that took four times as long.

    Args:
        trace: The run.
        positions: Which, in the text.
        work: Is given places in `positions`, and the logits of all rows there, [L + 1, P, V].
    """
    rows, V, threads = range(trace.config.num_layers + 1), trace.config.vocab_size, torch.get_num_threads()
    pool = _pool(threads)
    for block in _slices(0, len(positions), _BLOCK_LOGITS // (len(rows) * V)):
        logits_RPV = _unembed_rows(trace, rows, positions[block])
        rounds = -(-logits_RPV.shape[1] // max(1, threads * (_CHUNK_LOGITS // V)))
        pieces = _slices(block.start, block.stop, -(-logits_RPV.shape[1] // (rounds * threads)))
        places = [slice(piece.start - block.start, piece.stop - block.start) for piece in pieces]
        list(pool.map(work, pieces, [logits_RPV[:, place] for place in places]))


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads that do each their own sums. What the first of them sets would hold for all later threads."""
    started = threading.Barrier(threads + 1)

    def start() -> None:
        torch.set_num_threads(1)
        started.wait()

    pool = ThreadPoolExecutor(threads, thread_name_prefix="readout", initializer=start)
    for _ in range(threads):
        pool.submit(int)
    started.wait()
    torch.set_num_threads(threads)
    return pool


def _slices(start: int, stop: int, step: int) -> list[slice]:
    return [slice(first, min(first + max(1, step), stop)) for first in range(start, stop, max(1, step))]


@torch.inference_mode()
def _unembed_rows(trace: Trace, rows: Sequence[int], positions: Sequence[int]) -> Tensor:
    model = trace.model_for("ln_final", "output_layer")
    rows_RPD = torch.from_numpy(np.stack([trace.residual(row)[list(positions)] for row in rows]))
    weight = model.output_layer.weight
    behind = [edit for edit in trace.edits if is_unembed_edit(edit)]
    tap = EditTap(behind, model, positions=positions) if behind else None
    read_RPD = model.ln_final(rows_RPD.to(weight.device, weight.dtype), scope(tap, "ln_final."))
    logits_RPV = tap_point(tap, "logits", model.output_layer(read_RPD))
    return logits_RPV.to("cpu", torch.promote_types(logits_RPV.dtype, torch.float32))


class SoftmaxBuffer:
    """A softmax in float64, computed again and again in the same memory: a new one each time would take longer.

    Args:
        positions: How many rows there is room for, P.
        vocab_size: How long a row is, V.
    """

    def __init__(self, positions: int, vocab_size: int) -> None:
        self._shifted_PV = torch.empty(positions, vocab_size, dtype=torch.float64)
        self._exp_PV = torch.empty_like(self._shifted_PV)

    def read(self, logits_PV: Tensor) -> None:
        """Takes the next rows of logits in."""
        self._shifted_PV.copy_(logits_PV)
        self._shifted_PV -= self._shifted_PV.amax(-1, keepdim=True)
        self._shifted_PV.clamp_(min=-1e300)  # what has no probability at all: 0 times it is 0
        torch.exp(self._shifted_PV, out=self._exp_PV)
        self._total_P1 = self._exp_PV.sum(-1, keepdim=True)

    def probabilities(self) -> Tensor:
        """[P, V]."""
        return self._exp_PV / self._total_P1

    def probabilities_of(self, ids_Pk: Tensor) -> Tensor:
        """Of some tokens, [P, k]."""
        return self._exp_PV.gather(1, ids_Pk) / self._total_P1

    def entropy(self) -> Tensor:
        """In nats, [P]."""
        total_P = self._total_P1[:, 0]
        dot_P = _rowwise_dot(self._exp_PV, self._shifted_PV)
        return total_P.log() - dot_P / total_P

    def cross_entropy(self, p_PV: Tensor) -> Tensor:
        """What another distribution would need with these probabilities, in nats, [P]."""
        dot_P = _rowwise_dot(p_PV, self._shifted_PV)
        return self._total_P1.log()[:, 0] - dot_P


def _rowwise_dot(a_PV: Tensor, b_PV: Tensor) -> Tensor:
    """Row by row, [P]. `torch.linalg.vecdot` would write all the products down first."""
    return torch.stack([a_V @ b_V for a_V, b_V in zip(a_PV, b_PV, strict=True)])


def rowwise_topk_ids(logits_PV: Tensor, k: int) -> Tensor:
    """The ids of the `k` largest logits of each row, largest first, equal ones by id: [P, k]."""
    best_Pk, ids_Pk = logits_PV.topk(min(k + 1, logits_PV.shape[-1]), dim=-1)
    edge_P = (best_Pk[:, k:] == best_Pk[:, k - 1 : k]).any(-1)
    ids_Pk = ids_Pk[:, :k].sort(-1).values
    order_Pk = logits_PV.gather(1, ids_Pk).sort(dim=-1, descending=True, stable=True).indices
    ids_Pk = ids_Pk.gather(1, order_Pk)
    # Which of several equal logits at the edge `topk` takes is not said; such rows are sorted as a whole.
    for row in edge_P.nonzero()[:, 0].tolist():
        ids_Pk[row] = logits_PV[row].sort(descending=True, stable=True).indices[:k]
    return ids_Pk


def is_unembed_edit(edit: Edit) -> bool:
    """Whether an edit is of the final norm or of the logits."""
    return edit.name == "logits" or edit.name.startswith("ln_final.")


def check_final_logits(trace: Trace, positions: Sequence[int], final_PV: Tensor) -> None:
    """Holds the last row against the logits that the trace kept.

    Raises:
        NextwordError: They differ by more than rounding.
    """
    if "logits" not in trace:
        return
    own_PV, read_PV = trace["logits"][list(positions)].astype(np.float64), final_PV.double().numpy()
    differ_PV = own_PV != read_PV  # an edit may have put the same infinity into both
    gap = float(np.abs(read_PV[differ_PV] - own_PV[differ_PV]).max(initial=0.0))
    largest = float(np.abs(own_PV[np.isfinite(own_PV)]).max(initial=1.0))
    bound = _rounding_bound(trace.model.output_layer.weight.dtype) * largest
    if np.isnan(gap):
        raise NextwordError(
            "the model's logits are no numbers",
            hint="an edit puts what is no number into the forward pass: see trace.edits"
            if trace.edits
            else "the model's weights are none: a training run diverged, or the file is damaged",
        )
    if gap > bound:
        raise NextwordError(
            f"the lens of the last layer differs from the model's logits by {gap:.2g} (rounding explains {bound:.2g})",
            hint="the trace was made with other weights than its model has now",
        )


def _rounding_bound(dtype: torch.dtype) -> float:
    """How far two ways to compute the same matrix product may lie apart, relative to the largest result."""
    half = dtype in (torch.float16, torch.bfloat16)
    return (4 if half else 128) * torch.finfo(dtype).eps

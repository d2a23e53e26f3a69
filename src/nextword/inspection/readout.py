"""Rows of the residual stream, read as the last one is: through the final norm and the head, then as probabilities.

It is the arithmetic of the lens and of attribution, in pieces that a core's cache holds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextword.errors import NextwordError
from nextword.inspection.edited_backend import EditedBackend
from nextword.inspection.edits import Edit
from nextword.inspection.recording import Recording
from nextword.machine.processors import default_threads

Array = NDArray[Any]
Ids = NDArray[np.int64]
Values = NDArray[np.float64]
Translate = Callable[[int, Array], Array]

_BLOCK_LOGITS = 1 << 25
"""Logits that are read out at a time: 128 MB in float32."""
_CHUNK_LOGITS = 1 << 18
"""Logits of one row that a thread works on at a time: 2 MB in float64."""


def unembed(trace: Recording, layer: int, positions: Sequence[int], translate: Translate | None = None) -> Array:
    """Row `layer` of the residual stream through the final norm and the head: [P, V], float32 or wider, on the CPU.

    Edits of the norm and of the logits act on it, as they do on the last row.

    Raises:
        NextwordError: The weights of norm or head were changed after the trace was made.
    """
    logits_PV: Array = _unembed_rows(trace, range(layer, layer + 1), positions, translate)[0]
    return logits_PV


def unembed_blocks(
    trace: Recording,
    positions: Sequence[int],
    work: Callable[[slice, Array], None],
    translate: Translate | None = None,
) -> None:
    """Reads every row at all positions, and has the work done for some of the positions at a time.

    One product reads what fits, since the head's weights, which are many, pass by once for all of it. The rest is done
    by threads that each have positions of their own. Threads that share every sum would wait for each other after each;
    beside a browser, as behind the page, that took four times as long.

    Args:
        trace: The run.
        positions: Which, in the text.
        work: Is given places in `positions`, and the logits of all rows there, [L + 1, P, V].
        translate: What is done to a row, [P, D], before it is read; None is nothing.
    """
    rows, V, threads = range(trace.config.num_layers + 1), trace.config.vocab_size, default_threads()
    pool = _pool(threads)
    for block in _slices(0, len(positions), _BLOCK_LOGITS // (len(rows) * V)):
        logits_RPV = _unembed_rows(trace, rows, positions[block], translate)
        rounds = -(-logits_RPV.shape[1] // max(1, threads * (_CHUNK_LOGITS // V)))
        pieces = _slices(block.start, block.stop, -(-logits_RPV.shape[1] // (rounds * threads)))
        places = [slice(piece.start - block.start, piece.stop - block.start) for piece in pieces]
        list(pool.map(work, pieces, [logits_RPV[:, place] for place in places]))


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="readout")


def _slices(start: int, stop: int, step: int) -> list[slice]:
    return [slice(first, min(first + max(1, step), stop)) for first in range(start, stop, max(1, step))]


def _unembed_rows(
    trace: Recording, rows: Sequence[int], positions: Sequence[int], translate: Translate | None
) -> Array:
    backend = trace.backend_for("ln_final", "output_layer")
    rows_RPD = np.stack([trace.residual(row)[list(positions)] for row in rows])
    if translate is not None:
        rows_RPD = np.stack([translate(row, rows_PD) for row, rows_PD in zip(rows, rows_RPD, strict=True)])
    behind = [edit for edit in trace.edits if is_unembed_edit(edit)]
    if behind:
        edited = EditedBackend(backend, behind)
        return np.stack([edited.unembed(rows_PD, positions=positions) for rows_PD in rows_RPD])
    R, P, D = rows_RPD.shape
    return backend.unembed(rows_RPD.reshape(R * P, D)).reshape(R, P, -1)


class SoftmaxBuffer:
    """A softmax in float64, computed again and again in the same memory: a new one each time would take longer.

    Args:
        positions: How many rows there is room for, P.
        vocab_size: How long a row is, V.
    """

    def __init__(self, positions: int, vocab_size: int) -> None:
        self._shifted_PV = np.empty((positions, vocab_size))
        self._exp_PV = np.empty_like(self._shifted_PV)

    def read(self, logits_PV: Array) -> None:
        """Takes the next rows of logits in."""
        np.copyto(self._shifted_PV, logits_PV)
        with np.errstate(invalid="ignore"):  # infinity less itself is no number, and is shown as one that is none
            self._shifted_PV -= self._shifted_PV.max(-1, keepdims=True)
        np.maximum(self._shifted_PV, -1e300, out=self._shifted_PV)  # what has no probability at all: 0 times it is 0
        np.exp(self._shifted_PV, out=self._exp_PV)
        self._total_P1 = self._exp_PV.sum(-1, keepdims=True)

    def probabilities(self) -> Values:
        """[P, V]."""
        probabilities_PV: Values = self._exp_PV / self._total_P1
        return probabilities_PV

    def probabilities_of(self, ids_Pk: Ids) -> Values:
        """Of some tokens, [P, k]."""
        probabilities_Pk: Values = np.take_along_axis(self._exp_PV, ids_Pk, -1) / self._total_P1
        return probabilities_Pk

    def entropy(self) -> Values:
        """In nats, [P]."""
        total_P = self._total_P1[:, 0]
        entropy_P: Values = np.log(total_P) - np.einsum("pv,pv->p", self._exp_PV, self._shifted_PV) / total_P
        return entropy_P

    def cross_entropy(self, p_PV: Values) -> Values:
        """What another distribution would need with these probabilities, in nats, [P]."""
        nats_P: Values = np.log(self._total_P1)[:, 0] - np.einsum("pv,pv->p", p_PV, self._shifted_PV)
        return nats_P


def rowwise_topk_ids(logits_PV: Array, k: int) -> Ids:
    """The ids of the `k` largest logits of each row, largest first, equal ones by id: [P, k]."""
    V = logits_PV.shape[-1]
    ids_Pk = np.argpartition(logits_PV, V - min(k + 1, V), -1)[:, V - min(k + 1, V) :]
    best_Pk = np.take_along_axis(logits_PV, ids_Pk, -1)
    order_Pk = np.lexsort((ids_Pk, -best_Pk), -1)
    ids_Pk, best_Pk = np.take_along_axis(ids_Pk, order_Pk, -1), np.take_along_axis(best_Pk, order_Pk, -1)
    edge_P = (best_Pk[:, k:] == best_Pk[:, k - 1 : k]).any(-1)
    # Which of several equal logits at the edge are found is not said; such rows are sorted as a whole.
    for row in np.flatnonzero(edge_P):
        ids_Pk[row, :k] = np.argsort(-logits_PV[row], kind="stable")[:k]
    return ids_Pk[:, :k]


def is_unembed_edit(edit: Edit) -> bool:
    """Whether an edit is of the final norm or of the logits."""
    return edit.name == "logits" or edit.name.startswith("ln_final.")


def check_final_logits(trace: Recording, positions: Sequence[int], final_PV: Array) -> None:
    """Holds the last row against the logits that the trace kept.

    Raises:
        NextwordError: They differ by more than rounding.
    """
    if "logits" not in trace:
        return
    own_PV, read_PV = trace["logits"][list(positions)].astype(np.float64), final_PV.astype(np.float64)
    differ_PV = own_PV != read_PV  # an edit may have put the same infinity into both
    gap = float(np.abs(read_PV[differ_PV] - own_PV[differ_PV]).max(initial=0.0))
    largest = float(np.abs(own_PV[np.isfinite(own_PV)]).max(initial=1.0))
    bound = _rounding_bound(trace.backend.eps) * largest
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


def _rounding_bound(eps: float) -> float:
    """How far two ways to compute the same matrix product may lie apart, relative to the largest result."""
    return (4 if eps >= 2**-10 else 128) * eps  # half precision, or wider

"""The tap that makes a forward pass follow edits."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from nextword.inspection.edits import Edit
from nextword.inspection.hook_names import is_pattern
from nextword.model import GPTModel


class EditTap:
    """The tap that applies edits, one after the other; one a forward pass.

    Args:
        edits: The changes.
        model: Whose pass it is.
        start: Tokens before this pass, in the cache: positions are counted from the text's first token.
        positions: Where the rows of this pass stand in the text, if they do not follow each other from `start` on.
    """

    def __init__(
        self, edits: Sequence[Edit], model: GPTModel, start: int = 0, positions: Sequence[int] | None = None
    ) -> None:
        self._edits: dict[str, list[Edit]] = {}
        for edit in edits:
            self._edits.setdefault(edit.name, []).append(edit)
        self._model, self._start, self._positions = model, start, positions

    def wants(self, name: str) -> bool:
        """Whether an edit is about this value."""
        return name in self._edits

    def __call__(self, name: str, tensor: Tensor) -> Tensor:
        """The value after its edits; the same object if they change nothing here."""
        changed = tensor
        for edit in self._edits[name]:
            changed = self._apply(edit, changed)
        # What an edit only seems to change (times 1, plus 0) must stay the same object: a changed pattern or scale
        # makes its layer compute step by step, which rounds otherwise than the fused kernels.
        return tensor if changed is tensor or torch.equal(changed, tensor) else changed

    def _apply(self, edit: Edit, tensor: Tensor) -> Tensor:
        axis = 2 if is_pattern(edit.name) else 1
        here = self._rows(edit, tensor.shape[axis])
        if not here:
            return tensor
        rows, places = (torch.tensor(numbers, device=tensor.device) for numbers in zip(*here, strict=True))
        index: tuple[Tensor | slice, ...] = (slice(None), places)
        moved = tensor.movedim(axis, 1)  # [B, T, ...]: the heads, where there are some, are the next axis
        changed = moved[index]  # a copy
        if edit.heads is None:
            changed = self._edited_value(edit, changed, rows)
        else:
            heads = list(edit.heads)
            result = self._edited_value(edit, changed[:, :, heads], rows)
            changed[:, :, heads] = result
        copy = moved.clone()
        copy[index] = changed
        return copy.movedim(1, axis)

    def _rows(self, edit: Edit, count: int) -> list[tuple[int, int]]:
        """Pairs: a row of the edit's values, and the row of the pass that it is for."""
        start = self._start
        positions = range(start, start + count) if self._positions is None else self._positions
        if edit.positions is None:
            return [(row, row) for row in range(count)]
        row_of = {place: row for row, place in enumerate(edit.positions)}
        return [(row_of[place], row) for row, place in enumerate(positions) if place in row_of]

    def _edited_value(self, edit: Edit, part: Tensor, rows: Tensor) -> Tensor:
        if edit.action == "embed":
            tokens = torch.tensor(edit.value.ravel().tolist(), device=part.device)
            vectors: Tensor = self._model.token_embedding(tokens)
            return vectors.to(part.dtype).expand_as(part)
        value = torch.from_numpy(edit.value.copy()).to(part.device, part.dtype)
        if edit.by_position:
            value = value[rows]
        if is_pattern(edit.name) and value.dim():
            value = _fit_keys(value, part.shape[-1], -math.inf if edit.name.endswith("scores") else 0.0)
        if edit.action == "scale":
            return part * value
        return part + value if edit.action == "add" else value.expand_as(part)


def _fit_keys(value: Tensor, count: int, blank: float) -> Tensor:
    """Rows of another text for `count` keys: what lies behind the rows' own position is seen by none."""
    if value.shape[-1] >= count:
        return value[..., :count]
    return torch.nn.functional.pad(value, (0, count - value.shape[-1]), value=blank)

"""The taps that make a forward pass follow edits: one for the arrays of any backend, one for torch's own passes.

Both apply an edit with what NumPy arrays and torch tensors have in common, so that gradients flow through edits too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nextword.config import GPTConfig
from nextword.errors import ConfigError
from nextword.inspection.edits import Edit, EditContext, EditFunction
from nextword.inspection.hook_names import is_pattern, layer_of

if TYPE_CHECKING:
    from nextword.backend_input import Tap
    from nextword.model import GPTModel

EmbeddingLookup = Callable[[int], Any]
"""A token's embedding, [D]."""


class ArrayEditTap:
    """Applies edits to the passes of a backend, one after the other; one for each call of `forward`.

    Args:
        edits: The changes.
        positions: Per chunk, where its tokens stand in the text; a value with fewer rows has the last ones.
        embed: Finds the rows of swapped embeddings.
        config: The architecture.
        tap: Sees every value after its edits, and may change it further.
    """

    def __init__(
        self,
        edits: Sequence[Edit],
        positions: Sequence[Sequence[int]],
        embed: EmbeddingLookup,
        config: GPTConfig,
        tap: Tap | None = None,
    ) -> None:
        self._config = config
        self._edits = _by_name(edits)
        self._positions, self._embed, self._tap = positions, embed, tap
        self._shown = frozenset(() if tap is None else tap.names)

    @property
    def names(self) -> Collection[str]:
        """What edits are about, and what the other tap wants."""
        return self._edits.keys() | self._shown

    def __call__(self, name: str, value: NDArray[Any], chunk: int) -> NDArray[Any] | None:
        """The value after its edits and the other tap; None if neither changes anything here."""
        changed: NDArray[Any] | None = None
        if name in self._edits:
            places = self._positions[chunk]
            places = places[len(places) - value.shape[1 if is_pattern(name) else 0] :]
            result = apply_edits(self._edits[name], value[None], places, self._embed, self._config)[0]
            if not _equal(result, value):
                changed = result
        if self._tap is not None and name in self._shown:
            seen = value if changed is None else changed
            further = self._tap(name, seen if changed is None else seen.copy(), chunk)
            changed = changed if further is None else further
        return changed


class EditTap:
    """The tap that applies edits to a pass of a GPTModel; one a forward pass.

    Args:
        edits: The changes.
        model: Whose pass it is.
        start: Tokens before this pass, in the cache: positions are counted from the text's first token.
        positions: Where the rows of this pass stand in the text, if they do not follow each other from `start` on.
    """

    def __init__(
        self, edits: Sequence[Edit], model: GPTModel, start: int = 0, positions: Sequence[int] | None = None
    ) -> None:
        self._edits = _by_name(edits)
        self._model, self._start, self._positions = model, start, positions

    def wants(self, name: str) -> bool:
        """Whether an edit is about this value."""
        return name in self._edits

    def __call__(self, name: str, tensor: Any) -> Any:
        """The value after its edits; the same object if they change nothing here."""
        count = tensor.shape[2 if is_pattern(name) else 1]
        places = range(self._start, self._start + count) if self._positions is None else self._positions
        changed = apply_edits(self._edits[name], tensor, places, self._embedding, self._model.config)
        # What an edit only seems to change (times 1, plus 0) must stay the same object: a changed pattern or scale
        # makes its layer compute step by step, which rounds otherwise than the fused kernels.
        return tensor if changed is tensor or _equal(changed, tensor) else changed

    def _embedding(self, token: int) -> Any:
        return self._model.token_embedding.weight[token]


def _by_name(edits: Sequence[Edit]) -> dict[str, list[Edit]]:
    named: dict[str, list[Edit]] = {}
    for edit in edits:
        named.setdefault(edit.name, []).append(edit)
    return named


def apply_edits(
    edits: Sequence[Edit], x: Any, positions: Sequence[int], embed: EmbeddingLookup, config: GPTConfig
) -> Any:
    """A value after its edits, one after the other; the same object if none is about these positions.

    Args:
        edits: Those of this value.
        x: The value with its batch axis, [B, T, ...] or [B, H, T, S]: an array, or a tensor.
        positions: Where its rows stand in the text.
        embed: Finds the rows of swapped embeddings.
        config: The architecture.
    """
    for edit in edits:
        x = _apply(edit, x, positions, embed, config)
    return x


def _apply(edit: Edit, x: Any, positions: Sequence[int], embed: EmbeddingLookup, config: GPTConfig) -> Any:
    found = _places(edit, positions)
    if not found:
        return x
    axis = 2 if is_pattern(edit.name) else 1
    moved = x.swapaxes(1, axis)  # [B, T, ...]: the heads, where there are some, are the next axis
    rows, places = map(list, zip(*found, strict=True))
    where: tuple[Any, ...] = (slice(None), places)
    if edit.heads is not None:
        where = (slice(None), [[place] for place in places], [list(edit.heads)])
    copy = moved.copy() if isinstance(moved, np.ndarray) else moved.clone()
    if edit.function is None:
        copy[where] = _edited_part(edit, moved[where], rows, embed)
    else:
        context = EditContext(
            edit.name, layer_of(edit.name), tuple(positions[place] for place in places), edit.heads, config
        )
        for text, part in enumerate(moved[where]):
            copy[(text, *where[1:])] = _called(edit.function, part, context)
    return copy.swapaxes(1, axis)


def _places(edit: Edit, positions: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs: a row of the edit's values, and the row of the pass that it is for."""
    if edit.positions is None:
        return [(row, row) for row in range(len(positions))]
    row_of = {place: row for row, place in enumerate(edit.positions)}
    return [(row_of[place], row) for row, place in enumerate(positions) if place in row_of]


def _edited_part(edit: Edit, part: Any, rows: list[int], embed: EmbeddingLookup) -> Any:
    """What takes the place of the rows and heads that an edit is about."""
    if edit.action == "embed":
        return _like(part, embed(int(edit.value)))
    value = edit.value[rows] if edit.by_position else edit.value
    if is_pattern(edit.name) and value.ndim and edit.action != "clamp":
        value = _fit_keys(value, part.shape[-1], -math.inf if edit.name.endswith("scores") else 0.0)
    number = _like(part, value)
    if edit.action == "scale":
        return part * number
    if edit.action == "clamp":
        return part.clip(number[0], number[1])
    if edit.action.startswith("project"):
        part = np.ascontiguousarray(part) if isinstance(part, np.ndarray) else part
        along = (part * number).sum(-1)[..., None] * number
        return along if edit.action == "project_onto" else part - along
    return part + number if edit.action == "add" else number


def _called(function: EditFunction, part: Any, context: EditContext) -> Any:
    """What a function makes of the rows and heads of one text.

    Raises:
        ConfigError: It gave back something of another shape.
    """
    recorded = getattr(part, "requires_grad", False)
    tensor = not isinstance(part, np.ndarray)
    own = part.clone() if recorded else part.detach().cpu().float().numpy().copy() if tensor else part.copy()
    result = function(own, context)
    result = own if result is None else result
    if np.shape(result) != tuple(part.shape):
        raise ConfigError(
            f"the function that changes {context.name} gave back {type(result).__name__} of shape {np.shape(result)}, "
            f"it must be {tuple(part.shape)}"
        )
    return _like(part, result)


def _like(x: Any, value: Any) -> Any:
    """A value as what `x` is: an array of its type, or a tensor of its type where it is."""
    if isinstance(x, np.ndarray):
        return np.asarray(value, x.dtype)
    return value.to(x) if hasattr(value, "to") else x.new_tensor(value)


def _equal(a: Any, b: Any) -> bool:
    return bool((a == b).all())


def _fit_keys(value: NDArray[Any], count: int, blank: float) -> NDArray[Any]:
    """Rows of another text for `count` keys: what lies behind the rows' own position is seen by none."""
    missing = max(0, count - value.shape[-1])
    padding = [(0, 0)] * (value.ndim - 1) + [(0, missing)]
    return np.pad(value[..., :count], padding, constant_values=blank)

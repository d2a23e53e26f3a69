"""What reads text and may have edits: a LanguageModel, or a bare GPTModel, which has neither tokenizer nor edits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from nextword.inspection.edit_tap import EditTap
from nextword.inspection.edits import Edit
from nextword.model import GPTModel, Tap
from nextword.tokens import Tokenizer


class InspectableModel(Protocol):
    """A model that reads text, under its edits; a LanguageModel is one."""

    @property
    def reference(self) -> GPTModel: ...  # noqa: D102
    @property
    def tokenizer(self) -> Tokenizer: ...  # noqa: D102
    @property
    def edits(self) -> tuple[Edit, ...]: ...  # noqa: D102


def unpack_model(model: GPTModel | InspectableModel) -> tuple[GPTModel, Tokenizer | None, tuple[Edit, ...]]:
    """The GPTModel, its tokenizer, and the edits under which it runs."""
    if isinstance(model, GPTModel):
        return model, None, ()
    return model.reference, model.tokenizer, model.edits


def with_edits(edits: Sequence[Edit], model: GPTModel, tap: Tap | None = None) -> Tap | None:
    """A tap that sees every value after its edits; None where there is neither."""
    if not edits:
        return tap
    first = EditTap(edits, model)
    return first if tap is None else _ChainedTap(first, tap)


class _ChainedTap:
    """One tap after another."""

    def __init__(self, first: Tap, second: Tap) -> None:
        self._taps = (first, second)

    def wants(self, name: str) -> bool:
        return any(tap.wants(name) for tap in self._taps)

    def __call__(self, name: str, tensor: Tensor) -> Tensor:
        for tap in self._taps:
            if tap.wants(name):
                tensor = tap(name, tensor)
        return tensor

"""What reads text and may have edits: a LanguageModel; or a backend or a bare GPTModel, which have no tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

from nextword.arguments import argument
from nextword.generation.backend import Backend
from nextword.inspection.edit_tap import EditTap
from nextword.inspection.edited_backend import EditedBackend
from nextword.inspection.edits import Edit
from nextword.tokens import Tokenizer

if TYPE_CHECKING:
    from torch import Tensor

    from nextword.model import GPTModel
    from nextword.model import Tap as TorchTap


class InspectableModel(Protocol):
    """A model that reads text, under its edits; a LanguageModel is one."""

    @property
    def backend(self) -> Backend: ...  # noqa: D102
    @property
    def reference(self) -> GPTModel: ...  # noqa: D102
    @property
    def tokenizer(self) -> Tokenizer: ...  # noqa: D102
    @property
    def edits(self) -> tuple[Edit, ...]: ...  # noqa: D102
    def check_weights(self) -> None: ...  # noqa: D102


def unpack_backend(model: Any) -> tuple[Backend, Tokenizer | None, tuple[Edit, ...]]:
    """What runs the passes without edits, the tokenizer if there is one, and the edits under which it runs.

    Args:
        model: A LanguageModel, a backend or a GPTModel.

    Raises:
        ConfigError: It is none of these, or the backend no longer runs the weights that the LanguageModel's GPTModel
            has.
    """
    if hasattr(model, "check_weights"):
        language_model = cast(InspectableModel, model)
        language_model.check_weights()
        backend, tokenizer, edits = language_model.backend, language_model.tokenizer, language_model.edits
        return backend.plain if isinstance(backend, EditedBackend) else backend, tokenizer, edits
    if isinstance(model, EditedBackend):
        return model.plain, None, model.edits
    if hasattr(model, "new_cache"):
        return model, None, ()
    from nextword.model import GPTModel, TorchBackend, eval_mode

    with eval_mode(argument("model", model, GPTModel)):  # it keeps its mode
        return TorchBackend(model), None, ()


def gptmodel_of(backend: Backend) -> GPTModel | None:
    """The GPTModel that a backend runs; None if it is no torch."""
    return getattr(backend.plain if isinstance(backend, EditedBackend) else backend, "model", None)


def unpack_model(model: GPTModel | InspectableModel) -> tuple[GPTModel, Tokenizer | None, tuple[Edit, ...]]:
    """The GPTModel, its tokenizer, and the edits under which it runs."""
    if hasattr(model, "reference"):
        return model.reference, model.tokenizer, model.edits  # type: ignore[return-value]
    return cast("GPTModel", model), None, ()


def with_edits(edits: Sequence[Edit], model: GPTModel, tap: TorchTap | None = None) -> TorchTap | None:
    """A tap that sees every value after its edits; None where there is neither."""
    if not edits:
        return tap
    first = EditTap(edits, model)
    return first if tap is None else _ChainedTap(first, tap)


class _ChainedTap:
    """One tap after another."""

    def __init__(self, first: TorchTap, second: TorchTap) -> None:
        self._taps = (first, second)

    def wants(self, name: str) -> bool:
        return any(tap.wants(name) for tap in self._taps)

    def __call__(self, name: str, tensor: Tensor) -> Tensor:
        for tap in self._taps:
            if tap.wants(name):
                tensor = tap(name, tensor)
        return tensor

"""nextword: the way from token input to the next word.

The public names are imported when they are first used, so that `import nextword` costs milliseconds and never
imports torch. Where torch is not installed, what takes it is missing from `dir(nextword)`; asking for it says what to
install. What the import does at once is to bound OpenMP's threads, which torch computes with, by a container's share.
"""

from __future__ import annotations

import importlib
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from nextword.machine.openmp import limit_openmp_threads

__version__ = "0.1.0"

_HOMES = {
    "ConfigError": "nextword.errors",
    "ContextOverflowError": "nextword.errors",
    "Edit": "nextword.inspection.edits",
    "FittedLens": "nextword.inspection.fitted_lens",
    "GPTConfig": "nextword.config",
    "GPTModel": "nextword.model",
    "Generation": "nextword.generation",
    "LanguageModel": "nextword.language_model",
    "ModelFileError": "nextword.errors",
    "NextwordError": "nextword.errors",
    "Prediction": "nextword.generation",
    "Record": "nextword.inspection.record",
    "Sampling": "nextword.generation",
    "TextError": "nextword.errors",
    "Tokenizer": "nextword.tokens",
    "Trace": "nextword.inspection.trace",
    "TrainingRun": "nextword.training",
    "TransformerBlock": "nextword.model",
    "ablate_head": "nextword.inspection.edits",
    "ablate_layer": "nextword.inspection.edits",
    "ablate_map": "nextword.inspection.sweep",
    "ablate_mlp": "nextword.inspection.edits",
    "add": "nextword.inspection.edits",
    "at": "nextword.inspection.edits",
    "clamp": "nextword.inspection.edits",
    "compare": "nextword.inspection.compare",
    "fit_lens": "nextword.inspection.lens_fitting",
    "generate": "nextword.language_model",
    "load": "nextword.loading",
    "patch": "nextword.inspection.patching",
    "patch_map": "nextword.inspection.sweep",
    "project_onto": "nextword.inspection.edits",
    "project_out": "nextword.inspection.edits",
    "scale": "nextword.inspection.edits",
    "set_value": "nextword.inspection.edits",
    "swap_embedding": "nextword.inspection.edits",
    "train": "nextword.training",
}

_EXTRAS = {
    "nextword.inspection.lens_fitting": "torch",
    "nextword.model": "torch",
    "nextword.training": "train",
}
"""What brings torch to those that take it."""

__all__ = [
    "ConfigError",
    "ContextOverflowError",
    "Edit",
    "FittedLens",
    "GPTConfig",
    "GPTModel",
    "Generation",
    "LanguageModel",
    "ModelFileError",
    "NextwordError",
    "Prediction",
    "Record",
    "Sampling",
    "TextError",
    "Tokenizer",
    "Trace",
    "TrainingRun",
    "TransformerBlock",
    "__version__",
    "ablate_head",
    "ablate_layer",
    "ablate_map",
    "ablate_mlp",
    "add",
    "at",
    "clamp",
    "compare",
    "fit_lens",
    "generate",
    "load",
    "patch",
    "patch_map",
    "project_onto",
    "project_out",
    "scale",
    "set_value",
    "swap_embedding",
    "train",
]

if TYPE_CHECKING:
    from nextword.config import GPTConfig
    from nextword.errors import ConfigError, ContextOverflowError, ModelFileError, NextwordError, TextError
    from nextword.generation import Generation, Prediction, Sampling
    from nextword.inspection.compare import compare
    from nextword.inspection.edits import (
        Edit,
        ablate_head,
        ablate_layer,
        ablate_mlp,
        add,
        at,
        clamp,
        project_onto,
        project_out,
        scale,
        set_value,
        swap_embedding,
    )
    from nextword.inspection.fitted_lens import FittedLens
    from nextword.inspection.lens_fitting import fit_lens
    from nextword.inspection.patching import patch
    from nextword.inspection.record import Record
    from nextword.inspection.sweep import ablate_map, patch_map
    from nextword.inspection.trace import Trace
    from nextword.language_model import LanguageModel, generate
    from nextword.loading import load
    from nextword.model import GPTModel, TransformerBlock
    from nextword.tokens import Tokenizer
    from nextword.training import TrainingRun, train

if "torch" not in sys.modules and find_spec("torch") is None:  # `from nextword import *` brings what there is
    __all__ = [name for name in __all__ if _HOMES.get(name) not in _EXTRAS]

limit_openmp_threads()


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'nextword' has no attribute {name!r}")
    home = _HOMES[name]
    if home in _EXTRAS:
        from nextword.errors import require_packages

        require_packages(f"nextword.{name}", _EXTRAS[home], "torch")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

"""The settings of nextword: their names, what they mean, their defaults and ranges, each said once.

The docstring below a field is what the command line's help and the reference say of it, so it stands in words that both
Python and the shell have. The hints are types, not texts (nowhere here `from __future__ import annotations`): classes
of the command line inherit the fields, and Cyclopts reads a hint where the class stands.
"""

from typing import Any, cast

from nextword.settings.base import FieldDocs, Settings, takes_settings
from nextword.settings.generation import GenerationKeywords, GenerationSettings, SamplingKeywords, SamplingSettings
from nextword.settings.loading import BaseLoadingSettings, LoadingKeywords, LoadingSettings
from nextword.settings.server import SAMPLING_FIELDS, ServerSettings
from nextword.settings.training import TrainingKeywords, TrainingSettings
from nextword.settings.words import (
    OLD_PRECISIONS,
    Activations,
    Backends,
    CacheFormat,
    OptimizerName,
    Overflow,
    Precision,
    Strategy,
)

__all__ = [
    "OLD_PRECISIONS",
    "SAMPLING_FIELDS",
    "Activations",
    "Backends",
    "BaseLoadingSettings",
    "CacheFormat",
    "GenerationKeywords",
    "GenerationSettings",
    "LoadingKeywords",
    "LoadingSettings",
    "OptimizerName",
    "Overflow",
    "Precision",
    "SamplingKeywords",
    "SamplingSettings",
    "ServerSettings",
    "Settings",
    "Strategy",
    "TrainingKeywords",
    "TrainingSettings",
    "takes_settings",
]

for _kind in (GenerationSettings, LoadingSettings, SamplingSettings, ServerSettings, TrainingSettings):
    cast(Any, _kind).__doc__ = FieldDocs(_kind)

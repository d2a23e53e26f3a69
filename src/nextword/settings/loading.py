"""How a model is loaded, and where it runs."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from nextword.arguments import Device
from nextword.settings.base import Settings
from nextword.settings.words import Activations, Backends, CacheFormat, Precision


@dataclass(frozen=True, kw_only=True)
class BaseLoadingSettings(Settings):
    """Where a model runs, and what its weights are held as."""

    device: Device = "auto"
    """auto, cpu, cuda or mps; the latter two with torch."""
    precision: Precision = "auto"
    """What weights are rounded to; auto leaves them as the file has them."""
    activations: Activations | None = None
    """What quantised weights meet: int16 (if left out; float32 with torch), int8, which reads prompts faster and errs a
    hundred times as much, or float32. Weights that are floats meet float32."""
    cache: CacheFormat | None = None
    """What keys and values of a text are kept as: float32, or float16 and int8, which take half and a quarter of the
    memory, write faster deep in a long text, and are not exact. If left out, float16 where quantised weights meet
    rounded activations, else float32. Of the native backend."""


@dataclass(frozen=True, kw_only=True)
class LoadingSettings(BaseLoadingSettings):
    """How a model is loaded.

    Raises:
        ConfigError: A setting is of another type, or there is no such precision.
    """

    backend: Backends = "auto"
    """native (fast, on the CPU, without torch), torch, or auto: native where it was built and neither another device
    nor a dtype is asked for."""
    dtype: str | None = None
    """What torch computes in: float32 if left out, float64, bfloat16 or float16."""
    threads: int | None = None
    """Of the native backend; one for each performance core, or NEXTWORD_THREADS, if left out."""
    revision: str | None = None
    """A branch, tag or commit of the hub."""
    draft: str | Path | None = None
    """A smaller model with the same tokenizer, which guesses ahead while text is written; the text stays the same."""


class LoadingKeywords(TypedDict, total=False):
    """`LoadingSettings` as `**settings`, for editors and type checkers."""

    device: Device
    precision: Precision
    activations: Activations | None
    cache: CacheFormat | None
    backend: Backends
    dtype: str | None
    threads: int | None
    revision: str | None
    draft: str | Path | None

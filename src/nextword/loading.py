"""load: a model from wherever it lies, on the backend that runs it fastest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Unpack

from nextword.arguments import checked
from nextword.config import GPTConfig
from nextword.engine import is_built
from nextword.engine.weights import FORMATS
from nextword.errors import ConfigError, require_packages
from nextword.files import read_model, resolve_model
from nextword.files.mapped import release_pages
from nextword.files.precision import cast_matrices, computable, requantization_note
from nextword.files.sources.resolving import SHIPPED_MODEL
from nextword.files.tensors import DequantizedTensors, RawTensor
from nextword.generation import Backend
from nextword.language_model import LanguageModel
from nextword.settings import Activations, Backends, CacheFormat, LoadingKeywords, LoadingSettings, takes_settings

if TYPE_CHECKING:
    from nextword.engine.backend import NativeBackend

DEFAULT_MODEL = SHIPPED_MODEL


@checked
@takes_settings(LoadingSettings)
def load(source: str | Path | None = None, **settings: Unpack[LoadingKeywords]) -> LanguageModel:
    """Loads a model.

    `precision="auto"` leaves weights as the file has them; others round them, to float32, float16, bfloat16 or ggml's
    blocks (`q8_0` of 8 bits to `q4_0` of 4: the mixes that `export` writes). Torch unpacks all blocks, and the native
    backend rounds rare ones (IQ2_XXS, MXFP4, ...) again, to Q8_0: `backend.reason` says so, which activations
    blocks meet, and what keys and values are kept as where that is not float32.

    Args:
        source: A model directory (nextword's, or any of Hugging Face's layout), a .gguf file, a name that
            `nextword pull` fetched, or a hub id (`org/name`, `org/name@revision`); None, or `nextword`, is the model
            that ships with the package.
        **settings: How; `LoadingSettings` says what each means.

    Raises:
        ModelFileError: It does not exist, its files are damaged or unsupported, the hub cannot be reached, or a weight
            is too large for float16.
        ConfigError: The backend, device, dtype, precision, kind of activations or of cache is not available.
    """
    requested = LoadingSettings(**settings)
    choice = choose_backend(
        requested.backend, requested.device, requested.dtype, requested.activations, requested.cache
    )
    path = resolve_model(DEFAULT_MODEL if source is None else source, revision=requested.revision)
    bundle = read_model(path)
    tensors = cast_matrices(bundle.tensors, requested.precision)
    choice = choice.with_weights(tensors)
    run: Backend
    if choice.name == "native":
        run = native_backend(bundle.config, tensors, choice, requested.threads)
        release_pages(tensor.data for tensor in bundle.tensors.values())  # what is multiplied has been copied
    else:
        require_packages("running a model without the native backend", "torch", "torch")
        from nextword.model import TorchBackend

        run = TorchBackend.from_stored(
            bundle.config,
            DequantizedTensors(tensors),
            device=requested.device,
            dtype=requested.dtype,
            reason=choice.reason,
        )
    return LanguageModel(
        run,
        bundle.tokenizer,
        provenance=bundle.provenance,
        card=bundle.card,
        chat_template=bundle.chat_template,
        recommended=bundle.generation,
        notes=bundle.notes,
        tensors=tensors if choice.name == "native" else None,
        # On one thread: a second one would wait where the model's own threads look for work.
        draft=None if requested.draft is None else load(requested.draft, backend="native", threads=1),
    )


def native_backend(
    config: GPTConfig, tensors: Mapping[str, RawTensor], choice: Choice, threads: int | None = None
) -> NativeBackend:
    """The native backend as it was chosen for these weights."""
    from nextword.engine.backend import NativeBackend

    return NativeBackend(
        config,
        computable(tensors, FORMATS),
        choice.reason,
        threads=threads,
        activations=choice.activations,
        cache_format=choice.cache or "float32",
    )


@dataclass(frozen=True)
class Choice:
    """A backend, and why it is taken."""

    name: Literal["native", "torch"]
    reason: str
    activations: Activations = "float32"
    """What quantised weights meet."""
    cache: CacheFormat | None = None
    """What keys and values are kept as; None where the weights decide."""

    def with_weights(self, tensors: Mapping[str, RawTensor]) -> Choice:
        """The same choice, what was left to the weights decided.

        Its reason also says what quantised weights meet, which are not taken as they lie, and what the cache holds.
        Where activations are rounded, keys and values in float16 move logits about as little.
        """
        cache = self.cache or "float32"
        if any(tensor.is_quantized for tensor in tensors.values()):
            meet = f"blocks meet {self.activations} activations"
            notes = [requantization_note(tensors, FORMATS), meet] if self.name == "native" else ["blocks are unpacked"]
            if self.cache is None and self.activations != "float32":
                cache = "float16"
        else:
            notes = ["there are no blocks for int8 activations"] if self.activations == "int8" else []
        if cache != "float32":
            notes.append(f"keys and values are kept as {cache}")
        return replace(self, cache=cache, reason="; ".join([self.reason, *filter(None, notes)]))

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


@checked
def choose_backend(
    backend: Backends = "auto",
    device: str = "auto",
    dtype: str | None = None,
    activations: Activations | None = None,
    cache: CacheFormat | None = None,
) -> Choice:
    """The backend that `load` takes.

    Raises:
        ConfigError: There is no such backend, it cannot do what else was asked for, or it was not built.
    """
    obstacle = ""
    if device not in ("auto", "cpu"):
        obstacle = f"device {device} was asked for"
    elif dtype is not None:
        obstacle = f"dtype {dtype} was asked for"
    elif not is_built():
        obstacle = "the native backend was not built, for want of a C++ compiler when nextword was installed"
    if backend == "native" and obstacle:
        raise ConfigError(f"backend native cannot be used: {obstacle}", hint='backend="torch" can')
    reason = "asked for" if backend != "auto" else obstacle or "the fastest on a CPU"
    if backend == "torch" or (backend == "auto" and obstacle):
        if activations not in (None, "float32"):
            raise ConfigError(
                f"activations is {activations!r}, which the torch backend does not compute with ({reason})",
                hint='leave out activations=..., or say "float32"',
            )
        if cache not in (None, "float32"):
            raise ConfigError(
                f"cache is {cache!r}, which the torch backend does not keep ({reason})",
                hint='leave out cache=..., or say "float32"',
            )
        return Choice("torch", reason)
    return Choice("native", reason, "int16" if activations is None else activations, cache)

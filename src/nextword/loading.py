"""load: a model from wherever it lies, on the backend that runs it fastest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from nextword.arguments import Device, checked
from nextword.engine import is_built
from nextword.engine.weights import FORMATS
from nextword.errors import ConfigError, require_packages
from nextword.files import read_model, resolve_model
from nextword.files.precision import cast_matrices, computable, requantization_note
from nextword.files.sources.resolving import SHIPPED_MODEL
from nextword.files.tensors import DequantizedTensors, RawTensor
from nextword.generation import Backend
from nextword.language_model import LanguageModel
from nextword.settings import Precision

DEFAULT_MODEL = SHIPPED_MODEL
Backends = Literal["auto", "native", "torch"]


@checked
def load(
    source: str | Path | None = None,
    *,
    backend: Backends = "auto",
    device: Device = "auto",
    dtype: str | None = None,
    precision: Precision = "auto",
    threads: int | None = None,
    revision: str | None = None,
) -> LanguageModel:
    """Loads a model.

    Args:
        source: A model directory (nextword's, or any of Hugging Face's layout), a .gguf file, a name that
            `nextword pull` fetched, or a hub id (`org/name`, `org/name@revision`); None, or `nextword`, is the model
            that ships with the package.
        backend: `native` (fast, on the CPU, without torch), `torch`, or `auto`: native where it was built and neither
            another device nor a dtype is asked for.
        device: `auto`, `cpu`, `cuda` or `mps`; the latter two with torch.
        dtype: Precision that torch computes in (float32 by default, bfloat16, float16, float64).
        precision: What the weights are rounded to: `f32`, `bf16`, `q8` (8-bit blocks, Q8_0) or `q4` (4-bit blocks,
            Q4_1; rows that are no whole blocks of 32 stay); `auto` leaves them as the file has them, except that the
            native backend rounds blocks of other kinds than Q8_0, Q4_0 and Q4_1 (such as the K-quants of GGUF files)
            again, to Q8_0, and torch unpacks all blocks: `backend.reason` says so. Activations are float32 in any case.
        threads: Of the native backend; None is one for each physical core, or NEXTWORD_THREADS.
        revision: A branch, tag or commit of the hub.

    Raises:
        ModelFileError: It does not exist, its files are damaged or unsupported, or the hub cannot be reached.
        ConfigError: The backend, device, dtype or precision is not available.
    """
    choice = choose_backend(backend, device, dtype)
    path = resolve_model(DEFAULT_MODEL if source is None else source, revision=revision)
    bundle = read_model(path)
    tensors = cast_matrices(bundle.tensors, precision)
    run: Backend
    if choice.name == "native":
        from nextword.engine.backend import NativeBackend

        run = NativeBackend(
            bundle.config, computable(tensors, FORMATS), choice.with_weights(tensors).reason, threads=threads
        )
    else:
        require_packages("running a model without the native backend", "torch", "torch")
        from nextword.model import TorchBackend

        run = TorchBackend.from_stored(
            bundle.config,
            DequantizedTensors(tensors),
            device=device,
            dtype=dtype,
            reason=choice.with_weights(tensors).reason,
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
    )


@dataclass(frozen=True)
class Choice:
    """A backend, and why it is taken."""

    name: Literal["native", "torch"]
    reason: str

    def with_weights(self, tensors: Mapping[str, RawTensor]) -> Choice:
        """The same choice; its reason also says how weights are computed with that are not taken as they lie."""
        if self.name == "native":
            change = requantization_note(tensors, FORMATS)
        else:
            change = "blocks are unpacked" if any(tensor.is_quantized for tensor in tensors.values()) else ""
        return replace(self, reason=f"{self.reason}; {change}") if change else self

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


@checked
def choose_backend(backend: Backends = "auto", device: str = "auto", dtype: str | None = None) -> Choice:
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
    if backend == "auto":
        return Choice("torch", obstacle) if obstacle else Choice("native", "the fastest on a CPU")
    return Choice("native" if backend == "native" else "torch", "asked for")

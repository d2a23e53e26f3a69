"""Lenses that were fitted: what is done to a row of the residual stream before the final norm and the head read it.

Reading through one takes NumPy and the backend's `unembed`, and no torch; `lens_fitting` fits them.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from nextword.arguments import Destination, checked
from nextword.config import GPTConfig
from nextword.errors import ConfigError, ModelFileError
from nextword.files.atomic import replace_file
from nextword.files.safetensors import read_safetensors, write_safetensors
from nextword.files.tensors import RawTensor
from nextword.generation.backend import Backend

LensKind = Literal["tuned", "jacobian"]
FORMAT_VERSION = 1
_PROBE_TOKENS = 16
_PROBE_LOGITS = 64

Array = NDArray[Any]


@dataclass(frozen=True, eq=False, repr=False)
class FittedLens:
    """An affine map for each row of the residual stream but the last.

    Row `r` is read as `h + h @ weights[r].T + biases[r]`. All zeros is the logit lens. The last row, which is the
    model's own prediction, is never changed.
    """

    kind: LensKind
    """`tuned` or `jacobian`; see `nextword.inspection.lens_fitting.fit_lens`."""
    config: GPTConfig
    """Of the model that it is for."""
    weights: Array
    """The maps less the identity: [L, D, D], float32."""
    biases: Array
    """[L, D], float32; of a Jacobian lens, zeros."""
    probe: Array
    """Some of the model's logits at a text of its own, by which it is told from others: [16 or fewer, 64 or fewer]."""
    tokens: int
    """Tokens that it was fitted on."""
    held_out_tokens: int
    """Tokens that it was measured on, which it was not fitted on."""
    kl_before: Array
    """What each row of the logit lens lacks there of the model's prediction, mean KL(final || row) in nats: [L]."""
    kl_after: Array
    """The same through this lens: [L]."""
    complete: bool = True
    """Whether the fit was not interrupted."""

    def translate(self, row: int, rows_PD: Array) -> Array:
        """What the final norm and the head are given for row `row` (0 to L) of the stream: [P, D] -> [P, D]."""
        if row == self.config.num_layers:
            return rows_PD
        translated_PD: Array = rows_PD + (rows_PD @ self.weights[row].T + self.biases[row])
        return translated_PD

    def check_model(self, backend: Backend) -> None:
        """Whether this lens is for the weights that a backend runs.

        Rounding apart: it may be another backend, and a wider or narrower precision of it.

        Raises:
            ConfigError: It was fitted for another model, or the weights were changed since.
        """
        if backend.config != self.config:
            raise ConfigError(
                "this lens was fitted for another model", hint="nextword lens-fit fits one for this model"
            )
        now = probe_logits(backend)
        gap, largest = float(np.abs(now - self.probe).max()), float(np.abs(self.probe).max())
        bound = max(4 * backend.eps, 2**-14) * largest
        if not gap <= bound:
            raise ConfigError(
                f"this lens was fitted for other weights: logits differ by {gap:.2g} (rounding explains {bound:.2g})",
                hint="nextword lens-fit fits one for the weights as they are now",
            )

    def rounded(self) -> FittedLens:
        """With maps in half precision, as `save(half=True)` stores them."""
        return replace(self, weights=_half(self.weights), biases=_half(self.biases))

    @checked
    def save(self, path: Destination, *, half: bool = False) -> Path:
        """Writes a safetensors file, whole or not at all.

        Args:
            path: The file.
            half: The maps are rounded to float16, which halves it.

        Raises:
            ModelFileError: It cannot be written.
        """
        kind = "F16" if half else "F32"
        tensors = {
            "weights": _raw("weights", kind, self.weights),
            "biases": _raw("biases", kind, self.biases),
            "probe": _raw("probe", "F32", self.probe),
            "kl_before": _raw("kl_before", "F64", self.kl_before),
            "kl_after": _raw("kl_after", "F64", self.kl_after),
        }
        about = {
            "format_version": FORMAT_VERSION,
            "kind": self.kind,
            "config": self.config.to_dict(),
            "tokens": self.tokens,
            "held_out_tokens": self.held_out_tokens,
            "complete": self.complete,
        }
        with replace_file(Path(path)) as fresh:
            write_safetensors(fresh, tensors, {"nextword.lens": json.dumps(about)})
        return Path(path)

    @classmethod
    @checked
    def load(cls, path: str | Path) -> FittedLens:
        """Reads what `save` wrote.

        Raises:
            ModelFileError: It is missing, damaged, or no lens.
        """
        path = Path(path)
        raw = read_safetensors(path)
        with safe_open(str(path), "numpy") as file:
            metadata = file.metadata() or {}
        try:
            about = json.loads(metadata["nextword.lens"])
            if about["format_version"] != FORMAT_VERSION:
                raise ModelFileError(
                    f"{path}: format_version is {about['format_version']!r}, this nextword reads {FORMAT_VERSION}"
                )
            config = GPTConfig.from_dict(about["config"])
            kind = about["kind"]
            if kind not in get_args(LensKind):
                raise ValueError(f"there is no lens {kind!r}")
            L, D = config.num_layers, config.d_model
            weights, biases = raw["weights"].values(), raw["biases"].values()
            probe = raw["probe"].values()
            kl_before, kl_after = (raw[name].bits().astype(np.float64) for name in ("kl_before", "kl_after"))
            shapes = [one.shape for one in (weights, biases, probe, kl_before, kl_after)]
            if shapes != [(L, D, D), (L, D), _probe_shape(config), (L,), (L,)]:
                raise ValueError("its arrays do not fit its config")
            if not (np.isfinite(weights).all() and np.isfinite(biases).all()):
                raise ValueError("it holds what is no number")
            tokens, held_out = int(about["tokens"]), int(about["held_out_tokens"])
            complete = bool(about["complete"])
        except (KeyError, TypeError, ValueError, ConfigError) as error:
            raise ModelFileError(f"{path} is damaged or no lens: {error}") from None
        return cls(kind, config, weights, biases, probe, tokens, held_out, kl_before, kl_after, complete)

    def to_json(self) -> dict[str, Any]:
        """What it is and what was measured, without the maps."""
        return {
            "kind": self.kind,
            "tokens": self.tokens,
            "held_out_tokens": self.held_out_tokens,
            "complete": self.complete,
            "kl_before": self.kl_before.tolist(),
            "kl_after": self.kl_after.tolist(),
        }

    def __repr__(self) -> str:
        before, after = float(self.kl_before.mean()), float(self.kl_after.mean())
        return (
            f"<FittedLens: {self.kind}, {self.config.num_layers} rows, fitted on {self.tokens:,} tokens; "
            f"mean KL on {self.held_out_tokens:,} others {after:.3f} nats, logit lens {before:.3f}>"
        )


def probe_logits(backend: Backend) -> Array:
    """Some logits at the first tokens of the vocabulary, which tell one model's weights from another's, float32."""
    config = backend.config
    T, S = _probe_shape(config)
    ids = [(7919 * place + 1) % config.vocab_size for place in range(T)]
    [logits_TV] = backend.forward([ids], [backend.new_cache(T)], "all")
    columns = np.arange(S) * config.vocab_size // S
    return np.ascontiguousarray(logits_TV[:, columns], np.float32)


def default_lens_path(model: Path, kind: LensKind) -> Path:
    """Where a model's lens lies: in the folder `lens` of its directory, or in one beside its file.

    Not among the weights: what is in the directory itself is what the model is verified by.
    """
    folder = model / "lens" if model.is_dir() else model.with_name(f"{model.stem}.lens")
    return folder / f"{kind}.safetensors"


def _probe_shape(config: GPTConfig) -> tuple[int, int]:
    return min(_PROBE_TOKENS, config.context_length), min(_PROBE_LOGITS, config.vocab_size)


def _half(values: Array) -> Array:
    return values.astype(np.float16).astype(np.float32)


def _raw(name: str, kind: str, values: Array) -> RawTensor:
    dtype = {"F16": "<f2", "F32": "<f4", "F64": "<f8"}[kind]
    data = np.ascontiguousarray(values, dtype)
    if not math.isfinite(float(np.abs(data).max(initial=0))):
        raise ModelFileError(f"the lens's {name} are too large for {kind}", hint="save it without half=True")
    return RawTensor.from_bits(name, kind, data)

"""What `nextword verify` measured, kept beside the model it was measured on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nextword.errors import ModelFileError
from nextword.files.atomic import replace_file
from nextword.json_file import json_text, read_json
from nextword.settings import OLD_PRECISIONS

TOLERANCE = 5e-5
"""How far float32 logits may lie apart, as a share of the largest one (or of 1, if that is more)."""

INT16 = "native, int16 activations"
"""The engine as it is loaded where weights are quantised: keys and values are in float16 then."""
INT16_TOLERANCE = 2e-3
"""How far its logits may lie apart: activations are rounded by 1/32,766 of the largest of 32, in every product, keys
and values by 1/2,048 of themselves."""

_ENDS = 1 << 20
"""Bytes at either end of a weight file that the fingerprint takes in: tells files apart, quick for large ones."""


@dataclass(frozen=True)
class Comparison:
    """One prompt in one precision, held against one other program. Errors are absolute differences."""

    against: str
    precision: str
    """float32, float64, `native` (the engine, in float32) or INT16; `8-bit activations` is llama.cpp on a file of
    blocks."""
    prompt: str
    tokens: int
    same_tokens: bool
    """Whether the other program cuts the text into the same tokens."""
    residual: tuple[float, ...]
    """Largest error of the residual stream before each block, then of the final norm's output; empty if not shown."""
    largest_residual: tuple[float, ...]
    """The largest value at each of these places."""
    logits_max: float
    logits_mean: float
    largest_logit: float
    top1: float
    """Share of positions at which both expect the same next token."""

    @property
    def tolerance(self) -> float:
        """How far its logits may lie apart, as a share of the largest one (or of 1, if that is more)."""
        return INT16_TOLERANCE if self.precision == INT16 else TOLERANCE

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Comparison:
        """What `Verification.to_json` wrote of it.

        Raises:
            KeyError, TypeError, ValueError, OverflowError: Something is missing or of the wrong kind.
        """
        fields: dict[str, Any] = {name: str(values[name]) for name in ("against", "precision", "prompt")}
        fields |= {name: tuple(map(float, values[name])) for name in ("residual", "largest_residual")}
        fields |= {name: float(values[name]) for name in ("logits_max", "logits_mean", "largest_logit", "top1")}
        if len(fields["residual"]) != len(fields["largest_residual"]):
            raise ValueError("residual and largest_residual are not equally long")
        return cls(**fields, tokens=int(values["tokens"]), same_tokens=values["same_tokens"] is True)


@dataclass(frozen=True)
class Rounding:
    """What rounding the weights costs, on the native engine."""

    precision: str
    """As `nextword.load` takes it; files written before have words of before."""
    tokens: int
    size: float
    """Of the weights, as a share of the file's."""
    divergence: float
    """Mean Kullback-Leibler divergence from the model's own predictions, nats a token."""
    top1: float
    """Share of positions with the same most probable token."""

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Rounding:
        """What `Verification.to_json` wrote of it.

        Raises:
            KeyError, TypeError, ValueError, OverflowError: Something is missing or of the wrong kind.
        """
        numbers = {name: float(values[name]) for name in ("size", "divergence", "top1")}
        precision = str(values["precision"])
        return cls(OLD_PRECISIONS.get(precision, precision), int(values["tokens"]), **numbers)


@dataclass(frozen=True)
class Bits:
    """SHA-256 of what the native engine, as `nextword.load` sets it up, made of some texts."""

    tokens: int
    """How many were written, always the most probable one."""
    text: str
    """Hash of the tokens, one text behind the other, as 32-bit numbers."""
    logits: str
    """Hash of every logit, of the texts' beginnings too, as the bytes of float32."""

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Bits:
        """What `Verification.to_json` wrote of it.

        Raises:
            KeyError, TypeError, ValueError, OverflowError: Something is missing or of the wrong kind.
        """
        return cls(int(values["tokens"]), str(values["text"]), str(values["logits"]))


@dataclass(frozen=True)
class Verification:
    """Every comparison of a model."""

    versions: dict[str, str]
    comparisons: tuple[Comparison, ...]
    left_out: str = ""
    """Why the model was not held against llama.cpp, though that is installed."""
    roundings: tuple[Rounding, ...] = ()
    bits: Bits | None = None
    """Where the native engine was built."""

    @property
    def worst(self) -> Comparison:
        """The float32 comparison with transformers whose logits lie furthest apart, for their size."""
        rows = [row for row in self.comparisons if (row.against, row.precision) == ("transformers", "float32")]
        return max(rows, key=lambda row: row.logits_max / max(1.0, row.largest_logit))

    @property
    def equal(self) -> bool:
        """Whether tokens are the same and logits equal up to float32's rounding."""
        exact = [row for row in self.comparisons if row.against == "transformers"]
        near = all(row.logits_max <= row.tolerance * max(1.0, row.largest_logit) for row in exact)
        return bool(exact) and near and all(row.same_tokens for row in exact)

    @classmethod
    def from_json(cls, values: Mapping[str, Any], source: str) -> Verification:
        """What `to_json` wrote.

        Raises:
            ModelFileError: Something is missing or of the wrong kind.
        """
        try:
            rows = tuple(Comparison.from_json(row) for row in values["comparisons"])
            versions = {str(name): str(version) for name, version in values["versions"].items()}
            roundings = tuple(Rounding.from_json(row) for row in values.get("roundings", ()))
            bits = Bits.from_json(values["bits"]) if values.get("bits") is not None else None
            return cls(versions, rows, str(values["left_out"]), roundings, bits)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise ModelFileError(
                f"{source} is damaged: {type(error).__name__} {error}", hint="measure again: nextword verify"
            ) from None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "equal": self.equal,
            "versions": self.versions,
            "left_out": self.left_out,
            "comparisons": [asdict(row) for row in self.comparisons],
            "roundings": [asdict(row) for row in self.roundings],
            "bits": None if self.bits is None else asdict(self.bits),
        }


def write_verification(model: Path, measured: Verification) -> Path:
    """Keeps a measurement beside the model; the file's path.

    Raises:
        ModelFileError: It cannot be written there.
    """
    file = verification_file(model)
    values = {"fingerprint": fingerprint(model), **measured.to_json()}
    with replace_file(file) as fresh:
        fresh.write_text(json_text(values, indent=2) + "\n", encoding="utf-8")
    return file


def read_verification(model: Path) -> Verification | None:
    """The measurement kept beside a model; None if there is none, or if the weights have changed since.

    Raises:
        ModelFileError: The file is damaged.
    """
    file = verification_file(model)
    if not file.exists():
        return None
    values = read_json(file)
    return Verification.from_json(values, str(file)) if values.get("fingerprint") == fingerprint(model) else None


def verification_file(model: Path) -> Path:
    """`verification.json` in a model directory, `NAME.gguf.verification.json` beside a file."""
    return model / "verification.json" if model.is_dir() else model.with_name(f"{model.name}.verification.json")


def fingerprint(model: Path) -> str:
    """A hash of the sizes of the weight files and of their first and last mebibyte.

    Raises:
        ModelFileError: A file cannot be read.
    """
    files = sorted(model.glob("*.safetensors")) + sorted(model.glob("*.gguf")) if model.is_dir() else [model]
    digest = hashlib.sha256()
    try:
        for file in files:
            size = file.stat().st_size
            digest.update(f"{file.name} {size} ".encode())
            with file.open("rb") as stream:
                digest.update(stream.read(_ENDS))
                stream.seek(max(0, size - _ENDS))
                digest.update(stream.read(_ENDS))
    except OSError as error:
        raise ModelFileError(f"{model} cannot be read: {error.strerror or error}") from None
    return digest.hexdigest()

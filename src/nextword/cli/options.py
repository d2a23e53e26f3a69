"""What several commands share: flags, the text argument, JSON output."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from nextword.errors import TextError
from nextword.json_file import json_text

Text = Annotated[str, Parameter(allow_leading_hyphen=True, help="The text to continue; `-` reads standard input.")]
_MODEL = "A model directory, a .gguf file, a pulled name or a hub id; the default model if left out."
Model = Annotated[str | None, Parameter(name=["--model", "-m"], help=_MODEL)]
ModelArgument = Annotated[str | None, Parameter(help=_MODEL)]
Device = Annotated[str, Parameter(help="auto, cpu, cuda or mps.")]
Flag = Annotated[bool, Parameter(negative="")]
Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON, for scripts.")]
Overflow = Annotated[
    str, Parameter(help="A text longer than the context: slide looks at its newest part, stop refuses it.")
]


@Parameter(name="*")
@dataclass(frozen=True)
class SamplingFlags:
    """How the next token is chosen."""

    temperature: float = 0.8
    """Below 1 sharpens, above 1 flattens; 0 always takes the most probable token."""
    top_k: int | None = None
    """Only the k most probable tokens."""
    top_p: float = 0.95
    """Only the most probable tokens that together reach this probability."""
    min_p: float = 0.0
    """Only tokens at least this share as probable as the best one."""
    repetition_penalty: float = 1.0
    """Above 1 makes tokens that are already in the text less probable."""


def model_path(model: str | None) -> Path:
    """Where a model lies; a hub id is fetched first.

    Raises:
        ModelFileError: There is no such model.
    """
    from nextword.files import resolve_model
    from nextword.loading import DEFAULT_MODEL

    return resolve_model(DEFAULT_MODEL if model is None else model)


def read_text(text: str) -> str:
    """The text argument, or standard input for `-`.

    Raises:
        TextError: Standard input is not UTF-8.
    """
    if text != "-":
        return text
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TextError(f"standard input is not UTF-8: {error.reason} at byte {error.start}") from None


def print_json(values: Any) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(json_text(values, indent=2) + "\n")

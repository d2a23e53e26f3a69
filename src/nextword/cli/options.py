"""What several commands share: flags, the text argument, JSON output."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast, get_args

from cyclopts import Parameter, Token

from nextword.cli.streams import writes_any_character
from nextword.errors import ConfigError, TextError
from nextword.formatting import pluralize
from nextword.json_file import json_text
from nextword.settings import (
    OLD_PRECISIONS,
    BaseLoadingSettings,
    GenerationSettings,
    Precision,
    SamplingKeywords,
    SamplingSettings,
)

Text = Annotated[str, Parameter(allow_leading_hyphen=True, help="The text to continue; `-` reads standard input.")]
_MODEL = "A model directory, a .gguf file, a pulled name or a hub id; `nextword`, which ships, if left out."
Model = Annotated[str | None, Parameter(name=["--model", "-m"], help=_MODEL)]
ModelArgument = Annotated[str | None, Parameter(name=["--model", "-m"], help=_MODEL)]
Flag = Annotated[bool, Parameter(negative="")]
Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON, for scripts.")]
Overflow = Annotated[
    str, Parameter(help="A text longer than the context: slide looks at its newest part, stop refuses it.")
]


LogitBias = Annotated[tuple[str, ...], Parameter(negative="", show_default=False, allow_leading_hyphen=True)]
_WRITING = GenerationSettings()


def read_precision(kind: object, tokens: Sequence[Token]) -> str:
    """A precision in any case; what was called otherwise before gets a note.

    Raises:
        ValueError: There is no such precision.
    """
    flag, given = tokens[0].keyword, tokens[0].value.lower()
    word = OLD_PRECISIONS.get(given, given)
    if word not in get_args(kind):
        raise ValueError
    if flag == "--dtype" or word != given:
        sys.stderr.write(f"note: {flag} {tokens[0].value} is --precision {word} now\n")
    return word


PrecisionFlag = Annotated[Precision, Parameter(converter=read_precision)]
OldDtype = Annotated[Precision | None, Parameter(name="--dtype", converter=read_precision, show=False)]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class LoadingFlags(BaseLoadingSettings):
    """Where to run, and what weights are rounded to."""

    precision: PrecisionFlag = "auto"


DEFAULT_LOADING = LoadingFlags()
"""A model as its file has it, where it runs best."""


@Parameter(name="*")
@dataclass(frozen=True)
class SamplingFlags(SamplingSettings):
    """How the next token is chosen."""

    temperature: float = _WRITING.temperature
    top_p: float = _WRITING.top_p
    logit_bias: LogitBias = ()  # type: ignore[assignment]  # spelled, as flags are
    """ID=VALUE adds to the logit of a token; may be given several times. tokenize shows a text's ids."""

    def settings(self) -> SamplingKeywords:
        """As Python's `generate` takes them.

        Raises:
            ConfigError: A bias is not spelled ID=VALUE.
        """
        biases: dict[int, float] = {}
        for spelling in self.logit_bias:
            match = re.fullmatch(r"(\d+)=([+-]?(?:\d+\.?\d*|\.\d+))", spelling, re.ASCII)
            if match is None:
                raise ConfigError(f"--logit-bias {spelling} is not ID=VALUE", hint="--logit-bias 262=-5")
            biases[int(match[1])] = float(match[2])
        return cast(SamplingKeywords, {**dict(self), "logit_bias": biases})


def model_path(model: str | None) -> Path:
    """Where a model lies; a hub id is fetched first.

    Raises:
        ModelFileError: There is no such model.
    """
    from nextword.files import resolve_model
    from nextword.files.sources.resolving import SHIPPED_MODEL

    return resolve_model(SHIPPED_MODEL if model is None else model)


def read_text(text: str) -> str:
    """The text argument, or standard input for `-`.

    Raises:
        TextError: Standard input is not UTF-8.
    """
    if text != "-":
        return typed_text(text)
    if sys.stdin.isatty():
        sys.stderr.write("note: the text is read from here; Ctrl-D on a line of its own ends it\n")
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TextError(
            f"standard input is not UTF-8: {error.reason} at byte {error.start}",
            hint="iconv -f CP949 -t UTF-8 (or from what else it is in) makes UTF-8 of it",
        ) from None


def typed_text(text: str) -> str:
    """A text out of the command line; bytes that the locale could not read, as ASCII cannot read Korean, are UTF-8."""
    if not re.search("[\udc80-\udcff]", text):
        return text
    try:
        return os.fsencode(text).decode("utf-8")
    except UnicodeError:  # neither: whoever encodes it says so
        return text


def note_dropped_tokens(count: int, of: str = "") -> None:
    """Says that the context is shorter than the text, where it is.

    Args:
        count: The tokens that the model does not see.
        of: Whose they are.
    """
    if count:
        sys.stderr.write(f"note: the model does not see the oldest {pluralize(count, 'tokens')}{of}\n")


def print_json(values: Any) -> None:
    """One JSON document on standard output; all in ASCII where the output's encoding lacks characters."""
    whole = writes_any_character(sys.stdout.encoding)
    sys.stdout.write((json_text(values, indent=2) if whole else json.dumps(values, indent=2)) + "\n")

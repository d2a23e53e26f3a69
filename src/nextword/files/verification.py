"""What `nextword verify` measured, kept beside the model it was measured on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nextword.errors import ModelFileError
from nextword.files.atomic import replace_file
from nextword.json_file import read_json

_ENDS = 1 << 20
"""Bytes at either end of a weight file that the fingerprint takes in: tells files apart, quick for large ones."""


def write_verification(model: Path, measured: Mapping[str, Any]) -> Path:
    """Keeps a measurement beside the model; the file's path.

    Raises:
        ModelFileError: It cannot be written there.
    """
    file = verification_file(model)
    values = {"fingerprint": fingerprint(model), **measured}
    with replace_file(file) as fresh:
        fresh.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return file


def read_verification(model: Path) -> dict[str, Any] | None:
    """The measurement kept beside a model; None if there is none, or if the weights have changed since.

    Raises:
        ModelFileError: The file is damaged.
    """
    file = verification_file(model)
    if not file.exists():
        return None
    values = read_json(file)
    return values if values.get("fingerprint") == fingerprint(model) else None


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

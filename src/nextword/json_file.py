"""JSON objects in files, and values as JSON."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from nextword.errors import ModelFileError
from nextword.text_file import read_text

_LONE = re.compile("[\ud800-\udfff]")


def json_text(value: Any, indent: int | None = None) -> str:
    """A value as JSON, letters of every script as they are; a lone surrogate, as file names have them, is escaped."""
    written = json.dumps(value, ensure_ascii=False, indent=indent)
    return _LONE.sub(lambda found: f"\\u{ord(found[0]):04x}", written)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        ModelFileError: The file is missing, or is not a JSON object.
    """
    try:
        value = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{path} cannot be read: {error}") from None
    if not isinstance(value, dict):
        raise ModelFileError(f"{path} should hold a JSON object, found {type(value).__name__}")
    return value


def read_json_if_there(path: Path) -> dict[str, Any]:
    """A JSON object from a file that may be missing: it is empty then.

    Raises:
        ModelFileError: The file is there, but is not a JSON object.
    """
    return read_json(path) if path.exists() else {}

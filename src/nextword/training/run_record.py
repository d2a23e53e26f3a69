"""The directory of a run, and the record in it: what it was begun with. Read without torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nextword.errors import ModelFileError
from nextword.files.atomic import replace_file
from nextword.json_file import read_json

FORMAT_VERSION = 1
SUFFIX = ".checkpoint"
RECORD = "run.json"
START_ANEW = "begin anew with --restart"
"""The hint of every error that says a run cannot go on."""


def checkpoint_path(out: Path) -> Path:
    """The run directory of a run that writes its model to `out`."""
    return out.with_name(out.name + SUFFIX)


def write_run(directory: Path, settings: Mapping[str, Any]) -> None:
    """Writes the settings of a run, plain JSON values, to OUT.checkpoint/run.json.

    Raises:
        ModelFileError: It cannot be written.
    """
    document = {"format_version": FORMAT_VERSION, "settings": dict(settings)}
    with replace_file(directory / RECORD) as fresh:
        fresh.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_run(directory: Path) -> dict[str, Any]:
    """The settings that `write_run` was given.

    Raises:
        ModelFileError: There are none, they are damaged, or a newer version of nextword wrote them.
    """
    path = directory / RECORD
    if not path.exists():
        raise ModelFileError(f"there is no checkpoint at {directory}", hint=START_ANEW)
    document = read_json(path)
    check_version(path, document)
    settings = document.get("settings")
    if not isinstance(settings, dict):
        raise ModelFileError(f"{path} is damaged: it has no settings", hint=START_ANEW)
    return settings


def check_version(path: Path, document: Mapping[str, Any]) -> None:
    """Refuses a file that a newer version of nextword wrote.

    Raises:
        ModelFileError: It is one.
    """
    version = document.get("format_version")
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise newer(path, f"format version {version}")


def newer(path: Path, what: str) -> ModelFileError:
    """The error that a file of a newer version is refused with."""
    return ModelFileError(f"{path} has {what}, which this version does not know", hint="update nextword")

"""Where a run lies on disk, and the record of what it was begun with. Read without torch.

OUT             the model, when the run has ended
OUT.checkpoint  what the run needs to go on: run.json, the text as tokens, the journal, the last steps; gone at its end
OUT.steps       with `snapshots`, the model as it was at some steps: whole model directories, which stay
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nextword.errors import ModelFileError
from nextword.files.atomic import replace_file
from nextword.json_file import json_text, read_json

FORMAT_VERSION = 1
SUFFIX = ".checkpoint"
STEPS_SUFFIX = ".steps"
_STEP = re.compile(r"step-(\d{8,})")
RECORD = "run.json"
START_ANEW = "begin anew with restart=True"
"""The hint of every error that says a run cannot go on."""


def checkpoint_path(out: Path) -> Path:
    """The run directory of a run that writes its model to `out`."""
    return out.with_name(out.name + SUFFIX)


def steps_path(out: Path) -> Path:
    """Where a run that writes its model to `out` keeps the model of some steps."""
    return out.with_name(out.name + STEPS_SUFFIX)


def step_path(directory: Path, step: int) -> Path:
    """The directory of a step."""
    return directory / f"step-{step:08}"


def steps_in(directory: Path) -> list[int]:
    """The steps in a directory, in ascending order, damaged ones among them; none where there is no directory.

    Raises:
        ModelFileError: It cannot be read.
    """
    try:
        found = [_STEP.fullmatch(path.name) for path in directory.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise ModelFileError(f"cannot read {directory}: {error.strerror}") from None
    return sorted(int(match[1]) for match in found if match)


def write_run(directory: Path, settings: Mapping[str, Any]) -> None:
    """Writes the settings of a run, plain JSON values, to OUT.checkpoint/run.json.

    Raises:
        ModelFileError: It cannot be written.
    """
    document = {"format_version": FORMAT_VERSION, "settings": dict(settings)}
    with replace_file(directory / RECORD) as fresh:
        fresh.write_text(json_text(document, indent=1) + "\n", encoding="utf-8")


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
        raise newer_version_error(path, f"format version {version}")


def newer_version_error(path: Path, what: str) -> ModelFileError:
    """The error that a file of a newer version is refused with."""
    return ModelFileError(f"{path} has {what}, which this version does not know", hint="update nextword")

"""What is read in a directory, and what is left out of it, with the reason."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from nextword.errors import TextError
from nextword.formatting import escape_surrogates
from nextword.training.run_directory import STEPS_SUFFIX, SUFFIX

_OUR_LOCK = re.compile(r"\..+\.lock")  # of a run, see training/run/lock.py: nobody wants to be told of it
_MODEL_SUFFIXES = (".safetensors", ".bin", ".gguf", ".pt", ".pth", ".index.json")
_NOT_PEOPLES = {
    "__MACOSX": "made by macOS",
    "@eaDir": "made by a Synology",
    "$RECYCLE.BIN": "thrown away",
    "System Volume Information": "made by Windows",
    "node_modules": "packages",
    "__pycache__": "compiled code",
}


@dataclass
class SourceReport:
    """What came of the sources of a text."""

    read: list[str] = field(default_factory=list)
    """The sources that were read, by name."""
    skipped: list[tuple[str, str]] = field(default_factory=list)
    """What was found and not read: name and reason."""

    def nothing(self) -> TextError:
        """The error for sources of which none holds text."""
        some = "; ".join(f"{name} {why}" for name, why in self.skipped[:3])
        return TextError("nothing that was found holds text", hint=some)

    def to_report(self) -> dict[str, Any]:
        """The fields that a report of a text has of it."""
        return {
            "files": tuple(self.read[:20]),
            "file_count": len(self.read),
            "skipped": tuple(self.skipped[:50]),
            "skipped_count": len(self.skipped),
        }


@dataclass
class Exclusion:
    """Patterns of what is not to be read; `*` stands for anything, as in a shell."""

    patterns: Sequence[str] = ()
    unused: set[str] = field(init=False)
    """Those that have meant nothing so far."""

    def __post_init__(self) -> None:
        self.unused = set(self.patterns)

    def matches(self, path: Path, within: str = "") -> bool:
        """Whether a pattern means this path, by its name, as it was given, or as it lies `within` a directory."""
        names = {path.name, path.as_posix(), within or path.name}
        meant = {
            one for one in self.patterns for name in names if fnmatch.fnmatchcase(name, PurePosixPath(one).as_posix())
        }
        self.unused -= meant
        return bool(meant)

    def left(self, path: Path, within: str) -> None:
        """Told of a directory that is not entered: what a pattern means below it is left out with it."""
        below = tuple(f"{name}/" for name in (path.name, path.as_posix(), within))
        self.unused -= {one for one in self.unused if PurePosixPath(one).as_posix().startswith(below)}


def files_below(
    root: Path, is_known: Callable[[str], bool], exclusion: Exclusion, skipped: list[tuple[str, str]]
) -> list[Path]:
    """The files in a directory, at any depth, whose names say that they hold text, in the order of their names.

    Left out is what is hidden, what nextword itself has written (models, runs), and what programs keep for themselves.

    Args:
        root: The directory, which may be hidden itself.
        is_known: Whether a file of this name holds text.
        exclusion: What is not wanted.
        skipped: Takes the names and reasons of what is left out.

    Raises:
        TextError: The directory is a model or a run, or cannot be read.
    """
    if reason := kind_of_directory(root):
        raise TextError(f"{root} is {reason}: no text to learn", hint="to start from a model: from_model=")
    files: list[Path] = []

    def unreadable(error: OSError) -> None:
        if Path(error.filename) == root:
            raise TextError(f"{root} cannot be read: {error.strerror}") from None
        leave(Path(error.filename), error.strerror or "unreadable")

    def leave(path: Path, reason: str) -> None:
        skipped.append((escape_surrogates(path), reason))

    def why_not(path: Path) -> str:
        excluded = exclusion.matches(path, path.relative_to(root).as_posix())  # asked of all: a pattern may mean it
        return "hidden" if path.name.startswith(".") else "excluded" if excluded else ""

    for place, below, names in os.walk(root, onerror=unreadable):
        directory, entered = Path(place), []
        for name in sorted(below):
            path = directory / name
            reason = why_not(path) or ("a link to a directory" if path.is_symlink() else kind_of_directory(path))
            if reason:
                leave(path, reason)
                exclusion.left(path, path.relative_to(root).as_posix())
            else:
                entered.append(name)
        below[:] = entered
        for name in sorted(name for name in names if not _OUR_LOCK.fullmatch(name)):
            path = directory / name
            if reason := why_not(path):
                leave(path, reason)
            elif not is_known(name):
                leave(path, f"{path.suffix.lower() or 'no'} ending")
            elif not path.is_file():
                leave(path, "no file")
            else:
                files.append(path)
    return sorted(files)


def kind_of_directory(path: Path) -> str:
    """What a directory is, if it holds no text of people's; empty if it may."""
    if path.name in _NOT_PEOPLES:
        return _NOT_PEOPLES[path.name]
    try:
        names = set(os.listdir(path))  # noqa: PTH208  names are wanted
    except OSError:
        return ""  # it is told when it is entered
    if path.name.endswith(SUFFIX) and names & {"run.json", "data"}:
        return "a run of training"
    if path.name.endswith(STEPS_SUFFIX) and any(name.startswith("step-") for name in names):
        return "a run of training"
    if any("tfevents" in name for name in names):
        return "a run's log"
    if "config.json" in names and any(name.endswith(_MODEL_SUFFIXES) for name in names):
        return "a model"
    if "adapter_config.json" in names:
        return "an adapter of a model"
    if "pyvenv.cfg" in names:
        return "a Python environment"
    return "a cache" if "CACHEDIR.TAG" in names else ""

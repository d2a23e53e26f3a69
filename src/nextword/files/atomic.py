"""Directories and files that are either whole or not there: written beside, synced, renamed."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nextword.errors import ModelFileError

_STALE = re.compile(r"\.(?P<target>.+)\.[a-z0-9_]{8}\.(?P<kind>tmp|old)")


@contextmanager
def write_errors(path: Path | str) -> Iterator[None]:
    """Makes of what the system refuses an error that says what could not be written.

    Raises:
        ModelFileError: For every OSError.
    """
    try:
        yield
    except OSError as error:
        raise ModelFileError(f"cannot write {path}: {error.strerror or error}") from None


@contextmanager
def replace_directory(path: Path) -> Iterator[Path]:
    """A fresh directory beside `path` to write into; on success it takes `path`'s place, on failure nothing changed.

    Raises:
        ModelFileError: The directory cannot be written, or the disk is full.
    """
    import tempfile  # with what it draws names from it takes 5 ms, and most who load this module write nothing

    path = path.resolve()  # of a link, the directory it leads to is replaced
    with write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
        try:
            yield fresh
            fresh.chmod(0o755)
            for file in fresh.iterdir():
                file.chmod(0o644)  # the safetensors library lets only the owner read
                _sync(file)
            _sync(fresh)
            if path.exists():
                old = fresh.with_suffix(".old")
                path.rename(old)
                try:
                    fresh.rename(path)
                except BaseException:
                    old.rename(path)
                    raise
                shutil.rmtree(old, ignore_errors=True)
            else:
                fresh.rename(path)
            _sync(path.parent)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """A fresh file beside `path` to write into; on success it takes `path`'s place, on failure nothing changed.

    Raises:
        ModelFileError: The file cannot be written, `path` is a directory, or the disk is full.
    """
    import tempfile

    path = path.resolve()  # of a link, the file it leads to is replaced
    if path.is_dir():
        raise ModelFileError(f"cannot write {path}: it is a directory")
    with write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        os.close(descriptor)
        fresh = Path(name)
        try:
            yield fresh
            fresh.chmod(0o644)
            _sync(fresh)
            fresh.replace(path)
            _sync(path.parent)
        finally:
            fresh.unlink(missing_ok=True)


def sweep(directory: Path, name: str | None = None) -> None:
    """Clears away what killed writers left in `directory`, of everything or of one `name`.

    What was half written is removed. What had been moved away and not yet replaced is put back. No one else may be
    writing there at the time.

    Raises:
        ModelFileError: The directory cannot be read or changed.
    """
    if not directory.is_dir():
        return
    with write_errors(directory):
        for path in sorted(directory.iterdir()):
            match = _STALE.fullmatch(path.name)
            if match is None or name not in (None, match["target"]):
                continue
            target = directory / match["target"]
            if match["kind"] == "old" and not target.exists():
                path.rename(target)
            else:
                _remove(path)


def discard(path: Path) -> None:
    """Removes a directory or a file so that it is never seen half removed. What cannot be removed stays."""
    with suppress(OSError):
        renamed = path.with_name(f".{path.name}.{os.urandom(4).hex()}.tmp")
        path.rename(renamed)
        _remove(renamed)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _sync(path: Path) -> None:
    if os.name == "nt" and path.is_dir():
        return  # Windows opens no directories, and keeps their entries by itself
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

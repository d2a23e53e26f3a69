"""Pulled models: fetched once into the user's cache and kept there under a short name.

<cache>/models/<name>/               the model's files, as they came
<cache>/models/<name>/pulled.json    where they came from, and the SHA-256 of each
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import platformdirs

from nextword.errors import ConfigError, ModelFileError
from nextword.files.atomic import replace_directory
from nextword.json_file import read_json
from nextword.machine.user import home_directory

_LOG = logging.getLogger(__name__)
RECORD = "pulled.json"
# Parts of a name: what every file system takes and no shell or path gives a meaning to.
_ELSEWHERE = "set NEXTWORD_CACHE to a directory that you may write"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*")


@dataclass(frozen=True)
class Origin:
    """Where a model was pulled from."""

    kind: str
    """`package` or `hub`."""
    address: str
    """The package's name, or the hub id."""
    revision: str
    """The package's version, or the commit."""
    licence: str


@dataclass(frozen=True)
class Pulled:
    """A model that was pulled."""

    name: str
    directory: Path
    origin: Origin
    date: str
    sha256: Mapping[str, str]
    """Of every file, by its name."""
    new: bool = field(default=False, compare=False)
    """Whether it was fetched just now."""

    @property
    def model(self) -> Path:
        """What `load` takes: the one .gguf file, or the directory."""
        names = list(self.sha256)
        return self.directory / names[0] if len(names) == 1 and names[0].endswith(".gguf") else self.directory

    @property
    def size(self) -> int:
        """Bytes of all files that are still there."""
        files = [self.directory / name for name in self.sha256]
        return sum(file.stat().st_size for file in files if file.is_file())

    def is_whole(self) -> bool:
        """Whether every file is still what was pulled; reads them all."""
        files = {name: self.directory / name for name in self.sha256}
        return all(file.is_file() and sha256_of(file) == self.sha256[name] for name, file in files.items())

    def to_json(self) -> dict[str, Any]:
        """What pulled.json holds."""
        return {
            "name": self.name,
            "source": self.origin.kind,
            "address": self.origin.address,
            "revision": self.origin.revision,
            "licence": self.origin.licence,
            "date": self.date,
            "sha256": dict(self.sha256),
        }


def cache_directory() -> Path:
    """Where pulled models are kept: $NEXTWORD_CACHE, or the user's cache directory.

    Raises:
        ConfigError: Neither is known: the user has no home directory.
    """
    chosen = os.environ.get("NEXTWORD_CACHE", "")
    if not _has_cache():
        raise ConfigError(
            "there is no home directory to keep pulled models in", hint="set NEXTWORD_CACHE to a directory for them"
        )
    return Path(chosen).expanduser() if chosen else platformdirs.user_cache_path("nextword", appauthor=False)


def find_pulled(name: str) -> Pulled | None:
    """The pulled model of this name, if there is one. Without a home there is nowhere that one could have been kept.

    Raises:
        ModelFileError: Its pulled.json is damaged, or the cache cannot be read.
    """
    if not _is_name(name) or not _has_cache():
        return None
    directory = _directory_of(name)
    try:
        return _read_record(directory) if (directory / RECORD).is_file() else None
    except PermissionError as error:  # another user's home
        raise _not_allowed("read", directory, error) from None


def list_pulled() -> list[Pulled]:
    """Every pulled model, by name.

    Raises:
        ModelFileError: A pulled.json is damaged.
        ConfigError: As `cache_directory`.
    """
    return sorted((_read_record(record.parent) for record in _records()), key=lambda pulled: pulled.name)


@contextmanager
def pull_lock(name: str) -> Iterator[None]:
    """Lets one process pull a name; another waits, and what an earlier one that was killed left behind is swept.

    Raises:
        ConfigError: No model can have this name.
        ModelFileError: The cache cannot be written.
    """
    import filelock

    if not _is_name(name):
        raise ConfigError(f"{name!r} is no model's name", hint="a name of the catalogue, or a hub id: org/name")
    directory = _directory_of(name)
    lock = filelock.FileLock(directory.with_name(f".{directory.name}.lock"))
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            _LOG.warning("waiting: another process is pulling %s", name)
            lock.acquire()
        for left in directory.parent.glob(f".{directory.name}.*.tmp"):
            shutil.rmtree(left, ignore_errors=True)
    except OSError as error:
        raise _not_allowed("write", directory, error) from None
    try:
        yield
    finally:
        lock.release()


def install(name: str, origin: Origin, fill: Callable[[Path], None], expected: Mapping[str, str]) -> Pulled:
    """Keeps a model under `name`; it is there when it is whole and checked, and before that nothing has changed.

    Args:
        name: The name.
        origin: Where it comes from.
        fill: Puts the model's files into a directory.
        expected: The SHA-256 of files, by their names, where it is known beforehand.

    Raises:
        ModelFileError: A file is not what was expected, or the cache cannot be written.
    """
    directory = _directory_of(name)
    with replace_directory(directory) as fresh:
        fill(fresh)
        hashes = {file.name: sha256_of(file) for file in sorted(fresh.iterdir())}
        for file, wanted in expected.items():
            if hashes.get(file) != wanted:
                raise ModelFileError(
                    f"{origin.address} {origin.revision}: {file} should have the SHA-256 {wanted}, "
                    f"found {hashes.get(file, 'no such file')}",
                    hint="damaged or exchanged on its way: delete the copy in pip's or the hub's cache",
                )
        pulled = Pulled(name, directory, origin, datetime.now(UTC).date().isoformat(), hashes, new=True)
        text = json.dumps(pulled.to_json(), indent=2, ensure_ascii=False)
        (fresh / RECORD).write_text(text + "\n", encoding="utf-8")
    return pulled


def remove(name: str) -> int:
    """Takes a pulled model off the disk, also one that is damaged; how many bytes its files had.

    Raises:
        ModelFileError: No model of this name was pulled, or it cannot be removed.
        ConfigError: No model can have this name.
    """
    directory = _directory_of(name)
    if not (_is_name(name) and directory.is_dir()):
        names = ", ".join(pulled_names())
        raise ModelFileError(f"no model {name} was pulled", hint=f"pulled: {names}" if names else "none was pulled")
    with pull_lock(name):
        size = size_of(directory)
        doomed = directory.with_name(f".{directory.name}.{os.getpid()}.tmp")  # the next pull sweeps it, if need be
        try:
            directory.rename(doomed)
            shutil.rmtree(doomed)
        except OSError as error:
            raise ModelFileError(f"cannot remove {directory}: {error.strerror or error}") from None
    return size


def size_of(directory: Path) -> int:
    """Bytes of all files below a directory."""
    return sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())


def sha256_of(file: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def pulled_names() -> list[str]:
    """The names of all pulled models, as far as one may look."""
    return [record.parent.name.replace("--", "/") for record in _records()] if _has_cache() else []


def _has_cache() -> bool:
    chosen, caches = os.environ.get("NEXTWORD_CACHE", ""), os.environ.get("XDG_CACHE_HOME", "")
    return home_directory() is not None or (not chosen.startswith("~") and bool(chosen or caches))


def _not_allowed(act: str, directory: Path, error: OSError) -> ModelFileError:
    hint = "" if error.errno == errno.ENOSPC else _ELSEWHERE
    return ModelFileError(f"cannot {act} {directory}: {error.strerror or error}", hint=hint)


def _records() -> list[Path]:
    return sorted((cache_directory() / "models").glob(f"[!.]*/{RECORD}"))


def _is_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None and "--" not in name and len(name) <= 200


def _directory_of(name: str) -> Path:
    return cache_directory() / "models" / name.replace("/", "--")


def _read_record(directory: Path) -> Pulled:
    values = read_json(directory / RECORD)
    hint = f"delete the directory and pull it again: {directory}"
    for key in ("name", "source", "address", "revision", "licence", "date"):
        if not isinstance(values.get(key), str):
            raise ModelFileError(
                f"{directory / RECORD}: {key} should be a string, found {values.get(key)!r}", hint=hint
            )
    hashes = values.get("sha256")
    if not isinstance(hashes, dict) or not all(
        _is_file_name(name) and isinstance(h, str) for name, h in hashes.items()
    ):
        raise ModelFileError(
            f"{directory / RECORD}: sha256 should map file names to hashes, found {hashes!r}", hint=hint
        )
    origin = Origin(values["source"], values["address"], values["revision"], values["licence"])
    return Pulled(values["name"], directory, origin, values["date"], hashes)


def _is_file_name(name: str) -> bool:
    return name not in ("", ".", "..") and not set(name) & set("/\\:\0")

"""Which files, streams and data sets are meant, and how their bytes are reached."""

from __future__ import annotations

import glob
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast
from urllib.parse import urlsplit

from nextword.errors import TextError, missing_extra

FORMATS = {
    ".txt": "text",
    ".md": "text",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}
COMPRESSIONS = (".gz", ".zst")
SUFFIXES = tuple(FORMATS)
DATASET = "hf:"
"""What a data set of the Hugging Face hub begins with: `hf:owner/name`, then perhaps `:split` or `:config:split`."""


@dataclass(frozen=True)
class Source:
    """One file, stream or data set."""

    name: str
    format: str
    """`text`, `jsonl`, `csv`, `tsv`, `parquet` or `dataset`."""
    compression: str
    """`.gz`, `.zst` or nothing."""
    open: Callable[[], AbstractContextManager[BinaryIO]]
    """Its bytes from the start; standard input gives them once."""


def find_sources(places: Iterable[str | Path]) -> Iterator[Source]:
    """The sources that are named by paths, directories, patterns, `-` (standard input), URLs and data set ids.

    Raises:
        TextError: There is nothing at a place, or no place was given.
        ConfigError: A package that it takes is not installed.
    """
    empty = True
    for place in places:
        empty = False
        text = str(place)
        if text == "-":
            yield Source("standard input", "text", "", lambda: nullcontext(sys.stdin.buffer))
        elif text.startswith(DATASET):
            yield Source(text, "dataset", "", partial(_no_bytes, text))
        elif "://" in text:
            yield from _remote(text)
        else:
            for file in _files(Path(place)):
                yield Source(str(file), *_format(file.name), partial(_open, file))
    if empty:
        raise TextError("no text was given", hint="name at least one file or directory")


def _format(name: str) -> tuple[str, str]:
    """Format and compression by a file's suffixes; a file with an unknown one is plain text."""
    path = PurePosixPath(name.lower())
    compression = path.suffix if path.suffix in COMPRESSIONS else ""
    return FORMATS.get(PurePosixPath(path.stem).suffix if compression else path.suffix, "text"), compression


def _is_known(path: Path) -> bool:
    lowered = PurePosixPath(path.name.lower())
    return (PurePosixPath(lowered.stem) if lowered.suffix in COMPRESSIONS else lowered).suffix in FORMATS


def _files(path: Path) -> list[Path]:
    try:
        exists, directory = path.exists(), path.is_dir()
    except OSError as error:  # a name that is too long, a directory that may not be entered
        raise TextError(f"{path} cannot be read: {error.strerror}") from None
    if not exists and glob.has_magic(str(path)):
        found = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207  Path.glob takes no absolute pattern
        files = [file for file in map(Path, found) if not file.is_dir()]
        if not files:
            raise TextError(f"no file is called {path}")
        return files
    if not exists:
        raise TextError(f"{path} does not exist")
    if not directory:
        return [path]
    files = sorted(file for file in path.rglob("*") if _is_known(file) and file.is_file())
    if not files:
        known = f"{', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]} (or these with {' or '.join(COMPRESSIONS)}) are read"
        raise TextError(f"{path} holds no text files", hint=f"files ending in {known}")
    return files


def _open(path: Path) -> BinaryIO:
    return path.open("rb")


def _no_bytes(name: str) -> AbstractContextManager[BinaryIO]:
    raise TextError(f"{name} is a data set, it has no bytes")


def _remote(url: str) -> Iterator[Source]:
    try:
        import fsspec
    except ModuleNotFoundError:
        raise missing_extra("fsspec", "data", f"reading {url}") from None
    try:
        # A question mark in a web address is no pattern.
        files = fsspec.open_files(url, "rb") if "*" in url else [fsspec.open(url, "rb", expand=False)]
    except ImportError as error:  # fsspec names the package that this kind of address takes
        raise missing_extra(str(error), "data", f"reading {url}") from None
    except (OSError, ValueError) as error:
        raise TextError(f"{url} cannot be read: {error}") from None
    if not files:
        raise TextError(f"no file is called {url}")
    for file in files:
        name = url if len(files) == 1 else file.full_name
        yield Source(name, *_format(urlsplit(url if len(files) == 1 else file.path).path), partial(_open_remote, file))


def _open_remote(file: object) -> AbstractContextManager[BinaryIO]:
    return cast("AbstractContextManager[BinaryIO]", file)

"""Which files, streams and data sets are meant, and how their bytes are reached."""

from __future__ import annotations

import glob
import logging
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast
from urllib.parse import urlsplit

from nextword.errors import TextError, missing_extra
from nextword.formatting import escape_surrogates
from nextword.training.corpus.text.directories import Exclusion, files_below, kind_of_directory
from nextword.training.corpus.text.replay import Replay

PROSE = (".txt", ".text", ".md", ".markdown", ".org", ".rst", ".tex")
FORMATS = {
    **dict.fromkeys(PROSE, "text"),
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".ipynb": "notebook",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}
COMPRESSIONS = (".gz", ".zst", ".bz2", ".xz")
SUFFIXES = tuple(FORMATS)
DATASET = "hf:"
"""What a data set of the Hugging Face hub begins with: `hf:owner/name`, then perhaps `:split` or `:config:split`."""
_LOG = logging.getLogger(__name__)
_URL = re.compile(r"[A-Za-z][\w+.:-]*://")
_INSTALL = re.compile(r"[Ii]nstall ['\"`]?([\w.-]+)")
_MAX_SHOWN_NAME = 80  # that is told
_MAX_NAME_BYTES, _MAX_PATH_BYTES = 255, 4096  # of a name on disk, and of the way to it


@dataclass(frozen=True)
class Source:
    """One file, stream or data set."""

    name: str
    format: str
    """`text`, `json`, `notebook`, `csv`, `tsv`, `parquet` or `dataset`."""
    compression: str
    """`.gz`, `.zst`, `.bz2`, `.xz` or nothing."""
    open: Callable[[], AbstractContextManager[BinaryIO]]
    """Its bytes from the start."""
    path: Path | None = None
    """Where it lies, if it is a file."""
    found: bool = False
    """Whether nobody named it: it lay in a directory, or fitted a pattern."""


Place = str | Path | Source
"""What names sources: a path, directory or pattern, `-`, a URL, a data set; or one that has been found already."""


def find_sources(
    places: Iterable[Place], exclude: Sequence[str] = (), skipped: list[tuple[str, str]] | None = None
) -> Iterator[Source]:
    """The sources that are named by paths, directories, patterns, `-` (standard input), URLs and data set ids.

    Args:
        places: What was named.
        exclude: Patterns of files and directories that are left out.
        skipped: Takes the names of what is left out, each with the reason.

    Raises:
        TextError: There is nothing at a place, or no place was given.
        ConfigError: A package that it takes is not installed.
    """
    empty, once, again = True, set[str](), list[str]()

    def is_new(name: str, key: str) -> bool:
        if new := key not in once:
            once.add(key)
        else:
            again.append(name)
        return new

    exclusion, left = Exclusion(exclude), [] if skipped is None else skipped
    for place in places:
        empty = False
        if isinstance(place, Source):
            yield place
            continue
        text = str(place)
        if not text.strip():  # Path("") is this directory
            raise TextError("the name of a text is empty", hint="is a variable of the shell unset?")
        if text == "-":
            if is_new("standard input", text):
                yield Source("standard input", "text", "", Replay(_standard_input, keep_open=True).open)
        elif text.startswith(DATASET):
            if is_new(text, text):
                yield Source(text, "dataset", "", partial(_no_bytes, text))
        elif _URL.match(text) and "\n" not in text:
            yield from (source for source in _remote(text) if is_new(source.name, source.name))
        else:
            for file, found in _files(Path(place), exclusion, left):
                if not is_new(escape_surrogates(file), str(file.resolve())):
                    continue
                # A pipe gives its bytes once.
                opened = partial(_open, file) if file.is_file() else Replay(partial(_open, file)).open
                yield Source(escape_surrogates(file), *_format(file.name), opened, file, found)
    if again:
        names = list(dict.fromkeys(again))
        more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
        _LOG.warning("named more than once, read once: %s%s", ", ".join(names[:3]), more)
    for pattern in sorted(exclusion.unused):
        _LOG.warning("nothing is called %s: nothing was left out for it", pattern)
    if empty:
        raise TextError("no text was given", hint="name at least one file or directory")


def _standard_input() -> BinaryIO:
    if sys.stdin is None:
        raise TextError("standard input is closed")
    return sys.stdin.buffer


def _format(name: str) -> tuple[str, str]:
    """Format and compression by a file's suffixes; a file with an unknown one is plain text."""
    path = PurePosixPath(name.lower())
    compression = path.suffix if path.suffix in COMPRESSIONS else ""
    return FORMATS.get(PurePosixPath(path.stem).suffix if compression else path.suffix, "text"), compression


def _is_known(name: str) -> bool:
    lowered = PurePosixPath(name.lower())
    return (PurePosixPath(lowered.stem) if lowered.suffix in COMPRESSIONS else lowered).suffix in FORMATS


def _files(path: Path, exclusion: Exclusion, skipped: list[tuple[str, str]]) -> Iterator[tuple[Path, bool]]:
    """The files that a path means, and whether they were found rather than named."""
    try:
        exists, directory = path.exists(), path.is_dir()
    except (OSError, ValueError) as error:  # a name that is too long or holds a NUL, a directory that is closed
        if _is_prose(path):
            raise _prose(path) from None
        raise TextError(f"{path} cannot be read: {getattr(error, 'strerror', error)}") from None
    if directory:
        files = files_below(path, _is_known, exclusion, skipped)
        if not files:
            known = f"{_listed(SUFFIXES)} (or these with {_listed(COMPRESSIONS)}) are read"
            raise TextError(f"{path} holds no text files", hint=f"files ending in {known}")
        yield from ((file, True) for file in files)
    elif exists:
        if exclusion.matches(path):
            skipped.append((escape_surrogates(path), "excluded"))
        else:
            yield path, False
    elif glob.has_magic(str(path)) and not _is_prose(path):
        yield from ((file, True) for file in _glob(path, exclusion, skipped))
    else:
        raise _prose(path) if _is_prose(path) else TextError(f"{path} does not exist")


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


def _glob(pattern: Path, exclusion: Exclusion, skipped: list[tuple[str, str]]) -> list[Path]:
    """The files that a pattern means; of what lies in directories that hold no text, none."""
    kind_of = lru_cache(kind_of_directory)
    fixed = 0  # parts of the pattern that are no pattern: whoever names a model's directory means it
    while fixed < len(pattern.parts) - 1 and not glob.has_magic(pattern.parts[fixed]):
        fixed += 1
    root, files = Path(*pattern.parts[:fixed]), []

    def within(path: Path) -> str:
        return path.relative_to(root).as_posix()

    found = map(Path, sorted(glob.glob(str(pattern), recursive=True)))  # noqa: PTH207  Path's takes no absolute one
    for file in (one for one in found if not one.is_dir()):
        above = list(file.parents)[: max(0, len(file.parts) - 1 - fixed)]
        kinds = [kind for directory in above if (kind := kind_of(directory))]
        excluded = sum(exclusion.matches(one, within(one)) for one in (file, *above))  # all are asked: see `unused`
        if kinds:
            skipped.append((escape_surrogates(file), f"in {kinds[-1]}"))
        elif not file.exists():
            skipped.append((escape_surrogates(file), "no file"))
        elif excluded:
            skipped.append((escape_surrogates(file), "excluded"))
        else:
            files.append(file)
    if not files:
        raise TextError(f"no file is called {pattern}")
    return files


def _is_prose(path: Path) -> bool:
    """Whether somebody gave a text where the name of one is expected."""
    long = any(len(part.encode(errors="surrogatepass")) > _MAX_NAME_BYTES for part in path.parts)
    return long or len(str(path)) > _MAX_PATH_BYTES or "\n" in str(path) or "\0" in str(path)


def _prose(path: Path) -> TextError:
    begin = " ".join(str(path)[:_MAX_SHOWN_NAME].split())
    return TextError(
        f"a text was given where the name of a file is expected: {begin!r}...", hint="write it to a file, and name that"
    )


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
        if found := _INSTALL.search(str(error)):  # a package that no extra has
            raise TextError(
                f"{url} cannot be read: {error}", hint=f"{sys.executable} -m pip install {found[1]}"
            ) from None
        raise missing_extra(str(error), "data", f"reading {url}") from None
    except (OSError, ValueError) as error:
        raise unreadable(url, error) from None
    if not files:
        raise TextError(f"no file is called {url}")
    for file in files:
        name = url if len(files) == 1 else file.full_name
        kind = _format(urlsplit(url if len(files) == 1 else file.path).path)
        yield Source(name, *kind, partial(_open_remote, file), found="*" in url)


def unreadable(name: str, error: Exception) -> TextError:
    """The error for a source whose bytes cannot be had.

    Args:
        name: Of the source.
        error: What went wrong.
    """
    if not _URL.match(name) and not name.startswith(DATASET):
        return TextError(f"{name} cannot be read: {getattr(error, 'strerror', None) or error}")
    said = " ".join(str(error.__cause__ or error).split())  # of a missing file fsspec says no more than its address
    return TextError(
        f"{name} cannot be read: {'nothing was found there' if said in ('', name) else said}",
        hint="is it spelled right, and is there a network? What lies on this machine can be named by its path",
    )


def _open_remote(file: object) -> AbstractContextManager[BinaryIO]:
    return cast("AbstractContextManager[BinaryIO]", file)

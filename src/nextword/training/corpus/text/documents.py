"""Sources -> documents: whole ones, pieces of them, or the rows of a table."""

from __future__ import annotations

import glob
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from nextword.errors import TextError
from nextword.formatting import escape_surrogates
from nextword.training.corpus.text.blocks import read_blocks
from nextword.training.corpus.text.directories import SourceReport
from nextword.training.corpus.text.encodings import EncodingError, decode
from nextword.training.corpus.text.json_rows import notebook_text
from nextword.training.corpus.text.kinds import detect_format
from nextword.training.corpus.text.no_text import NoTextError
from nextword.training.corpus.text.rows import Rows, read_rows, text_field
from nextword.training.corpus.text.sources import Place, Source, find_sources

_LOG = logging.getLogger(__name__)
_SAMPLE_ROWS = 50
_MARKUP = ("<!doctype", "<html", "<?xml")
_TABLES = ".json, .jsonl, .csv, .tsv and .parquet"
_BLANK_PIECES = 16  # that are held back until something else comes


@dataclass(frozen=True)
class Document:
    """One text, and where it came from."""

    name: str
    text: str


@dataclass(frozen=True)
class Piece:
    """Part of a document. A plain file comes in pieces of about a mebibyte, a row of a table as a whole."""

    name: str
    text: str
    begins: bool
    """Whether a document begins here."""


def read_documents(sources: Iterable[Place], encoding: str | None = None, field: str | None = None) -> list[Document]:
    """`read_pieces`, put together to whole documents.

    Raises:
        TextError: As `read_pieces`.
        ConfigError: As `read_pieces`.
    """
    documents: list[tuple[str, list[str]]] = []
    for piece in read_pieces(sources, encoding, field):
        if piece.begins:
            documents.append((piece.name, []))
        documents[-1][1].append(piece.text)
    return [Document(name, "".join(texts)) for name, texts in documents]


def read_pieces(
    sources: Iterable[Place],
    encoding: str | None = None,
    field: str | None = None,
    *,
    exclude: Sequence[str] = (),
    reading: SourceReport | None = None,
) -> Iterator[Piece]:
    r"""The text of files and other sources, never more than a piece of it at a time.

    A plain file is a document. So is every row of a .json, .jsonl, .csv, .tsv or .parquet file that holds text; it is
    called `file.jsonl:12`; and so are the cells of a notebook. Each may be compressed (.gz, .zst, .bz2, .xz). A byte
    order mark is dropped, and \r\n becomes \n. What a file is, is told by its content where its name says only `text`.

    Args:
        sources: Files, directories (the files with known suffixes in them, at any depth, in order of their names),
            patterns such as `texts/*.txt`, `-` for standard input, URLs, and data sets as `hf:owner/name[:split]`. One
            that is named twice is read once, and a note says so.
        encoding: How the files are encoded; None is UTF-8.
        field: The field of a row that holds the text; None is `text`, else `content`, else the only one with words.
        exclude: Patterns of files and directories that are left out.
        reading: Is told what was read, and what was found and passed over: what holds no text, in directories.

    Raises:
        TextError: A source does not exist, holds no text, is damaged, or is not in this encoding.
        ConfigError: There is no such encoding, or an optional package is missing.
    """
    reading = SourceReport() if reading is None else reading
    for source in find_sources(sources, exclude, reading.skipped):
        begun = nul = False
        try:
            for piece in _unless_blank(_pieces(detect_format(source, encoding), encoding, field), source.name):
                if not begun:  # now: nobody may ask for the last piece
                    reading.read.append(source.name)
                begun = True
                if not nul and "\0" in piece.text:
                    nul = True
                    _LOG.warning("%s holds NUL characters: they are learned with the rest", piece.name)
                yield piece
        except EncodingError as error:
            raise _of_one(error, source) from None
        except NoTextError as error:
            if not source.found or begun:
                raise
            reading.skipped.append((source.name, error.why))
    if not reading.read:
        raise reading.nothing()


def _of_one(error: EncodingError, source: Source) -> EncodingError:
    """The error for one file among others, which the encoding would be changed for too."""
    if not source.found or source.path is None:
        return error
    name = glob.escape(escape_surrogates(source.path.name))
    return EncodingError(error.message, hint=f'{error.hint} (for all files); or leave this one out: exclude="{name}"')


def _unless_blank(pieces: Iterator[Piece], name: str) -> Iterator[Piece]:
    """The pieces; blank ones wait for one that is not."""
    blank = list[Piece]()
    for piece in pieces:
        blank.append(piece)
        if piece.text.strip() or len(blank) == _BLANK_PIECES:
            yield from blank
            yield from pieces
            return
    raise NoTextError(name, "is empty")


def _pieces(source: Source, encoding: str | None, field: str | None) -> Iterator[Piece]:
    if source.format == "text":
        return _plain(source, encoding)
    if source.format == "notebook":
        return _notebook(source, encoding)
    return _texts(source, encoding, field)


class ByteLimit:
    """Pieces until they make up `limit` bytes, the last one whole.

    Attributes:
        cut: Whether there were more, once the pieces have been read.
    """

    def __init__(self, pieces: Iterable[Piece], limit: int) -> None:
        self._pieces, self._limit = pieces, limit
        self.cut = False

    def __iter__(self) -> Iterator[Piece]:
        done = 0
        for piece in self._pieces:
            if done >= self._limit:
                self.cut = True
                return
            yield piece
            done += len(piece.text.encode())


def read_records(
    sources: Iterable[Place],
    encoding: str | None = None,
    *,
    exclude: Sequence[str] = (),
    reading: SourceReport | None = None,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of .json, .jsonl, .csv, .tsv and .parquet files and of data sets, each with its name, `file.jsonl:12`.

    Raises:
        TextError: As `read_pieces`, or a source is plain text.
        ConfigError: As `read_pieces`.
    """
    reading = SourceReport() if reading is None else reading
    for source in find_sources(sources, exclude, reading.skipped):
        try:
            known = detect_format(source, encoding)
            if known.format in ("text", "notebook"):
                raise NoTextError(source.name, "has no records", hint=f"{_TABLES} files have")
            rows = _unless_settings(read_rows(known, encoding), known, None)
        except EncodingError as error:
            raise _of_one(error, source) from None
        except NoTextError as error:
            if not source.found:
                raise
            reading.skipped.append((source.name, error.why))
            continue
        for number, row in rows:
            yield f"{source.name}:{number}", row
        reading.read.append(source.name)


def _plain(source: Source, encoding: str | None) -> Iterator[Piece]:
    begins = True
    for text in decode(read_blocks(source), source.name, encoding):
        if begins and text.lstrip()[:9].lower().startswith(_MARKUP):
            _LOG.warning("%s is HTML or XML: its tags are learned with the rest", source.name)
        yield Piece(source.name, text, begins)
        begins = False


def _notebook(source: Source, encoding: str | None) -> Iterator[Piece]:
    text = notebook_text(decode(read_blocks(source), source.name, encoding), source.name)
    yield Piece(source.name, text, begins=True)


def _texts(source: Source, encoding: str | None, wanted: str | None) -> Iterator[Piece]:
    """The rows that hold text; those whose field is null or blank have none to give."""
    rows = _unless_settings(read_rows(source, encoding, None if source.format == "parquet" else wanted), source, wanted)
    sample = list(islice(rows, 1 if wanted is not None else _SAMPLE_ROWS))
    if not sample:
        return
    first = f"{source.name}:{sample[0][0]}"
    field = text_field([row for _, row in sample], wanted, first)
    if source.format in ("csv", "tsv") and next(iter(sample[0][1])) == "1":
        _LOG.warning("%s names no columns: they are called 1, 2, ..., and the text is %s", source.name, field)
    if source.format == "parquet":  # which gives single columns for less than all of them
        rows, sample = read_rows(source, encoding, field), []
    for number, row in chain(sample, rows):
        name = f"{source.name}:{number}"
        if field not in row:
            raise TextError(f"{name} has no field {field!r}", hint=f"its fields are {', '.join(row)}")
        text = row[field]
        if text is None:
            continue
        if isinstance(text, list) and wanted is not None and all(isinstance(part, str) for part in text):
            text = "\n\n".join(text)  # paragraphs
        if not isinstance(text, str):
            raise TextError(f"{name}: {field} should be a string, found {type(text).__name__}")
        try:
            text.encode()
        except UnicodeEncodeError as error:  # JSON can spell it
            raise TextError(f"{name} holds a lone surrogate at character {error.start:,}") from None
        text = text.replace("\r\n", "\n")
        if text and not text.isspace():
            yield Piece(name, text, begins=True)


def _unless_settings(rows: Rows, source: Source, wanted: str | None) -> Rows:
    """The rows; of a file that was found and holds a single object, most likely a program's settings, none."""
    first = list(islice(rows, 2))
    usual = {"text", "content", "messages", "conversations", wanted}
    if source.found and source.format == "json" and len(first) == 1 and usual.isdisjoint(first[0][1]):
        raise NoTextError(source.name, "is a single object, no rows")
    return chain(first, rows)

"""Sources -> documents: whole ones, pieces of them, or the rows of a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nextword.errors import TextError
from nextword.training.text.blocks import read_blocks
from nextword.training.text.encodings import decode
from nextword.training.text.rows import read_rows, text_field
from nextword.training.text.sources import Source, find_sources


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


def read_documents(
    sources: Iterable[str | Path], encoding: str | None = None, field: str | None = None
) -> list[Document]:
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
    sources: Iterable[str | Path], encoding: str | None = None, field: str | None = None
) -> Iterator[Piece]:
    r"""The text of files and other sources, never more than a piece of it at a time.

    A plain file is a document. So is every row of a .jsonl, .csv, .tsv or .parquet file that holds text; it is called
    `file.jsonl:12`. Each may be compressed (.gz, .zst). A byte order mark is dropped, and \r\n becomes \n.

    Args:
        sources: Files, directories (the files with known suffixes in them, at any depth, in order of their names),
            patterns such as `texts/*.txt`, `-` for standard input, URLs, and data sets as `hf:owner/name[:split]`. One
            named twice is read twice.
        encoding: How the files are encoded; None is UTF-8.
        field: The field of a row that holds the text; None is `text`, else `content`, else the only string.

    Raises:
        TextError: A source does not exist, holds no text, is damaged, or is not in this encoding.
        ConfigError: There is no such encoding, or an optional package is missing.
    """
    for source in find_sources(sources):
        blank = True
        for piece in _plain(source, encoding) if source.format == "text" else _texts(source, encoding, field):
            blank = blank and piece.text.isspace()
            yield piece
        if blank:
            raise TextError(f"{source.name} is empty")


class UpTo:
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


def read_records(sources: Iterable[str | Path], encoding: str | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of .jsonl, .csv, .tsv and .parquet files and of data sets, each with its name, `file.jsonl:12`.

    Raises:
        TextError: As `read_pieces`, or a source is plain text.
        ConfigError: As `read_pieces`.
    """
    for source in find_sources(sources):
        if source.format == "text":
            raise TextError(f"{source.name} has no records", hint=".jsonl, .csv, .tsv and .parquet files have")
        for number, row in read_rows(source, encoding):
            yield f"{source.name}:{number}", row


def _plain(source: Source, encoding: str | None) -> Iterator[Piece]:
    begins = True
    for text in decode(read_blocks(source), source.name, encoding):
        yield Piece(source.name, text, begins)
        begins = False


def _texts(source: Source, encoding: str | None, wanted: str | None) -> Iterator[Piece]:
    """The rows that hold text; those whose field is null or blank have none to give."""
    first = next(read_rows(source, encoding), None) if source.format == "parquet" else None
    # A parquet file gives single columns for less than all of them.
    field = None if first is None else text_field(first[1], wanted, f"{source.name}:1")
    for number, row in read_rows(source, encoding, field):
        name = f"{source.name}:{number}"
        field = text_field(row, wanted, name) if field is None else field
        if field not in row:
            raise TextError(f"{name} has no field {field!r}", hint=f"its fields are {', '.join(row)}")
        text = row[field]
        if text is None:
            continue
        if not isinstance(text, str):
            raise TextError(f"{name}: {field} should be a string, found {type(text).__name__}")
        try:
            text.encode()
        except UnicodeEncodeError as error:  # JSON can spell it
            raise TextError(f"{name} holds a lone surrogate at character {error.start:,}") from None
        text = text.replace("\r\n", "\n")
        if text and not text.isspace():
            yield Piece(name, text, begins=True)

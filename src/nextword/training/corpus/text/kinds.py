"""What a source is by its content: text, rows, a notebook, or a container whose bytes are no text."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from nextword.training.corpus.text.blocks import read_blocks
from nextword.training.corpus.text.no_text import NoTextError
from nextword.training.corpus.text.sources import Source

_UNPACK = "unpack it, and name the directory"
_AS_TEXT = "save it as plain text (.txt) first"
_NO_TEXT = "leave it out"
_TABLE = "write its texts into a .csv or .jsonl file first"
# How containers begin: place, bytes, what it is, what to do.
_CONTAINERS: Sequence[tuple[int, bytes, str, str]] = (
    (0, b"%PDF-", "a PDF", "turn it into text first: pdftotext my.pdf my.txt"),
    (0, b"%!PS", "PostScript", _AS_TEXT),
    (0, rb"{\rtf", "a rich text file", _AS_TEXT),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an office document (.doc, .xls, .ppt, .hwp)", _AS_TEXT),
    (0, b"HWP Document File", "a Hangul document (.hwp)", _AS_TEXT),
    (0, b"PK\x05\x06", "an empty archive", _UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "an archive (.7z)", _UNPACK),
    (0, b"Rar!\x1a\x07", "an archive (.rar)", _UNPACK),
    (257, b"ustar", "an archive (.tar)", _UNPACK),
    (0, b"ALZ\x01", "an archive (.alz)", _UNPACK),
    (0, b"EGGA", "an archive (.egg)", _UNPACK),
    (0, b"\x1f\x9d", "a compressed file (.Z)", "unpack it first"),
    (0, b"\x04\x22\x4d\x18", "a compressed file (.lz4)", "unpack it first"),
    (0, b"SQLite format 3\0", "a database", _TABLE),
    (0, b"PAR1", "a parquet table", "let its name end in .parquet"),
    (0, b"ARROW1", "an Arrow table", "write it as .parquet first"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file", _TABLE),
    (0, b"\x93NUMPY", "a NumPy array", _NO_TEXT),
    (0, b"\x80\x04\x95", "a pickle", _TABLE),
    (0, b"GGUF", "a model", "to start from it: from_model="),
    (0, b"\x7fELF", "a program", _NO_TEXT),
    (0, b"\x89PNG\r\n\x1a\n", "a picture", _NO_TEXT),
    (0, b"\xff\xd8\xff", "a picture", _NO_TEXT),
    (0, b"GIF87a", "a picture", _NO_TEXT),
    (0, b"GIF89a", "a picture", _NO_TEXT),
    (0, b"II*\0", "a picture", _NO_TEXT),
    (0, b"MM\0*", "a picture", _NO_TEXT),
    (8, b"WEBPVP8", "a picture", _NO_TEXT),
    (8, b"WAVEfmt ", "a sound", _NO_TEXT),
    (8, b"AVI LIST", "a film", _NO_TEXT),
    (4, b"ftyp", "a film or a picture", _NO_TEXT),
    (0, b"\x1aE\xdf\xa3", "a film", _NO_TEXT),
    (0, b"ID3\x02\0", "a sound", _NO_TEXT),
    (0, b"ID3\x03\0", "a sound", _NO_TEXT),
    (0, b"ID3\x04\0", "a sound", _NO_TEXT),
    (0, b"OggS\0", "a sound", _NO_TEXT),
    (0, b"fLaC\0", "a sound", _NO_TEXT),
)
# Office programs keep their documents in zip archives, and say so near the beginning.
_ZIPPED: Sequence[tuple[bytes, str]] = (
    (b"word/", "a Word document (.docx)"),
    (b"xl/", "an Excel sheet (.xlsx)"),
    (b"ppt/", "a presentation (.pptx)"),
    (b"application/vnd.oasis.opendocument", "an office document (.odt, .ods, .odp)"),
    (b"application/epub+zip", "a book (.epub)"),
    (b"application/hwp+zip", "a Hangul document (.hwpx)"),
)
_ZIP = b"PK\x03\x04"
_HEAD_BYTES = 1 << 20
_STRING = r'"(?:[^"\\\x00-\x1f]|\\.)*+"'
_TWO_STRINGS = re.compile(rf"\[\s*{_STRING}\s*,\s*{_STRING}\s*[,\]]")
_MAX_ESCAPE_LENGTH = len(r"\u0000") + 1  # of JSON: the error of one that is cut stands at its start


def detect_format(source: Source, encoding: str | None) -> Source:
    """The source, its format decided by its content: what was taken for text may be rows of JSON, or a notebook.

    Raises:
        NoTextError: It is empty, or a container, whose bytes are no text.
        TextError: It cannot be read.
    """
    if source.format in ("parquet", "dataset"):
        return source
    blocks = read_blocks(source)
    head, whole = _up_to(_HEAD_BYTES, b"", blocks)
    if whole and not head.strip():
        raise NoTextError(source.name, "is empty")
    if contained := _container(head):
        what, hint = contained
        raise NoTextError(source.name, f"is {what}: its bytes are no text", hint=hint)
    if source.format != "text":
        return source
    while _is_cut(text := _decoded(head, encoding)) and not whole:
        head, whole = _up_to(2 * len(head), head, blocks)
    return replace(source, format=_format(text, whole))


def _up_to(size: int, head: bytes, blocks: Iterator[bytes]) -> tuple[bytes, bool]:
    """The first bytes of a source, so many at least where there are so many, and whether they are all."""
    for block in blocks:
        head += block
        if len(head) >= size:
            return head, False
    return head, True


def _decoded(head: bytes, encoding: str | None) -> str:
    decoder = codecs.getincrementaldecoder(_known(encoding))(errors="replace")
    return decoder.decode(head).removeprefix("\ufeff")


def _known(encoding: str | None) -> str:
    """The encoding, or UTF-8 for one that makes no text: that is told when the source is read."""
    try:
        b"a".decode(encoding or "utf-8", errors="replace")
    except (LookupError, ValueError):
        return "utf-8"
    return encoding or "utf-8"


def _container(head: bytes) -> tuple[str, str] | None:
    """What a file is whose bytes are no text, and what to do with it; None for text."""
    for place, mark, what, hint in _CONTAINERS:
        plain = place or mark.isalnum()  # letters alone may begin a text as well, and no text holds a NUL
        if head.startswith(mark, place) and (not plain or b"\0" in head[: place + 256]):
            return what, hint
    if head.startswith(_ZIP):
        for mark, what in _ZIPPED:
            if mark in head[: 1 << 16]:
                return what, _AS_TEXT
        return "an archive (.zip)", _UNPACK
    return None


def _format(head: str, whole: bool) -> str:
    """`json` for rows of JSON, `notebook` for a notebook of Jupyter, else `text`.

    A text is taken for rows where its first two lines, or its only one, or the first of a list, are objects of JSON.
    """
    text = head.lstrip()
    if text.startswith("["):
        return "json" if _object(text[1:].lstrip()) is not None or _lists_strings(text, whole) else "text"
    if not text.startswith("{"):
        return "text"
    found = _object(text)
    if found is not None and not found[1]:
        return "notebook" if {"cells", "nbformat"} <= found[0].keys() else "json"
    lines = [line for line in text.split("\n") if line.strip()]
    return "json" if all(map(_is_object, lines[:2] if whole or len(lines) != 2 else lines[:1])) else "text"


def _object(text: str) -> tuple[dict[str, object], str] | None:
    """The object that a text begins with, and what follows it; None if it begins with none."""
    try:
        value, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return None
    return (value, text[end:].strip()) if isinstance(value, dict) else None


def _lists_strings(text: str, whole: bool) -> bool:
    """Whether a text is a list of strings, as far as it is there; prose may begin with a bracket and a quote."""
    if whole:
        try:
            values = json.loads(text)
        except (ValueError, RecursionError):
            return False
        return isinstance(values, list) and bool(values) and all(isinstance(value, str) for value in values)
    return _TWO_STRINGS.match(text) is not None


def _is_cut(text: str) -> bool:
    """Whether a text ends within the object of JSON that it begins with: nobody can tell yet what it is."""
    text = text.lstrip()
    if text.startswith('"'):
        return False
    text = text.removeprefix("[").lstrip()
    if not text.startswith(("{", '"')):
        return False
    try:
        json.JSONDecoder().raw_decode(text)
    except json.JSONDecodeError as error:
        return error.msg.startswith("Unterminated string") or len(text) - error.pos < _MAX_ESCAPE_LENGTH
    except (ValueError, RecursionError):
        return False
    return False


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False

"""Files, streams and data sets -> text, in pieces that fit into memory."""

from nextword.training.corpus.text.directories import SourceReport
from nextword.training.corpus.text.documents import (
    ByteLimit,
    Document,
    Piece,
    read_documents,
    read_pieces,
    read_records,
)
from nextword.training.corpus.text.encodings import guess_encoding
from nextword.training.corpus.text.hangul import Hangul
from nextword.training.corpus.text.sources import SUFFIXES, Place, Source, find_sources

__all__ = [
    "SUFFIXES",
    "ByteLimit",
    "Document",
    "Hangul",
    "Piece",
    "Place",
    "Source",
    "SourceReport",
    "find_sources",
    "guess_encoding",
    "read_documents",
    "read_pieces",
    "read_records",
]

"""Files, streams and data sets -> text, in pieces that fit into memory."""

from nextword.training.text.documents import Document, Piece, UpTo, read_documents, read_pieces, read_records
from nextword.training.text.encodings import guess_encoding
from nextword.training.text.found import Reading
from nextword.training.text.hangul import Hangul
from nextword.training.text.sources import SUFFIXES, Place, Source, find_sources

__all__ = [
    "SUFFIXES",
    "Document",
    "Hangul",
    "Piece",
    "Place",
    "Reading",
    "Source",
    "UpTo",
    "find_sources",
    "guess_encoding",
    "read_documents",
    "read_pieces",
    "read_records",
]

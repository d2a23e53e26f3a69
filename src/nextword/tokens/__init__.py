"""Text -> token ids -> text."""

from nextword.tokens.pieces import Piece
from nextword.tokens.stream import StreamDecoder
from nextword.tokens.tokenizer import END_OF_TEXT, Tokenizer

__all__ = ["END_OF_TEXT", "Piece", "StreamDecoder", "Tokenizer"]

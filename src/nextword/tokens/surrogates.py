"""Lone surrogates: halves of characters that no UTF-8 text can hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from nextword.errors import TextError


def refuse_surrogates(text: str) -> None:
    """Checks a text.

    Raises:
        TextError: It holds a lone surrogate.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise TextError(
            f"the text holds a lone surrogate, U+{ord(text[error.start]):04X}, at character {error.start}",
            hint="it was probably decoded with the wrong encoding",
        ) from None


def without_surrogates(texts: Iterable[str]) -> Iterator[str]:
    """The texts, each checked.

    Raises:
        TextError: One holds a lone surrogate.
    """
    for text in texts:
        refuse_surrogates(text)
        yield text

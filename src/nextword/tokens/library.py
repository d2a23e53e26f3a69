"""Calls into the `tokenizers` library. It is Rust: some faults raise a bare Exception, others panic.

A panic arrives as a PanicException, which is no Exception, so that nothing catches it: patterns give up on very long
runs of blanks, and files that say one thing and hold another break the library's assumptions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from nextword.errors import NextwordError, TextError


@contextmanager
def explained(error: Callable[[str], NextwordError]) -> Iterator[None]:
    """Turns what the library raises, or panics with, into an error made of its words, on one line."""
    try:
        yield
    except (NextwordError, MemoryError):
        raise
    except BaseException as raised:
        if not isinstance(raised, Exception) and type(raised).__name__ != "PanicException":
            raise  # Ctrl-C
        raise error(" ".join(str(raised).split()) or type(raised).__name__) from None


def not_encodable(said: str) -> TextError:
    """The error for a text that the library gave up on."""
    return TextError(
        f"the tokenizer cannot encode the text: {said}",
        hint="patterns give up on very long runs of blanks or of one character: shorten those",
    )

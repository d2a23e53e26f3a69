"""Calls into the `tokenizers` library. It is Rust: some faults raise a bare Exception, others panic.

A panic arrives as a PanicException, which is no Exception, so that nothing catches it: patterns give up on very long
runs of blanks, and files that say one thing and hold another break the library's assumptions.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar

from nextword.errors import ConfigError, NextwordError, TextError

_QUIET = ContextVar("quiet", default=False)


@contextmanager
def suppress_panic_output() -> Iterator[None]:
    """In this thread, what Rust itself writes of a panic on standard error is left out: the error says it."""
    token = _QUIET.set(True)
    try:
        yield
    finally:
        _QUIET.reset(token)


@contextmanager
def translate_panics(error: Callable[[str], NextwordError]) -> Iterator[None]:
    """Turns what the library raises, or panics with, into an error made of its words, on one line.

    Raises:
        ConfigError: The system has no threads left for it.
    """
    try:
        with _without_stderr() if _QUIET.get() else nullcontext():
            yield
    except (NextwordError, MemoryError):
        raise
    except BaseException as raised:
        if not isinstance(raised, Exception) and type(raised).__name__ != "PanicException":
            raise  # Ctrl-C
        said = " ".join(str(raised).split()) or type(raised).__name__
        if "ThreadPoolBuildError" in said:
            raise ConfigError(
                "the system starts no threads for the tokenizer: too many run, or there is not enough memory",
                hint="set TOKENIZERS_PARALLELISM=false",
            ) from None
        raise error(said) from None


def not_encodable(said: str) -> TextError:
    """The error for a text that the library gave up on."""
    return TextError(
        f"the tokenizer cannot encode the text: {said}",
        hint="patterns give up on very long runs of blanks or of one character: shorten those",
    )


@contextmanager
def _without_stderr() -> Iterator[None]:
    """Standard error goes nowhere, the process's own too, which no Python object leads to."""
    try:
        kept = os.dup(2)
    except OSError:  # it is closed
        yield
        return
    if sys.stderr is not None:
        sys.stderr.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(nowhere)
        os.close(kept)

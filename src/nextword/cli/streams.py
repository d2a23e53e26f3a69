"""Standard input, output and errors, whatever the shell, the terminal and the locale make of them."""

from __future__ import annotations

import codecs
import os
import sys

from nextword.terminal import MIN_WIDTH

# Signs that views draw with, for terminals whose encoding lacks them: as wide, and as dark or light.
_PLAIN = str.maketrans(
    "█▉▊▋▌▍▎▏▇▆▅▄▃▂▁│┃─━␣…×·●✓✗→←≤≥",
    "#####...%*+=-._||--_~x.o+x><<>",
)


def make_streams_usable() -> None:
    """What is closed reads nothing and forgets what it is told; what an encoding lacks is written in plain signs.

    A closed stream's number would go to the next file that is opened, which would then take what is printed.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            nothing = os.open(os.devnull, os.O_RDWR)
            if nothing != number and not _is_open(number):
                os.dup2(nothing, number)
                os.close(nothing)
                nothing = number
            setattr(sys, name, os.fdopen(nothing, mode, encoding="utf-8", closefd=False))
    codecs.register_error("nextword.plain", _plain)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="nextword.plain")
    columns = os.environ.get("COLUMNS", "80")
    if not columns.isdecimal() or int(columns) < MIN_WIDTH:
        del os.environ["COLUMNS"]  # the terminal is asked, or 80 are taken


def terminals() -> list[int]:
    """Those of the three streams, by number, that are terminals."""
    return [number for number in range(3) if _is_open(number) and os.isatty(number)]


def redirect_to_null(numbers: list[int]) -> None:
    """These streams read nothing from now on, and forget what they are told: their terminal is gone."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in numbers:
        os.dup2(nothing, number)
    os.close(nothing)


def writes_any_character(encoding: str | None) -> bool:
    """Whether an encoding has every character there is."""
    return codecs.lookup(encoding or "ascii").name.startswith("utf")


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _plain(error: UnicodeError) -> tuple[str | bytes, int]:
    """An error handler: a sign in its plain form, any other character as its number."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = error.object[error.start : error.end].translate(_PLAIN)
    return signs.encode("ascii", "backslashreplace").decode("ascii"), error.end

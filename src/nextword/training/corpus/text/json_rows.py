"""Objects of JSON: one a line, in a list, or one behind the other; and the cells of a notebook."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from nextword.errors import TextError
from nextword.training.corpus.text.no_text import NoTextError

Rows = Iterator[tuple[int, dict[str, Any]]]
_BLANKS = " \t\r\n"


def json_rows(pieces: Iterator[str], name: str) -> Rows:
    """The objects of a text, each with the number of its line, or its place in the list; a string is a `text`.

    Raises:
        TextError: The text is no JSON, or something in it is no object.
    """
    begun = ""
    for piece in pieces:
        begun += piece
        if begun.lstrip(_BLANKS):
            break
    first, _, rest = begun.partition("\n")
    while not first.strip(_BLANKS) and rest:
        first, _, rest = rest.partition("\n")
    pieces = chain([begun], pieces)
    if begun.lstrip(_BLANKS).startswith("["):
        return _listed(pieces, name)
    if rest and first.lstrip(_BLANKS).startswith("{") and not _is_json(first):  # an object over several lines
        return _rows(enumerate(_Values(pieces, name), 1), name)
    return _in_lines(pieces, name)


def notebook_text(pieces: Iterable[str], name: str) -> str:
    """What people wrote into the cells of a notebook of Jupyter; not what came out of them.

    Raises:
        NoTextError: It is no notebook.
    """
    try:
        notebook = json.loads("".join(pieces))
        sheets = notebook.get("worksheets", [notebook])  # before format 4
        sources = [cell.get("source", cell.get("input", "")) for sheet in sheets for cell in sheet["cells"]]
        return "\n\n".join("".join(source) for source in sources)
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise NoTextError(name, f"is no notebook: {error}") from None


def lines_of(pieces: Iterator[str]) -> Iterator[str]:
    r"""Lines that end in \n, and nowhere else."""
    begun: list[str] = []
    for piece in pieces:
        first, *others = piece.split("\n")
        begun.append(first)
        for other in others:
            yield "".join(begun) + "\n"
            begun = [other]
    if any(begun):
        yield "".join(begun) + "\n"


def _in_lines(pieces: Iterator[str], name: str) -> Rows:
    def values() -> Iterator[tuple[int, Any]]:
        for number, line in enumerate(lines_of(pieces), 1):
            if line.isspace():
                continue
            try:
                yield number, json.loads(line.removesuffix("\n"))
            except json.JSONDecodeError as error:
                raise _no_json(f"{name}:{number}", f"{error.msg} (character {error.pos:,})") from None
            except (ValueError, RecursionError) as error:  # a number of thousands of digits, lists in lists in lists
                raise _no_json(f"{name}:{number}", str(error)) from None

    return _rows(values(), name)


def _listed(pieces: Iterator[str], name: str) -> Rows:
    return _rows(enumerate(_Values(pieces, name, listed=True), 1), name)


def _rows(values: Iterator[tuple[int, Any]] | enumerate[Any], name: str) -> Rows:
    for number, value in values:
        row = {"text": value} if isinstance(value, str) else value
        if not isinstance(row, dict):
            raise TextError(f"{name}:{number} should be a JSON object, found {type(value).__name__}")
        yield number, row


class _Values:
    """The values of a list, or those that stand one behind the other, one at a time in memory."""

    def __init__(self, pieces: Iterator[str], name: str, *, listed: bool = False) -> None:
        self._pieces, self._name, self._listed = pieces, name, listed
        self._text, self._place, self._count = "", 0, 0

    def __iter__(self) -> Iterator[Any]:
        decoder = json.JSONDecoder()
        if self._listed:
            self._skip()
            self._place += 1
        while self._skip():
            if self._listed and self._text[self._place] == "]":
                self._place += 1
                if self._skip():
                    raise self._error("something follows the list")
                return
            if self._listed and self._count:
                if self._text[self._place] != ",":
                    raise self._error("there is no comma")
                self._place += 1
                if not self._skip():
                    break
            self._count += 1
            while True:
                try:
                    value, end = decoder.raw_decode(self._text, self._place)
                    # A number may go on in the next piece; anything else shows where it ends.
                    if end < len(self._text) or isinstance(value, dict | list | str) or not self._more():
                        break
                except RecursionError as error:
                    raise self._error(str(error)) from None
                except ValueError as error:
                    if not self._more():
                        said = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
                        raise self._error(said) from None
            self._place = end
            yield value
        if self._listed:
            raise self._error("the list does not end")

    def _skip(self) -> bool:
        """Passes over blanks; whether anything follows."""
        while True:
            while self._place < len(self._text) and self._text[self._place] in _BLANKS:
                self._place += 1
            if self._place < len(self._text):
                return True
            if not self._more():
                return False

    def _more(self) -> bool:
        """Reads on, at least as much again as there is: what is long is not tried again for every piece."""
        parts, size = [self._text[self._place :]], 0
        for piece in self._pieces:
            parts.append(piece)
            size += len(piece)
            if size >= len(parts[0]):
                break
        self._text, self._place = "".join(parts), 0
        return size > 0

    def _error(self, what: str) -> TextError:
        return _no_json(f"{self._name}:{max(1, self._count)}", what)


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except RecursionError:
        return True  # the line is at fault, and is told
    except ValueError:
        return False
    return True


def _no_json(place: str, what: str) -> TextError:
    return TextError(f"{place} is no JSON: {what}")

"""Tables as text, .csv and .tsv: what parts the cells, whether the first line names them, and where a row ends."""

from __future__ import annotations

import csv
import logging
import re
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain, count
from typing import Any

from nextword.errors import TextError

_LOG = logging.getLogger(__name__)
Rows = Iterator[tuple[int, dict[str, Any]]]
Cells = Iterator[tuple[int, list[str]]]
_MARKS = (",", ";", "\t", "|")
_SAMPLE_LINES, _SAMPLE_CHARACTERS = 200, 1 << 20
_CELL_CHARACTERS = 2**31 - 1
_MAX_CELL_LINES = 1000  # of a cell of a .tsv file that is written over several lines
_MAX_NAME_LENGTH, _MAX_NAME_WORDS = 60, 8
_NUMBER = re.compile(r"[-+]?[.,:/ -]*\d[\d.,:/ -]*%?")  # one way to fit: a long one is told at once
_SENTENCE_END = re.compile(r"[.!\u3002\uff01\u2026]$")
_EXCEL_MARK = re.compile(r"sep=(.)\s*")


def cell_rows(lines: Iterator[str], name: str, *, tabs: bool, wanted: str | None = None) -> Rows:
    """The rows of a table, each with the number of the line that it begins in.

    Cells are parted by the comma, semicolon, tab or stroke that parts the first lines most evenly. Where the first line
    holds no names (a number, a sentence, a value that comes again below), it is a row; the columns are called 1, 2, ...

    Args:
        lines: Each with its end.
        name: Of the file, for errors.
        tabs: Whether the name says that tabs part the cells.
        wanted: A column's name; a first line that has it is one of names.

    Raises:
        TextError: A row is no row of cells.
    """
    sample, size, skipped = list[str](), 0, 0
    for line in lines:
        excel = _EXCEL_MARK.fullmatch(line) if not sample and not skipped else None
        if excel:  # Excel writes it above the names
            return _named(_split(lines, name, excel[1], 1), name, wanted, [])
        if not sample and line.isspace():
            skipped += 1
            continue
        sample.append(line)
        size += len(line)
        if len(sample) == _SAMPLE_LINES or size > _SAMPLE_CHARACTERS:
            break
    mark = "\t" if tabs and sample and "\t" in sample[0] else _mark(sample)
    first = [row for _, row in _sampled(sample, mark)]
    return _named(_split(chain(sample, lines), name, mark, skipped), name, wanted, first)


def is_number(value: str) -> bool:
    """Whether a cell holds a number or a date, not words."""
    return _NUMBER.fullmatch(value.strip()) is not None


def _split(lines: Iterator[str], name: str, mark: str, before: int) -> Cells:
    return (_by_tabs if mark == "\t" else _by_csv)(lines, name, mark, before)


def _mark(sample: Sequence[str]) -> str:
    """What parts the cells: the mark of which most lines have as many as the first."""
    best, chosen = (0.0, 0), ","
    for mark in _MARKS:
        rows = [row for _, row in _sampled(sample, mark)]
        if rows and len(rows[0]) > 1:
            even = sum(len(row) == len(rows[0]) for row in rows) / len(rows)
            if (even, len(rows[0])) > best:
                best, chosen = (even, len(rows[0])), mark
    return chosen


def _sampled(sample: Sequence[str], mark: str) -> list[tuple[int, list[str]]]:
    """The rows of the first lines, as far as they can be made out."""
    rows = list[tuple[int, list[str]]]()
    with suppress(TextError):
        rows.extend(_split(iter(sample), "", mark, 0))
    return rows[:-1] if len(rows) > 2 and len(sample) == _SAMPLE_LINES else rows  # the last one may go on


def _named(cells: Cells, name: str, wanted: str | None, sample: Sequence[Sequence[str]]) -> Rows:
    first = next(cells, None)
    if first is None:
        return
    names, has_names = first[1], not sample or _are_names(sample[0], sample[1:], wanted)
    if not has_names:
        names = [str(number) for number in range(1, len(names) + 1)]
        cells = chain([first], cells)
    names = _unique_names(names, name)
    for number, row in cells:
        if len(row) > len(names):
            more = "the first line names" if has_names else "the first line has"
            raise TextError(f"{name}:{number} has more cells than {more}")
        yield number, dict(zip(names, [*row, *[None] * (len(names) - len(row))], strict=True))


def _unique_names(names: Sequence[str], name: str) -> list[str]:
    """The names of columns, each its own: of those that are called alike, later ones get a number."""
    apart = dict[str, None]()
    for column in names:
        fresh = next(one for one in chain([column], (f"{column} ({i})" for i in count(2))) if one not in apart)
        if fresh != column and column.strip():
            _LOG.warning("%s has several columns %s: one is called %s here", name, column, fresh)
        apart[fresh] = None
    return list(apart)


def _are_names(first: Sequence[str], others: Sequence[Sequence[str]], wanted: str | None) -> bool:
    """Whether the first row names the columns."""
    cells = [cell.strip() for cell in first]
    if wanted is not None and wanted in first:
        return True
    if not any(cells) or not all(_is_name(cell) for cell in cells if cell):
        return False
    if len(cells) == 1:
        return " " not in cells[0]  # of a column of sentences, the first is one too
    for place, cell in enumerate(cells):
        if cell and any(len(row) > place and row[place].strip() == cell for row in others):
            return False  # a value that comes again is no name
    return True


def _is_name(cell: str) -> bool:
    short = len(cell) <= _MAX_NAME_LENGTH and len(cell.split()) <= _MAX_NAME_WORDS and "\n" not in cell
    return short and not is_number(cell) and not _SENTENCE_END.search(cell)


def _by_csv(lines: Iterator[str], name: str, mark: str, before: int) -> Cells:
    csv.field_size_limit(_CELL_CHARACTERS)  # the module has one limit for all; it guards against nothing here
    reader = csv.reader(lines, delimiter=mark, strict=True)
    number = before + 1
    try:
        for row in reader:
            if row:
                yield number, row
            number = before + reader.line_num + 1
    except csv.Error as error:
        raise TextError(f"{name}:{number} is no row of cells: {error}") from None


def _by_tabs(lines: Iterator[str], _name: str, mark: str, before: int) -> Cells:
    """Rows of cells between tabs. A quotation mark that nothing closes is one that somebody wrote."""
    ahead = deque[str]()  # lines that were looked at, and belong to later rows
    width, number = 0, before
    while (line := ahead.popleft() if ahead else next(lines, None)) is not None:
        number += 1
        if line.isspace() and mark not in line:
            continue
        cells, first = _cells(line.removesuffix("\n"), mark), number
        if cells is None:
            cells, used = _over_lines(line, lines, ahead, width, mark)
            for _ in range(used):
                ahead.popleft()
            number += used
        if cells is None:
            cells = _cells(line.removesuffix("\n"), mark, closed=False) or []
        width = width or len(cells)
        yield first, cells


def _over_lines(
    line: str, lines: Iterator[str], ahead: deque[str], width: int, mark: str
) -> tuple[list[str] | None, int]:
    """The cells of a row that goes on in later lines, and in how many; None where rows of their own follow."""
    text = line
    for used in range(_MAX_CELL_LINES):
        if used == len(ahead):
            following = next(lines, None)
            if following is None:
                break
            ahead.append(following)
        following = ahead[used]
        if width > 1 and following.count(mark) == width - 1 and '"' not in following.partition(mark)[0]:
            break
        text += following
        if '"' in following and (cells := _cells(text.removesuffix("\n"), mark)) is not None:
            return (cells, used + 1) if not width or len(cells) <= width else (None, 0)
    return None, 0


def _cells(text: str, mark: str, *, closed: bool = True) -> list[str] | None:
    """The cells of a row; None if a quotation mark opens one and nothing closes it.

    Args:
        text: The row.
        mark: What parts the cells.
        closed: False takes such a quotation mark for a part of its cell.
    """
    cells, place = list[str](), 0
    while True:
        end = len(text) if (end := text.find(mark, place)) < 0 else end
        cell = text[place:end]
        if cell.startswith('"'):
            closing = _closing(text, place + 1)
            if closing is None and closed:
                return None
            if closing is not None and text[closing + 1 : closing + 2] in ("", mark):
                cell, end = text[place + 1 : closing].replace('""', '"'), closing + 1
        cells.append(cell)
        if end >= len(text):
            return cells
        place = end + 1


def _closing(text: str, place: int) -> int | None:
    """Where the next quotation mark stands that is not doubled."""
    while (place := text.find('"', place)) >= 0:
        if text[place + 1 : place + 2] != '"':
            return place
        place += 2
    return None

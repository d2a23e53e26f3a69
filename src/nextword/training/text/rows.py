"""Tables and records: .jsonl, .csv, .tsv, .parquet and data sets, a row at a time."""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, cast

from nextword.errors import TextError, missing_extra
from nextword.training.text.blocks import read_blocks
from nextword.training.text.encodings import decode
from nextword.training.text.sources import DATASET, Source

Rows = Iterator[tuple[int, dict[str, Any]]]
USUAL_FIELDS = ("text", "content")
_FIELD_CHARACTERS = 2**31 - 1
_ROWS_AT_ONCE = 256


def read_rows(source: Source, encoding: str | None, column: str | None = None) -> Rows:
    """The rows of a source, each with its number: the line it begins in, or its place, counted from 1.

    Args:
        source: Any but plain text.
        encoding: Of .jsonl, .csv and .tsv files; None is UTF-8.
        column: The one that is needed, if only one is; others may be there still.

    Raises:
        TextError: The source cannot be read, or a row is no row.
        ConfigError: A package that it takes is not installed.
    """
    if source.format == "parquet":
        return _parquet(source, column)
    if source.format == "dataset":
        return _dataset(source)
    lines = _lines(decode(read_blocks(source), source.name, encoding))
    return _json(lines, source.name) if source.format == "jsonl" else _csv(lines, source)


def text_field(row: Mapping[str, Any], wanted: str | None, name: str) -> str:
    """The field of a row that holds the text: the wanted one, `text`, `content`, or the only string.

    Raises:
        TextError: There is no such field, or it is not clear which one is meant.
    """
    hint = f"its fields are {', '.join(row)}"
    if wanted is not None:
        if wanted not in row:
            raise TextError(f"{name} has no field {wanted!r}", hint=hint)
        return wanted
    strings = [field for field, value in row.items() if isinstance(value, str)]
    found = [field for field in USUAL_FIELDS if field in row] or (strings if len(strings) == 1 else [])
    if not found:
        raise TextError(f"{name} does not tell which field is the text", hint=f"{hint}: name one with text_field=...")
    return found[0]


def _lines(pieces: Iterator[str]) -> Iterator[str]:
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


def _json(lines: Iterator[str], name: str) -> Rows:
    for number, line in enumerate(lines, 1):
        if line.isspace():
            continue
        try:
            row = json.loads(line.removesuffix("\n"))
        except json.JSONDecodeError as error:
            raise TextError(f"{name}:{number} is no JSON: {error.msg} (character {error.pos:,})") from None
        except (ValueError, RecursionError) as error:  # a number of thousands of digits, lists in lists in lists
            raise TextError(f"{name}:{number} is no JSON: {error}") from None
        if not isinstance(row, dict):
            raise TextError(f"{name}:{number} should be a JSON object, found {type(row).__name__}")
        yield number, row


def _csv(lines: Iterator[str], source: Source) -> Rows:
    csv.field_size_limit(_FIELD_CHARACTERS)  # the module has one limit for all; it guards against nothing here
    reader = csv.DictReader(lines, delimiter="\t" if source.format == "tsv" else ",", strict=True)
    number = 1
    try:
        _ = reader.fieldnames
        number = reader.line_num + 1
        for row in reader:
            if None in row:
                raise TextError(f"{source.name}:{number} has more cells than the first line names")
            yield number, row
            number = reader.line_num + 1
    except csv.Error as error:
        raise TextError(f"{source.name}:{number} is no row of cells: {error}") from None


def _parquet(source: Source, column: str | None) -> Rows:
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError:
        raise missing_extra("pyarrow", "data", f"reading {source.name}") from None
    number = 0
    try:
        with source.open() if not source.compression else _unpacked(source) as file:
            columns = None if column is None else [column]
            for batch in parquet.ParquetFile(file).iter_batches(_ROWS_AT_ONCE, columns=columns):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except pyarrow.ArrowException as error:
        raise TextError(f"{source.name} is no parquet file: {error}") from None
    except OSError as error:
        raise TextError(f"{source.name} cannot be read: {error.strerror or error}") from None


def _unpacked(source: Source) -> BinaryIO:
    file = tempfile.TemporaryFile()  # noqa: SIM115  the caller closes it
    for block in read_blocks(source):
        file.write(block)
    file.seek(0)
    return cast("BinaryIO", file)


def _dataset(source: Source) -> Rows:
    try:
        import datasets
    except ModuleNotFoundError:
        raise missing_extra("datasets", "data", f"reading {source.name}") from None
    name, *rest = source.name.removeprefix(DATASET).split(":")
    if len(rest) > 2:
        raise TextError(f"{source.name} is no data set", hint="hf:owner/name, hf:owner/name:split or :config:split")
    split, config = rest[-1] if rest else "train", rest[0] if len(rest) == 2 else None
    try:
        yield from enumerate(datasets.load_dataset(name, config, split=split, streaming=True), 1)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise TextError(f"{source.name} cannot be read: {error}") from None

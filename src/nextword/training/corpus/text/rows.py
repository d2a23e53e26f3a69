"""Tables and records: .json, .jsonl, .csv, .tsv, .parquet and data sets, a row at a time."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, cast

from nextword.errors import TextError, missing_extra
from nextword.training.corpus.text.blocks import read_blocks
from nextword.training.corpus.text.cells import cell_rows, is_number
from nextword.training.corpus.text.encodings import decode
from nextword.training.corpus.text.json_rows import json_rows, lines_of
from nextword.training.corpus.text.no_text import NoTextError
from nextword.training.corpus.text.sources import DATASET, Source, unreadable

Rows = Iterator[tuple[int, dict[str, Any]]]
USUAL_FIELDS = ("text", "content")
_ROWS_AT_ONCE = 256
_ADDRESSES = ("http://", "https://", "www.", "/", "data:")


def read_rows(source: Source, encoding: str | None, column: str | None = None) -> Rows:
    """The rows of a source, each with its number: the line it begins in, or its place, counted from 1.

    Args:
        source: Any but plain text and notebooks.
        encoding: Of .json, .jsonl, .csv and .tsv files; None is UTF-8.
        column: The one that is needed, if only one is; others may be there still.

    Raises:
        TextError: The source cannot be read, or a row is no row.
        ConfigError: A package that it takes is not installed.
    """
    if source.format == "parquet":
        return _parquet(source, column)
    if source.format == "dataset":
        return _dataset(source)
    pieces = decode(read_blocks(source), source.name, encoding)
    if source.format == "json":
        return json_rows(pieces, source.name)
    return cell_rows(lines_of(pieces), source.name, tabs=source.format == "tsv", wanted=column)


def text_field(rows: Sequence[Mapping[str, Any]], wanted: str | None, name: str) -> str:
    """The field of rows that holds the text: the wanted one, `text`, `content`, or the only one with words in it.

    Args:
        rows: The first ones: one row alone may lack a value.
        wanted: What was asked for.
        name: Of the first row, for errors.

    Raises:
        NoTextError: No field holds words, or there is none that is called so.
        TextError: It is not clear which one is meant.
    """
    fields = dict.fromkeys(field for row in rows for field in row)
    hint = f"its fields are {', '.join(fields)}"
    if wanted is not None:
        if wanted not in fields:
            raise NoTextError(name, f"has no field {wanted!r}", hint=hint)
        return wanted
    if not {"messages", "conversations"}.isdisjoint(fields):
        raise TextError(f"{name} is a conversation, among texts", hint="learn conversations by themselves")
    words = {field: sum(_letters(row.get(field)) for row in rows) for field in fields}
    usual = [field for one in USUAL_FIELDS for field in fields if field.strip().lower() == one]
    for field in usual:
        if words[field] or not any(words.values()):
            return field
    strings = [field for field in fields if any(_is_words(row.get(field)) for row in rows)]
    if not any(words.values()):
        raise NoTextError(name, "holds no text", hint=hint)
    if not usual and len(strings) == 1 and _is_the_text(strings[0], rows, words):
        return strings[0]
    raise TextError(f"{name} does not tell which field is the text", hint=f"{hint}: name one with text_field=...")


def _is_words(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip()) and not is_number(value)


def _letters(value: Any) -> int:
    """Characters of text in a value, also deep inside it."""
    if isinstance(value, dict):
        return sum(map(_letters, value.values()))
    if isinstance(value, list):
        return sum(map(_letters, value))
    return len(value) if _is_words(value) else 0


def _is_the_text(field: str, rows: Sequence[Mapping[str, Any]], words: Mapping[str, int]) -> bool:
    """Whether the only strings are what is meant: not addresses, nor labels beside texts that lie deeper."""
    values = [str(row[field]).strip() for row in rows if _is_words(row.get(field))]
    if all(len(value.split()) == 1 for value in values):
        return words[field] == sum(words.values()) and not all(value.startswith(_ADDRESSES) for value in values)
    return words[field] == max(words.values())


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
        raise unreadable(source.name, error) from None


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
    hub = logging.getLogger("huggingface_hub")
    level = hub.level
    hub.setLevel(logging.ERROR)  # it tells of every try to reach the hub
    try:
        yield from enumerate(datasets.load_dataset(name, config, split=split, streaming=True), 1)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise unreadable(source.name, error) from None
    finally:
        hub.setLevel(level)

"""Sources of text -> a directory of token ids and a tokenizer: read once, mapped into memory from then on."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from nextword.files.atomic import replace_directory
from nextword.formatting import escape_surrogates
from nextword.tokens import Tokenizer
from nextword.tokens.byte_level import character_merges, has_long_words
from nextword.training.corpus.chunks import Chunk, chunks, encode_chunks
from nextword.training.corpus.dataset import (
    Dataset,
    EncodedText,
    TextReport,
    open_dataset,
    write_description,
    write_part,
)
from nextword.training.corpus.overlap import repeated_share
from nextword.training.corpus.spool import Part, Spool, split, whole
from nextword.training.corpus.text import ByteLimit, Piece, Place, SourceReport, read_pieces
from nextword.training.corpus.tokenized_text import require_characters, require_share

TOKENIZER_BYTES = 32 << 20
"""Of a longer text a tokenizer is trained on this much, spread evenly over it."""
_OPENING_CHARACTERS = 24
_TEXT = "text.utf8"

Progress = Callable[[str, int, int], None]
"""Is told the stage (`read`, `tokenize`), the bytes of text done, and all there are (0: not known yet)."""


def prepare_text(
    directory: Path,
    sources: Place | Sequence[Place],
    *,
    validation: float | str | Path | None,
    validation_limit: int | None = None,
    limit: int | None = None,
    reading: SourceReport | None = None,
    encoding: str | None = None,
    text_field: str | None = None,
    compose: bool = False,
    tokenizer: Tokenizer | None = None,
    vocab_size: int | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Reads text, holds a part of it out, trains a tokenizer if there is none, and writes tokens to `directory`.

    The text is read once and never held in memory as a whole.

    Args:
        directory: Is made, or replaced, when everything has worked out.
        sources: What `read_pieces` takes.
        validation: The share of the text to hold out (see `spool.split`), or a source to be judged by, or None.
        validation_limit: Bytes that are held out at most, if a share is; None is no limit.
        limit: Bytes of text after which no more is read; the report then says that it is only the beginning.
        reading: What has been passed over before; the report says it.
        encoding: Of the files; None is UTF-8.
        text_field: The field of a row that holds its text; None is `text`, `content` or the only one with words.
        compose: Whether decomposed Hangul is composed.
        tokenizer: None is byte-level BPE, trained on the part to learn, or on 32 MB spread evenly over it.
        vocab_size: Of a tokenizer to train; None goes by the length of the text and the characters in it.
        progress: Is told how far it is.

    Raises:
        TextError: Text is missing, empty, too short, damaged or wrongly encoded.
        ConfigError: A setting is out of range, or an optional package is missing.
        ModelFileError: The directory cannot be written.
    """
    if isinstance(validation, int | float):
        require_share(validation)
    with replace_directory(directory) as fresh:
        beginning: ByteLimit | None = None

        def spooled(name: str, places: Place | Sequence[Place], reading: SourceReport) -> Spool:
            nonlocal beginning
            pieces: Iterable[Piece] = read_pieces(
                [places] if isinstance(places, Place) else places, encoding, text_field, reading=reading
            )
            if limit is not None and name == _TEXT:
                pieces = beginning = ByteLimit(pieces, limit)
            report_read = None if progress is None else lambda done: progress("read", done, 0)
            return Spool(fresh / name, pieces, compose=compose, progress=report_read)

        reading = SourceReport() if reading is None else reading
        text = spooled(_TEXT, sources, reading)
        require_characters(text.characters, reading.read)
        train, held_out = whole(text), None
        decomposed = text.decomposed
        if isinstance(validation, str | Path):
            other = spooled("validation.utf8", validation, SourceReport([], reading.skipped))
            held_out = whole(other)
            decomposed += other.decomposed
        elif validation is not None:
            max_share = 1.0 if validation_limit is None else validation_limit / text.bytes
            train, held_out = split(text, min(validation, max_share))
        long_words = False
        if tokenizer is None:
            sample = _sample(train)
            long_words = has_long_words(sample)
            if vocab_size is None:
                vocab_size = choose_vocab_size(train.bytes()) + character_merges(sample)
            tokenizer = Tokenizer.train_bpe(sample, vocab_size)
        report = TextReport(
            documents=len(text),
            **reading.to_report(),
            names=tuple(escape_surrogates(Path(name).name) for name in text.names),
            characters=0,
            bytes=0,
            sha256="",
            decomposed=decomposed,
            composed=compose,
            long_words=long_words,
            only_beginning=beginning is not None and beginning.cut,
            repeated=0.0 if held_out is None else repeated_share(held_out.texts(), train.texts()),
            opening=_opening([train] if held_out is None else [held_out, train]),
        )
        digest = hashlib.sha256()
        done, all_bytes = 0, text.bytes if held_out is None or held_out.spool is text else text.bytes + other.bytes

        def encoded(part: Part, *, learned: bool) -> Iterator[EncodedText]:
            nonlocal done
            for chunk, ids in encode_chunks(_chunks(part, tokenizer), tokenizer):
                data = chunk.text.encode()
                if learned:
                    digest.update(data)
                done += len(data)
                if progress is not None:
                    progress("tokenize", done, all_bytes)
                yield EncodedText(ids, len(chunk.text), len(data))

        parts = {"train": write_part(fresh, "train", encoded(train, learned=True), tokenizer, weighted=False)}
        if held_out is not None:
            held = write_part(fresh, "validation", encoded(held_out, learned=False), tokenizer, weighted=False)
            parts |= {"validation": held} if held["tokens"] else {}
        write_description(fresh, parts, tokenizer, replace(report, sha256=digest.hexdigest()))
        for spool in fresh.glob("*.utf8"):
            spool.unlink()
    return open_dataset(directory)


def choose_vocab_size(text_bytes: int) -> int:
    """About the square root of the text's length, as a power of two from 512 to 32,768.

    To it come the characters beyond ASCII (`byte_level.character_merges`).
    """
    return min(32768, max(512, 1 << round(math.log2(max(1, text_bytes)) / 2)))


def _sample(part: Part) -> list[str]:
    """A text in chunks or, of a long one, 32 MB of it that are spread evenly over it."""
    share = min(1.0, TOKENIZER_BYTES / max(1, part.bytes()))
    numbered = enumerate(_chunks(part, None))
    return [chunk.text for i, chunk in numbered if share == 1 or int((i + 1) * share) > int(i * share)]


def _chunks(part: Part, tokenizer: Tokenizer | None) -> Iterator[Chunk]:
    for pieces in part.texts():
        yield from chunks(pieces, tokenizer)


def _opening(parts: Iterable[Part]) -> str:
    texts = (piece.strip()[:_OPENING_CHARACTERS] for part in parts for pieces in part.texts() for piece in pieces)
    return next(filter(None, texts), "")

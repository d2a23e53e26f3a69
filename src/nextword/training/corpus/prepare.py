"""Sources of text -> a directory of token ids and a tokenizer: read once, mapped into memory from then on."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from nextword.errors import ModelFileError
from nextword.files.atomic import replace_directory
from nextword.json_file import json_text, read_json
from nextword.readable import readable
from nextword.tokens import Tokenizer
from nextword.tokens.byte_level import character_merges, has_long_words
from nextword.training.corpus.chunks import Chunk, chunks, encode_chunks
from nextword.training.corpus.overlap import repeated_share
from nextword.training.corpus.spool import Part, Spool, split, whole
from nextword.training.corpus.text import Piece, Place, Reading, UpTo, read_pieces
from nextword.training.corpus.token_files import Loose, TokenWriter, open_tokens, open_weights
from nextword.training.corpus.tokenized_text import TokenizedText, require_characters, require_share

FORMAT_VERSION = 1
TOKENIZER_BYTES = 32 << 20
"""Of a longer text a tokenizer is trained on this much, spread evenly over it."""
_OPENING_CHARACTERS = 24
_TEXT = "text.utf8"

Progress = Callable[[str, int, int], None]
"""Is told the stage (`read`, `tokenize`), the bytes of text done, and all there are (0: not known yet)."""


@dataclass(frozen=True)
class TextReport:
    """What a text turned out to be."""

    documents: int
    names: tuple[str, ...]
    """Of the first twenty, without their directories."""
    characters: int
    """Of the part to learn, as `bytes` and `sha256` (of its UTF-8, all documents end to end)."""
    bytes: int
    sha256: str
    decomposed: int = 0
    """Syllables of Hangul that came spelled as letters (NFD)."""
    composed: bool = False
    """Whether these were composed."""
    long_words: bool = False
    """Whether the vocabulary was learned from parts of words that are too long to be counted whole."""
    repeated: float = 0.0
    """Share of the held-out characters in lines that the training part has too (see `repeated_share`)."""
    only_beginning: bool = False
    """Whether the text goes on, and was not read further."""
    opening: str = ""
    """The first characters of the held-out text, or of the text, if nothing is held out."""
    files: tuple[str, ...] = ()
    """The first twenty sources that were read."""
    file_count: int = 0
    skipped: tuple[tuple[str, str], ...] = ()
    """What was found and not read, each with the reason: the first fifty."""
    skipped_count: int = 0

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> TextReport:
        """What `asdict` made of it, as JSON gives it back."""
        lists = {"names": tuple(values["names"]), "files": tuple(values.get("files", ()))}
        return cls(**{**values, **lists, "skipped": tuple((name, why) for name, why in values.get("skipped", ()))})


@dataclass(frozen=True)
class Prepared:
    """A text that can be trained on."""

    train: TokenizedText
    validation: TokenizedText | None
    tokenizer: Tokenizer
    report: TextReport


@dataclass(frozen=True)
class EncodedText:
    """A document, or part of one, as tokens."""

    ids: Loose
    characters: int
    bytes: int
    weights: Loose | None = None
    """1 for each token that counts in the loss, 0 for the others; None: all count."""


def prepare_data(
    directory: Path,
    sources: Place | Sequence[Place],
    *,
    validation: float | str | Path | None,
    validation_limit: int | None = None,
    limit: int | None = None,
    reading: Reading | None = None,
    encoding: str | None = None,
    text_field: str | None = None,
    compose: bool = False,
    tokenizer: Tokenizer | None = None,
    vocab_size: int | None = None,
    progress: Progress | None = None,
) -> Prepared:
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
        beginning: UpTo | None = None

        def spooled(name: str, places: Place | Sequence[Place], reading: Reading) -> Spool:
            nonlocal beginning
            pieces: Iterable[Piece] = read_pieces(
                [places] if isinstance(places, Place) else places, encoding, text_field, reading=reading
            )
            if limit is not None and name == _TEXT:
                pieces = beginning = UpTo(pieces, limit)
            told = None if progress is None else lambda done: progress("read", done, 0)
            return Spool(fresh / name, pieces, compose=compose, progress=told)

        reading = Reading() if reading is None else reading
        text = spooled(_TEXT, sources, reading)
        require_characters(text.characters, reading.read)
        train, held_out = whole(text), None
        decomposed = text.decomposed
        if isinstance(validation, str | Path):
            other = spooled("validation.utf8", validation, Reading([], reading.skipped))
            held_out = whole(other)
            decomposed += other.decomposed
        elif validation is not None:
            most = 1.0 if validation_limit is None else validation_limit / text.bytes
            train, held_out = split(text, min(validation, most))
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
            names=tuple(readable(Path(name).name) for name in text.names),
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

        parts = {"train": _write_part(fresh, "train", encoded(train, learned=True), tokenizer, weighted=False)}
        if held_out is not None:
            held = _write_part(fresh, "validation", encoded(held_out, learned=False), tokenizer, weighted=False)
            parts |= {"validation": held} if held["tokens"] else {}
        report = replace(
            report,
            characters=parts["train"]["characters"],
            bytes=parts["train"]["bytes"],
            sha256=digest.hexdigest(),
        )
        _write_description(fresh, parts, tokenizer, report)
        for spool in fresh.glob("*.utf8"):
            spool.unlink()
    return open_data(directory)


def choose_vocab_size(text_bytes: int) -> int:
    """About the square root of the text's length, as a power of two from 512 to 32,768.

    To it come the characters beyond ASCII (`byte_level.character_merges`).
    """
    return min(32768, max(512, 1 << round(math.log2(max(1, text_bytes)) / 2)))


def write_data(
    directory: Path,
    train: Iterable[EncodedText],
    validation: Iterable[EncodedText] | None,
    tokenizer: Tokenizer,
    report: TextReport,
    *,
    weighted: bool = False,
) -> Prepared:
    """The same directory from documents that are tokens already, such as conversations.

    Args:
        directory: Is made, or replaced.
        train: What to learn; start tokens are to be among the ids.
        validation: What to be judged by, or None.
        tokenizer: Whose tokens these are.
        report: What is known of the text; its counts are replaced by those of `train`.
        weighted: Whether the documents have weights.

    Raises:
        ModelFileError: The directory cannot be written.
    """
    with replace_directory(directory) as fresh:
        parts = {"train": _write_part(fresh, "train", train, tokenizer, weighted=weighted)}
        if validation is not None:
            parts["validation"] = _write_part(fresh, "validation", validation, tokenizer, weighted=weighted)
        counts = {name: parts["train"][name] for name in ("characters", "bytes")}
        _write_description(fresh, parts, tokenizer, replace(report, **counts))
    return open_data(directory)


def open_data(directory: Path) -> Prepared:
    """What `prepare_data` or `write_data` left. No text is read or encoded again.

    Raises:
        ModelFileError: It is missing or damaged.
    """
    description = read_json(directory / "data.json")
    if description.get("format_version") != FORMAT_VERSION:
        found = description.get("format_version")
        raise ModelFileError(f"{directory}/data.json has format {found}, this nextword reads {FORMAT_VERSION}")
    tokenizer = Tokenizer.load(directory)
    try:
        report = TextReport.from_json(description["report"])
        parts = {name: _open_part(directory, name, part, tokenizer) for name, part in description["parts"].items()}
        return Prepared(parts["train"], parts.get("validation"), tokenizer, report)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelFileError(f"{directory}/data.json is damaged: {error}") from None


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


def _write_part(
    directory: Path, name: str, texts: Iterable[EncodedText], tokenizer: Tokenizer, *, weighted: bool
) -> dict[str, Any]:
    characters = size = 0
    with TokenWriter(directory, name, tokenizer.vocab_size, weighted=weighted) as writer:
        for text in texts:
            writer.add(text.ids, text.weights)
            characters += text.characters
            size += text.bytes
    return {"tokens": writer.count, "characters": characters, "bytes": size, "weighted": weighted}


def _write_description(
    directory: Path, parts: dict[str, dict[str, Any]], tokenizer: Tokenizer, report: TextReport
) -> None:
    (directory / "tokenizer.json").write_text(tokenizer.to_json(), encoding="utf-8")
    generation = {"eos_token_id": sorted(tokenizer.end_ids)} if tokenizer.end_ids else {}
    for name, content in {
        "tokenizer_config.json": tokenizer.settings(),
        "generation_config.json": generation,
        "data.json": {"format_version": FORMAT_VERSION, "parts": parts, "report": asdict(report)},
    }.items():
        (directory / name).write_text(json_text(content, indent=2) + "\n", encoding="utf-8")


def _open_part(directory: Path, name: str, part: dict[str, Any], tokenizer: Tokenizer) -> TokenizedText:
    count = part["tokens"]
    return TokenizedText(
        open_tokens(directory, name, tokenizer.vocab_size, count),
        part["characters"],
        part["bytes"],
        open_weights(directory, name, count) if part["weighted"] else None,
    )

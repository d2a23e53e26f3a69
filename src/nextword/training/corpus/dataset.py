"""A text that can be trained on, on disk: token ids, the tokenizer, and what the text turned out to be."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from nextword.errors import ModelFileError
from nextword.files.atomic import replace_directory
from nextword.json_file import json_text, read_json
from nextword.tokens import Tokenizer
from nextword.training.corpus.token_files import Loose, TokenWriter, open_tokens, open_weights
from nextword.training.corpus.tokenized_text import TokenizedText

FORMAT_VERSION = 1


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
class Dataset:
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


def write_dataset(
    directory: Path,
    train: Iterable[EncodedText],
    validation: Iterable[EncodedText] | None,
    tokenizer: Tokenizer,
    report: TextReport,
    *,
    weighted: bool = False,
) -> Dataset:
    """Writes documents that are tokens already, such as conversations.

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
        parts = {"train": write_part(fresh, "train", train, tokenizer, weighted=weighted)}
        if validation is not None:
            parts["validation"] = write_part(fresh, "validation", validation, tokenizer, weighted=weighted)
        write_description(fresh, parts, tokenizer, report)
    return open_dataset(directory)


def open_dataset(directory: Path) -> Dataset:
    """What `prepare_text` or `write_dataset` left. No text is read or encoded again.

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
        return Dataset(parts["train"], parts.get("validation"), tokenizer, report)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelFileError(f"{directory}/data.json is damaged: {error}") from None


def write_part(
    directory: Path, name: str, texts: Iterable[EncodedText], tokenizer: Tokenizer, *, weighted: bool
) -> dict[str, Any]:
    """Writes the tokens of documents, and gives what `data.json` says of them: how many, of which text."""
    characters = size = 0
    with TokenWriter(directory, name, tokenizer.vocab_size, weighted=weighted) as writer:
        for text in texts:
            writer.add(text.ids, text.weights)
            characters += text.characters
            size += text.bytes
    return {"tokens": writer.count, "characters": characters, "bytes": size, "weighted": weighted}


def write_description(
    directory: Path, parts: dict[str, dict[str, Any]], tokenizer: Tokenizer, report: TextReport
) -> None:
    """Writes the tokenizer and `data.json`, where the report has the counts of the part to learn."""
    report = replace(report, characters=parts["train"]["characters"], bytes=parts["train"]["bytes"])
    (directory / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
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

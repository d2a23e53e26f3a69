"""What was asked to be read -> a dataset on disk, of text or of conversations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nextword.errors import ConfigError
from nextword.language_model import LanguageModel
from nextword.settings import TrainingSettings
from nextword.training.corpus.dataset import Dataset
from nextword.training.corpus.prepare_conversations import holds_conversations, prepare_conversations
from nextword.training.corpus.prepare_text import Progress, prepare_text
from nextword.training.corpus.text import Place, SourceReport, find_sources


def prepare_dataset(
    directory: Path,
    sources: Sequence[Place],
    settings: TrainingSettings,
    base: LanguageModel | None,
    *,
    limit: int | None,
    validation_limit: int,
    progress: Progress,
    reading: SourceReport,
) -> Dataset:
    """Text or conversations -> tokens in `directory`.

    Args:
        directory: Is made, or replaced.
        sources: What `find_sources` found.
        settings: How they are read, and what is held out.
        base: The model to start from, whose tokenizer is taken, or None.
        limit: Bytes of text after which no more is read; None is no limit.
        validation_limit: Bytes that are held out at most, if a share is.
        progress: Is told how far it is.
        reading: What has been passed over before; the report says it.

    Raises:
        TextError: Text is missing, empty, too short, damaged or wrongly encoded.
        ConfigError: A setting is out of range, or conversations are to train a model without a chat template.
        ModelFileError: The directory cannot be written.
    """
    if holds_conversations(sources, settings.encoding):
        if base is None or not base.chat_template:
            name = "no model" if base is None else f"{settings.from_model} has no chat template"
            raise ConfigError(
                f"conversations need a model that knows how they are written, {name}",
                hint='start from one that chats: from_model="smollm2"',
            )
        return prepare_conversations(
            directory, sources, base, validation=settings.validation, encoding=settings.encoding, reading=reading
        )
    if isinstance(settings.validation, str | Path):
        next(find_sources([settings.validation]))  # missing: it is told before all the text is read
    return prepare_text(
        directory,
        sources,
        validation=settings.validation,
        validation_limit=validation_limit,
        limit=limit,
        encoding=settings.encoding,
        text_field=settings.text_field,
        compose=settings.compose,
        tokenizer=None if base is None else base.tokenizer,
        vocab_size=settings.vocab_size,
        progress=progress,
        reading=reading,
    )

"""Conversations -> tokens and weights on disk, written by the model's own chat template."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from nextword.errors import TextError
from nextword.language_model import LanguageModel
from nextword.tokens import Tokenizer
from nextword.training.corpus.conversations import Conversation, TrainingTemplate, read_conversations
from nextword.training.corpus.dataset import Dataset, EncodedText, TextReport, write_dataset
from nextword.training.corpus.text import Place, SourceReport, find_sources, read_records
from nextword.training.corpus.text.kinds import detect_format
from nextword.training.corpus.text.no_text import NoTextError
from nextword.training.corpus.tokenized_text import require_share

_FIELDS = {"messages", "conversations"}


def holds_conversations(sources: Sequence[Place], encoding: str | None) -> bool:
    """Whether the first source that holds anything is a table whose first row is a conversation."""
    for source in find_sources(sources):
        try:
            if detect_format(source, encoding).format in ("text", "notebook"):
                return False
            row = next(read_records([source], encoding), None)
        except NoTextError:
            if not source.found:
                raise
            continue
        if row is not None:
            return not _FIELDS.isdisjoint(row[1])
    return False


def prepare_conversations(
    directory: Path,
    sources: Sequence[Place],
    base: LanguageModel,
    *,
    validation: float | str | Path | None,
    encoding: str | None,
    reading: SourceReport | None = None,
) -> Dataset:
    """Writes the tokens of conversations and which of them are answers; only those are learned and judged.

    Args:
        directory: Is made, or replaced.
        sources: Files with a conversation a row.
        base: The model whose tokenizer and chat template write them.
        validation: A share: of every so many conversations one is held out; or a file of them; or None.
        encoding: Of the files.
        reading: What has been passed over before; the report says it.

    Raises:
        TextError: A row is no conversation, there are too few to hold one out, or the template refuses one.
        ConfigError: The share is out of range.
        ModelFileError: The template is faulty, or the directory cannot be written.
    """
    reading = SourceReport() if reading is None else reading
    template = TrainingTemplate(base.chat_template, base.tokenizer)
    every = None
    if isinstance(validation, int | float):
        require_share(validation)
        every = max(2, round(1 / validation))

    def conversations(
        places: Sequence[Place], held_out: bool | None = None, report: SourceReport | None = None
    ) -> Iterator[Conversation]:
        for number, conversation in enumerate(read_conversations(read_records(places, encoding, reading=report))):
            if held_out is None or every is None or (number % every == every - 1) is held_out:
                yield conversation

    count, digest = 0, hashlib.sha256()
    for conversation in conversations(sources, report=reading):
        if every is None or count % every != every - 1:
            digest.update(repr(conversation.messages).encode())
        count += 1
    if every is not None and count < every:
        raise TextError(
            f"{count} conversations are too few to hold one of {every} out",
            hint="hold out a larger share, a file of their own, or none",
        )
    judged = None
    if isinstance(validation, str | Path):
        judged = _encoded(conversations([validation]), template, base.tokenizer)
    elif every is not None:
        judged = _encoded(conversations(sources, held_out=True), template, base.tokenizer)
    names = tuple(dict.fromkeys(Path(name).name for name in reading.read))
    learned = _encoded(conversations(sources, held_out=None if every is None else False), template, base.tokenizer)
    report = TextReport(count, names[:20], characters=0, bytes=0, sha256=digest.hexdigest(), **reading.to_report())
    return write_dataset(directory, learned, judged, base.tokenizer, report, weighted=True)


def _encoded(
    conversations: Iterator[Conversation], template: TrainingTemplate, tokenizer: Tokenizer
) -> Iterator[EncodedText]:
    """Each with the characters and bytes of its answers: what its loss is measured by."""
    for conversation in conversations:
        ids, weights = template.encode_conversation(conversation)
        learned = zip(ids, weights, strict=True)
        answers = tokenizer.decode(i for i, weight in learned if weight and i not in tokenizer.end_ids)
        yield EncodedText(ids, len(answers), len(answers.encode()), weights)

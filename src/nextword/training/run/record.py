"""What a run was begun with, on disk: rank 0 writes it, all open it, and a run that goes on is held to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from nextword.errors import ConfigError, ModelFileError, NextwordError
from nextword.language_model import LanguageModel
from nextword.loading import load
from nextword.settings import TrainingSettings
from nextword.training.checkpoints.checkpoint import Checkpoints
from nextword.training.corpus.dataset import Dataset, TextReport, open_dataset
from nextword.training.corpus.fingerprint import fingerprint
from nextword.training.corpus.tokenized_text import TokenizedText
from nextword.training.planning.derive import SETTING_NAMES, given_settings
from nextword.training.planning.plan import Plan
from nextword.training.run_directory import RECORD, START_ANEW, read_run, write_run

DATA, VARIED = "data", "varied"
"""Directories of a run directory: the text as tokens, and the same cut into other tokens (`bpe_dropout`)."""


@dataclass(frozen=True)
class RunRecord:
    """What a run was begun with: its fields are those of run.json."""

    plan: Plan
    """Without the seconds, which are counted from the first step."""
    seed: int
    minutes: float | None
    text_files: str | None
    """See `fingerprint`."""
    vocab_size: int | None
    """As it was asked for; a short text may have given fewer tokens."""


@dataclass(frozen=True)
class StartedRun:
    """A run that has begun: on every process the same."""

    record: RunRecord
    dataset: Dataset
    base: LanguageModel | None
    checkpoints: Checkpoints
    train_text: TokenizedText
    """What the steps read: the text, or variants of it (`bpe_dropout`)."""
    is_resumed: bool
    """Whether steps have been taken before."""


def write_run_record(run: Path, record: RunRecord, parameters: int, report: TextReport) -> None:
    """Writes run.json: from then on the run can go on.

    Args:
        run: The run directory.
        record: What the run was begun with.
        parameters: Of the model, for those who list runs.
        report: What the text turned out to be, likewise.

    Raises:
        ModelFileError: The directory cannot be written.
    """
    text = {
        "documents": list(report.names),
        "document_count": report.documents,
        "bytes": report.bytes,
        "sha256": report.sha256,
    }
    write_run(run, {**asdict(record), "parameters": parameters, "text": text})


def read_run_record(run: Path) -> RunRecord:
    """What `write_run_record` wrote.

    Raises:
        ModelFileError: There is no run, or its record is damaged.
    """
    values = read_run(run)
    try:
        kept = {field.name: values[field.name] for field in fields(RunRecord)}
        plan = Plan.from_record(kept["plan"], run / RECORD)
        return RunRecord(**{**kept, "plan": plan, "seed": int(kept["seed"])})
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFileError(f"{run / RECORD} is damaged: {error}", hint=START_ANEW) from None


def open_run(record: RunRecord, checkpoints: Checkpoints, base: LanguageModel | None, device: str) -> StartedRun:
    """What has been prepared, opened.

    Args:
        record: What the run was begun with.
        checkpoints: Of the run directory.
        base: The model that the run starts from, where it is loaded already.
        device: Where it is loaded otherwise.

    Raises:
        ModelFileError: Something is missing or damaged.
    """
    if base is None and record.plan.base is not None:
        base = load(record.plan.base, backend="torch", device=device)
    dataset = open_dataset(checkpoints.directory / DATA)
    train_text = open_dataset(checkpoints.directory / VARIED).train if record.plan.bpe_dropout else dataset.train
    return StartedRun(record, dataset, base, checkpoints, train_text, bool(checkpoints.steps()))


def check_resume_settings(settings: TrainingSettings, sources: Sequence[str | Path], record: RunRecord) -> None:
    """A setting or a text that is given again must be the one the run began with.

    Raises:
        ConfigError: A setting is another one.
        NextwordError: The text is another one.
    """
    for name, value in given_settings(settings).items():
        as_asked = name == "vocab_size" and value == record.vocab_size
        if value != getattr(record.plan, name) and not as_asked:
            raise ConfigError(
                f"{SETTING_NAMES.get(name, name)} is {value}, the run that goes on has {getattr(record.plan, name)}",
                hint=f"leave it out, or {START_ANEW}",
            )
    if sources and record.text_files not in (None, fingerprint(sources, settings.exclude)):
        raise NextwordError("the text is not the one the run began with", hint=f"leave it out, or {START_ANEW}")

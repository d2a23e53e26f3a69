"""How a run begins: the text prepared, every setting that was left open derived, both written down."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from nextword.errors import ConfigError, ModelFileError, NextwordError
from nextword.language_model import LanguageModel
from nextword.readable import pluralize
from nextword.settings import TrainingSettings
from nextword.training.corpus.bpe_dropout import vary
from nextword.training.corpus.dataset import Prepared, write_data
from nextword.training.corpus.prepare import Progress, prepare_data
from nextword.training.corpus.prepare_conversations import holds_conversations, prepare_conversations
from nextword.training.corpus.text import Place, Reading, find_sources
from nextword.training.events import Preparing
from nextword.training.planning.flops import measure_flops
from nextword.training.planning.plan import Plan, choose_preset, fine_tuning, recipe, tokens_in
from nextword.training.run_directory import RECORD, START_ANEW, read_run, write_run

HELD_OUT_BYTES = 500_000
"""Of a longer text no more than this is held out, so that looking at it takes seconds, not minutes."""
_LOOK = 0.08
"""Share of a run's time that a look at the held-out text may take; less is held out where it would take more."""
_HELD_OUT_AT_LEAST = 8_000
_COMPARED = 64 << 20
_MOST_COPIES = 16
"""Ways in which a text is cut into tokens at most; a longer run reads them again."""
_READ_A_SECOND, _READ_AT_LEAST = 450_000, 20_000_000
"""Bytes that are read for each second of the run: about a sixth of its time, and many times what it can learn from."""
_SETTINGS = {"base": "from_model"}
"""What TrainingSettings calls a field of the plan, where that is not its name."""


@dataclass(frozen=True)
class Beginning:
    """What a run was begun with: its fields are those of run.json."""

    plan: Plan
    """Without the seconds, which are counted from the first step."""
    seed: int
    minutes: float | None
    text_files: str | None
    """See `fingerprint`."""
    vocab_size: int | None
    """As it was asked for; a short text may have given fewer tokens."""


def begin(
    run: Path,
    sources: Sequence[str | Path],
    asked: TrainingSettings,
    base: LanguageModel | None,
    tell: Callable[[Preparing], None],
) -> None:
    """Prepares the text, derives the plan, and writes both into the run directory: the run can start, or go on.

    Raises:
        TextError: Text is missing, empty, too short, damaged or wrongly encoded.
        ConfigError: A setting is out of range.
        ModelFileError: The directory cannot be written.
    """
    flops, reading = measure_flops(), Reading()
    found = list(find_sources(sources, asked.exclude, reading.skipped))
    if not found:
        raise reading.nothing()
    prepared = prepare(run / "data", found, asked, base, flops, lambda *told: tell(Preparing(*told)), reading)
    plan = derive_plan(asked, prepared, base, flops)
    report = prepared.report
    begun = Beginning(plan, asked.seed, asked.time_limit, fingerprint(found), asked.vocab_size)
    settings = {
        **asdict(begun),
        "parameters": (plan.config() if base is None else base.config).num_parameters,
        "text": {
            "documents": list(report.names),
            "document_count": report.documents,
            "bytes": report.bytes,
            "sha256": report.sha256,
        },
    }
    if plan.bpe_dropout:
        copies = max(1, min(_MOST_COPIES, math.ceil(_epochs(asked, plan.preset, prepared, flops))))
        varied = vary(
            prepared.train.tokens, prepared.tokenizer, copies=copies, dropout=plan.bpe_dropout, seed=asked.seed
        )
        write_data(run / "varied", varied, None, prepared.tokenizer, report)
    write_run(run, settings)


def read_beginning(run: Path) -> Beginning:
    """What `begin` wrote.

    Raises:
        ModelFileError: There is no run, or its record is damaged.
    """
    settings = read_run(run)
    try:
        kept = {field.name: settings[field.name] for field in fields(Beginning)}
        plan = Plan.from_record(kept["plan"], run / RECORD)
        return Beginning(**{**kept, "plan": plan, "seed": int(kept["seed"])})
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFileError(f"{run / RECORD} is damaged: {error}", hint=START_ANEW) from None


def derive_plan(asked: TrainingSettings, prepared: Prepared, base: LanguageModel | None, flops: float) -> Plan:
    """Every setting, those that were not given derived from the text, the time and the speed of the machine.

    Raises:
        ConfigError: There is no such preset, or the context is too long for the text or the model.
    """
    seconds = math.inf if asked.time_limit is None else asked.time_limit * 60
    tokens = len(prepared.train.tokens)
    given = _given(asked)
    if base is None:
        preset = asked.preset or choose_preset(prepared.report.bytes, seconds, flops)
        derived = recipe(preset, tokens, _epochs(asked, preset, prepared, flops))
    else:
        preset = "from"
        derived = fine_tuning(base.config.context_length, tokens, lora=asked.lora_rank is not None)
    vocab_size = prepared.tokenizer.vocab_size if base is None else base.config.vocab_size
    plan = Plan(**{**derived, **given, "preset": preset, "vocab_size": vocab_size})
    if plan.bpe_dropout and (prepared.tokenizer.kind != "bytes" or prepared.train.weights is not None):
        raise ConfigError("bpe_dropout is for text in byte-level BPE", hint="leave it out for this model or text")
    longest = tokens - 1 if base is None else min(tokens - 1, base.config.context_length)
    if plan.context_length > longest:
        whose = f"the text to learn from has only {pluralize(tokens, 'tokens')}"
        if base is not None and plan.context_length > base.config.context_length:
            whose = f"the model can look at {pluralize(base.config.context_length, 'tokens')}"
        raise ConfigError(
            f"context_length is {plan.context_length}, {whose}",
            hint="give more text, hold out less of it, or choose a shorter context",
        )
    return plan


def _given(asked: TrainingSettings) -> dict[str, Any]:
    """What was given of the plan's settings, by the plan's names; a run that goes on has to agree with it."""
    settings = dict(asked)
    given = {field.name: settings.get(_SETTINGS.get(field.name, field.name)) for field in fields(Plan)}
    return {name: value for name, value in given.items() if value is not None}


def _epochs(asked: TrainingSettings, preset: str, prepared: Prepared, flops: float) -> float:
    """Passes over the text that the run will make, of steps or of minutes whichever end it first."""
    known = Plan(
        **{
            **recipe(preset, len(prepared.train.tokens), 0),
            **_given(asked),
            "preset": preset,
            "vocab_size": prepared.tokenizer.vocab_size,
        }
    )
    tokens = math.inf if asked.steps is None else asked.steps * known.batch_size * known.context_length
    if asked.time_limit is not None:
        tokens = min(tokens, tokens_in(asked.time_limit * 60, known.config().num_parameters, flops))
    return tokens / max(1, len(prepared.train.tokens))


def prepare(
    directory: Path,
    sources: Sequence[Place],
    asked: TrainingSettings,
    base: LanguageModel | None,
    flops: float,
    progress: Progress,
    reading: Reading,
) -> Prepared:
    """Text or conversations -> tokens in `directory`.

    Raises:
        TextError: Text is missing, empty, too short, damaged or wrongly encoded.
        ConfigError: A setting is out of range, or conversations are to train a model without a chat template.
        ModelFileError: The directory cannot be written.
    """
    if holds_conversations(sources, asked.encoding):
        if base is None or not base.chat_template:
            name = "no model" if base is None else f"{asked.from_model} has no chat template"
            raise ConfigError(
                f"conversations need a model that knows how they are written, {name}",
                hint='start from one that chats: from_model="smollm2"',
            )
        return prepare_conversations(
            directory, sources, base, validation=asked.validation, encoding=asked.encoding, reading=reading
        )
    if isinstance(asked.validation, str | Path):
        next(find_sources([asked.validation]))  # missing: it is told before all the text is read
    return prepare_data(
        directory,
        sources,
        validation=asked.validation,
        validation_limit=_held_out_at_most(asked, base, flops),
        limit=None if asked.time_limit is None else max(_READ_AT_LEAST, round(_READ_A_SECOND * asked.time_limit * 60)),
        encoding=asked.encoding,
        text_field=asked.text_field,
        compose=asked.compose,
        tokenizer=None if base is None else base.tokenizer,
        vocab_size=asked.vocab_size,
        progress=progress,
        reading=reading,
    )


def _held_out_at_most(asked: TrainingSettings, base: LanguageModel | None, flops: float) -> int:
    """Bytes; for a model of known size and a run of known length, what it can score in the time."""
    if base is None or asked.time_limit is None:
        return HELD_OUT_BYTES
    tokens = _LOOK * asked.time_limit * 60 * flops / (2 * base.config.num_parameters)
    return round(min(HELD_OUT_BYTES, max(_HELD_OUT_AT_LEAST, 3 * tokens)))


def fingerprint(sources: Sequence[Place], exclude: Sequence[str] = ()) -> str | None:
    """SHA-256 of each file's length and first 64 MB; None if a source is no file that can be read again."""
    digest = hashlib.sha256()
    for source in find_sources(sources, exclude):
        path = source.path
        if path is None or not path.is_file():
            return None
        digest.update(f"{path.stat().st_size}\n".encode())
        with path.open("rb") as file:
            left = _COMPARED
            while left > 0 and (block := file.read(min(left, 1 << 20))):
                digest.update(block)
                left -= len(block)
    return digest.hexdigest()


def check_resumed(asked: TrainingSettings, sources: Sequence[str | Path], begun: Beginning) -> None:
    """A setting or a text that is given again must be the one the run began with.

    Raises:
        ConfigError: A setting is another one.
        NextwordError: The text is another one.
    """
    for name, value in _given(asked).items():
        as_asked = name == "vocab_size" and value == begun.vocab_size
        if value != getattr(begun.plan, name) and not as_asked:
            raise ConfigError(
                f"{_SETTINGS.get(name, name)} is {value}, the run that goes on has {getattr(begun.plan, name)}",
                hint=f"leave it out, or {START_ANEW}",
            )
    if sources and begun.text_files not in (None, fingerprint(sources, asked.exclude)):
        raise NextwordError("the text is not the one the run began with", hint=f"leave it out, or {START_ANEW}")

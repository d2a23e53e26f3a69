"""What was left open, derived: the plan, and how much of a text is read and held out."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

from nextword.errors import ConfigError
from nextword.formatting import pluralize
from nextword.language_model import LanguageModel
from nextword.settings import TrainingSettings
from nextword.training.corpus.dataset import Dataset
from nextword.training.planning.plan import Plan
from nextword.training.planning.presets import choose_preset, fine_tuning, recipe, tokens_in

MAX_HELD_OUT_BYTES = 500_000
"""Of a longer text no more than this is held out, so that an evaluation takes seconds, not minutes."""
_EVALUATION_SHARE = 0.08
"""Share of a run's time that an evaluation may take; less is held out where it would take more."""
_MIN_HELD_OUT_BYTES = 8_000
_MAX_COPIES = 16
"""Ways in which a text is cut into tokens at most; a longer run reads them again."""
_READ_BYTES_PER_SECOND, _MIN_READ_BYTES = 450_000, 20_000_000
"""Bytes that are read for each second of the run: about a sixth of its time, and many times what it can learn from."""
SETTING_NAMES = {"base": "from_model"}
"""What TrainingSettings calls a field of the plan, where that is not its name."""


def max_read_bytes(settings: TrainingSettings) -> int | None:
    """How much text is read, in bytes: all of it (None) unless the run has a time."""
    if settings.time_limit is None:
        return None
    return max(_MIN_READ_BYTES, round(_READ_BYTES_PER_SECOND * settings.time_limit * 60))


def max_held_out_bytes(settings: TrainingSettings, base: LanguageModel | None, flops: float) -> int:
    """Bytes; for a model of known size and a run of known length, what it can score in the time."""
    if base is None or settings.time_limit is None:
        return MAX_HELD_OUT_BYTES
    tokens = _EVALUATION_SHARE * settings.time_limit * 60 * flops / (2 * base.config.num_parameters)
    return round(min(MAX_HELD_OUT_BYTES, max(_MIN_HELD_OUT_BYTES, 3 * tokens)))


def derive_plan(settings: TrainingSettings, dataset: Dataset, base: LanguageModel | None, flops: float) -> Plan:
    """Every setting, those that were not given derived from the text, the time and the speed of the machine.

    Raises:
        ConfigError: There is no such preset, or the context is too long for the text or the model.
    """
    seconds = math.inf if settings.time_limit is None else settings.time_limit * 60
    tokens = len(dataset.train.tokens)
    given = given_settings(settings)
    if base is None:
        preset = settings.preset or choose_preset(dataset.report.bytes, seconds, flops)
        derived = recipe(preset, tokens, _epochs(settings, preset, dataset, flops))
    else:
        preset = "from"
        derived = fine_tuning(base.config.context_length, tokens, lora=settings.lora_rank is not None)
    vocab_size = dataset.tokenizer.vocab_size if base is None else base.config.vocab_size
    plan = Plan(**{**derived, **given, "preset": preset, "vocab_size": vocab_size})
    if plan.bpe_dropout and (dataset.tokenizer.kind != "bytes" or dataset.train.weights is not None):
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


def dropout_copies(settings: TrainingSettings, plan: Plan, dataset: Dataset, flops: float) -> int:
    """How often a text is cut into other tokens (`bpe_dropout`): once for each pass that the run will make."""
    return max(1, min(_MAX_COPIES, math.ceil(_epochs(settings, plan.preset, dataset, flops))))


def given_settings(settings: TrainingSettings) -> dict[str, Any]:
    """What was given of the plan's settings, by the plan's names; a run that goes on has to agree with it."""
    values = dict(settings)
    given = {field.name: values.get(SETTING_NAMES.get(field.name, field.name)) for field in fields(Plan)}
    return {name: value for name, value in given.items() if value is not None}


def _epochs(settings: TrainingSettings, preset: str, dataset: Dataset, flops: float) -> float:
    """Passes over the text that the run will make, of steps or of minutes whichever end it first."""
    known = Plan(
        **{
            **recipe(preset, len(dataset.train.tokens), 0),
            **given_settings(settings),
            "preset": preset,
            "vocab_size": dataset.tokenizer.vocab_size,
        }
    )
    tokens = math.inf if settings.steps is None else settings.steps * known.batch_size * known.context_length
    if settings.time_limit is not None:
        tokens = min(tokens, tokens_in(settings.time_limit * 60, known.config().num_parameters, flops))
    return tokens / max(1, len(dataset.train.tokens))

"""What is measured and said before the first step."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass

from nextword.model import GPTModel
from nextword.training.events import Started, Watcher
from nextword.training.planning.baselines import Baselines, measure_baselines
from nextword.training.planning.forecast import Forecast, forecast
from nextword.training.planning.verdict import MIN_CHARACTERS, yardsticks
from nextword.training.run.loop import Trainer
from nextword.training.run.record import StartedRun


@dataclass(frozen=True)
class Estimates:
    """What was measured and said before the first step."""

    baselines: Baselines | None
    expected: Forecast


def estimate(trainer: Trainer, run: StartedRun, began: float, emit: Watcher, saves: int) -> Estimates:
    """Measures speed and baselines, gives the run its time, and tells all that is known before the first step."""
    dataset, ranks = run.dataset, trainer.ranks
    speed = trainer.measure_speed()
    baselines = None
    if dataset.validation is not None and ranks.is_main:
        baselines = measure_baselines(dataset.train, dataset.validation, dataset.tokenizer)
    minutes = run.record.minutes
    if minutes is not None and not run.is_resumed:
        left = minutes * 60 - (time.monotonic() - began) - _reserved_seconds(trainer.model, saves)
        trainer.set_seconds(ranks.broadcast(max(1.0, left)))
    plan, report = trainer.plan, dataset.report
    expected = forecast(
        parameters=trainer.model.config.num_parameters,
        tokens_per_step=trainer.tokens_per_step,
        tokens_per_second=speed,
        train_tokens=len(dataset.train.tokens),
        seconds=plan.seconds,
        steps=plan.steps,
        bigram=bigrams(baselines) if _has_forecast(run) else None,
    )
    emit(
        Started(
            plan,
            trainer.model.config,
            len(dataset.train.tokens),
            dataset.train.characters,
            dataset.validation.characters if dataset.validation else 0,
            step=trainer.state.step,
            documents=report.documents,
            repeated=report.repeated,
            decomposed=0 if report.composed else report.decomposed,
            long_words=report.long_words,
            only_beginning=report.only_beginning,
            processes=ranks.world_size,
            files=report.files,
            file_count=report.file_count,
            skipped=report.skipped,
            skipped_count=report.skipped_count,
        )
    )
    if baselines is not None:
        emit(baselines)
    emit(expected)
    return Estimates(baselines, expected)


def _has_forecast(run: StartedRun) -> bool:
    """Whether it is known how well such a run goes: from no model, and judged by enough text."""
    held_out = run.dataset.validation
    return run.base is None and held_out is not None and held_out.characters >= MIN_CHARACTERS


def bigrams(baselines: Baselines | None) -> float | None:
    """What counting pairs of tokens reaches on the held-out text, in bits per byte."""
    return None if baselines is None else yardsticks(asdict(baselines)).get("bigrams")


def _reserved_seconds(model: GPTModel, saves: int) -> float:
    """Kept back from the time budget for drawing the curve and writing 50 million weights a second, so many times."""
    return 2.5 + saves * model.config.num_parameters / 50e6

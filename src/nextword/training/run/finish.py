"""How a run ends: the model, where it comes from, and what is said of it, on disk."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from nextword import __version__
from nextword.errors import ModelFileError
from nextword.files.bundle import require_writable
from nextword.language_model import LanguageModel, ModelMetadata
from nextword.machine.signals import defer_interrupts
from nextword.training.adapters import save_adapter
from nextword.training.adapters.lora import merge_lora
from nextword.training.corpus.dataset import Prepared
from nextword.training.events import Watcher
from nextword.training.events.report import draw_curve, journal_of, model_card
from nextword.training.planning.baselines import Baselines
from nextword.training.planning.forecast import Forecast
from nextword.training.planning.verdict import Verdict, verdict
from nextword.training.run.estimate import Estimates, bigrams
from nextword.training.run.loop import Trainer
from nextword.training.run.start import Run
from nextword.training.run_directory import checkpoint_path


def finish(
    out: Path, trainer: Trainer, run: Run, estimates: Estimates, record: Watcher, tell: Watcher
) -> LanguageModel | None:
    """Writes the model, on rank 0; the others get None. Whatever else can fail comes later, or waits."""
    late = trainer.late
    plan, model, base = trainer.plan, trainer.whole_model(), run.base
    if model is None:
        return None
    words = verdict(
        trainer.state.validations,
        parameters=model.config.num_parameters,
        text_bytes=run.prepared.report.bytes,
        held_out_characters=None if run.prepared.validation is None else run.prepared.validation.characters,
        bigram=bigrams(estimates.baselines),
        expected=None if trainer.stopped else estimates.expected.expected,
    )
    with late.wait():
        record(words)
    if plan.lora_rank is not None:
        with late.wait():
            save_adapter(model, out.with_name(f"{out.name}.adapter"), str(plan.base))
        merge_lora(model)
    provenance = _provenance(
        trainer, run.begun.seed, run.prepared, base, estimates.baselines, estimates.expected, words
    )
    known: ModelMetadata = {"provenance": provenance, "card": model_card(out.name, provenance, model.config)}
    if base is not None:
        known |= {"chat_template": base.chat_template, "recommended": base.recommended}
    lm = LanguageModel.from_model(model, run.prepared.tokenizer, **known)
    with defer_interrupts():  # a second Ctrl-C would leave half of it
        lm.save(out, files=journal_of(checkpoint_path(out)))
    draw_curve(out)
    with late.wait():
        tell(words)
    return lm


def can_write_model(out: Path) -> bool:
    """Whether the model can take its place: what others have put there since the run began would be lost."""
    try:
        require_writable(out)
    except ModelFileError:
        return False
    return True


def _provenance(
    trainer: Trainer,
    seed: int,
    prepared: Prepared,
    base: LanguageModel | None,
    baselines: Baselines | None,
    expected: Forecast,
    words: Verdict,
) -> dict[str, Any]:
    """Where the model comes from: plan, text, and every look at the held-out part. Plain JSON values."""
    state, report = trainer.state, prepared.report
    came_from = {} if base is None else {"from": {"model": trainer.plan.base, "provenance": base.provenance}}
    return {
        "made_with": f"nextword {__version__}, torch {torch.__version__}",
        **came_from,
        "plan": asdict(trainer.plan),
        "seed": seed,
        "parameters": trainer.model.config.num_parameters,
        "text": {
            "documents": list(report.names),
            "document_count": report.documents,
            "characters": report.characters,
            "bytes": report.bytes,
            "tokens": len(prepared.train.tokens),
            "sha256": report.sha256,
            "repeated_in_held_out": report.repeated,
            # As of documents, the name alone: a model is given away, and where it was made is nobody's business.
            "skipped": [[Path(name).name, why] for name, why in report.skipped],
        },
        "validation_characters": prepared.validation.characters if prepared.validation else 0,
        "baselines": None if baselines is None else asdict(baselines),
        "forecast": asdict(expected),
        "steps": state.step,
        "best_step": state.best_step if prepared.validation else state.step,
        "seconds": round(state.seconds, 1),
        "stopped_early": trainer.stopped,
        "state": trainer.hash,
        "validations": state.validations,
        "verdict": asdict(words),
    }

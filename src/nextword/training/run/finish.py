"""How a run ends: the model, and where it comes from, on disk."""

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
from nextword.model import GPTModel
from nextword.training.adapters import save_adapter
from nextword.training.adapters.lora import merge_lora
from nextword.training.events.report import journal_of, model_card
from nextword.training.planning.verdict import Verdict
from nextword.training.run.estimate import Estimates
from nextword.training.run.loop import Trainer
from nextword.training.run.record import StartedRun
from nextword.training.run_directory import checkpoint_path


def finish(
    out: Path, model: GPTModel, trainer: Trainer, run: StartedRun, estimates: Estimates, judgement: Verdict
) -> LanguageModel:
    """Writes the trained model, and adapters beside it where only these were learned. Errors of these wait."""
    plan, base = trainer.plan, run.base
    if plan.lora_rank is not None:
        with trainer.deferred.wait():
            save_adapter(model, out.with_name(f"{out.name}.adapter"), str(plan.base))
        merge_lora(model)
    provenance = _provenance(trainer, run, estimates, judgement)
    metadata: ModelMetadata = {"provenance": provenance, "card": model_card(out.name, provenance, model.config)}
    if base is not None:
        metadata |= {"chat_template": base.chat_template, "recommended": base.recommended}
    lm = LanguageModel.from_model(model, run.dataset.tokenizer, **metadata)
    with defer_interrupts():  # a second Ctrl-C would leave half of it
        lm.save(out, files=journal_of(checkpoint_path(out)))
    return lm


def can_write_model(out: Path) -> bool:
    """Whether the model can take its place: what others have put there since the run began would be lost."""
    try:
        require_writable(out)
    except ModelFileError:
        return False
    return True


def _provenance(trainer: Trainer, run: StartedRun, estimates: Estimates, judgement: Verdict) -> dict[str, Any]:
    """Where the model comes from: plan, text, and every look at the held-out part. Plain JSON values."""
    state, dataset, base = trainer.state, run.dataset, run.base
    report, baselines = dataset.report, estimates.baselines
    came_from = {} if base is None else {"from": {"model": trainer.plan.base, "provenance": base.provenance}}
    return {
        "made_with": f"nextword {__version__}, torch {torch.__version__}",
        **came_from,
        "plan": asdict(trainer.plan),
        "seed": run.record.seed,
        "parameters": trainer.model.config.num_parameters,
        "text": {
            "documents": list(report.names),
            "document_count": report.documents,
            "characters": report.characters,
            "bytes": report.bytes,
            "tokens": len(dataset.train.tokens),
            "sha256": report.sha256,
            "repeated_in_held_out": report.repeated,
            # As of documents, the name alone: a model is given away, and where it was made is nobody's business.
            "skipped": [[Path(name).name, why] for name, why in report.skipped],
        },
        "validation_characters": dataset.validation.characters if dataset.validation else 0,
        "baselines": None if baselines is None else asdict(baselines),
        "forecast": asdict(estimates.expected),
        "steps": state.step,
        "best_step": state.best_step if dataset.validation else state.step,
        "seconds": round(state.seconds, 1),
        "stopped_early": trainer.stopped,
        "state": trainer.hash,
        "validations": state.validations,
        "verdict": asdict(judgement),
    }
